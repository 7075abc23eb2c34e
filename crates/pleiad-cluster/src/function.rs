//! Rust functions as jobs: which may be sent, and how they are called at the other end.

mod call;
mod place;

pub(crate) use call::{CleanupEntry, JobEntry, SetupEntry, TryJobEntry, TrySetupEntry};
pub use call::{CleanupFn, JobFn, Plain, TryJobFn, WithContext};
pub(crate) use place::{Call, CleanupCall, JobCall, Place, SetupCall};
