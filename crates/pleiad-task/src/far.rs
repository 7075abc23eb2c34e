//! What pleiad-net needs of this crate, and nobody else: it may change at any time.

pub mod shape;
