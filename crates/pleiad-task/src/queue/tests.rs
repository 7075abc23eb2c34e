//! The queue beside a model of a few lists, in random sequences of calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use proptest::prelude::*;

use super::{Delivery, Matching, Queue, Refusal, Scanned, TryRecv, UNBOUNDED, bits};
use crate::identity::TaskId;

/// A call, and what it needs; numbers choose among what there is.
#[derive(Debug, Clone, Copy)]
enum Call {
    Push,
    PushExempt,
    PushUrgent,
    BeginToDeliver,
    PollDelivery(usize),
    CancelDelivery(usize),
    Recv {
        settles: bool,
    },
    TryRecv {
        settles: bool,
    },
    /// The first message that is a multiple of it.
    RecvMatching(u32),
    AddSender,
    /// The receiver's own.
    AddOwnSender,
    RemoveSender,
    Close,
    Stop,
    Deafen,
    End,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        12 => Just(Call::Push),
        2 => Just(Call::PushExempt),
        4 => Just(Call::PushUrgent),
        8 => Just(Call::BeginToDeliver),
        4 => any::<usize>().prop_map(Call::PollDelivery),
        4 => any::<usize>().prop_map(Call::CancelDelivery),
        10 => any::<bool>().prop_map(|settles| Call::Recv { settles }),
        6 => any::<bool>().prop_map(|settles| Call::TryRecv { settles }),
        5 => (1_u32..5).prop_map(Call::RecvMatching),
        1 => Just(Call::AddSender),
        1 => Just(Call::AddOwnSender),
        2 => Just(Call::RemoveSender),
        1 => Just(Call::Close),
        1 => Just(Call::Stop),
        1 => Just(Call::Deafen),
        1 => Just(Call::End),
    ]
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// What the queue is to be.
struct Model {
    capacity: usize,
    urgent: VecDeque<u32>,
    /// Neither urgent nor waiting for room.
    held: VecDeque<u32>,
    /// Those that wait for room: the numbers of their deliveries.
    waiting: VecDeque<usize>,
    senders: usize,
    closed: bool,
    /// Closed on purpose.
    shut: bool,
    stopped: bool,
    /// The receiver is gone, or the task has ended.
    gone: bool,
    receiver_waits: bool,
    receiver_woken: bool,
}

/// A delivery, in the queue and in the model.
struct Sent {
    delivery: Delivery<u32>,
    message: u32,
    wakes: Arc<Wakes>,
    /// What its next poll is to say.
    outcome: Outcome,
    to_be_woken: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Waits,
    Delivered,
    Refused,
    Over,
}

impl Model {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            urgent: VecDeque::new(),
            held: VecDeque::new(),
            waiting: VecDeque::new(),
            senders: 1,
            closed: false,
            shut: false,
            stopped: false,
            gone: false,
            receiver_waits: false,
            receiver_woken: false,
        }
    }

    fn has_room(&self) -> bool {
        self.held.len() < self.capacity
    }

    fn wake_receiver(&mut self) {
        self.receiver_woken |= std::mem::take(&mut self.receiver_waits);
    }

    fn hold(&mut self, message: u32) {
        self.held.push_back(message);
        self.wake_receiver();
    }

    fn push(&mut self, message: u32) -> Result<(), (Refusal, u32)> {
        if self.closed || self.gone {
            return Err((Refusal::Closed, message));
        }
        if !self.waiting.is_empty() || !self.has_room() {
            return Err((Refusal::Full, message));
        }
        self.hold(message);
        Ok(())
    }

    /// Lets in those for whom there is room.
    fn admit(&mut self, sent: &mut [Sent]) {
        while !self.closed
            && self.has_room()
            && let Some(number) = self.waiting.pop_front()
        {
            sent[number].outcome = Outcome::Delivered;
            sent[number].to_be_woken = true;
            self.hold(sent[number].message);
        }
    }

    fn refuse_all(&mut self, sent: &mut [Sent]) {
        for number in self.waiting.drain(..) {
            sent[number].outcome = Outcome::Refused;
            sent[number].to_be_woken = true;
        }
        self.wake_receiver();
    }

    fn close(&mut self, sent: &mut [Sent]) {
        self.closed = true;
        self.refuse_all(sent);
    }

    fn next(&mut self) -> Option<u32> {
        self.urgent.pop_front().or_else(|| self.held.pop_front())
    }

    fn recv(&mut self) -> Poll<Option<u32>> {
        if self.stopped {
            return Poll::Ready(None);
        }
        let next = self.next();
        self.receiver_waits = next.is_none() && !self.closed;
        if self.receiver_waits { Poll::Pending } else { Poll::Ready(next) }
    }

    fn try_recv(&mut self) -> Result<u32, TryRecv> {
        let closed = if self.closed { TryRecv::Closed } else { TryRecv::Empty };
        let next = self.next();
        // To try is not to wait, and takes nothing from those who do.
        self.receiver_waits &= next.is_none();
        next.ok_or(closed)
    }

    fn recv_matching(&mut self, factor: u32, sent: &mut [Sent]) -> Poll<Result<u32, Matching>> {
        if self.stopped {
            return Poll::Ready(Err(Matching::Closed));
        }
        self.receiver_waits = false;
        for messages in [&mut self.urgent, &mut self.held] {
            let index = messages.iter().position(|message| message % factor == 0);
            if let Some(message) = index.and_then(|index| messages.remove(index)) {
                return Poll::Ready(Ok(message));
            }
        }
        self.admit(sent);
        if self.closed {
            return Poll::Ready(Err(Matching::Closed));
        }
        if !self.has_room() {
            return Poll::Ready(Err(Matching::Full(self.held.len() + self.urgent.len())));
        }
        self.receiver_waits = true;
        Poll::Pending
    }
}

fn run(capacity: u32, calls: &[Call]) {
    let queue = Queue::new(capacity);
    let mut model = Model::new(capacity as usize);
    let mut batch = VecDeque::new();
    let mut sent: Vec<Sent> = Vec::new();
    let receiver = Arc::new(Wakes::default());
    let receiver_waker = Waker::from(receiver.clone());
    let mut receiver_cx = Context::from_waker(&receiver_waker);

    for (number, &call) in (1_u32..).zip(calls) {
        let mut stops = false;
        match call {
            Call::Push => assert_eq!(queue.push(number), model.push(number)),
            Call::PushExempt => {
                let refused = model.gone || model.shut;
                assert_eq!(queue.push_exempt(number), if refused { Err(number) } else { Ok(()) });
                if !refused {
                    model.hold(number);
                }
            }
            Call::PushUrgent => {
                let pushed = queue.push_urgent(number);
                if model.closed || model.gone {
                    assert_eq!(pushed, Err((Refusal::Closed, number)));
                } else if model.urgent.len() >= model.capacity {
                    assert_eq!(pushed, Err((Refusal::Full, number)));
                } else {
                    assert_eq!(pushed, Ok(()));
                    model.urgent.push_back(number);
                    model.wake_receiver();
                }
            }
            Call::BeginToDeliver => {
                let wakes = Arc::new(Wakes::default());
                let waker = Waker::from(wakes.clone());
                let mut delivery = Delivery::New(number);
                let polled = queue.poll_deliver(&mut delivery, &Context::from_waker(&waker));
                let outcome = match model.push(number) {
                    Ok(()) => {
                        assert_eq!(polled, Poll::Ready(Ok(())));
                        Outcome::Over
                    }
                    Err((Refusal::Full, _)) => {
                        assert_eq!(polled, Poll::Pending);
                        model.waiting.push_back(sent.len());
                        Outcome::Waits
                    }
                    Err(refused) => {
                        assert_eq!(polled, Poll::Ready(Err(refused)));
                        Outcome::Over
                    }
                };
                sent.push(Sent { delivery, message: number, wakes, outcome, to_be_woken: false });
            }
            Call::PollDelivery(which) if !sent.is_empty() => {
                let which = which % sent.len();
                let one = &mut sent[which];
                let waker = Waker::from(one.wakes.clone());
                let polled = queue.poll_deliver(&mut one.delivery, &Context::from_waker(&waker));
                match one.outcome {
                    Outcome::Waits => assert_eq!(polled, Poll::Pending),
                    Outcome::Delivered | Outcome::Over => assert_eq!(polled, Poll::Ready(Ok(()))),
                    Outcome::Refused => {
                        assert_eq!(polled, Poll::Ready(Err((Refusal::Closed, one.message))));
                    }
                }
                if one.outcome != Outcome::Waits {
                    one.outcome = Outcome::Over;
                }
            }
            Call::CancelDelivery(which) if !sent.is_empty() => {
                let which = which % sent.len();
                let one = &mut sent[which];
                if let Delivery::Waiting(ticket) = one.delivery {
                    one.delivery = Delivery::Done;
                    let back = queue.cancel(ticket);
                    let waited = matches!(one.outcome, Outcome::Waits | Outcome::Refused);
                    assert_eq!(back, waited.then_some(one.message));
                    one.outcome = Outcome::Over;
                    model.waiting.retain(|&other| other != which);
                }
            }
            Call::Recv { settles } if !model.gone => {
                let received = queue.poll_recv(&mut batch, &mut receiver_cx, settles);
                queue.settle();
                assert_eq!(received, model.recv());
                model.admit(&mut sent);
            }
            Call::TryRecv { settles } if !model.gone => {
                let received = queue.try_recv(&mut batch, settles);
                queue.settle();
                assert_eq!(received, model.try_recv());
                model.admit(&mut sent);
            }
            Call::RecvMatching(factor) if !model.gone => {
                let received = queue.poll_matching(
                    &mut batch,
                    &mut Scanned::default(),
                    &mut |message| message % factor == 0,
                    &mut receiver_cx,
                );
                assert_eq!(received, model.recv_matching(factor, &mut sent));
                model.admit(&mut sent);
            }
            Call::AddSender if model.senders > 0 => {
                queue.add_sender();
                model.senders += 1;
            }
            Call::AddOwnSender if !model.gone => {
                queue.add_own_sender();
                model.senders += 1;
                model.closed = model.shut;
            }
            // One that delivers is a sender.
            Call::RemoveSender
                if model.senders > 1
                    || model.senders == 1
                        && sent.iter().all(|one| {
                            !matches!(one.outcome, Outcome::Waits | Outcome::Refused)
                        }) =>
            {
                queue.remove_sender();
                model.senders -= 1;
                if model.senders == 0 && !model.closed {
                    model.close(&mut sent);
                }
            }
            Call::Close => {
                queue.close();
                model.shut = true;
                model.close(&mut sent);
            }
            Call::Stop => {
                queue.stop(0);
                model.stopped = true;
                model.wake_receiver();
                stops = true;
            }
            Call::Deafen | Call::End if !model.gone => {
                let remains = if matches!(call, Call::End) {
                    let (is_first, mut remains) = queue.end(bits::RETURNED, None);
                    assert!(is_first);
                    remains.iter_mut().for_each(|remains| remains.wake());
                    remains
                } else {
                    queue.deafen()
                };
                assert!(remains.and_then(|remains| remains.discard(TaskId::next())).is_none());
                batch.clear();
                model.gone = true;
                model.urgent.clear();
                model.held.clear();
                model.refuse_all(&mut sent);
                if matches!(call, Call::Deafen) {
                    assert_eq!(queue.len(), 0);
                }
            }
            _ => continue,
        }

        let woken = receiver.take();
        let expected = std::mem::take(&mut model.receiver_woken);
        // A stop wakes the task whatever it waits for.
        assert!(woken == usize::from(expected) || stops, "{call:?} {woken} {expected}");
        for one in &mut sent {
            let woken = one.wakes.take() > 0;
            let expected = std::mem::take(&mut one.to_be_woken);
            // One that was refused, and has not looked, is told of the end too.
            let again = one.outcome == Outcome::Refused && !expected;
            assert!(woken == expected || again, "{call:?}, {}", one.message);
        }
        if !model.gone {
            assert_eq!(queue.len(), model.held.len() + model.urgent.len(), "{call:?}");
            assert!(model.waiting.is_empty() || !model.has_room(), "nobody waits without need");
        }
        assert_eq!(queue.is_closed(), model.closed || model.gone);
        assert_eq!(queue.is_receiving(), model.receiver_waits, "{call:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_does_what_a_few_lists_do(
        capacity in prop_oneof![4 => 1_u32..5, 1 => Just(UNBOUNDED)],
        calls in prop::collection::vec(call(), 0..60),
    ) {
        run(capacity, &calls);
    }
}
