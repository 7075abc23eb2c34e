//! The end of a peer, for all who had to do with it.

use std::sync::Arc;
use std::sync::Weak;

use pleiad_proto::Over;
use pleiad_proto::wire::LaneKind;
use pleiad_task::ExitReason;
use pleiad_task::far::{FarRefusal, Unanswered};

use crate::link::Link;
use crate::link::incoming::Work;

impl Link {
    /// What is said of the peer to those who wait for something from it.
    pub(super) fn lost_name(&self) -> String {
        self.name().to_string()
    }

    /// The session is over: everybody who waits is told.
    pub(super) fn finish(self: &Arc<Self>, work: &mut Work, over: &Over) {
        let peer = format!("{} ({over})", self.name());
        match over {
            Over::Closed => tracing::info!(peer = %self.name(), "a peer has closed"),
            _ => tracing::warn!(peer = %self.name(), reason = %over, "a peer is lost"),
        }
        let (questions, tickets, rooms, given, targets, asked, handed) = {
            let mut core = self.core();
            let targets: Vec<_> = core.imports.values().filter_map(Weak::upgrade).collect();
            (
                core.take_questions(),
                core.take_tickets(),
                core.take_rooms(),
                std::mem::take(&mut core.given),
                targets,
                std::mem::take(&mut core.asked),
                core.handed.keys().copied().collect::<Vec<_>>(),
            )
        };
        // A goodbye may still be there.
        if let Some(conn) = self.conn(LaneKind::Messages) {
            let _ = conn.flush(|| self.core().session.poll_portion(LaneKind::Messages));
        }
        for lane in LaneKind::ALL {
            let conn = self.conn_slot(lane).take();
            if let Some(conn) = conn {
                if *over == Over::Closed {
                    conn.send_close_notify();
                }
                conn.close();
            }
        }
        // First it is gone, so that whoever hears of it finds it so.
        self.mesh.handle_over(self);
        work.refuse_all(&Unanswered::Lost(peer.clone()));
        for pending in questions {
            pending.fail(Unanswered::Lost(peer.clone()));
        }
        for end in tickets {
            let _ = end.send(Err(FarRefusal::Lost(peer.clone())));
        }
        rooms.into_iter().for_each(std::task::Waker::wake);
        asked.into_values().for_each(|wanted| wanted.end());
        for target in targets {
            target.end(&ExitReason::Lost { peer: peer.clone() });
        }
        for task in handed {
            self.settle_handed(task);
        }
        drop(given);
        // What was kept for others of its tasks is needed no more.
        for link in self.mesh.links() {
            let kept: Vec<_> = {
                let mut core = link.core();
                core.given.extract_if(|(node, _), _| *node == self.peer).collect()
            };
            drop(kept);
        }
    }
}
