//! The commands that talk to other nodes: each is a node itself, as long as it runs.

mod bar;
pub(crate) mod bench;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod files;
pub(crate) mod node;
pub(crate) mod peers;
pub(crate) mod send;
mod table;
pub(crate) mod tasks;
pub(crate) mod token;

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures_util::future::join_all;
use pleiad::net::{JoinError, Node, NodeBuilder, Peer, PeerEvents, System, SystemError};
use pleiad::{ConnectError, LocateError, NodeStartError};
use serde::Serialize;
use tokio::time::{Instant, timeout, timeout_at};

use crate::args::Reach;
use crate::problem::Problem;

/// Nobody new has come on the network for this long: those who answer at once have answered.
const QUIET: Duration = Duration::from_millis(500);

/// Runs a command that is a node for as long. The node closes politely in the end.
fn with_node(
    reach: &Reach,
    command: impl AsyncFnOnce(&Node) -> Result<u8, Problem>,
) -> Result<u8, Problem> {
    block_on(async {
        let node = start(reach, Node::builder()).await?;
        let done = command(&node).await;
        node.close().await;
        done
    })
}

fn block_on(future: impl Future<Output = Result<u8, Problem>>) -> Result<u8, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Problem::failure)?;
    let done = runtime.block_on(future);
    // Nothing that still reads or resolves is waited for.
    runtime.shutdown_background();
    done
}

/// Starts a node, and connects it to all who are to be reached.
async fn start(reach: &Reach, builder: NodeBuilder) -> Result<Node, Problem> {
    let deadline = Instant::now() + reach.timeout;
    let node = configured(reach, builder).start();
    let node = timeout_at(deadline, node)
        .await
        .map_err(|_| Problem::timed_out(anyhow!("the node did not start in time")))?
        .map_err(not_started)?;
    let invited = reach.join.as_ref().map(pleiad::net::Invitation::address);
    let named = join_all(reach.peer.iter().chain(&invited).map(async |peer| {
        let failure = match timeout_at(deadline, node.connect(peer)).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(ConnectError::Address(error))) => return Err(Problem::usage(error)),
            Ok(Err(error)) => format!("{:#}", anyhow::Error::new(error)),
            Err(_) => format!("{peer} has not answered within {:?}", reach.timeout),
        };
        note(&failure);
        Ok(())
    }));
    named.await.into_iter().collect::<Result<(), _>>()?;
    let _ = timeout_at(deadline, node.greeted_neighbours()).await;
    Ok(node)
}

fn configured(reach: &Reach, mut builder: NodeBuilder) -> NodeBuilder {
    for address in &reach.listen {
        builder = builder.listen(address);
    }
    if let Some(home) = &reach.home {
        builder = builder.home(home);
    }
    if let Some(invitation) = &reach.join {
        builder = builder.invitation(invitation.clone());
    }
    builder
}

fn not_started(error: NodeStartError) -> Problem {
    match error {
        NodeStartError::Address(_)
        | NodeStartError::NameLength(_)
        | NodeStartError::Files { .. } => Problem::usage(error),
        NodeStartError::Join(
            JoinError::Unreachable { .. } | JoinError::NoSuchHost { .. } | JoinError::WrongCluster,
        ) => Problem::nobody(error),
        error => Problem::failure(error),
    }
}

/// All who are there. On the network, those are waited for who answer at once.
async fn everybody(node: &Node, reach: &Reach) -> Result<Vec<Peer>, Problem> {
    let deadline = Instant::now() + reach.timeout;
    let mut events = node.peer_events();
    if node.peers().is_empty() && !is_alone(reach) {
        let _ = timeout_at(deadline, events.next()).await;
    }
    if !reach.listen.is_empty() {
        settle(&mut events, deadline).await;
    }
    let peers = node.peers();
    if peers.is_empty() { Err(nobody(reach)) } else { Ok(peers) }
}

async fn settle(events: &mut PeerEvents, deadline: Instant) {
    while Instant::now() < deadline
        && timeout(QUIET, events.next()).await.is_ok_and(|e| e.is_some())
    {}
}

/// Whether nobody can come any more who is not there.
fn is_alone(reach: &Reach) -> bool {
    reach.listen.is_empty()
}

fn nobody(reach: &Reach) -> Problem {
    let place = if is_alone(reach) {
        "on this machine: start one by `pleiad node`, name one elsewhere with --peer, or look around \
         on the network with --listen 0.0.0.0:0"
    } else {
        "here or on the network: start one by `pleiad node`, or name one elsewhere with --peer"
    };
    Problem::nobody(anyhow!(
        "there is no other node of this cluster {place}; `pleiad doctor` says more"
    ))
}

/// The node of this name or number, or everybody.
async fn chosen(node: &Node, on: Option<&str>, reach: &Reach) -> Result<Vec<Peer>, Problem> {
    let all = everybody(node, reach).await?;
    let Some(on) = on else { return Ok(all) };
    let found: Vec<Peer> = all.iter().filter(|peer| is_called(peer, on)).cloned().collect();
    match found.len() {
        0 => {
            let names: Vec<_> = all.iter().map(|peer| plain(peer.name())).collect();
            Err(Problem::nobody(anyhow!("there is no node {on}, only {}", names.join(", "))))
        }
        1 => Ok(found),
        _ => {
            let numbers: Vec<_> = found.iter().map(|peer| peer.node().to_string()).collect();
            let numbers = numbers.join(", ");
            Err(Problem::usage(anyhow!("several nodes are called {on}: say which of {numbers}")))
        }
    }
}

fn is_called(peer: &Peer, on: &str) -> bool {
    peer.name() == on || peer.node().to_string() == on
}

/// Asks each peer something, all at once.
async fn ask_all<T>(
    node: &Node,
    peers: &[Peer],
    reach: &Reach,
    question: impl AsyncFn(System) -> Result<T, SystemError>,
) -> Vec<(Peer, Result<T, Problem>)> {
    let ask = async |peer: &Peer| {
        let answer = match system(node, peer, reach).await {
            Ok(system) => question(system).await.map_err(unanswered),
            Err(problem) => Err(problem),
        };
        (peer.clone(), answer)
    };
    join_all(peers.iter().map(ask)).await
}

/// The way to ask a peer.
async fn system(node: &Node, peer: &Peer, reach: &Reach) -> Result<System, Problem> {
    let name = plain(peer.name());
    match timeout(reach.timeout, node.system(peer)).await {
        Ok(Ok(system)) => Ok(system.timeout(reach.timeout)),
        Ok(Err(LocateError::WrongType { .. })) => {
            Err(Problem::failure(anyhow!("{name} has another release of pleiad: use the same")))
        }
        Ok(Err(error)) => Err(Problem::failure(error)),
        Err(_) => {
            let after = reach.timeout;
            Err(Problem::timed_out(anyhow!("{name} has given no answer within {after:?}")))
        }
    }
}

fn unanswered(error: SystemError) -> Problem {
    match error {
        SystemError::TimedOut { .. } => Problem::timed_out(foreign(error)),
        SystemError::TooLong(_) => Problem::usage(error),
        error => Problem::failure(foreign(error)),
    }
}

/// What was answered. The others are told on standard error, and in the exit status.
fn answered<T>(answers: Vec<(Peer, Result<T, Problem>)>) -> (Vec<(Peer, T)>, u8) {
    let mut code = 0;
    let mut good = Vec::new();
    for (peer, answer) in answers {
        match answer {
            Ok(answer) => good.push((peer, answer)),
            // It has gone while it was asked.
            Err(_) if !peer.is_online() => (),
            Err(problem) => {
                note(&format!("{:#}", problem.error));
                code = problem.code;
            }
        }
    }
    (good, code)
}

/// An error that has words of somebody else, in one line of a terminal.
fn foreign(error: impl Into<anyhow::Error>) -> anyhow::Error {
    anyhow!("{}", plain(&format!("{:#}", error.into())))
}

/// Text of somebody else, in one line of a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{b7}' } else { c }).collect()
}

/// Data.
fn print(text: &str) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
        .map_err(Problem::failure)
}

fn print_json(value: &impl Serialize) -> Result<(), Problem> {
    let line = serde_json::to_string(value).map_err(Problem::failure)?;
    print(&format!("{line}\n"))
}

/// Something for the user beside the data.
fn note(text: &str) {
    let _ = io::stderr().write_all(format!("pleiad: {text}\n").as_bytes());
}
