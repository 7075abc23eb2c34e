//! The program as its users meet it: real processes, real files, real signals.

#![expect(clippy::unwrap_used, reason = "what is shared by tests is a test as well")]

mod files;
mod help;
mod inputs;
mod interrupts;
mod launch;
mod limits;
mod logs;
mod mesh;
mod mistakes;
mod nodes;
mod output;
mod shell_loop;
mod support;
