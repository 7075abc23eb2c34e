//! `pleiad token`: invites another machine, and admits it.

use pleiad::PeerEvent;
use pleiad::net::Node;
use tokio::time::sleep;

use crate::args::Token;
use crate::interrupt::Interrupts;
use crate::mesh::events::line;
use crate::mesh::{block_on, not_started, note, print};
use crate::problem::Problem;
use crate::units::show_time;

pub(crate) fn run(args: &Token) -> Result<u8, Problem> {
    block_on(async {
        let mut builder = Node::builder();
        for address in &args.listen {
            builder = builder.listen(address);
        }
        for address in &args.announce {
            builder = builder.announce(address);
        }
        if let Some(home) = &args.home {
            builder = builder.home(home);
        }
        let node = builder.start().await.map_err(not_started)?;
        let admitted = admit(args, &node).await;
        node.close().await;
        admitted
    })
}

async fn admit(args: &Token, node: &Node) -> Result<u8, Problem> {
    let mut interrupts = Interrupts::listen().map_err(Problem::failure)?;
    let invitation = node.invite(args.uses, args.age).map_err(Problem::failure)?;
    note(&format!(
        "this invites {}, within {}; there:\n  pleiad node --join {invitation}\nThis admits, as long as it \
         runs; Ctrl-C ends it, and the invitation.",
        if args.uses == 1 { "one machine".to_owned() } else { format!("{} machines", args.uses) },
        show_time(args.age),
    ));
    print(&format!("{invitation}\n"))?;
    let expires = sleep(args.age);
    tokio::pin!(expires);
    let mut events = node.peer_events();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(PeerEvent::Online(peer)) => note(line("online", &peer).trim_end()),
                Some(PeerEvent::Offline(peer)) => note(line("offline", &peer).trim_end()),
                Some(_) => (),
                None => return Ok(0),
            },
            () = &mut expires => {
                note("the invitation is too old by now, and ends");
                return Ok(0);
            }
            _ = interrupts.next() => return Ok(0),
        }
    }
}
