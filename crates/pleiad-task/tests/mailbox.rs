//! Messages and their mailboxes.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::HashSet;
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use pleiad_task::{
    AskError, DeliverError, Mailbox, Recipient, RecipientError, RecvMatchingError,
    RecvTimeoutError, Reply, SendError, Task, TaskBuilder, TaskRef, TryRecvError, limits, spawn,
    spawn_future,
};
use tokio::sync::oneshot;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);

async fn collect<M: Send + 'static>(mut mailbox: Mailbox<M>) -> Vec<M> {
    let mut all = Vec::new();
    while let Some(message) = mailbox.recv().await {
        all.push(message);
    }
    all
}

/// A task that gives its mailbox away, so that a test can read it.
fn open<M: Send + 'static>(capacity: usize) -> (Task<M, ()>, Mailbox<M>) {
    let mut given = None;
    let task = TaskBuilder::new().capacity(capacity).spawn(|mailbox| {
        given = Some(mailbox);
        pending()
    });
    (task, given.unwrap())
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

// ---- order, and nothing twice ----

/// Goal: whatever the mix of ways to send, the messages of one sender arrive once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_each_sender_arrive_once_and_in_order() {
    const SENDERS: u32 = 8;
    const EACH: u32 = 500;
    let task = TaskBuilder::new().capacity(16).spawn(collect::<(u32, u32)>);
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let to = TaskRef::clone(&task);
            tokio::spawn(async move {
                for n in 0..EACH {
                    if n % 3 == 0 {
                        to.deliver((sender, n)).await.unwrap();
                    } else if let Err(refused) = to.send((sender, n)) {
                        assert!(refused.is_full());
                        to.deliver(refused.into_message()).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let mut next = [0; SENDERS as usize];
    for (sender, n) in task.await.unwrap() {
        assert_eq!(n, next[sender as usize], "of {sender}");
        next[sender as usize] += 1;
    }
    assert_eq!(next, [EACH; SENDERS as usize]);
}

#[tokio::test]
async fn urgent_messages_come_first_and_in_order() {
    let (task, mut mailbox) = open(2);
    task.send(1).unwrap();
    task.send(2).unwrap();
    task.send_urgent(10).unwrap();
    task.send_urgent(11).unwrap();
    assert!(task.send_urgent(12).unwrap_err().is_full(), "there is room for two");
    assert_eq!((task.queued(), mailbox.len()), (4, 4));
    assert_eq!(mailbox.recv().await, Some(10));
    task.send_urgent(12).unwrap();
    assert_eq!(mailbox.recv_matching(|&n| n == 2).await, Ok(2));
    let rest: Vec<_> = std::iter::from_fn(|| mailbox.try_recv().ok()).collect();
    assert_eq!(rest, [11, 12, 1]);
}

// ---- send ----

#[tokio::test]
async fn a_full_mailbox_gives_the_message_back() {
    let (task, mut mailbox) = open(2);
    task.send("a".to_owned()).unwrap();
    task.send("b".to_owned()).unwrap();
    let full = task.send("c".to_owned()).unwrap_err();
    let SendError::Full { task: whose, capacity, message } = full else { panic!("{full}") };
    assert_eq!((whose, capacity, message.as_str()), (task.identity(), 2, "c"));
    assert_eq!(mailbox.recv().await.unwrap(), "a");
    task.send(message).unwrap();
    assert_eq!(mailbox.len(), 2);
}

#[tokio::test]
async fn a_closed_mailbox_gives_the_message_back() {
    let (task, mut mailbox) = open(2);
    task.send(1).unwrap();
    mailbox.close();
    for refused in [task.send(2).unwrap_err(), task.send_urgent(2).unwrap_err()] {
        assert!(matches!(refused, SendError::Closed { message: 2, .. }), "{refused}");
    }
    assert_eq!(mailbox.recv().await, Some(1), "what is there is read");
    assert_eq!(mailbox.recv().await, None);
    assert_eq!(mailbox.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(mailbox.recv_timeout(SOON).await, Err(RecvTimeoutError::Closed));
    assert_eq!(mailbox.recv_matching(|_| true).await, Err(RecvMatchingError::Closed));
    drop(mailbox);
    assert!(matches!(task.send(3), Err(SendError::Closed { message: 3, .. })));
    assert!(task.is_alive(), "the task itself goes on");
}

#[tokio::test]
async fn a_mailbox_holds_as_many_messages_as_is_said() {
    for (asked, held) in [(0, 1), (1, 1), (3, 3)] {
        let (task, _mailbox) = open(asked);
        let sent = (0..10).take_while(|&n| task.send(n).is_ok()).count();
        assert_eq!(sent, held);
    }
    let (usual, _mailbox) = {
        let mut given = None;
        let task = spawn(|mailbox| {
            given = Some(mailbox);
            pending::<()>()
        });
        (task, given)
    };
    let sent = (0..).take_while(|&n| usual.send(n).is_ok()).count();
    assert_eq!(sent, limits::MAILBOX_MESSAGES);
}

#[tokio::test]
async fn an_unbounded_mailbox_is_never_full() {
    let task = TaskBuilder::new().unbounded().spawn(collect::<u32>);
    for n in 0..10_000 {
        task.send(n).unwrap();
    }
    assert_eq!(task.queued(), 10_000);
    assert_eq!(task.await.unwrap(), Vec::from_iter(0..10_000));
}

/// Goal: what is read makes room at once, also when the reader took all of the queue.
#[tokio::test]
async fn a_message_that_is_read_makes_room_for_one() {
    let (task, mut mailbox) = open(3);
    for n in 0..3 {
        task.send(n).unwrap();
    }
    for n in 3..50 {
        assert!(task.send(n).is_err());
        mailbox.recv().await.unwrap();
        task.send(n).unwrap();
        assert_eq!(task.queued(), 3);
    }
}

// ---- deliver ----

#[tokio::test]
async fn deliveries_wait_for_room_in_order() {
    let (task, mut mailbox) = open(1);
    task.send(0).unwrap();
    let order: FuturesUnordered<_> =
        (1..6).map(|n| task.deliver(n).map(move |sent| sent.map(|()| n))).collect();
    let mut order = pin!(order);
    assert!(order.next().now_or_never().is_none());
    assert!(task.send(9).unwrap_err().is_full());
    for n in 0..6 {
        assert_eq!(mailbox.recv().await, Some(n));
        assert!(task.queued() <= 1);
        if n < 5 {
            assert!(task.send(9).unwrap_err().is_full(), "those who wait go first");
            assert_eq!(order.next().await.unwrap().unwrap(), n + 1);
        }
    }
    assert_eq!(mailbox.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test]
async fn a_delivery_gives_the_message_back_when_its_time_is_over() {
    let (task, mut mailbox) = open(1);
    task.send(1).unwrap();
    let late = task.deliver(2).timeout(5 * MS).await.unwrap_err();
    let DeliverError::TimedOut { message, after, task: whose } = late else { panic!("{late}") };
    assert_eq!((message, after, whose), (2, 5 * MS, task.identity()));
    let at_once = task.deliver(3).timeout(Duration::ZERO).await.unwrap_err();
    assert_eq!(at_once.into_message(), 3);
    assert_eq!(mailbox.recv().await, Some(1));
    assert_eq!(mailbox.try_recv(), Err(TryRecvError::Empty), "neither came in later");
    task.deliver(4).timeout(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_delivery_that_is_dropped_leaves_nothing() {
    let (task, mut mailbox) = open(1);
    task.send(1).unwrap();
    assert!(task.deliver(2).now_or_never().is_none());
    let mut third = task.deliver(3);
    assert!((&mut third).now_or_never().is_none());
    assert_eq!(mailbox.recv().await, Some(1));
    third.await.unwrap();
    assert_eq!(mailbox.recv().await, Some(3));
    assert_eq!((mailbox.len(), task.queued()), (0, 0));
    task.send(4).unwrap();
    drop(task.deliver(5));
    assert_eq!(mailbox.len(), 1, "one that was never polled was never delivered");
}

/// Goal: what becomes of a message at the last moment is known to who has set a time limit.
#[tokio::test]
async fn a_delivery_may_get_in_before_it_is_dropped_or_late() {
    let (task, mut mailbox) = open(1);
    task.send(1).unwrap();
    let mut dropped = task.deliver(2);
    assert!((&mut dropped).now_or_never().is_none());
    assert_eq!(mailbox.recv().await, Some(1));
    drop(dropped);
    assert_eq!(mailbox.try_recv(), Ok(2));

    task.send(3).unwrap();
    let mut late = task.deliver(4).timeout(MS);
    assert!((&mut late).now_or_never().is_none());
    std::thread::sleep(3 * MS);
    assert_eq!(mailbox.recv().await, Some(3));
    late.await.unwrap();
    assert_eq!(mailbox.try_recv(), Ok(4));
}

#[tokio::test]
async fn a_delivery_to_a_task_that_ends_gives_the_message_back() {
    let (task, mailbox) = open(1);
    task.send(1).unwrap();
    let mut two = task.deliver(2);
    assert!((&mut two).now_or_never().is_none());
    task.kill();
    let closed = timeout(SOON, two).await.unwrap().unwrap_err();
    assert!(matches!(closed, DeliverError::Closed { message: 2, .. }), "{closed}");
    assert_eq!(task.deliver(3).await.unwrap_err().into_message(), 3);
    drop(mailbox);

    let (task, mut mailbox) = open(1);
    task.send(1).unwrap();
    let mut two = task.deliver(2);
    assert!((&mut two).now_or_never().is_none());
    mailbox.close();
    assert_eq!(timeout(SOON, two).await.unwrap().unwrap_err().into_message(), 2);
    assert_eq!(mailbox.recv().await, Some(1));
    assert_eq!(mailbox.recv().await, None);
}

#[tokio::test]
async fn a_delivery_may_move_to_another_task() {
    let (task, mut mailbox) = open(1);
    task.send(1).unwrap();
    let wakes = Arc::new(Wakes::default());
    let first = Waker::from(wakes.clone());
    let mut delivery = task.deliver(2);
    assert!(Pin::new(&mut delivery).poll(&mut Context::from_waker(&first)).is_pending());
    let other = Arc::new(Wakes::default());
    let second = Waker::from(other.clone());
    assert!(Pin::new(&mut delivery).poll(&mut Context::from_waker(&second)).is_pending());
    assert_eq!(mailbox.recv().await, Some(1));
    assert_eq!((wakes.count(), other.count()), (0, 1));
    assert_eq!(Arc::strong_count(&wakes), 2, "and its waker is not kept");
}

// ---- recv ----

#[tokio::test]
async fn a_receive_that_is_dropped_loses_no_message() {
    let (task, mut mailbox) = open(8);
    for n in 0..100 {
        assert!(mailbox.recv().now_or_never().is_none());
        task.send(n).unwrap();
        task.send(n).unwrap();
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => (),
            message = mailbox.recv() => assert_eq!(message, Some(n)),
        }
        while !mailbox.is_empty() {
            assert_eq!(mailbox.recv().await, Some(n));
        }
    }
}

#[tokio::test]
async fn a_receive_may_be_polled_without_a_cause() {
    let (task, mut mailbox) = open(8);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut cx = Context::from_waker(&waker);
    for _ in 0..3 {
        assert!(mailbox.poll_recv(&mut cx).is_pending());
    }
    task.send(1).unwrap();
    task.send(2).unwrap();
    assert_eq!(wakes.count(), 1, "one wake for both");
    assert_eq!(mailbox.poll_recv(&mut cx), Poll::Ready(Some(1)));
    assert_eq!(mailbox.poll_recv(&mut cx), Poll::Ready(Some(2)));
    assert!(mailbox.poll_recv(&mut cx).is_pending());
}

/// Goal: a waker that is replaced again and again is dropped each time.
#[tokio::test]
async fn only_the_last_waker_is_kept() {
    let (task, mut mailbox) = open::<u32>(8);
    tokio::task::yield_now().await;
    let wakes = Arc::new(Wakes::default());
    for _ in 0..1_000 {
        // Each is another, as far as anybody can see.
        let waker = Waker::from(Arc::new(Forward(wakes.clone())));
        assert!(mailbox.poll_recv(&mut Context::from_waker(&waker)).is_pending());
        let mut stopping = pin!(mailbox.stopping());
        assert!(stopping.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    assert!(Arc::strong_count(&wakes) <= 3, "{}", Arc::strong_count(&wakes));
    task.send(1).unwrap();
    assert_eq!(wakes.count(), 1);
}

struct Forward(Arc<Wakes>);

impl Wake for Forward {
    fn wake(self: Arc<Self>) {
        self.0.clone().wake();
    }
}

#[tokio::test]
async fn a_receive_with_a_time_limit_says_which_it_was() {
    let (task, mut mailbox) = open(2);
    assert_eq!(mailbox.recv_timeout(MS).await, Err(RecvTimeoutError::TimedOut));
    task.send(1).unwrap();
    assert_eq!(mailbox.recv_timeout(Duration::ZERO).await, Ok(1));
    task.terminate();
    task.send(2).unwrap();
    assert_eq!(mailbox.recv_timeout(SOON).await, Err(RecvTimeoutError::Closed));
    assert_eq!(mailbox.try_recv(), Ok(2));
    assert_eq!(mailbox.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test]
async fn a_matching_message_is_taken_from_among_the_others() {
    let (task, mut mailbox) = open(6);
    for n in 0..5 {
        task.send(n).unwrap();
    }
    assert_eq!(mailbox.recv_matching(|&n| n == 3).await, Ok(3));
    assert_eq!(mailbox.recv_matching(|&n| n == 1).await, Ok(1));
    assert!(mailbox.recv_matching(|&n| n == 7).now_or_never().is_none());
    let mut seven = Box::pin(mailbox.recv_matching(|&n| n == 7));
    assert!(seven.as_mut().now_or_never().is_none());
    task.send(6).unwrap();
    assert!(seven.as_mut().now_or_never().is_none());
    task.send_urgent(7).unwrap();
    assert_eq!(seven.await, Ok(7));
    let rest: Vec<_> = std::iter::from_fn(|| mailbox.try_recv().ok()).collect();
    assert_eq!(rest, [0, 2, 4, 6]);
}

/// Goal: what a search has passed over is as urgent as before, and before later urgent messages.
#[tokio::test]
async fn a_search_changes_no_order_of_urgent_messages() {
    let (task, mut mailbox) = open::<u32>(8);
    task.send(1).unwrap();
    task.send_urgent(10).unwrap();
    let mut search = Box::pin(mailbox.recv_matching(|&n| n == 3));
    assert!((&mut search).now_or_never().is_none());
    task.send_urgent(11).unwrap();
    assert!((&mut search).now_or_never().is_none());
    task.send(3).unwrap();
    assert_eq!(search.await, Ok(3));
    task.send_urgent(12).unwrap();
    task.close();
    assert_eq!(collect(mailbox).await, [10, 11, 12, 1]);
}

#[tokio::test]
async fn a_mailbox_full_of_others_is_an_error() {
    let (task, mut mailbox) = open(2);
    task.send(1).unwrap();
    task.send(2).unwrap();
    let waits = task.deliver(3);
    let mut waits = pin!(waits);
    assert!(waits.as_mut().now_or_never().is_none());
    assert_eq!(mailbox.recv_matching(|&n| n == 3).await, Err(RecvMatchingError::Full(2)));
    assert_eq!(mailbox.recv().await, Some(1));
    waits.await.unwrap();
    assert_eq!(mailbox.recv_matching(|&n| n == 3).await, Ok(3));
    assert_eq!(mailbox.recv().await, Some(2));
}

#[tokio::test]
async fn a_mailbox_is_a_stream() {
    let task = spawn(|mailbox: Mailbox<u32>| mailbox.map(|n| n * 2).collect::<Vec<_>>());
    task.send(1).unwrap();
    task.send(2).unwrap();
    assert_eq!(task.await.unwrap(), [2, 4]);
}

#[tokio::test]
async fn two_mailboxes_are_read_in_one_task() {
    let (other, mut second) = open::<u32>(8);
    let task = spawn(|mut first: Mailbox<u32>| async move {
        let (one, two) = tokio::join!(first.recv(), second.recv());
        let three = tokio::select! {
            one = first.recv() => one,
            two = second.recv() => two,
        };
        [one, two, three]
    });
    tokio::task::yield_now().await;
    other.send(2).unwrap();
    tokio::task::yield_now().await;
    task.send(1).unwrap();
    tokio::task::yield_now().await;
    other.send(3).unwrap();
    let _open = TaskRef::clone(&task);
    assert_eq!(task.await.unwrap(), [Some(1), Some(2), Some(3)]);
}

/// Goal: the waker of a part of a task, as in `FuturesUnordered`, is not replaced by the task's own.
#[tokio::test]
async fn a_part_of_a_task_is_woken() {
    let task = spawn(|mut mailbox: Mailbox<u32>| async move {
        let mut got = Vec::new();
        for _ in 0..3 {
            let mut parts: FuturesUnordered<Pin<Box<dyn Future<Output = Option<u32>> + Send>>> =
                FuturesUnordered::new();
            parts.push(Box::pin(pending()));
            parts.push(Box::pin(mailbox.recv()));
            got.extend(parts.next().await.unwrap());
            drop(parts);
            got.extend(mailbox.recv().await);
        }
        got
    });
    for n in 0..6 {
        tokio::task::yield_now().await;
        task.send(n).unwrap();
    }
    assert_eq!(timeout(SOON, task).await.unwrap().unwrap(), Vec::from_iter(0..6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_may_move_to_another_task() {
    for _ in 0..50 {
        let (done, result) = oneshot::channel();
        let task = TaskBuilder::new().capacity(2).spawn(|mut mailbox: Mailbox<u32>| async move {
            let first = mailbox.recv().await;
            let other = tokio::spawn(async move {
                let rest = collect(mailbox).await;
                let _ = done.send((first, rest));
            });
            other.await.unwrap();
        });
        for n in 0..20 {
            task.deliver(n).await.unwrap();
        }
        task.await.unwrap();
        assert_eq!(result.await.unwrap(), (Some(0), Vec::from_iter(1..20)));
    }
}

// ---- references ----

#[tokio::test]
async fn a_task_gets_none_when_the_last_reference_goes() {
    let task = spawn(collect::<u32>);
    let other = TaskRef::clone(&task);
    let weak = task.downgrade();
    other.send(1).unwrap();
    let mut end = task.join();
    assert!((&mut end).now_or_never().is_none());
    let upgraded = weak.upgrade().unwrap();
    drop(other);
    upgraded.send(2).unwrap();
    drop(upgraded);
    assert!(weak.upgrade().is_none());
    assert_eq!(end.await.unwrap(), [1, 2]);
    assert!(weak.upgrade().is_none());
}

#[tokio::test]
async fn a_reference_to_itself_keeps_a_mailbox_open() {
    let task = spawn(|mut mailbox: Mailbox<Option<u32>>| async move {
        // The last other one may have gone before.
        let me = mailbox.me();
        assert_eq!(me.id(), mailbox.id());
        let mut got = Vec::new();
        while let Some(Some(n)) = mailbox.recv().await {
            got.push(n);
            me.send((n < 3).then_some(n + 1)).unwrap();
        }
        drop(me);
        let none = mailbox.recv().await;
        mailbox.close();
        (got, none, mailbox.me().send(None).is_ok())
    });
    task.send(Some(0)).unwrap();
    assert_eq!(task.await.unwrap(), (vec![0, 1, 2, 3], None, false));
}

#[tokio::test]
async fn references_are_compared_by_their_task() {
    let (one, two) = (spawn(collect::<u32>), spawn(collect::<u32>));
    #[expect(clippy::mutable_key_type, reason = "what is hashed, the number, never changes")]
    let set: HashSet<TaskRef<u32>> =
        [TaskRef::clone(&one), TaskRef::clone(&two), TaskRef::clone(&one)].into();
    assert_eq!(set.len(), 2);
    assert_eq!(one.to_string(), format!("collect/{}", one.id().number()));
    assert_eq!(one.identity().name(), "collect");
    let named = TaskBuilder::new().name("mine").spawn(collect::<u32>);
    assert_eq!(format!("{named:?}"), format!("mine/{}", named.id().number()));
}

#[tokio::test]
async fn a_reference_is_sent_in_a_message() {
    let task = spawn(|mut mailbox: Mailbox<TaskRef<u32>>| async move {
        mailbox.recv().await.unwrap().send(7).unwrap();
    });
    let other = spawn(collect::<u32>);
    task.send(TaskRef::clone(&other)).unwrap();
    task.await.unwrap();
    assert_eq!(other.await.unwrap(), [7]);
}

#[tokio::test]
async fn a_recipient_takes_a_part_of_the_messages() {
    let (task, mut mailbox) = open::<String>(1);
    let numbers: Recipient<u32> = task.recipient(|n: u32| n.to_string());
    numbers.send(1).unwrap();
    assert_eq!(numbers.send(2), Err(RecipientError::Full(task.identity())));
    let mut third = pin!(numbers.deliver(3));
    assert!(third.as_mut().now_or_never().is_none());
    assert_eq!(mailbox.recv().await.unwrap(), "1");
    third.await.unwrap();
    assert_eq!(mailbox.recv().await.unwrap(), "3");
    assert!(!numbers.is_closed());
    mailbox.close();
    assert!(numbers.is_closed());
    assert_eq!(numbers.send(4), Err(RecipientError::Closed(task.identity())));
    assert_eq!(numbers.deliver(5).await, Err(RecipientError::Closed(task.identity())));
}

// ---- ask ----

enum Question {
    Square(u32, Reply<u32>),
    Forget(Reply<u32>),
    Panic(Reply<u32>),
    Keep(Reply<u32>),
}

async fn answerer(mut mailbox: Mailbox<Question>) {
    let mut kept = Vec::new();
    while let Some(question) = mailbox.recv().await {
        match question {
            Question::Square(n, reply) => reply.send(n * n),
            Question::Forget(reply) => drop(reply),
            Question::Panic(_reply) => panic!("asked to"),
            Question::Keep(reply) => kept.push(reply),
        }
    }
}

#[tokio::test]
async fn a_question_is_answered() {
    let task = spawn(answerer);
    assert_eq!(task.ask(|reply| Question::Square(3, reply)).await, Ok(9));
    let late = task.ask(Question::Keep).timeout(2 * MS).await;
    assert_eq!(late, Err(AskError::TimedOut { task: task.identity(), after: 2 * MS }));
}

#[tokio::test]
async fn a_question_that_is_dropped_is_told_at_once() {
    let task = spawn(answerer);
    let whom = task.identity();
    let unanswered = Err(AskError::Unanswered(whom.clone()));
    assert_eq!(timeout(SOON, task.ask(Question::Forget)).await.unwrap(), unanswered);
    assert_eq!(timeout(SOON, task.ask(Question::Panic)).await.unwrap(), unanswered);
    let closed = Err(AskError::Closed(whom));
    assert_eq!(timeout(SOON, task.ask(Question::Forget)).await.unwrap(), closed);
}

#[tokio::test]
async fn the_end_of_a_task_ends_all_questions_to_it() {
    let task = TaskBuilder::new().capacity(2).spawn(answerer);
    let mut kept = pin!(task.ask(Question::Keep));
    assert!(kept.as_mut().now_or_never().is_none());
    tokio::task::yield_now().await;
    let mut unread = pin!(task.ask(Question::Keep));
    let mut unread_too = pin!(task.ask(Question::Keep));
    let mut waiting = pin!(task.ask(Question::Keep));
    assert!(unread.as_mut().now_or_never().is_none());
    assert!(unread_too.as_mut().now_or_never().is_none());
    assert!(waiting.as_mut().now_or_never().is_none());
    task.kill();
    let whom = task.identity();
    assert_eq!(timeout(SOON, kept).await.unwrap(), Err(AskError::Unanswered(whom.clone())));
    assert_eq!(timeout(SOON, unread).await.unwrap(), Err(AskError::Unread(whom.clone())));
    assert_eq!(timeout(SOON, unread_too).await.unwrap(), Err(AskError::Unread(whom.clone())));
    assert_eq!(timeout(SOON, waiting).await.unwrap(), Err(AskError::Closed(whom)));
}

#[tokio::test]
async fn a_task_that_never_began_answers_nothing_and_says_so() {
    let task = spawn(answerer);
    let mut asked = pin!(task.ask(Question::Keep));
    assert!(asked.as_mut().now_or_never().is_none());
    task.kill();
    let unread = Err(AskError::Unread(task.identity()));
    assert_eq!(timeout(SOON, asked).await.unwrap(), unread);
}

#[tokio::test]
async fn a_question_that_finds_no_room_was_not_asked() {
    let (task, mut mailbox) = open::<Reply<u32>>(1);
    let mut first = pin!(task.ask(|reply| reply));
    assert!(first.as_mut().now_or_never().is_none());
    let mut second = task.ask(|reply| reply).timeout(2 * MS);
    let not_asked = AskError::NotAsked { task: task.identity(), after: 2 * MS };
    assert_eq!((&mut second).await, Err(not_asked));
    mailbox.recv().await.unwrap().send(1);
    assert_eq!(first.await, Ok(1));
    assert!(matches!(mailbox.try_recv(), Err(TryRecvError::Empty)), "and is not asked later");
}

#[tokio::test]
async fn a_question_that_got_in_at_the_last_moment_was_asked() {
    let (task, mut mailbox) = open::<Option<Reply<u32>>>(1);
    task.send(None).unwrap();
    let mut asked = task.ask(Some).timeout(2 * MS);
    assert!((&mut asked).now_or_never().is_none());
    std::thread::sleep(5 * MS);
    assert!(mailbox.recv().await.unwrap().is_none());
    let timed_out = AskError::TimedOut { task: task.identity(), after: 2 * MS };
    assert_eq!(asked.await, Err(timed_out));
    assert!(!mailbox.recv().await.unwrap().unwrap().is_wanted());
}

#[tokio::test]
async fn who_answers_sees_whether_somebody_waits() {
    let (task, mut mailbox) = open::<Reply<u32>>(4);
    let mut asked = Box::pin(task.ask(|reply| reply));
    assert!(asked.as_mut().now_or_never().is_none());
    let mut reply = mailbox.recv().await.unwrap();
    assert!(reply.is_wanted());
    assert!(reply.unwanted().now_or_never().is_none());
    drop(asked);
    timeout(SOON, reply.unwanted()).await.unwrap();
    assert!(!reply.is_wanted());
    assert_eq!(reply.try_send(5), Err(5));
}

/// Goal: a question that was read, and passed on, is not asked again, whatever becomes of it.
#[tokio::test]
async fn a_question_that_was_passed_on_was_read() {
    let (other, unread) = open::<Reply<u32>>(8);
    let to = TaskRef::clone(&other);
    let task = spawn(async move |mut mailbox: Mailbox<Reply<u32>>| {
        while let Some(question) = mailbox.recv().await {
            to.deliver(question).await.unwrap();
        }
    });
    let mut ask = task.ask(|reply| reply);
    assert!(timeout(Duration::from_millis(10), &mut ask).await.is_err());
    assert_eq!(unread.len(), 1);
    drop(unread);
    assert_eq!(timeout(SOON, ask).await.unwrap(), Err(AskError::Unanswered(task.identity())));
}

#[tokio::test]
async fn an_answer_may_come_from_another_task() {
    let helper = spawn(|mut mailbox: Mailbox<Reply<u32>>| async move {
        mailbox.recv().await.unwrap().send(11);
    });
    let task = spawn(|mut mailbox: Mailbox<Reply<u32>>| async move {
        helper.send(mailbox.recv().await.unwrap()).unwrap();
    });
    assert_eq!(task.ask(|reply| reply).await, Ok(11));
}

// ---- fairness ----

/// Goal: a task that always finds a message lets others run, on one thread.
#[tokio::test]
async fn a_task_with_many_messages_lets_others_run() {
    let task = TaskBuilder::new().unbounded().spawn(|mut mailbox: Mailbox<()>| async move {
        let me = mailbox.me();
        while mailbox.recv().await.is_some() {
            me.send(()).unwrap();
        }
    });
    task.send(()).unwrap();
    let other = spawn_future(async {
        for _ in 0..10 {
            tokio::time::sleep(MS).await;
        }
    });
    timeout(SOON, other).await.unwrap().unwrap();
    task.terminate();
    task.await.unwrap();
}

/// Goal: a full mailbox slows its senders down and loses nothing, while the reader does not stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_that_wait_get_in_while_the_reader_goes_on() {
    let task = TaskBuilder::new().capacity(4).spawn(|mut mailbox: Mailbox<u32>| async move {
        let mut sum = 0;
        while let Some(n) = mailbox.recv().await {
            sum += n;
            if sum % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        sum
    });
    let senders: Vec<_> = (0..20)
        .map(|_| {
            let to = TaskRef::clone(&task);
            tokio::spawn(async move {
                for _ in 0..100 {
                    to.deliver(1).await.unwrap();
                }
            })
        })
        .collect();
    for sender in senders {
        timeout(SOON, sender).await.unwrap().unwrap();
    }
    assert_eq!(task.await.unwrap(), 2_000);
}

// ---- what came of the first examples ----

#[tokio::test]
async fn an_urgent_question_is_answered_before_what_waits() {
    enum Work {
        Item(u32),
        Left(Reply<usize>),
    }
    let (task, mut mailbox) = open(2);
    task.send(Work::Item(1)).unwrap();
    task.send(Work::Item(2)).unwrap();
    let asked = task.ask(Work::Left).urgent();
    let (left, ()) = tokio::join!(asked, async {
        let Some(Work::Left(reply)) = mailbox.recv().await else { unreachable!() };
        reply.send(mailbox.len());
    });
    assert_eq!(left, Ok(2), "there was no room, and none was needed");
    assert!(matches!(mailbox.try_recv(), Ok(Work::Item(1))));
}

#[tokio::test]
async fn an_urgent_question_without_room_is_not_asked() {
    let (task, _mailbox) = open(1);
    let question = |reply| reply;
    let mut waits = pin!(task.ask::<()>(question).urgent());
    assert!(waits.as_mut().now_or_never().is_none());
    let error = task.ask::<()>(question).urgent().await.unwrap_err();
    assert_eq!(error, AskError::Full(task.identity()));
    task.kill();
    task.ended().await;
    let error = task.ask::<()>(question).urgent().await.unwrap_err();
    assert_eq!(error, AskError::Closed(task.identity()));
}

#[tokio::test]
async fn a_task_that_is_closed_from_outside_reads_what_it_has_and_ends() {
    let task = spawn(collect);
    task.send(1).unwrap();
    task.send(2).unwrap();
    let other = TaskRef::clone(&task);
    task.close();
    assert!(matches!(other.send(3), Err(SendError::Closed { message: 3, .. })));
    assert_eq!(task.await.unwrap(), [1, 2], "though there is a reference");
}

#[tokio::test]
async fn after_a_close_not_even_an_exit_arrives() {
    let (task, mut mailbox) = open(1);
    let other = spawn_future(pending::<()>());
    task.monitor(&other, drop).unwrap();
    mailbox.close();
    assert_eq!(mailbox.recv().await, None);
    assert!(task.monitor(&other, drop).is_err());
    other.kill();
    other.ended().await;
    assert_eq!(mailbox.recv().await, None);
}
