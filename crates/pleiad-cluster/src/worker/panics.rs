//! What a panic in a job said, kept for its error instead of being printed.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use pleiad_types::backtrace_of;

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
                backtrace: backtrace_of(
                    &Backtrace::force_capture().to_string(),
                    "pleiad_cluster::function",
                ),
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
}
