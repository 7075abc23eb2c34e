//! Tasks that talk across processes and machines. For users, this is a part of the crate `pleiad`.

#![warn(clippy::print_stdout, clippy::print_stderr, missing_debug_implementations)]

#[expect(dead_code, unused_imports, reason = "for discovery, which comes next")]
mod addresses;

pub use addresses::AddressError;
