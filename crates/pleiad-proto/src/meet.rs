//! How two nodes find to one session, whoever dials whom, and however often.
//!
//! Both may dial each other at the same moment, a connection may break on one side only, and each side may
//! have begun a session, to send messages, before there was a connection. The rules: the side with the
//! smaller number goes first; a session that never had a connection takes the number that the other side
//! gives it; and whoever goes on with a session that the other side has given up is told so.

use pleiad_types::NodeId;

use crate::session::{Over, Session};
use crate::wire::{
    Attach, Hello, LaneKind, Refusal, Resume, VERSION_NEWEST, VERSION_OLDEST, agree,
};

/// What becomes of a connection that a peer has dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// It belongs to the session that there is; the peer has got so many of its frames.
    Known {
        /// Frames that have arrived there.
        received: u64,
    },
    /// A session of this number begins. If there was one before, it is [over](Session::end).
    New {
        /// The number.
        session: u64,
    },
}

/// Answers an [`Attach`]. `session`: with this peer, if there is one that is not over. `is_dialling`: we have
/// ourselves sent an [`Attach`] for this lane to this peer, and wait for the answer.
///
/// # Errors
///
/// What is to be answered instead of a [`Welcome`](crate::wire::Welcome).
pub fn meet(
    me: NodeId,
    session: Option<&mut Session>,
    is_dialling: bool,
    attach: &Attach,
) -> Result<Met, Refusal> {
    let them = attach.hello.node;
    if agree(attach.hello.versions).is_none() {
        return Err(Refusal::Version { ours: (VERSION_OLDEST, VERSION_NEWEST) });
    }
    if them == me {
        return Err(Refusal::Itself);
    }
    if is_dialling && me < them {
        return Err(Refusal::Simultaneous);
    }
    match (session, attach.resume) {
        (Some(session), Some(resume)) if session.number() == resume.session => {
            Ok(Met::Known { received: resume.received })
        }
        (_, Some(_)) => Err(Refusal::SessionOver),
        (Some(session), None) if session.is_untouched() => {
            session.renumber(attach.fresh);
            Ok(Met::Known { received: 0 })
        }
        (Some(session), None) => {
            // It would go on with it if it had not given it up.
            session.end(Over::Gone);
            Ok(Met::New { session: attach.fresh })
        }
        (None, None) => Ok(Met::New { session: attach.fresh }),
    }
}

/// What to say to a peer that was dialled. `session`: with this peer, if there is one that is not over.
/// `fresh`: the number of one that would begin. None: there is nothing to say, the lane is connected.
pub fn attach(
    hello: &Hello,
    session: Option<&Session>,
    lane: LaneKind,
    fresh: u64,
) -> Option<Attach> {
    let (resume, fresh): (Option<Resume>, u64) = match session {
        Some(session) if session.is_attached(lane) => return None,
        Some(session) if session.is_untouched() => (None, session.number()),
        Some(session) => (Some(session.resume(lane)), session.number()),
        None => (None, fresh),
    };
    Some(Attach { hello: hello.clone(), lane, resume, fresh })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pleiad_types::Time;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn hello(node: u64) -> Hello {
        let versions = (VERSION_OLDEST, VERSION_NEWEST);
        let name = format!("n{node}");
        Hello { versions, node: NodeId(node), name, addresses: Vec::new(), lost_after_ms: 5000 }
    }

    fn asks(node: u64, session: Option<&Session>) -> Attach {
        attach(&hello(node), session, LaneKind::Messages, 100 + node).unwrap()
    }

    fn touched(number: u64) -> Session {
        let mut session = Session::new(Time::ZERO, number, SECOND);
        session.attach(Time::ZERO, LaneKind::Messages, 0, SECOND);
        session.detach(LaneKind::Messages);
        session
    }

    #[test]
    fn of_two_that_dial_each_other_exactly_one_goes_first() {
        let (one, two) = (asks(1, None), asks(2, None));
        assert_eq!(meet(NodeId(1), None, true, &two), Err(Refusal::Simultaneous));
        assert_eq!(meet(NodeId(2), None, true, &one), Ok(Met::New { session: 101 }));
    }

    #[test]
    fn two_sessions_that_were_begun_on_both_sides_become_one() {
        let mine = Session::new(Time::ZERO, 7, SECOND);
        let mut theirs = Session::new(Time::ZERO, 8, SECOND);
        let met = meet(NodeId(2), Some(&mut theirs), false, &asks(1, Some(&mine)));
        assert_eq!(met, Ok(Met::Known { received: 0 }));
        assert_eq!(theirs.number(), 7);
    }

    #[test]
    fn a_session_goes_on_if_both_know_it() {
        let (mine, mut theirs) = (touched(7), touched(7));
        let met = meet(NodeId(2), Some(&mut theirs), false, &asks(1, Some(&mine)));
        assert_eq!(met, Ok(Met::Known { received: 0 }));
        assert!(!theirs.is_over());
    }

    #[test]
    fn who_was_given_up_is_told() {
        let mine = touched(7);
        let over = Err(Refusal::SessionOver);
        assert_eq!(meet(NodeId(2), None, false, &asks(1, Some(&mine))), over);
        assert_eq!(meet(NodeId(2), Some(&mut touched(9)), false, &asks(1, Some(&mine))), over);
    }

    #[test]
    fn a_peer_that_begins_anew_has_given_up_the_old_session() {
        let mut theirs = touched(7);
        let met = meet(NodeId(2), Some(&mut theirs), false, &asks(1, None));
        assert_eq!(met, Ok(Met::New { session: 101 }));
        assert!(theirs.is_over());
    }

    #[test]
    fn itself_and_other_versions_are_refused() {
        assert_eq!(meet(NodeId(1), None, false, &asks(1, None)), Err(Refusal::Itself));
        let mut future = asks(1, None);
        future.hello.versions = (900, 901);
        let refused = meet(NodeId(2), None, false, &future);
        assert_eq!(refused, Err(Refusal::Version { ours: (VERSION_OLDEST, VERSION_NEWEST) }));
    }

    #[test]
    fn a_lane_that_is_connected_is_not_connected_again() {
        let mut session = touched(7);
        session.attach(Time::ZERO, LaneKind::Messages, 0, SECOND);
        assert_eq!(attach(&hello(1), Some(&session), LaneKind::Messages, 1), None);
        assert!(attach(&hello(1), Some(&session), LaneKind::Bulk, 1).is_some());
    }
}
