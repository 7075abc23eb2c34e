//! What a panic in a job said, kept for its error instead of being printed.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use super::Fault;

thread_local! {
    static IN_JOB: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<Fault>> = const { RefCell::new(None) };
}

/// Installs the hook that keeps the panics of jobs; all others go where they went before.
pub(super) fn keep_panics_of_jobs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IN_JOB.get() {
                return before(info);
            }
            let fault = Fault::Panicked {
                message: info.payload_as_str().unwrap_or("(a panic without a text)").to_owned(),
                location: info.location().map(ToString::to_string).unwrap_or_default(),
                backtrace: shortened(&Backtrace::force_capture().to_string()),
            };
            LAST.set(Some(fault));
        }));
    });
}

/// Runs `job`; a panic in it becomes a [`Fault`].
pub(super) fn catch<T>(job: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    IN_JOB.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(job));
    IN_JOB.set(false);
    result.unwrap_or_else(|_| {
        Err(LAST.take().unwrap_or_else(|| Fault::Panicked {
            message: "(a panic in another panic hook)".to_owned(),
            location: String::new(),
            backtrace: String::new(),
        }))
    })
}

/// The part of a backtrace between the panic machinery and this crate.
fn shortened(backtrace: &str) -> String {
    let mut lines: Vec<&str> = backtrace.lines().collect();
    let is_frame_of = |line: &str, what: &str| {
        line.split_once(": ").is_some_and(|(number, name)| {
            number.trim().parse::<u32>().is_ok() && name.contains(what)
        })
    };
    if let Some(end) = lines.iter().position(|line| is_frame_of(line, "pleiad_cluster::function"))
        && end > 0
    {
        lines.truncate(end);
    }
    if let Some(last) = lines.iter().rposition(|line| is_frame_of(line, "core::panicking::")) {
        let begin = (last + 1..lines.len()).find(|&i| !lines[i].trim_start().starts_with("at "));
        lines.drain(..begin.unwrap_or(lines.len()));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_fault_with_its_text_and_place() {
        keep_panics_of_jobs();
        let fault = catch::<()>(|| panic!("no {} left", "luck")).unwrap_err();
        let Fault::Panicked { message, location, .. } = fault else { panic!("{fault:?}") };
        assert_eq!(message, "no luck left");
        assert!(location.contains("panics.rs:"), "{location}");
    }

    #[test]
    fn a_backtrace_is_cut_down_to_the_code_of_the_job() {
        let whole = "   0: std::backtrace::Backtrace::create\n             at /std.rs\n   \
                     1: core::panicking::panic_fmt\n             at /core.rs\n   \
                     2: mine::divide\n             at ./mine.rs:3\n   \
                     3: pleiad_cluster::function::call::JobEntry\n   4: main";
        assert_eq!(shortened(whole), "   2: mine::divide\n             at ./mine.rs:3");
    }
}
