//! `pleiad launch`: one program in the foreground, under limits.

use std::ffi::OsString;
use std::io;

use anyhow::{Context, anyhow};
use pleiad::{ForegroundEnd, ProcessLimits, limits};

use crate::args::Launch;
use crate::problem::Problem;
use crate::source::show;

/// What other programs of this kind exit with.
const LIMIT_REACHED: u8 = 124;
const FAILED_ITSELF: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs the program, and gives the exit status that tells how it ended.
pub(crate) fn launch(args: Launch) -> Result<u8, Problem> {
    let Launch { memory, cpu_time, files, limit, workdir, env, command } = args;
    let mut words = command.into_iter();
    let program = words.next().unwrap_or_default();
    let shown = show(&program);
    let process_limits = ProcessLimits {
        memory,
        // A part of a second is rounded up: the limit is never shorter than asked for.
        cpu_seconds: cpu_time.map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0)),
        files,
    };
    let env: Vec<_> =
        env.into_iter().map(|variable| (variable.name, Some(variable.value))).collect();
    let args: Vec<OsString> = words.collect();
    if let Some(folder) = workdir.as_deref().filter(|folder| !folder.is_dir()) {
        let error = anyhow!("cannot start {shown} in {}: no such directory", folder.display());
        return Err(Problem { code: FAILED_ITSELF, error });
    }
    let grace = limits::STOP_GRACE;
    let end = pleiad::launch_foreground(program, args, env, workdir, process_limits, limit, grace);
    match end {
        Ok(ForegroundEnd::Ended(status)) => {
            Ok(u8::try_from(status.shell_code()).unwrap_or(u8::MAX))
        }
        Ok(ForegroundEnd::LimitReached) => Ok(LIMIT_REACHED),
        Err(error) => {
            let code = match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                io::ErrorKind::PermissionDenied => NOT_EXECUTABLE,
                _ => FAILED_ITSELF,
            };
            let error = Err::<(), _>(error).with_context(|| format!("cannot start {shown}"));
            Err(Problem { code, error: error.expect_err("it is one") })
        }
    }
}
