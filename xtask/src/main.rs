//! Chores of this repository: `cargo xtask CHORE`.

mod layers;
mod promises;
mod pycos;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "chores:
  layers    check who uses whom against the table in xtask/src/layers.rs
  promises  check that the tests named in docs/promises.md are there
  pycos     check that docs/from-pycos.md has each feature, and what holds it";

fn main() -> ExitCode {
    match run(std::env::args().nth(1).as_deref()) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Option<&str>) -> Result<String> {
    match chore {
        Some("layers") => Ok(format!("{} crates use only what they may", layers::check()?)),
        Some("promises") => {
            Ok(format!("{} tests are named, and all are there", promises::check()?))
        }
        Some("pycos") => Ok(format!("{} features of pycos have their place", pycos::check()?)),
        Some("help" | "--help" | "-h") => Ok(HELP.to_owned()),
        Some(other) => bail!("no chore is called `{other}`\n{HELP}"),
        None => bail!("which chore?\n{HELP}"),
    }
}
