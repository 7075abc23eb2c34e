//! Each example of tasks runs and prints what its reader expects.
//!
//! Who comes first is left open where it is left open by what the example promises.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "common/example.rs"]
mod example;

/// Every example of tasks, and the test that runs it.
const EXAMPLES: [(&str, fn()); 0] = [];

#[test]
fn each_example_is_tested_and_says_how_to_run_it() {
    example::check("tasks_", &EXAMPLES);
}
