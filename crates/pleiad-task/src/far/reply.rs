//! Replies, as they travel.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::oneshot;

use crate::current;
use crate::far::codec::{self, EncodeError};
use crate::far::shape;
use crate::far::target::{Answerer, Arrived, Attached, Encoded, Pending};
use crate::reference::{TaskRef, WeakTaskRef};
use crate::reply::{Answer, Inner, Reply, Unanswered};

/// The answer to a question, or why there is none. See [`reply`](fn@crate::far::reply).
///
/// If it is dropped before, the answer is not wanted any more.
#[must_use = "an answer comes when this is awaited"]
pub struct Answered<M, T> {
    task: WeakTaskRef<M>,
    answer: oneshot::Receiver<Answer<T>>,
    is_settled: bool,
}

pub(super) fn expected<M, T>(task: &TaskRef<M>) -> (Reply<T>, Answered<M, T>) {
    let (sender, answer) = oneshot::channel();
    let reply = Reply::new(Some(Inner::Here(sender)));
    (reply, Answered { task: task.downgrade(), answer, is_settled: false })
}

impl<M, T> Future for Answered<M, T> {
    type Output = Result<T, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        self.is_settled = true;
        Poll::Ready(match answer {
            Ok(Answer::Given(answer)) => Ok(answer),
            Ok(Answer::None(why)) => Err(*why),
            Err(_) => Err(Unanswered::Dropped),
        })
    }
}

impl<M, T> Drop for Answered<M, T> {
    fn drop(&mut self) {
        if !self.is_settled {
            self.answer.close();
            if let Some(cell) = self.task.cell() {
                cell.queue.say_unwanted();
            }
        }
    }
}

impl<M, T> fmt::Debug for Answered<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answer of {:?}", self.task)
    }
}

/// A reply whose answer goes to another node.
pub(crate) struct FarReply<T> {
    answerer: Box<dyn Answerer>,
    encode: fn(&T) -> Result<Encoded, EncodeError>,
}

impl<T> FarReply<T> {
    pub(crate) fn answer(self, answer: T) -> Result<(), T> {
        if !self.answerer.is_wanted() {
            self.answerer.fail(Unanswered::Dropped);
            return Err(answer);
        }
        match (self.encode)(&answer) {
            Ok(encoded) => {
                self.answerer.answer(encoded);
                Ok(())
            }
            Err(error) => {
                let why = format!("the answer cannot be sent: {error}");
                self.answerer.fail(Unanswered::Undecodable(why));
                Err(answer)
            }
        }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.answerer.is_wanted()
    }

    pub(crate) fn poll_unwanted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.answerer.poll_unwanted(cx)
    }

    /// It was dropped without an answer.
    pub(crate) fn discard(self) {
        if let Err(answerer) = codec::put_aside(self.answerer) {
            answerer.fail(current::discards().map_or(Unanswered::Dropped, Unanswered::Unread));
        }
    }
}

/// Travels in messages of tasks, also to other nodes, and in nothing else. Here, it is then spent: the
/// reply that it becomes is the only one. It comes back with a message that was not sent.
impl<T> Serialize for Reply<T>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let make = || match self.take() {
            Some(Inner::Here(sender)) => Ok(Attached::Reply(Box::new(Expected { sender }))),
            Some(Inner::Far(far)) => Ok(Attached::Reply(Box::new(Relay(far.answerer)))),
            None => Err("a reply in it was sent before, with another message"),
        };
        let put_back = |attached| {
            if let Attached::Reply(pending) = attached
                && let Some(inner) = inner_of(pending)
            {
                self.put_back(inner);
            }
        };
        let index = codec::attach(make, put_back).map_err(S::Error::custom)?;
        serializer.serialize_newtype_struct("Reply", &index)
    }
}

fn inner_of<T>(pending: Box<dyn Pending>) -> Option<Inner<T>>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    let pending: Box<dyn Any> = pending;
    match pending.downcast::<Expected<T>>() {
        Ok(expected) => Some(Inner::Here(expected.sender)),
        Err(other) => other.downcast::<Relay>().ok().map(|relay| far_reply(relay.0)),
    }
}

fn far_reply<T>(answerer: Box<dyn Answerer>) -> Inner<T>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    Inner::Far(Box::new(FarReply { answerer, encode: codec::encode }))
}

impl<'de, T> Deserialize<'de> for Reply<T>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(PhantomData<fn() -> T>);

        impl<'de, T> Visitor<'de> for Visit<T>
        where
            T: Serialize + DeserializeOwned + Send + 'static,
        {
            type Value = Reply<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reply")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<Reply<T>, D::Error> {
                if shape::is_tracing() {
                    // Two replies are alike if what they are for is.
                    let _ = T::deserialize(deserializer);
                    return Ok(Reply::new(None));
                }
                let index = u32::deserialize(deserializer).map_err(codec::not_an_index)?;
                match codec::arrived(index).map_err(D::Error::custom)? {
                    Arrived::Reply(answerer) => Ok(Reply::new(Some(far_reply(answerer)))),
                    Arrived::Task(_) => codec::problem("it has a reference instead of a reply")
                        .map_err(D::Error::custom),
                }
            }
        }

        deserializer.deserialize_newtype_struct("Reply", Visit(PhantomData))
    }
}

/// An answer that is expected here, while its reply travels.
struct Expected<T> {
    sender: oneshot::Sender<Answer<T>>,
}

impl<T: DeserializeOwned + Send + 'static> Pending for Expected<T> {
    fn answer(self: Box<Self>, body: &[u8], attached: Vec<Arrived>) {
        let answer = codec::decode(body, attached).map_or_else(
            |why| {
                let why = format!("the answer: {why}");
                Answer::None(Box::new(Unanswered::Undecodable(why)))
            },
            Answer::Given,
        );
        // Nobody may wait any more.
        let _ = self.sender.send(answer);
    }

    fn fail(self: Box<Self>, why: Unanswered) {
        let _ = self.sender.send(Answer::None(Box::new(why)));
    }

    fn is_wanted(&self) -> bool {
        !self.sender.is_closed()
    }

    fn poll_unwanted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        pin!(self.sender.closed()).poll(cx)
    }
}

/// A reply of another node that is passed on to a third one: its answer goes back through here, unread.
struct Relay(Box<dyn Answerer>);

impl Pending for Relay {
    fn answer(self: Box<Self>, body: &[u8], attached: Vec<Arrived>) {
        let attached = attached.into_iter().map(passed_on).collect();
        self.0.answer(Encoded { body: body.to_vec(), attached });
    }

    fn fail(self: Box<Self>, why: Unanswered) {
        self.0.fail(why);
    }

    fn is_wanted(&self) -> bool {
        self.0.is_wanted()
    }

    fn poll_unwanted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_unwanted(cx)
    }
}

fn passed_on(arrived: Arrived) -> Attached {
    match arrived {
        Arrived::Task(task) => Attached::Task(task),
        Arrived::Reply(answerer) => Attached::Reply(Box::new(Relay(answerer))),
    }
}
