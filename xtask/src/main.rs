//! Chores of this repository: `cargo xtask CHORE`.

mod layers;

use anyhow::{Result, bail};

const HELP: &str = "chores:
  layers    check who uses whom against the table in xtask/src/layers.rs";

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("layers") => {
            let count = layers::check()?;
            println!("{count} crates use only what they may");
            Ok(())
        }
        Some("help" | "--help" | "-h") => {
            println!("{HELP}");
            Ok(())
        }
        Some(other) => bail!("no chore is called `{other}`\n{HELP}"),
        None => bail!("which chore?\n{HELP}"),
    }
}
