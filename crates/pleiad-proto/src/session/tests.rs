//! Two sessions, and a link between them that breaks when it is told to.

use bytes::BytesMut;
use pleiad_types::limits::LANE_BYTES_MAX;
use proptest::prelude::*;

use super::*;
use crate::wire::{flags, split_frame};

const LOST_AFTER: Duration = Duration::from_secs(5);
const TASK: u64 = 12;
const OURS: Place = (NodeId(2), TASK);

/// Method: the message arrives, the connection breaks before the acknowledgement does.
#[test]
fn a_lost_acknowledgement_comes_again_and_the_message_does_not() {
    let mut pair = Pair::new();
    pair.send(0, b"hi", Some(Ticket(1)));
    pair.carry_from(0);
    assert_eq!(pair.bodies(1), ["hi"]);
    pair.sessions[1].taken(TASK, 1, 2);
    while pair.sessions[1].poll_portion(LaneKind::Messages).is_some() {}
    pair.reconnect();
    pair.carry();
    assert_eq!(pair.outputs(0), [Output::Finish(Ticket(1), Ok(()))]);
    assert_eq!(pair.outputs(1), []);
}

/// Method: the lane is full when its connection breaks, and the peer has read all of it.
#[test]
fn who_waits_for_room_is_told_also_by_a_new_connection() {
    let mut pair = Pair::new();
    let body = vec![0; SMALL_BODY_BYTES];
    let mut task = 0;
    while pair.sessions[0].lanes[0].bytes() < LANE_BYTES_MAX {
        pair.sessions[0].send(&outbound(task), &body).unwrap();
        task += 1;
    }
    assert_eq!(pair.sessions[0].send(&outbound(task), &body), Err(Refused::Full));
    pair.carry_from(0);
    pair.reconnect();
    assert_eq!(pair.outputs(0), [Output::Room(task)]);
}

#[test]
fn a_large_message_keeps_its_place_and_its_sender_s_end_comes_last() {
    let mut pair = Pair::new();
    let large = Bytes::from(vec![7; 100_000]);
    pair.sessions[0].send_large(&outbound(TASK), &large).unwrap();
    pair.send(0, b"small", None);
    pair.sessions[0].ended(30, Reason::Returned);
    pair.carry_lane(0, LaneKind::Messages);
    assert_eq!(pair.outputs(1), []);
    pair.carry();
    let outputs = pair.outputs(1);
    let sizes = outputs.iter().map(|output| match output {
        Output::Arrived(arrival) => arrival.body.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [100_000, 5]);
    pair.sessions[1].taken(TASK, 2, 100_005);
    assert_eq!(pair.outputs(1), [Output::Ended(30, Reason::Returned)]);
}

#[test]
fn a_goodbye_lets_large_messages_arrive() {
    let mut pair = Pair::new();
    let large = Bytes::from(vec![7; 1_000_000]);
    pair.sessions[0].send_large(&outbound(TASK), &large).unwrap();
    pair.sessions[0].goodbye(Time::ZERO);
    pair.carry_lane(0, LaneKind::Messages);
    assert_eq!(pair.outputs(1), []);
    assert_eq!(pair.sessions[1].send(&outbound(TASK), b"late"), Err(Refused::Over));
    pair.carry();
    let outputs = pair.outputs(1);
    assert!(matches!(&outputs[..], [Output::Arrived(_), Output::Over(Over::Closed)]));
    assert_eq!(pair.outputs(0).last(), Some(&Output::Over(Over::Closed)));
}

#[test]
fn a_goodbye_does_not_wait_for_ever() {
    let mut pair = Pair::new();
    pair.sessions[0].goodbye(Time::ZERO);
    let until = Time::ZERO + GOODBYE_TIMEOUT;
    assert_eq!(pair.sessions[0].poll_timeout(), Some(until));
    pair.sessions[0].handle_timeout(until);
    assert_eq!(pair.outputs(0), [Output::Over(Over::Closed)]);
}

#[test]
fn nothing_comes_after_the_end() {
    let mut pair = Pair::new();
    pair.send(0, b"hi", None);
    pair.sessions[0].ended(30, Reason::Returned);
    pair.carry();
    assert_eq!(pair.bodies(1), ["hi"]);
    pair.sessions[1].end(Over::Gone);
    pair.sessions[1].taken(TASK, 1, 2);
    pair.sessions[1].registered("name");
    assert_eq!(pair.outputs(1), [Output::Over(Over::Gone)]);
}

/// Goal: what waits in here cannot be given back by the shell, which has not seen it.
#[test]
fn a_reference_behind_a_large_message_outlives_the_release_of_the_others() {
    let mut pair = Pair::new();
    let attached = [mention()];
    assert!(pair.sessions[1].give(OURS));
    pair.sessions[1].send(&Outbound { attached: &attached, ..outbound(TASK) }, b"1").unwrap();
    pair.carry();
    assert_eq!(pair.bodies(0), ["1"]);
    let large = Bytes::from(vec![7; 100_000]);
    pair.sessions[1].send_large(&outbound(TASK), &large).unwrap();
    assert!(!pair.sessions[1].give(OURS));
    pair.sessions[1].send(&Outbound { attached: &attached, ..outbound(TASK) }, b"2").unwrap();
    pair.carry_lane(1, LaneKind::Messages);
    pair.sessions[0].release(OURS);
    pair.carry_lane(0, LaneKind::Messages);
    assert_eq!(pair.outputs(1), []);
    pair.sessions[0].shut(TASK);
    pair.carry();
    assert_eq!(pair.outputs(1), [Output::Unneeded(OURS)], "the one that was dropped came back");
}

/// Goal: who sends a large message and lets go of the task has still sent it.
#[test]
fn a_task_is_needed_until_what_was_sent_to_it_has_come() {
    let mut pair = Pair::new();
    assert!(pair.sessions[1].give(OURS));
    let attached = [mention()];
    pair.sessions[1].send(&Outbound { attached: &attached, ..outbound(3) }, b"1").unwrap();
    pair.carry();
    pair.outputs(0);
    let large = Bytes::from(vec![7; 100_000]);
    pair.sessions[0].send_large(&outbound(TASK), &large).unwrap();
    pair.sessions[0].release(OURS);
    pair.carry_lane(0, LaneKind::Messages);
    assert_eq!(pair.outputs(1), []);
    pair.carry();
    let outputs = pair.outputs(1);
    assert!(matches!(&outputs[..], [Output::Arrived(_), Output::Unneeded(OURS)]), "{outputs:?}");
}

#[test]
fn a_task_that_is_given_again_in_time_was_never_unneeded() {
    let mut pair = Pair::new();
    assert!(pair.sessions[1].give(OURS));
    let attached = [mention()];
    pair.sessions[1].send(&Outbound { attached: &attached, ..outbound(3) }, b"1").unwrap();
    pair.carry();
    pair.outputs(0);
    pair.sessions[0].release(OURS);
    pair.carry();
    assert!(!pair.sessions[1].give(OURS), "it is still kept");
    assert_eq!(pair.outputs(1), []);
    assert!(pair.sessions[1].take_back(OURS));
}

#[test]
fn a_name_that_nobody_looks_for_any_more_gives_nothing_away() {
    let mut pair = Pair::new();
    let lookup = Lookup { query: 1, name: "n".into(), shape: 1, text: "u64".into() };
    pair.sessions[0].locate(&lookup);
    pair.sessions[0].forget(1);
    pair.carry();
    assert_eq!(pair.outputs(1), [Output::Lookup(lookup)]);
    assert!(pair.sessions[1].give(OURS));
    pair.sessions[1].located(1, mention());
    assert_eq!(pair.outputs(1), [Output::Unneeded(OURS)]);
}

#[test]
fn a_dead_connection_is_closed_though_the_other_lives() {
    let mut pair = Pair::new();
    let session = &mut pair.sessions[0];
    let mut now = Time::ZERO;
    while session.is_attached(LaneKind::Bulk) {
        now = session.poll_timeout().unwrap();
        session.handle_bytes(now, LaneKind::Messages);
        session.handle_timeout(now);
    }
    assert_eq!(now, Time::ZERO + LOST_AFTER);
    assert_eq!(pair.outputs(0), [Output::Disconnect(LaneKind::Bulk)]);
}

#[test]
fn what_does_not_fit_into_a_frame_is_refused_or_cut() {
    let mut pair = Pair::new();
    let name = "n".repeat(NAME_BYTES_MAX);
    let many = vec![Mention::Task { node: NodeId(1), task: 1, name }; 1000];
    let refused = pair.sessions[0].send(&Outbound { attached: &many, ..outbound(TASK) }, b"");
    assert_eq!(refused, Err(Refused::TooMuch));
    pair.sessions[0].answer(5, &many, Bytes::new());
    let message = "ä".repeat(1 << 20);
    pair.sessions[0].ended(9, Reason::Failed { message, location: None, backtrace: None });
    pair.carry();
    let outputs = pair.outputs(1);
    let is_cut = matches!(&outputs[..],
        [Output::Unanswered(5, Why::Unreadable(_)), Output::Ended(9, Reason::Failed { message, .. })]
            if message.len() <= FRAME_BYTES_MAX / 4);
    assert!(is_cut);
}

#[test]
fn a_peer_that_does_what_it_may_not_ends_the_session() {
    let controls = [
        Control::Taken { task: TASK, count: 2, bytes: 2 },
        Control::Release { node: NodeId(2), task: TASK, count: 1 },
    ];
    for control in controls {
        let mut session = Pair::new().sessions.remove(0);
        session.send(&outbound(TASK), b"x").unwrap();
        let mut bytes = BytesMut::new();
        bytes.put_control(&control);
        feed(&mut session, &mut bytes);
        let output = session.poll_output();
        assert!(matches!(output, Some(Output::Over(Over::Violation(_)))), "{output:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Method: frames that can be read, in any order and with any content, into a session at work.
    #[test]
    fn random_frames_never_panic(frames in prop::collection::vec(frame(), 1..60)) {
        let mut session = Pair::new().sessions.remove(0);
        session.send(&outbound(1), b"hi").unwrap();
        session.give((NodeId(0), 1));
        while session.poll_portion(LaneKind::Messages).is_some() {}
        for (lane, mut bytes) in frames {
            while let Some((kind, content)) = split_frame(&mut bytes).unwrap() {
                session.handle_frame(Time::ZERO, lane, kind, content);
            }
            session.sanity_check();
            if let Some(Output::Arrived(arrival)) = session.poll_output() {
                match arrival.task % 3 {
                    0 => session.taken(arrival.task, 1, arrival.body.len() as u64),
                    1 => session.shut(arrival.task),
                    _ => session.ended(arrival.task, Reason::NotFound),
                }
            }
        }
    }
}

/// Any frame about one of few tasks, bodies and questions.
fn frame() -> impl Strategy<Value = (LaneKind, BytesMut)> {
    let numbers = (0_u64..4, 0_u64..4, 0_u64..4);
    (0..20, numbers, any::<bool>()).prop_map(|(kind, (a, b, c), is_bulk)| {
        let mut to = BytesMut::new();
        let mention = [Mention::Task { node: NodeId(b), task: c, name: String::new() }];
        let name = "n".to_owned();
        match kind {
            0 => to.put_beat(a),
            1 => to.put_message(a, b as u8 & flags::ALL, &mention, b"body"),
            2 => to.put_large(a, 0, &mention, b, 1 + c as usize),
            3 => {
                to.put_chunk_header(a, 2);
                to.extend_from_slice(b"xy");
            }
            4 => to.put_answer(a, &mention, b""),
            5 => to.put_large_answer(a, &mention, b, 1 + c as usize),
            6 => to.put_control(&Control::Taken { task: a, count: b, bytes: c }),
            7 => to.put_control(&Control::Unreadable { task: a, index: b, why: name }),
            8 => to.put_control(&Control::Shut { task: a, count: b }),
            9 => to.put_control(&Control::Unanswered { question: a, why: Why::Dropped }),
            10 => to.put_control(&Control::Unwanted { question: a }),
            11 => to.put_control(&Control::Release { node: NodeId(a), task: b, count: c }),
            12 => to.put_control(&Control::Adopt { task: a }),
            13 => to.put_control(&Control::Adopted { task: a }),
            14 => to.put_control(&Control::Ended { task: a, reason: Reason::Terminated }),
            15 => to.put_control(&Control::Stop { task: a, grace_ms: Some(u64::MAX) }),
            16 => {
                let text = String::new();
                to.put_control(&Control::Locate { query: a, name, shape: b, text });
            }
            17 => to.put_control(&Control::Forget { query: a }),
            18 => to.put_control(&Control::OtherShape { query: a, text: name }),
            _ => to.put_control(&Control::Goodbye),
        }
        let is_bulk = if kind == 3 { !is_bulk || a > 0 } else { is_bulk && b == 3 && c == 3 };
        (if is_bulk { LaneKind::Bulk } else { LaneKind::Messages }, to)
    })
}

struct Pair {
    sessions: Vec<Session>,
}

impl Pair {
    fn new() -> Self {
        let sessions = (0..2).map(|_| Session::new(Time::ZERO, 1, LOST_AFTER)).collect();
        let mut pair = Self { sessions };
        pair.reconnect();
        pair
    }

    /// Both lanes have new connections; what was on the old ones is lost.
    fn reconnect(&mut self) {
        for lane in LaneKind::ALL {
            let received = [1, 0].map(|other| self.sessions[other].resume(lane).received);
            for (session, received) in self.sessions.iter_mut().zip(received) {
                session.detach(lane);
                session.attach(Time::ZERO, lane, received, LOST_AFTER);
            }
        }
        for session in &mut self.sessions {
            session.outputs.retain(|output| !matches!(output, Output::Connect(_)));
        }
    }

    fn send(&mut self, from: usize, body: &[u8], ticket: Option<Ticket>) {
        let flags = if ticket.is_some() { flags::CONFIRM } else { 0 };
        self.sessions[from].send(&Outbound { ticket, flags, ..outbound(TASK) }, body).unwrap();
    }

    fn carry(&mut self) {
        while [0, 1].map(|from| self.carry_from(from)).contains(&true) {}
    }

    fn carry_from(&mut self, from: usize) -> bool {
        LaneKind::ALL.map(|lane| self.carry_lane(from, lane)).contains(&true)
    }

    fn carry_lane(&mut self, from: usize, lane: LaneKind) -> bool {
        let mut has_carried = false;
        while let Some(portion) = self.sessions[from].poll_portion(lane) {
            has_carried = true;
            let mut bytes = BytesMut::from(&portion.head[..]);
            bytes.extend_from_slice(&portion.tail);
            while let Some((kind, content)) = split_frame(&mut bytes).unwrap() {
                self.sessions[1 - from].handle_frame(Time::ZERO, lane, kind, content);
            }
        }
        has_carried
    }

    fn outputs(&mut self, at: usize) -> Vec<Output> {
        self.sessions[at].sanity_check();
        std::iter::from_fn(|| self.sessions[at].poll_output())
            .filter(|output| !matches!(output, Output::Connect(_)))
            .collect()
    }

    fn bodies(&mut self, at: usize) -> Vec<String> {
        let arrived = self.outputs(at).into_iter().map(|output| match output {
            Output::Arrived(arrival) => String::from_utf8(arrival.body.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        });
        arrived.collect()
    }
}

fn outbound(task: u64) -> Outbound<'static> {
    Outbound { task, flags: 0, attached: &[], questions: &[], ticket: None }
}

fn mention() -> Mention {
    Mention::Task { node: OURS.0, task: OURS.1, name: String::new() }
}

fn feed(session: &mut Session, bytes: &mut BytesMut) {
    while let Some((kind, content)) = split_frame(bytes).unwrap() {
        session.handle_frame(Time::ZERO, LaneKind::Messages, kind, content);
    }
}
