//! The races of the queue, in all interleavings that matter:
//!
//! ```text
//! RUSTFLAGS="--cfg pleiad_loom" cargo test -p pleiad-task --lib loom
//! ```
//!
//! A wake-up that is lost shows as a deadlock.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::thread;

use super::{Delivery, Matching, Queue, Refusal, Scanned, TryRecv, UNBOUNDED, bits};
use crate::cell::TaskCell;
use crate::mailbox::Mailbox;

type Shared<M = u32> = Arc<Queue<M>>;

fn model(threads: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Almost all mistakes need two switches; a third is for those of them that need more.
    builder.preemption_bound = Some(3);
    builder.check(threads);
}

fn queue_of(capacity: u32, messages: &[u32]) -> Shared {
    let queue = Queue::new(capacity);
    messages.iter().for_each(|&message| queue.push(message).unwrap());
    Arc::new(queue)
}

/// As one that is not the task that the queue belongs to: each read is followed by a look at those
/// who wait.
fn recv<M>(queue: &Queue<M>, batch: &mut VecDeque<M>) -> Option<M> {
    block_on(poll_fn(|cx| queue.poll_recv(batch, cx, false)))
}

fn deliver<M>(queue: &Queue<M>, message: M) -> Result<(), (Refusal, M)> {
    let mut delivery = Delivery::New(message);
    block_on(poll_fn(|cx| queue.poll_deliver(&mut delivery, cx)))
}

/// Polls once, by nobody who could be woken.
fn begin_to_deliver(queue: &Queue<u32>, message: u32) -> Delivery<u32> {
    let mut delivery = Delivery::New(message);
    let polled = queue.poll_deliver(&mut delivery, &Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "it is full");
    delivery
}

fn all_of(queue: &Queue<u32>, batch: &mut VecDeque<u32>) -> Vec<u32> {
    std::iter::from_fn(|| queue.try_recv(batch, false).ok()).collect()
}

#[test]
fn a_message_wakes_the_receiver() {
    model(|| {
        let queue = queue_of(UNBOUNDED, &[]);
        let sender = queue.clone();
        let sender = thread::spawn(move || {
            sender.push(1).unwrap();
            sender.push(2).unwrap();
        });
        let mut batch = VecDeque::new();
        assert_eq!(recv(&queue, &mut batch), Some(1));
        assert_eq!(recv(&queue, &mut batch), Some(2));
        sender.join().unwrap();
    });
}

#[test]
fn an_urgent_message_wakes_the_receiver() {
    model(|| {
        let queue = queue_of(UNBOUNDED, &[]);
        let (one, two) = (queue.clone(), queue.clone());
        let one = thread::spawn(move || one.push_urgent(1).unwrap());
        let two = thread::spawn(move || two.push(2).unwrap());
        let mut batch = VecDeque::new();
        let mut got = [recv(&queue, &mut batch), recv(&queue, &mut batch)];
        got.sort_unstable();
        assert_eq!(got, [Some(1), Some(2)]);
        one.join().unwrap();
        two.join().unwrap();
    });
}

/// A task reads its batch without the lock, settles, and then waits for something else.
#[test]
fn room_that_is_read_without_the_lock_gets_to_a_sender_that_waits() {
    model(|| {
        let queue = queue_of(2, &[1, 2]);
        let mut batch = VecDeque::new();
        assert_eq!(queue.try_recv(&mut batch, true), Ok(1));
        queue.push(3).unwrap();
        // It is full again, and the second is in the batch.
        let sender = queue.clone();
        let sender = thread::spawn(move || deliver(&sender, 4).unwrap());
        assert_eq!(queue.try_recv(&mut batch, true), Ok(2));
        queue.settle();
        sender.join().unwrap();
        assert_eq!(all_of(&queue, &mut batch), [3, 4]);
    });
}

#[test]
fn a_sender_that_waits_gets_in_when_the_receiver_waits() {
    model(|| {
        let queue = queue_of(1, &[1]);
        let sender = queue.clone();
        let sender = thread::spawn(move || {
            deliver(&sender, 2).unwrap();
            deliver(&sender, 3).unwrap();
        });
        let mut batch = VecDeque::new();
        assert_eq!(recv(&queue, &mut batch), Some(1));
        assert_eq!(recv(&queue, &mut batch), Some(2));
        assert_eq!(recv(&queue, &mut batch), Some(3));
        sender.join().unwrap();
    });
}

#[test]
fn a_delivery_is_either_taken_back_or_delivered() {
    model(|| {
        let queue = queue_of(1, &[1]);
        let Delivery::Waiting(first) = begin_to_deliver(&queue, 2) else { panic!() };
        let second = queue.clone();
        let second = thread::spawn(move || deliver(&second, 3).unwrap());
        let receiver = queue.clone();
        let receiver = thread::spawn(move || {
            let mut batch = VecDeque::new();
            assert_eq!(recv(&receiver, &mut batch), Some(1));
            let mut got = Vec::new();
            while got.last() != Some(&3) {
                got.extend(recv(&receiver, &mut batch));
            }
            got
        });
        let taken_back = queue.cancel(first);
        second.join().unwrap();
        let got = receiver.join().unwrap();
        match taken_back {
            Some(message) => assert_eq!((message, got), (2, vec![3])),
            None => assert_eq!(got, [2, 3]),
        }
    });
}

#[test]
fn what_was_accepted_before_the_close_is_received() {
    model(|| {
        let queue = queue_of(UNBOUNDED, &[]);
        let (sender, closer) = (queue.clone(), queue.clone());
        let sender = thread::spawn(move || sender.push(1).is_ok());
        let closer = thread::spawn(move || closer.close());
        let mut batch = VecDeque::new();
        let received = recv(&queue, &mut batch);
        let accepted = sender.join().unwrap();
        assert_eq!(received.is_some(), accepted);
        assert_eq!(received.and_then(|_| recv(&queue, &mut batch)), None);
        closer.join().unwrap();
    });
}

#[test]
fn a_close_ends_the_wait_of_a_sender() {
    model(|| {
        let queue = queue_of(1, &[1]);
        let sender = queue.clone();
        let sender = thread::spawn(move || deliver(&sender, 2));
        queue.close();
        assert_eq!(sender.join().unwrap(), Err((Refusal::Closed, 2)));
    });
}

#[test]
fn the_last_reference_goes_after_its_messages() {
    model(|| {
        let queue = queue_of(UNBOUNDED, &[]);
        let last = queue.clone();
        let last = thread::spawn(move || {
            last.push(1).unwrap();
            last.remove_sender();
        });
        let mut batch = VecDeque::new();
        assert_eq!(recv(&queue, &mut batch), Some(1));
        assert_eq!(recv(&queue, &mut batch), None);
        last.join().unwrap();
    });
}

#[test]
fn one_who_only_tries_is_not_told_of_a_close_before_the_last_message() {
    model(|| {
        let queue = queue_of(UNBOUNDED, &[]);
        let last = queue.clone();
        let last = thread::spawn(move || {
            last.push(1).unwrap();
            last.remove_sender();
        });
        let mut batch = VecDeque::new();
        match queue.try_recv(&mut batch, true) {
            Ok(message) => assert_eq!(message, 1),
            Err(TryRecv::Empty) => (),
            Err(TryRecv::Closed) => panic!("there is a message"),
        }
        last.join().unwrap();
    });
}

#[test]
fn of_two_last_references_one_closes() {
    model(|| {
        let queue = queue_of(UNBOUNDED, &[]);
        queue.add_sender();
        let other = queue.clone();
        let other = thread::spawn(move || other.remove_sender());
        queue.remove_sender();
        assert_eq!(recv(&queue, &mut VecDeque::new()), None);
        other.join().unwrap();
    });
}

#[test]
fn the_receivers_own_reference_keeps_the_queue_open_or_opens_it() {
    model(|| {
        let queue = queue_of(UNBOUNDED, &[]);
        let last = queue.clone();
        let last = thread::spawn(move || last.remove_sender());
        queue.add_own_sender();
        last.join().unwrap();
        assert_eq!(queue.push(1), Ok(()));
        queue.remove_sender();
        let mut batch = VecDeque::new();
        assert_eq!(recv(&queue, &mut batch), Some(1));
        assert_eq!(recv(&queue, &mut batch), None);
    });
}

#[test]
fn a_weak_reference_that_becomes_one_finds_the_queue_open() {
    model(|| {
        let queue = queue_of(UNBOUNDED, &[]);
        let last = queue.clone();
        let last = thread::spawn(move || last.remove_sender());
        if queue.add_sender_if_any() {
            assert_eq!(queue.push(1), Ok(()));
            queue.remove_sender();
        }
        last.join().unwrap();
        assert_ne!(queue.push(2), Ok(()), "the last is gone");
    });
}

#[test]
fn the_end_gives_a_message_back_or_drops_it() {
    model(|| {
        let message = Arc::new(());
        let queue: Shared<Arc<()>> = Arc::new(Queue::new(1));
        queue.push(message.clone()).unwrap();
        let (sender, sent) = (queue.clone(), message.clone());
        let sender = thread::spawn(move || deliver(&sender, sent));
        let mut batch = VecDeque::new();
        drop(queue.try_recv(&mut batch, true));
        let (is_first, remains) = queue.end(bits::RETURNED, None);
        assert!(is_first);
        remains.into_iter().for_each(|mut remains| remains.wake());
        let given_back = sender.join().unwrap().err();
        assert_eq!(Arc::strong_count(&message), 1 + usize::from(given_back.is_some()));
    });
}

#[test]
fn the_end_is_seen_by_one_who_waits_elsewhere() {
    model(|| {
        let queue = queue_of(UNBOUNDED, &[]);
        queue.set_root(Waker::noop());
        let receiver = queue.clone();
        let receiver = thread::spawn(move || recv(&receiver, &mut VecDeque::new()));
        let (_, remains) = queue.end(bits::RETURNED, None);
        remains.into_iter().for_each(|mut remains| remains.wake());
        assert_eq!(receiver.join().unwrap(), None);
    });
}

/// The mailbox is in another task, which receives while its own is polled for the first time.
#[test]
fn a_receiver_elsewhere_keeps_its_waker() {
    model(|| {
        let queue = queue_of(UNBOUNDED, &[]);
        let (receiver, sender) = (queue.clone(), queue.clone());
        let receiver = thread::spawn(move || recv(&receiver, &mut VecDeque::new()));
        let sender = thread::spawn(move || sender.push(1).unwrap());
        queue.set_root(Waker::noop());
        assert_eq!(receiver.join().unwrap(), Some(1));
        sender.join().unwrap();
    });
}

#[test]
fn a_stop_reaches_a_receiver_elsewhere() {
    model(|| {
        let queue = queue_of(UNBOUNDED, &[1]);
        queue.set_root(Waker::noop());
        let receiver = queue.clone();
        let receiver = thread::spawn(move || {
            let mut batch = VecDeque::new();
            assert!(matches!(recv(&receiver, &mut batch), Some(1) | None));
            recv(&receiver, &mut batch)
        });
        queue.stop(bits::STOPPED);
        assert_eq!(receiver.join().unwrap(), None);
    });
}

#[test]
fn a_stop_reaches_one_elsewhere_who_waits_for_a_certain_message() {
    model(|| {
        let queue = queue_of(UNBOUNDED, &[]);
        queue.set_root(Waker::noop());
        let receiver = queue.clone();
        let receiver = thread::spawn(move || {
            let (mut batch, mut scanned) = (VecDeque::new(), Scanned::default());
            block_on(poll_fn(|cx| {
                receiver.poll_matching(&mut batch, &mut scanned, &mut |_| false, cx)
            }))
        });
        queue.stop(bits::STOPPED);
        assert_eq!(receiver.join().unwrap(), Err(Matching::Closed));
    });
}

#[test]
fn a_stop_reaches_one_elsewhere_who_waits_for_it() {
    for kill in [false, true] {
        model(move || {
            let cell = Arc::new(TaskCell::<u32>::new(1, || "task"));
            cell.queue.set_root(Waker::noop());
            let mailbox = Mailbox::new(cell.clone());
            let waiting = thread::spawn(move || block_on(mailbox.stopping()));
            if kill {
                cell.kill()
            } else {
                cell.stop(None)
            }
            waiting.join().unwrap();
        });
    }
}

#[test]
fn a_matching_message_wakes_the_receiver() {
    model(|| {
        let queue = queue_of(3, &[]);
        let sender = queue.clone();
        let sender = thread::spawn(move || {
            sender.push(1).unwrap();
            sender.push_urgent(2).unwrap();
        });
        let (mut batch, mut scanned) = (VecDeque::new(), Scanned::default());
        let two = block_on(poll_fn(|cx| {
            queue.poll_matching(&mut batch, &mut scanned, &mut |&message| message == 2, cx)
        }));
        assert_eq!(two, Ok(2));
        sender.join().unwrap();
        assert_eq!(all_of(&queue, &mut batch), [1]);
    });
}

/// One who has waited for a certain message, and given up, reads while a sender still wakes it.
#[test]
fn what_is_unread_is_counted_while_a_sender_wakes_the_reader() {
    model(|| {
        let queue = queue_of(3, &[1, 2]);
        let (mut batch, mut scanned) = (VecDeque::new(), Scanned::default());
        let mut cx = Context::from_waker(Waker::noop());
        let polled = queue.poll_matching(&mut batch, &mut scanned, &mut |_| false, &mut cx);
        assert!(polled.is_pending());
        let sender = queue.clone();
        let sender = thread::spawn(move || sender.push(3).unwrap());
        assert_eq!(queue.try_recv(&mut batch, true), Ok(1));
        sender.join().unwrap();
        // Here it may see an older count, which is more, but nothing was lost.
        assert!(queue.len() >= 2);
        assert_eq!(all_of(&queue, &mut batch), [2, 3]);
    });
}

#[test]
fn of_two_ends_one_counts() {
    model(|| {
        let queue = queue_of(1, &[]);
        let other = queue.clone();
        let other = thread::spawn(move || other.end(bits::TERMINATED, None).0);
        let first = queue.end(bits::RETURNED, None).0;
        assert!(first ^ other.join().unwrap());
        let polled =
            queue.poll_recv(&mut VecDeque::new(), &mut Context::from_waker(Waker::noop()), true);
        assert_eq!(polled, Poll::Ready(None));
    });
}
