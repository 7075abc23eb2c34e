//! `--dry-run`: the commands, and nothing else.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use super::end::CLOSED_PIPE;
use super::resume;
use crate::args::Run;
use crate::joblog::Joblog;
use crate::plan::Plan;
use crate::problem::Problem;
use crate::source::SourceError;

/// Prints the commands that a real run would start.
pub(super) fn run(args: &Run, plan: &Arc<Plan>) -> Result<u8, Problem> {
    let log = match &args.joblog {
        Some(path) => Joblog::peek(path, resume(args)).map_err(Problem::usage)?,
        None => None,
    };
    // Locked once for all.
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut number = 0;
    for value in plan.source.read().map_err(Problem::usage)? {
        let values = match value {
            Ok(values) => values,
            Err(error @ SourceError::Directory { .. }) => {
                let text = format!("pleiad: {:#}\n", anyhow::Error::from(error));
                let _ = io::stderr().write_all(text.as_bytes());
                continue;
            }
            Err(error) => return Err(Problem::usage(error)),
        };
        number += 1;
        let command = plan.show(number, &values);
        let is_left_out = log.as_ref().map(|log| log.leaves_out(number, &command)).transpose();
        if is_left_out.map_err(Problem::usage)?.unwrap_or(false) {
            continue;
        }
        if let Err(error) = writeln!(out, "{command}") {
            return written(error);
        }
    }
    out.flush().map_or_else(written, |()| Ok(0))
}

fn written(error: io::Error) -> Result<u8, Problem> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(CLOSED_PIPE),
        _ => {
            let error = anyhow::Error::from(error).context("cannot write to standard output");
            Err(Problem::failure(error))
        }
    }
}
