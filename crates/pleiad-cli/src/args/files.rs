//! What `pleiad files` takes.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use thiserror::Error;

use super::Reach;

#[derive(Debug, Args)]
#[command(after_help = "Example: a node that takes files, and a file for it from another terminal
  pleiad node --name shop --files incoming
  pleiad files put data.bin shop:2026

A file comes whole or not at all: until then, what was there before stays. After a loss, the same
command goes on where it was.")]
pub(crate) struct Files {
    #[command(subcommand)]
    pub(crate) action: FilesAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FilesAction {
    /// Send a file to a node
    Put(Put),
    /// Fetch a file from a node
    Get(Get),
    /// Delete a file at a node, and the directories that are empty then
    Rm(Rm),
}

#[derive(Debug, Args)]
#[command(after_help = "Example: as 2026/data.bin in the directory for files of the node shop
  pleiad files put data.bin shop:2026

If the same file is there already, nothing is sent.")]
pub(crate) struct Put {
    /// The file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The node, by name or number, and the directory in which the file keeps its name
    #[arg(value_name = "NODE[:DIR]")]
    pub(crate) to: Place,

    #[command(flatten)]
    pub(crate) moving: Moving,

    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: to the directory results here
  pleiad files get shop:2026/data.bin results/

If the same file is here already, nothing is fetched.")]
pub(crate) struct Get {
    /// The node, by name or number, and the file in its directory for files
    #[arg(value_name = "NODE:PATH", value_parser = place_with_path)]
    pub(crate) from: Place,

    /// The file here, or the directory in which it keeps its name [default: the current directory]
    #[arg(value_name = "TO")]
    pub(crate) to: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) moving: Moving,

    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: the file of the other examples
  pleiad files rm shop:2026/data.bin")]
pub(crate) struct Rm {
    /// The node, by name or number, and the file in its directory for files
    #[arg(value_name = "NODE:PATH", value_parser = place_with_path)]
    pub(crate) at: Place,

    /// Print what was done as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// How a file comes to its place.
#[derive(Debug, Args)]
pub(crate) struct Moving {
    /// Take the place of another file of that name
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Print what was done as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Print no progress
    #[arg(long)]
    pub(crate) no_progress: bool,
}

/// A node, and a path in its directory for files, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) node: String,
    pub(crate) path: String,
}

/// Why a text is no place for a file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum PlaceError {
    #[error("say first which node, as in shop:in/data.bin")]
    NoNode,
    #[error("say which file, after a colon, as in shop:in/data.bin")]
    NoPath,
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (node, path) = text.split_once(':').unwrap_or((text, ""));
        match node {
            "" => Err(PlaceError::NoNode),
            node => Ok(Self { node: node.to_owned(), path: path.to_owned() }),
        }
    }
}

fn place_with_path(text: &str) -> Result<Place, PlaceError> {
    let place: Place = text.parse()?;
    if place.path.is_empty() { Err(PlaceError::NoPath) } else { Ok(place) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_node_and_a_path_with_a_colon_between() {
        for (text, node, path) in
            [("shop", "shop", ""), ("shop:", "shop", ""), ("shop:in/a:b", "shop", "in/a:b")]
        {
            let place = Place { node: node.to_owned(), path: path.to_owned() };
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
        assert_eq!("".parse::<Place>(), Err(PlaceError::NoNode));
        assert_eq!(":x".parse::<Place>(), Err(PlaceError::NoNode));
        assert_eq!(place_with_path("shop:"), Err(PlaceError::NoPath));
    }
}
