//! `pleiad files`: files between this machine and a node that has a directory for them.

use anyhow::anyhow;
use indicatif::ProgressBar;
use pleiad::net::{Node, Peer};
use pleiad::{FileError, FileProgress, FileRefusal};
use serde::Serialize;
use tokio::time::timeout;

use crate::args::{Files, FilesAction, FilesPlace, Get, Moving, Put, Reach, Rm};
use crate::mesh::bar::bar;
use crate::mesh::{chosen, foreign, plain, print, print_json, with_node};
use crate::problem::Problem;
use crate::units::show_size;

const BAR: &str =
    "{bar:24} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";

pub(crate) fn run(args: &Files) -> Result<u8, Problem> {
    match &args.action {
        FilesAction::Put(args) => with_node(&args.reach, async |node| put(args, node).await),
        FilesAction::Get(args) => with_node(&args.reach, async |node| get(args, node).await),
        FilesAction::Rm(args) => with_node(&args.reach, async |node| rm(args, node).await),
    }
}

async fn put(args: &Put, node: &Node) -> Result<u8, Problem> {
    let peer = peer(node, &args.to, &args.reach).await?;
    let bar = progress(&args.moving);
    let sending = node
        .send_file(&peer, &args.file)
        .to(directory(&args.to.path))
        .overwrite(args.moving.overwrite)
        .timeout(args.reach.timeout)
        .progress(|progress| show(&bar, progress));
    let sent = sending.await;
    bar.finish_and_clear();
    let sent = sent.map_err(undone)?;
    if args.moving.json {
        print_json(&PutLine {
            node: peer.name(),
            path: &sent.path,
            bytes: sent.bytes,
            moved: sent.moved,
        })?;
    } else {
        let was_there = sent.bytes > 0 && sent.moved == 0;
        print(&line(&format!("{}:{}", peer.name(), sent.path), sent.bytes, was_there))?;
    }
    Ok(0)
}

async fn get(args: &Get, node: &Node) -> Result<u8, Problem> {
    let peer = peer(node, &args.from, &args.reach).await?;
    let bar = progress(&args.moving);
    let fetching = node
        .fetch_file(&peer, &args.from.path)
        .to(args.to.clone().unwrap_or_default())
        .overwrite(args.moving.overwrite)
        .timeout(args.reach.timeout)
        .progress(|progress| show(&bar, progress));
    let fetched = fetching.await;
    bar.finish_and_clear();
    let fetched = fetched.map_err(undone)?;
    let to = fetched.path.to_string_lossy();
    if args.moving.json {
        print_json(&GetLine {
            node: peer.name(),
            path: &args.from.path,
            to: &to,
            bytes: fetched.bytes,
            was_here: fetched.was_there,
        })?;
    } else {
        print(&line(&to, fetched.bytes, fetched.was_there))?;
    }
    Ok(0)
}

async fn rm(args: &Rm, node: &Node) -> Result<u8, Problem> {
    let peer = peer(node, &args.at, &args.reach).await?;
    let deleted = timeout(args.reach.timeout, node.delete_file(&peer, &args.at.path)).await;
    deleted
        .unwrap_or_else(|_| {
            Err(FileError::TimedOut { peer: peer.name().to_owned(), after: args.reach.timeout })
        })
        .map_err(undone)?;
    if args.json {
        print_json(&RmLine { node: peer.name(), path: &args.at.path })?;
    }
    Ok(0)
}

#[derive(Serialize)]
struct PutLine<'a> {
    node: &'a str,
    path: &'a str,
    bytes: u64,
    moved: u64,
}

#[derive(Serialize)]
struct GetLine<'a> {
    node: &'a str,
    path: &'a str,
    to: &'a str,
    bytes: u64,
    was_here: bool,
}

#[derive(Serialize)]
struct RmLine<'a> {
    node: &'a str,
    path: &'a str,
}

fn line(place: &str, bytes: u64, was_there: bool) -> String {
    let note = if was_there { ", was there already" } else { "" };
    format!("{} ({}{note})\n", plain(place), show_size(bytes))
}

async fn peer(node: &Node, place: &FilesPlace, reach: &Reach) -> Result<Peer, Problem> {
    let peers = chosen(node, Some(&place.node), reach).await?;
    let peer = peers.into_iter().next();
    peer.ok_or_else(|| Problem::nobody(anyhow!("there is no node {}", place.node)))
}

/// As [`SendFile::to`](pleiad::SendFile::to) wants one.
fn directory(path: &str) -> String {
    match path {
        path if path.is_empty() || path.ends_with('/') => path.to_owned(),
        path => format!("{path}/"),
    }
}

fn progress(args: &Moving) -> ProgressBar {
    bar(!args.no_progress, None, BAR)
}

fn show(bar: &ProgressBar, progress: FileProgress) {
    let is_first = bar.length().is_none();
    bar.set_length(progress.of);
    bar.set_position(progress.bytes);
    if is_first {
        // What was there from an earlier time was not sent so fast.
        bar.reset_eta();
    }
}

fn undone(error: FileError) -> Problem {
    match error {
        FileError::Refused { peer, why: FileRefusal::NoDirectory, .. } => {
            let peer = plain(&peer);
            Problem::failure(anyhow!(
                "{peer} has no directory for files: start it by `pleiad node --files DIR`, or with \
                 `NodeBuilder::files`"
            ))
        }
        FileError::Refused { peer, path, why: FileRefusal::Exists } => {
            let place = plain(&format!("{peer}:{path}"));
            Problem::failure(anyhow!("another file is there as {place}: --overwrite replaces it"))
        }
        FileError::NotTaken { path, why: FileRefusal::Exists } => {
            let path = plain(&path.to_string_lossy());
            Problem::failure(anyhow!("another file is here as {path}: --overwrite replaces it"))
        }
        error @ FileError::Path(_) => Problem::usage(error),
        error @ FileError::Name(_) => Problem::usage(error),
        error @ FileError::TimedOut { .. } => Problem::timed_out(foreign(error)),
        error => Problem::failure(foreign(error)),
    }
}
