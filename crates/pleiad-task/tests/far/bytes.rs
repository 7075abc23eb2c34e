//! What comes from others may be anything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use pleiad_task::far::{self, Arrival, Arrived, EncodeError, How, Reference, Stopped, Unanswered};
use pleiad_task::{Mailbox, Reply, TaskBuilder, TaskRef, spawn};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Message, keeper, soon};

fn arrival(bytes: &[u8], attached: Vec<Arrived>) -> Arrival {
    Arrival::new(bytes.to_vec().into(), attached, How::Normal)
}

#[tokio::test]
async fn a_reference_of_another_type_is_an_error() {
    let (numbers, _numbers) = keeper::<u64>();
    let (inlet, wrong) = (far::inlet(&keeper::<TaskRef<Message>>().0), far::inlet(&numbers));
    let mut arrivals: VecDeque<_> =
        [arrival(&[0], vec![Arrived::Task(Reference::Here(wrong))])].into();
    let accepted = inlet.accept(&mut arrivals);
    let [(0, why)] = &accepted.undecodable[..] else { panic!("{accepted:?}") };
    assert!(why.ends_with("takes messages of the type u64, not Message"), "{why}");
}

#[tokio::test]
async fn an_index_without_an_attachment_is_an_error() {
    let (task, mut got) = keeper::<(TaskRef<u64>, TaskRef<u64>)>();
    let inlet = far::inlet(&task);
    let (numbers, _numbers) = keeper::<u64>();
    let reference = || Arrived::Task(Reference::Here(far::inlet(&numbers)));
    let mut arrivals: VecDeque<_> = [
        arrival(&[0, 1], vec![reference()]),
        arrival(&[0, 0], vec![reference(), reference()]),
        arrival(&[0], vec![reference()]),
        arrival(&[1, 0], vec![reference(), reference()]),
        arrival(&[0, 1, 2], vec![reference(), reference()]),
    ]
    .into();
    let accepted = inlet.accept(&mut arrivals);
    let wrong: Vec<_> = accepted.undecodable.iter().map(|(index, _)| *index).collect();
    assert_eq!((accepted.taken, wrong, accepted.stopped), (5, vec![0, 1, 2, 4], None));
    assert_eq!(soon(got.recv()).await, Some((numbers.clone(), numbers)));
    assert!(got.try_recv().is_err());
}

#[tokio::test]
async fn messages_are_taken_in_order_until_there_is_no_room() {
    let task = TaskBuilder::new().capacity(3).spawn(async |mut mailbox: Mailbox<u64>| {
        let mut got = Vec::new();
        while let Some(n) = mailbox.recv().await {
            got.push(n);
        }
        got
    });
    let inlet = far::inlet(&task);
    let bytes: [&[u8]; 7] = [&[1], &[], &[2], &[3, 3], &[4], &[5], &[]];
    let mut arrivals: VecDeque<_> = bytes.iter().map(|bytes| arrival(bytes, vec![])).collect();
    let accepted = inlet.accept(&mut arrivals);
    let wrong: Vec<_> = accepted.undecodable.iter().map(|(index, _)| *index).collect();
    assert_eq!((accepted.taken, wrong), (5, vec![1, 3]));
    assert_eq!((accepted.stopped, arrivals.len()), (Some(Stopped::Full), 2));

    // An exit needs no room; one behind those that wait, waits with them.
    let exempt = Arrival::new(vec![9].into(), vec![], How::Exempt);
    assert_eq!(inlet.accept(&mut VecDeque::from([exempt])).stopped, None);
    while task.queued() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(inlet.accept(&mut arrivals).taken, 2);
    soon(inlet.deliver(arrival(&[6], vec![]))).await.unwrap();
    task.close();
    let mut late = VecDeque::from([arrival(&[7], vec![])]);
    assert_eq!(inlet.accept(&mut late).stopped, Some(Stopped::Closed));
    assert_eq!(soon(inlet.deliver(late.remove(0).unwrap())).await, Err(far::Refused::Closed));
    assert_eq!(soon(task).await.unwrap(), [1, 2, 4, 9, 5, 6]);
}

#[tokio::test]
async fn an_urgent_arrival_overtakes_what_is_in_the_mailbox() {
    let task =
        spawn(async |mut mailbox: Mailbox<u64>| [mailbox.recv().await, mailbox.recv().await]);
    let inlet = far::inlet(&task);
    let urgent = Arrival::new(vec![2].into(), vec![], How::Urgent);
    let accepted = inlet.accept(&mut VecDeque::from([arrival(&[1], vec![]), urgent]));
    assert_eq!((accepted.taken, accepted.stopped), (2, None));
    assert_eq!(soon(task).await.unwrap(), [Some(2), Some(1)]);
}

/// Goal: what was read before it was known that there is no room, is not read again.
/// Method: an urgent message too many, which can be read once only: its reply is taken out of it.
#[tokio::test]
async fn what_was_read_and_has_no_room_comes_in_later() {
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let task = TaskBuilder::new().capacity(1).spawn(async |mut mailbox: Mailbox<Message>| {
        let _ = gone.await;
        let mut got = Vec::new();
        while let Some(message) = mailbox.recv().await {
            got.push(format!("{message:?}"));
        }
        got
    });
    let inlet = far::inlet(&task);
    let heard = Arc::default();
    let asked = || Arrived::Reply(Box::new(Asked(Arc::clone(&heard), false)));
    let urgent = |attached| Arrival::new(vec![1, 0].into(), attached, How::Urgent);
    let mut arrivals: VecDeque<_> = (0..3).map(|_| urgent(vec![asked()])).collect();
    for _ in 0..2 {
        let accepted = inlet.accept(&mut arrivals);
        assert_eq!((accepted.undecodable.len(), accepted.stopped), (0, Some(Stopped::Full)));
        assert_eq!(arrivals.len(), 2);
    }
    go.send(()).unwrap();
    while task.queued() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(inlet.accept(&mut arrivals).taken, 1);
    task.close();
    while let Some(arrival) = arrivals.pop_front() {
        arrival.refuse(&Unanswered::Closed);
    }
    assert_eq!(soon(task).await.unwrap(), ["Get(reply)", "Get(reply)"]);
    assert_eq!(heard.load(Ordering::SeqCst), 0);
}

#[test]
fn a_reference_travels_in_nothing_but_messages() {
    #[derive(Serialize, Deserialize)]
    struct Only(Option<Reply<u64>>);

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _guard = runtime.enter();
    let (task, _kept) = keeper::<Only>();
    assert!(postcard::to_stdvec(&task).is_err());
    assert!(postcard::from_bytes::<TaskRef<Only>>(&[0]).is_err());
    assert!(postcard::from_bytes::<Reply<u64>>(&[0]).is_err());
    let encoded = far::encode(&task).unwrap();
    assert_eq!((&encoded.body[..], encoded.attached.len()), (&[0_u8][..], 1));
    // Not after that either.
    assert!(postcard::to_stdvec(&task).is_err());

    let mut made = None;
    drop(task.ask(|reply| {
        made = Some(Only(Some(reply)));
        Only(None)
    }));
    let message = made.unwrap();
    let encoded = far::encode(&message).unwrap();
    let spent = far::encode(&message).unwrap_err();
    assert!(matches!(spent, EncodeError::Failed(_)), "{spent}");
    far::restore(&message, encoded.attached);
    assert!(far::encode(&message).is_ok());
}

#[test]
fn a_message_within_a_message_keeps_the_references_of_both_apart() {
    struct Nested(TaskRef<u64>, TaskRef<u64>);

    impl Serialize for Nested {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let inner = far::encode(&self.0).unwrap();
            assert_eq!((&inner.body[..], inner.attached.len()), (&[0_u8][..], 1));
            (&self.0, inner.body, &self.1).serialize(serializer)
        }
    }

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _guard = runtime.enter();
    let (one, two) = (keeper::<u64>().0, keeper::<u64>().0);
    let encoded = far::encode(&Nested(one, two)).unwrap();
    assert_eq!((&encoded.body[..], encoded.attached.len()), (&[0, 1, 0, 1][..], 2));
}

#[derive(Debug, Serialize, Deserialize)]
enum Anything {
    Text(String),
    Bytes(#[serde(with = "serde_bytes")] Vec<u8>),
    Numbers(Vec<(u64, i32)>, Option<Box<Self>>),
    Reply(Reply<Vec<u8>>),
    Task(TaskRef<Self>),
    Both(Vec<Reply<u64>>, Vec<TaskRef<Self>>),
}

/// Counts those that have heard nothing.
struct Asked(Arc<AtomicUsize>, bool);

impl far::Answerer for Asked {
    fn answer(mut self: Box<Self>, _: far::Encoded) {
        self.1 = true;
    }

    fn fail(mut self: Box<Self>, _: Unanswered) {
        self.1 = true;
    }

    fn is_wanted(&self) -> bool {
        true
    }

    fn poll_unwanted(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.1 {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// Goal: whatever comes, nothing panics, each arrival is either taken or named as undecodable, and
    /// whoever asked hears something.
    #[test]
    fn forged_bytes_are_taken_or_refused(
        messages in prop::collection::vec((prop::collection::vec(0..12_u8, 0..24), any::<bool>()), 1..20)
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let unheard = Arc::default();
        let (taken, refused, got) = runtime.block_on(async {
            let (task, mut got) = keeper::<Anything>();
            let inlet = far::inlet(&task);
            let mut arrivals: VecDeque<_> = messages.iter().map(|(bytes, attaches)| {
                let attached = if *attaches {
                    let asked = Asked(Arc::clone(&unheard), false);
                    vec![Arrived::Reply(Box::new(asked)), Arrived::Task(Reference::Here(inlet.clone()))]
                } else {
                    vec![]
                };
                arrival(bytes, attached)
            }).collect();
            let accepted = inlet.accept(&mut arrivals);
            task.close();
            let mut count = 0;
            while soon(got.recv()).await.is_some() {
                count += 1;
            }
            (accepted.taken, accepted.undecodable.len(), count)
        });
        prop_assert_eq!(taken, messages.len());
        prop_assert_eq!(got, taken - refused);
        prop_assert_eq!(unheard.load(Ordering::SeqCst), 0);
    }
}
