//! `pleiad events`: who comes and goes.

use std::time::SystemTime;

use pleiad::{Peer, PeerEvent};
use serde::Serialize;

use crate::args::Events;
use crate::interrupt::Interrupts;
use crate::mesh::{everybody, plain, print, print_json, with_node};
use crate::problem::Problem;

pub(crate) fn run(args: &Events) -> Result<u8, Problem> {
    with_node(&args.reach, async |node| {
        if !args.follow {
            for peer in everybody(node, &args.reach).await? {
                tell(&PeerEvent::Online(peer), args.json)?;
            }
            return Ok(0);
        }
        let mut interrupts = Interrupts::listen().map_err(Problem::failure)?;
        let mut events = node.peer_events();
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => tell(&event, args.json)?,
                    None => return Ok(0),
                },
                _ = interrupts.next() => return Ok(0),
            }
        }
    })
}

pub(super) fn tell(event: &PeerEvent, is_json: bool) -> Result<(), Problem> {
    let (word, peer) = match event {
        PeerEvent::Online(peer) => ("online", peer),
        PeerEvent::Offline(peer) => ("offline", peer),
        _ => return Ok(()),
    };
    if is_json { print_json(&Line::new(word, peer)) } else { print(&line(word, peer)) }
}

pub(super) fn line(word: &str, peer: &Peer) -> String {
    let at = clock();
    let (name, addresses) = (plain(peer.name()), plain(&peer.addresses().join(", ")));
    format!("{at}  {word:<7}  {name} ({}) at {addresses}\n", peer.node())
}

/// As in `2026-11-25T13:20:01Z`.
pub(super) fn clock() -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(SystemTime::now())
}

pub(super) fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[derive(Serialize)]
struct Line<'a> {
    at: f64,
    event: &'a str,
    name: &'a str,
    node: String,
    addresses: Vec<String>,
}

impl<'a> Line<'a> {
    fn new(event: &'a str, peer: &'a Peer) -> Self {
        let (node, addresses) = (peer.node().to_string(), peer.addresses());
        Self { at: seconds_since_1970(), event, name: peer.name(), node, addresses }
    }
}
