//! The shape of a message's type, found out by reading one from nothing.

use std::cell::Cell;

thread_local! {
    static TRACING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread traces a type: references and replies are then read from nothing.
pub(crate) fn is_tracing() -> bool {
    TRACING.get()
}
