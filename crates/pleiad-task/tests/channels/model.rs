//! A random sequence of acts, beside a model of a few lists.

use std::collections::VecDeque;

use pleiad_task::TaskRef;
use proptest::prelude::*;

use super::*;

const READERS: usize = 4;
const CAPACITY: usize = 3;

#[derive(Debug, Clone)]
enum Act {
    Subscribe(usize, WhenFull),
    Unsubscribe(usize),
    Send,
    Deliver,
    Recv(usize),
}

/// What a reader has, if everything is as promised.
#[derive(Default)]
struct Reader {
    subscribed: Option<WhenFull>,
    /// What the mailbox has taken to be read: the whole queue and one message of the ring.
    taken: VecDeque<u64>,
    queue: VecDeque<u64>,
    ring: VecDeque<u64>,
}

fn act() -> impl Strategy<Value = Act> {
    let reader = 0..READERS;
    let when_full =
        prop_oneof![Just(WhenFull::Wait), Just(WhenFull::DropOldest), Just(WhenFull::Disconnect)];
    prop_oneof![
        2 => (reader.clone(), when_full).prop_map(|(reader, when)| Act::Subscribe(reader, when)),
        1 => reader.clone().prop_map(Act::Unsubscribe),
        5 => Just(Act::Send),
        1 => Just(Act::Deliver),
        4 => reader.prop_map(Act::Recv),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_readers_get_what_the_model_says(
        acts in prop::collection::vec(act(), 1..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async { compare(&acts) });
    }
}

fn compare(acts: &[Act]) {
    let channel = Channel::<u64>::new("model");
    let mut real: Vec<(TaskRef<u64>, Mailbox<u64>)> = (0..READERS)
        .map(|_| {
            let (task, mailbox) = mailbox(CAPACITY);
            ((*task).clone(), mailbox)
        })
        .collect();
    let mut model: [Reader; READERS] = Default::default();
    for (n, act) in (0..).zip(acts) {
        match *act {
            Act::Subscribe(reader, when_full) => {
                let task = &real[reader].0;
                channel.subscribe_with(task, |n| n, when_full).expect("both are open");
                model[reader].subscribe(when_full);
            }
            Act::Unsubscribe(reader) => {
                let was = model[reader].subscribed.take().is_some();
                model[reader].ring.clear();
                assert_eq!(channel.unsubscribe(&real[reader].0), was);
            }
            Act::Send | Act::Deliver => {
                let reached = model.iter_mut().filter_map(|reader| reader.offer(n)).sum();
                let published = match act {
                    Act::Send => channel.send(n),
                    _ => {
                        let mut delivery = channel.deliver(n).at_least(0);
                        let mut cx = Context::from_waker(Waker::noop());
                        let Poll::Ready(delivered) = Pin::new(&mut delivery).poll(&mut cx) else {
                            panic!("it waits for nobody")
                        };
                        delivered
                    }
                };
                let published = published.expect("the channel is open");
                assert_eq!(published.reached, reached, "{act:?} {n}");
            }
            Act::Recv(reader) => {
                assert_eq!(real[reader].1.try_recv().ok(), model[reader].recv(), "{act:?} {n}");
            }
        }
        let subscribed = model.iter().filter(|reader| reader.subscribed.is_some()).count();
        assert_eq!(channel.subscribers(), subscribed);
    }
}

impl Reader {
    fn subscribe(&mut self, when_full: WhenFull) {
        if when_full != WhenFull::DropOldest {
            self.ring.clear();
        }
        self.subscribed = Some(when_full);
    }

    /// How many are reached.
    fn offer(&mut self, n: u64) -> Option<usize> {
        let when_full = self.subscribed?;
        if when_full == WhenFull::DropOldest {
            self.ring.push_back(n);
            if self.ring.len() > CAPACITY {
                self.ring.pop_front();
            }
            return Some(1);
        }
        if self.taken.len() + self.queue.len() < CAPACITY {
            self.queue.push_back(n);
            return Some(1);
        }
        if when_full == WhenFull::Disconnect {
            self.subscribed = None;
        }
        Some(0)
    }

    fn recv(&mut self) -> Option<u64> {
        if self.taken.is_empty() {
            self.taken.append(&mut self.queue);
            self.taken.extend(self.ring.pop_front());
        }
        self.taken.pop_front()
    }
}
