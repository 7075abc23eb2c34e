//! The end of a run: what is left is shown, and the user is told how it went.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use super::{Runner, Stop, released, until};
use crate::args::Run;
use crate::order::Reorder;
use crate::plan::resume_command;
use crate::problem::Problem;
use crate::report::{Again, Tally};
use crate::screen::Fault;

/// What a shell shows for a program that wrote to a pipe which nobody reads.
pub(super) const CLOSED_PIPE: u8 = 141;

/// A run that takes longer tells at its end what it has done, even if all is well.
const LONG_RUN: Duration = Duration::from_secs(10);

impl Runner<'_> {
    /// Shows what is left, ends the cluster, and tells how it went.
    pub(super) async fn end(mut self) -> Result<u8, Problem> {
        self.running.clear();
        if self.give_up.is_none() && !matches!(self.stop, Some(Stop::ClosedPipe)) {
            self.show_rest().await;
        }
        let Self { args, cluster, screen, mut interrupts, give_up, began, .. } = self;
        let has_bar = screen.has_bar();
        tokio::select! {
            () = screen.finish() => {}
            _ = interrupts.next() => {}
            () = until(give_up) => {}
        }
        if give_up.is_none() {
            tokio::select! {
                () = cluster.close() => {}
                _ = interrupts.next() => {}
            }
        }
        let (mut stop, mut error) = (self.stop, self.error);
        while let Some(fault) = self.faults.poll() {
            match fault {
                Fault::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    stop.get_or_insert(Stop::ClosedPipe);
                }
                fault => drop(error.get_or_insert(fault.into())),
            }
        }
        if matches!(stop, Some(Stop::ClosedPipe)) && error.is_none() {
            return Ok(CLOSED_PIPE);
        }
        let took = began.elapsed();
        let is_interesting = !args.quiet
            && (has_bar || took >= LONG_RUN || self.tally.left_out > 0 || stop.is_some());
        // Where nothing was handed in, the error says it all, and advice would be wrong.
        let is_refused = error.is_some() && self.places == 0;
        if !is_refused && (self.tally.failed > 0 || is_interesting) {
            let text = report(args, &self.tally, stop.as_ref(), took);
            let _ = io::stderr().write_all(text.as_bytes());
        } else if self.numbers == 0 && error.is_none() && !args.quiet {
            let _ = io::stderr().write_all(b"pleiad: there were no values, so nothing was run\n");
        }
        match (stop, error) {
            (Some(Stop::Interrupted(signal)), None) => Ok(interrupted(signal)),
            (Some(Stop::Interrupted(signal)), Some(error)) => {
                Err(Problem { code: interrupted(signal), error })
            }
            (_, Some(error)) if is_refused => Err(Problem::usage(error)),
            (_, Some(error)) => Err(Problem::failure(error)),
            (_, None) => Ok(self.tally.exit_code()),
        }
    }

    /// What ended behind jobs that never will.
    async fn show_rest(&mut self) {
        let order = std::mem::replace(&mut self.order, Reorder::new());
        for waiting in order.into_rest().flatten() {
            let message = released(&mut self.keeper, *waiting);
            let room = tokio::select! {
                biased;
                room = self.screen.wait_for_room() => room,
                _ = self.interrupts.next() => None,
            };
            match room {
                Some(room) => room.send(message),
                None => return,
            }
        }
    }
}

fn report(args: &Run, tally: &Tally, stop: Option<&Stop>, took: Duration) -> String {
    let words: Vec<OsString> = std::env::args_os().collect();
    let again = match &args.joblog {
        Some(_) => Again::Command {
            command: resume_command(&words),
            needs_input: args.lines.as_deref() == Some(Path::new("-")),
        },
        None => Again::OneByOne,
    };
    let why = match stop {
        None => "",
        Some(Stop::FirstFailure) => "stopped at the first failure: ",
        Some(Stop::Interrupted(_)) => "interrupted: ",
        Some(Stop::ClosedPipe | Stop::Broken) => "stopped: ",
    };
    let details = tally.failures(&again, stop.is_some());
    format!("pleiad: {why}{}\n{details}", tally.summary(took))
}

fn interrupted(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(130)
}
