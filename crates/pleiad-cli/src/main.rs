//! The program `pleiad`.

mod args;
mod interrupt;
mod joblog;
mod json;
mod kept;
mod launch;
mod lines;
mod mesh;
mod order;
mod outcome;
mod plan;
mod problem;
mod progress;
mod quote;
mod record;
mod report;
mod results;
mod run;
mod screen;
mod source;
mod template;
mod units;

use std::io::{self, Write};
use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use problem::Problem;

fn main() -> ExitCode {
    pleiad::init();
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Launch(args) => launch::launch(*args),
        Command::Node(args) => mesh::node::run(&args),
        Command::Peers(args) => mesh::peers::run(&args),
        Command::Tasks(args) => mesh::tasks::run(&args),
        Command::Send(args) => mesh::send::send(&args),
        Command::Call(args) => mesh::send::call(&args),
        Command::Files(args) => mesh::files::run(&args),
        Command::Events(args) => mesh::events::run(&args),
        Command::Token(args) => mesh::token::run(&args),
        Command::Doctor(args) => mesh::doctor::run(&args),
        Command::Bench(args) => mesh::bench::run(&args),
        Command::Version => version(),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(Problem { code, error }) => {
            // In one go, so that it is not torn apart by what others write.
            let _ = io::stderr().write_all(format!("pleiad: {error:#}\n").as_bytes());
            ExitCode::from(code)
        }
    }
}

fn version() -> Result<u8, Problem> {
    let text = concat!("pleiad ", env!("CARGO_PKG_VERSION"), "\n");
    io::stdout().write_all(text.as_bytes()).map_err(Problem::failure)?;
    Ok(0)
}
