//! The program `pleiad`.
fn main() {}
