//! How two nodes find to one session, whoever dials whom, and however often.
//!
//! Both may dial each other at the same moment, a connection may break on one side only, and each side may
//! have begun a session, to send messages, before there was a connection. The rules: the side with the
//! smaller number goes first; of two sessions that never had a connection, its number counts; and whoever goes on with a session that the other side has given up is told so.

use pleiad_types::NodeId;

use crate::session::{Over, Session};
use crate::wire::{
    Attach, Hello, LaneKind, Refusal, Resume, VERSION_NEWEST, VERSION_OLDEST, Welcome, agree,
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
            // An attempt that was given up meanwhile: what has gone since then cannot be sent again.
            if session.has_confirmed(attach.lane, resume.received) {
                return Err(Refusal::Simultaneous);
            }
            Ok(Met::Known { received: resume.received })
        }
        (_, Some(_)) => Err(Refusal::SessionOver),
        (Some(session), None) if session.is_untouched() => {
            // The number of the smaller counts, so that of two attempts that cross each other it does
            // not matter which succeeds.
            if them < me {
                session.renumber(attach.fresh);
            }
            Ok(Met::Known { received: 0 })
        }
        // It has not heard that its first attempt has succeeded.
        (Some(session), None) if session.number() == attach.fresh => {
            if session.has_confirmed(attach.lane, 0) {
                return Err(Refusal::Simultaneous);
            }
            Ok(Met::Known { received: 0 })
        }
        // It may be an attempt from before the connection that there is. Who has really given up the session
        // has closed that, and tries again.
        (Some(session), None) if session.is_attached(attach.lane) => Err(Refusal::Simultaneous),
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
///
/// A session is best begun before this is said: the answer may get lost, and the peer come back with the
/// number that it was given.
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

/// What to do with the [`Welcome`] to `attach`. `session`: with this peer, if there is one that is not over.
/// None: another connection was faster, and this one is of no use.
pub fn welcome(session: Option<&mut Session>, attach: &Attach, welcome: &Welcome) -> Option<Met> {
    let Resume { session: number, received } = welcome.resume;
    let Some(session) = session else { return Some(Met::New { session: number }) };
    if session.is_untouched() {
        session.renumber(number);
    }
    // The peer goes on where we said. What has come since then on another connection would come twice.
    let said = attach.resume.map_or(0, |resume| resume.received);
    let is_of_use = session.number() == number
        && !session.is_attached(attach.lane)
        && session.resume(attach.lane).received == said
        && !session.has_confirmed(attach.lane, received);
    is_of_use.then_some(Met::Known { received })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pleiad_types::Time;

    use super::*;
    use crate::wire::{Control, WriteFrame, split_frame};

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
    fn whoever_dials_the_number_of_the_smaller_counts() {
        let mut mine = Session::new(Time::ZERO, 7, SECOND);
        let mut theirs = Session::new(Time::ZERO, 8, SECOND);
        let asked = asks(2, Some(&theirs));
        let met = meet(NodeId(1), Some(&mut mine), false, &asked);
        assert_eq!((met, mine.number()), (Ok(Met::Known { received: 0 }), 7));
        let resume = mine.resume(LaneKind::Messages);
        let answer = Welcome { version: VERSION_NEWEST, resume };
        let met = welcome(Some(&mut theirs), &asked, &answer);
        assert_eq!((met, theirs.number()), (Some(Met::Known { received: 0 }), 7));
        let old = Welcome { resume: Resume { session: 9, received: 0 }, ..answer };
        assert_eq!(welcome(Some(&mut touched(7)), &asked, &old), None);
        assert_eq!(welcome(None, &asked, &old), Some(Met::New { session: 9 }));
    }

    #[test]
    fn a_welcome_that_got_lost_does_not_end_the_session() {
        let mine = Session::new(Time::ZERO, 7, SECOND);
        let mut theirs = touched(7);
        let met = meet(NodeId(2), Some(&mut theirs), false, &asks(1, Some(&mine)));
        assert_eq!(met, Ok(Met::Known { received: 0 }));
        assert!(!theirs.is_over());
    }

    #[test]
    fn an_attempt_from_before_what_has_gone_meanwhile_is_refused() {
        let mut theirs = touched(7);
        theirs.stop(1, None);
        theirs.attach(Time::ZERO, LaneKind::Messages, 0, SECOND);
        while theirs.poll_portion(LaneKind::Messages).is_some() {}
        theirs.detach(LaneKind::Messages);
        theirs.attach(Time::ZERO, LaneKind::Messages, 1, SECOND);
        let old = asks(1, Some(&touched(7)));
        let met = meet(NodeId(2), Some(&mut theirs), false, &old);
        assert_eq!(met, Err(Refusal::Simultaneous));
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

    /// Method: while it waits for the answer, a frame comes on a connection of the other's.
    #[test]
    fn an_answer_from_before_what_has_come_meanwhile_is_of_no_use() {
        let mut mine = touched(7);
        let asked = asks(1, Some(&mine));
        let resume = Resume { session: 7, received: 0 };
        let answer = Welcome { version: VERSION_NEWEST, resume };
        let met = welcome(Some(&mut mine), &asked, &answer);
        assert_eq!(met, Some(Met::Known { received: 0 }));

        mine.attach(Time::ZERO, LaneKind::Messages, 0, SECOND);
        let mut frame = bytes::BytesMut::new();
        frame.put_control(&Control::Unwanted { question: 1 });
        let (kind, content) = split_frame(&mut frame).unwrap().unwrap();
        mine.handle_frame(Time::ZERO, LaneKind::Messages, kind, content);
        mine.detach(LaneKind::Messages);
        assert_eq!(welcome(Some(&mut mine), &asked, &answer), None);
    }

    /// Method: the attempt was on its way while the other's succeeded.
    #[test]
    fn an_attempt_that_comes_after_the_other_has_succeeded_does_no_harm() {
        let theirs = asks(2, None);
        let mut mine = touched(7);
        mine.attach(Time::ZERO, LaneKind::Messages, 0, SECOND);
        assert_eq!(meet(NodeId(1), Some(&mut mine), false, &theirs), Err(Refusal::Simultaneous));
        assert!(!mine.is_over());
        mine.detach(LaneKind::Messages);
        let met = meet(NodeId(1), Some(&mut mine), false, &theirs);
        assert_eq!(met, Ok(Met::New { session: 102 }));
        assert!(mine.is_over());
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
