//! `pleiad bench`: how fast messages are between two processes, and raw TCP beside them.

mod far_side;
mod measure;
mod raw;
mod report;
mod server;

use anyhow::anyhow;
use pleiad::TaskRef;
use pleiad::net::{Node, Peer};
use tokio::time::timeout;

use crate::args::{Bench, Reach};
use crate::mesh::bar::bar;
use crate::mesh::{block_on, chosen, note, plain, start};
use crate::problem::Problem;
use far_side::FarSide;
use measure::Measures;
use report::Figure;
use server::{Message, NAME};

pub(super) use server::offer;

pub(crate) fn run(args: &Bench) -> Result<u8, Problem> {
    block_on(async {
        let Some(to) = &args.to else {
            let far_side = FarSide::start()?;
            let reach = far_side.reach(&args.reach);
            let node = start(&reach, Node::builder()).await?;
            let found = timeout(reach.timeout, node.peer(far_side.name())).await.ok().flatten();
            let peer = found.ok_or_else(|| {
                Problem::nobody(anyhow!(
                    "the other process, which is started for this, did not appear"
                ))
            })?;
            return bench(args, &node, &peer).await;
        };
        let node = start(&args.reach, Node::builder()).await?;
        let peers = chosen(&node, Some(to), &args.reach).await?;
        let peer =
            peers.first().ok_or_else(|| Problem::nobody(anyhow!("there is no node {to}")))?;
        bench(args, &node, peer).await
    })
}

async fn bench(args: &Bench, node: &Node, peer: &Peer) -> Result<u8, Problem> {
    let far = locate(node, peer, &args.reach).await?;
    if cfg!(debug_assertions) {
        note("this is a debug build: its figures say nothing; measure with a release build");
    }
    let bar = bar(!args.no_progress, Some(Measures::COUNT), "{bar:24} {pos}/{len} {msg}");
    let measures = Measures { far, each: args.each, bar: bar.clone() };
    // In a task, as the code of users: what it says is written when it goes to wait.
    let figures = tokio::spawn(measures.run()).await;
    bar.finish_and_clear();
    let figures: Vec<Figure> = figures.map_err(Problem::failure)??;
    if figures.iter().all(|figure| figure.raw.is_none()) {
        note("raw TCP could not be measured: the port that it takes cannot be reached");
    }
    report::print_figures(&figures, args.json, &plain(peer.name()))?;
    node.close().await;
    Ok(0)
}

async fn locate(node: &Node, peer: &Peer, reach: &Reach) -> Result<TaskRef<Message>, Problem> {
    node.locate(NAME).on(peer).timeout(reach.timeout).await.map_err(|error| {
        let name = plain(peer.name());
        let advice =
            format!("{name} was not started by `pleiad node`, or by another release of it");
        Problem::failure(anyhow::Error::new(error).context(advice))
    })
}
