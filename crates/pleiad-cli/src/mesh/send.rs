//! `pleiad send` and `pleiad call`: a message, or a call, made of JSON.

use std::borrow::Cow;
use std::io::{self, Read};
use std::time::Duration;

use anyhow::{Context, anyhow};
use pleiad::limits::SYSTEM_JSON_BYTES_MAX;
use pleiad::net::{Node, Peer, System, SystemError};
use tokio::time::{Instant, sleep};

use crate::args::{Call, Place, Send};
use crate::mesh::{ask_all, chosen, plain, print, system, unanswered, with_node};
use crate::problem::Problem;

/// Names appear without a sign; so often it is looked for them.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Names that are listed if the right one is missing.
const NAMES_SHOWN: usize = 20;

pub(crate) fn send(args: &Send) -> Result<u8, Problem> {
    let json = json(&args.json)?;
    with_node(&args.place.reach, async |node| {
        let send = async |system: System| system.send_json(&args.name, &json).await;
        first(node, &args.place, &args.name, "task", send).await?;
        Ok(0)
    })
}

pub(crate) fn call(args: &Call) -> Result<u8, Problem> {
    let json = json(&args.json)?;
    with_node(&args.place.reach, async |node| {
        let call = async |system: System| system.call_json(&args.service, &json).await;
        let result = first(node, &args.place, &args.service, "service", call).await?;
        print(&format!("{result}\n"))?;
        Ok(0)
    })
}

/// The text, or that of standard input; it is JSON.
fn json(text: &str) -> Result<Cow<'_, str>, Problem> {
    let text = match text {
        "-" => {
            let mut text = String::new();
            let input = io::stdin().lock().take(SYSTEM_JSON_BYTES_MAX as u64 + 1);
            let read = { input }.read_to_string(&mut text);
            read.context("cannot read standard input").map_err(Problem::usage)?;
            Cow::Owned(text)
        }
        text => Cow::Borrowed(text),
    };
    serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|error| {
        Problem::usage(anyhow!("this is no JSON: {error}; a text has quotes, as in '\"hello\"'"))
    })?;
    Ok(text)
}

/// Does it at the first node that has the name.
async fn first<T>(
    node: &Node,
    place: &Place,
    name: &str,
    what: &'static str,
    act: impl AsyncFn(System) -> Result<T, SystemError>,
) -> Result<T, Problem> {
    let deadline = Instant::now() + place.reach.timeout;
    loop {
        let peers = chosen(node, place.on.as_deref(), &place.reach).await;
        let may_wait = place.wait && Instant::now() < deadline;
        match &peers {
            Ok(peers) => {
                for peer in peers {
                    match at(node, peer, place, &act).await? {
                        Some(done) => return Ok(done),
                        None => continue,
                    }
                }
                if !may_wait {
                    return Err(missing(node, peers, place, name, what).await);
                }
            }
            Err(problem) if may_wait && problem.code == 3 => (),
            Err(_) => drop(peers?),
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// `None` if the peer has no such name, or is gone.
async fn at<T>(
    node: &Node,
    peer: &Peer,
    place: &Place,
    act: &impl AsyncFn(System) -> Result<T, SystemError>,
) -> Result<Option<T>, Problem> {
    let system = match system(node, peer, &place.reach).await {
        Ok(system) => system,
        Err(_) if !peer.is_online() => return Ok(None),
        Err(problem) => return Err(problem),
    };
    match act(system).await {
        Ok(done) => Ok(Some(done)),
        Err(SystemError::NoSuchName { .. }) => Ok(None),
        Err(error) => Err(unanswered(error)),
    }
}

async fn missing(
    node: &Node,
    peers: &[Peer],
    place: &Place,
    name: &str,
    what: &'static str,
) -> Problem {
    let answers = ask_all(node, peers, &place.reach, async |system| system.names().await).await;
    let found = answers.into_iter().filter_map(|(_, names)| names.ok()).flatten();
    let mut found: Vec<String> = found
        .filter(|name| name.is_service == (what == "service"))
        .map(|name| plain(&name.name))
        .collect();
    found.sort();
    found.dedup();
    let more = found.len().saturating_sub(NAMES_SHOWN);
    found.truncate(NAMES_SHOWN);
    let known = match (found.join(", "), more) {
        (none, _) if none.is_empty() => format!("there is no {what} with a name at all"),
        (names, 0) => format!("there are {names}"),
        (names, more) => format!("there are {names}, and {more} more"),
    };
    let on: Vec<_> = peers.iter().map(|peer| plain(peer.name())).collect();
    let on = on.join(", ");
    if place.wait {
        let after = place.reach.timeout;
        return Problem::timed_out(anyhow!(
            "no {what} with the name {name:?} has appeared within {after:?} on {on}; {known}"
        ));
    }
    Problem::failure(anyhow!("there is no {what} with the name {name:?} on {on}; {known}"))
}
