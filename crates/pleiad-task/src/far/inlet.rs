//! Where messages of other nodes come in.

use std::any::{self, Any};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::any::AnyTask;
use crate::far::codec;
use crate::far::target::{Arrived, How};
use crate::queue::{Queue, Refusal};
use crate::reference::TaskRef;
use crate::reply::Unanswered;
use crate::send::{DeliverError, SendError};

/// A buffer for more messages than this is given back.
const KEPT_MESSAGES: usize = 1024;

/// The way into the mailbox of a task, for messages of other nodes. Keeps the mailbox open.
pub trait Inlet: Any + Send + Sync {
    /// Which task.
    fn any(&self) -> AnyTask;

    /// What messages it takes: the path of their type, for errors.
    fn type_name(&self) -> &'static str;

    /// Has the task take no more messages.
    fn close(&self);

    /// Puts arrivals into the mailbox, from the front, as many as there is room for. Those that cannot
    /// be read are taken out too, and whoever waits for an answer to one of them is told.
    ///
    /// They stay in order, whatever their [`How`]: an urgent one that is to overtake those that wait is
    /// to be given in another queue than they.
    fn accept(&self, arrivals: &mut VecDeque<Arrival>) -> Accepted;

    /// Puts one into the mailbox when there is room. If the future is dropped, so is the message, unless
    /// it has got in.
    fn deliver(
        &self,
        arrival: Arrival,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refused>> + Send>>;
}

/// A message that has come from another node.
pub struct Arrival {
    content: Content,
    how: How,
}

enum Content {
    Unread(Bytes, Vec<Arrived>),
    /// It has been read, and then there was no room.
    Read(Box<dyn Any + Send>),
    /// It could not be read, and why.
    Undecodable(String),
}

/// What [`Inlet::accept`] has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// So many arrivals were taken out of the front.
    pub taken: usize,
    /// Which of these were not put into the mailbox, and why: they could not be read. The index is that
    /// in the arrivals as they were before; ascending.
    pub undecodable: Vec<(usize, String)>,
    /// Why not all were taken.
    pub stopped: Option<Stopped>,
}

/// Why [`Inlet::accept`] has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// There is no room.
    Full,
    /// Nothing more is accepted.
    Closed,
}

/// Why a message that has come was not put into the mailbox. Whoever waits for an answer to it has been
/// told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no room for another urgent one.
    Full,
    /// Nothing more is accepted.
    Closed,
    /// It could not be read, and why.
    Undecodable(String),
    /// It has gone on to a task of a third node, and has not come there for certain.
    Lost(String),
}

impl Arrival {
    /// A message that has come: its bytes, and what is attached to it.
    pub fn new(body: Bytes, attached: Vec<Arrived>, how: How) -> Self {
        Self { content: Content::Unread(body, attached), how }
    }

    /// As it was sent.
    pub fn how(&self) -> How {
        self.how
    }

    /// It will not be put into a mailbox: whoever waits for an answer to it is told why.
    pub fn refuse(self, why: &Unanswered) {
        match self.content {
            Content::Unread(_, attached) => {
                for arrived in attached {
                    if let Arrived::Reply(answerer) = arrived {
                        answerer.fail(why.clone());
                    }
                }
            }
            Content::Read(message) => codec::fail_replies(why, || drop(message)),
            Content::Undecodable(_) => (),
        }
    }

    fn read<M: DeserializeOwned + Send + 'static>(self) -> Result<M, String> {
        match self.content {
            Content::Unread(body, attached) => codec::decode(&body, attached),
            Content::Read(message) => message
                .downcast()
                .map(|message| *message)
                .map_err(|_| "it was read before, as another type of message".to_owned()),
            Content::Undecodable(why) => Err(why),
        }
    }
}

struct Local<M> {
    task: TaskRef<M>,
    /// An empty buffer, to be used again.
    spare: Mutex<Vec<M>>,
}

pub(super) fn of<M>(task: &TaskRef<M>) -> Arc<dyn Inlet>
where
    M: Serialize + DeserializeOwned + Send + 'static,
{
    Arc::new(Local { task: task.clone(), spare: Mutex::default() })
}

impl<M: DeserializeOwned + Send + 'static> Inlet for Local<M> {
    fn any(&self) -> AnyTask {
        self.task.any()
    }

    fn type_name(&self) -> &'static str {
        any::type_name::<M>()
    }

    fn close(&self) {
        self.task.close();
    }

    fn accept(&self, arrivals: &mut VecDeque<Arrival>) -> Accepted {
        let mut accepted = Accepted::default();
        let mut read = mem::take(&mut *self.spare());
        while accepted.stopped.is_none()
            && let Some(first) = arrivals.front()
        {
            match first.how {
                How::Normal => self.accept_run(arrivals, &mut read, &mut accepted),
                How::Urgent | How::Exempt => self.accept_one(arrivals, &mut accepted),
            }
        }
        if read.capacity() <= KEPT_MESSAGES {
            *self.spare() = read;
        }
        accepted
    }

    fn deliver(
        &self,
        arrival: Arrival,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refused>> + Send>> {
        let task = self.task.clone();
        Box::pin(async move {
            let how = arrival.how;
            let message = arrival.read::<M>().map_err(Refused::Undecodable)?;
            let (refused, message) = match how {
                How::Normal => match task.deliver(message).await {
                    Ok(()) => return Ok(()),
                    Err(error) => (refused_delivery(&error), error.into_message()),
                },
                How::Urgent => match task.send_urgent(message) {
                    Ok(()) => return Ok(()),
                    Err(error) => (refused_sending(&error), error.into_message()),
                },
                How::Exempt => match task.cell.queue.push_exempt(message) {
                    Ok(()) => return Ok(()),
                    Err(message) => (Refused::Closed, message),
                },
            };
            codec::fail_replies(&unanswered(&refused), || drop(message));
            Err(refused)
        })
    }
}

impl<M: DeserializeOwned + Send + 'static> Local<M> {
    /// Takes normal messages, until one of another kind, or one that cannot be read, or as many as there
    /// is room for.
    fn accept_run(
        &self,
        arrivals: &mut VecDeque<Arrival>,
        read: &mut Vec<M>,
        accepted: &mut Accepted,
    ) {
        let room = match self.queue().room() {
            Ok(room) => room,
            Err(refusal) => return accepted.stop(refusal),
        };
        let mut undecodable = None;
        while read.len() < room
            && undecodable.is_none()
            && let Some(arrival) = arrivals.pop_front_if(|next| next.how == How::Normal)
        {
            match arrival.read() {
                Ok(message) => read.push(message),
                Err(why) => undecodable = Some(why),
            }
        }
        let before = read.len();
        let pushed = self.queue().push_many(read);
        accepted.taken += before - read.len();
        if let Err(refusal) = pushed {
            // They were read while the room went to others.
            if let Some(why) = undecodable {
                let content = Content::Undecodable(why);
                arrivals.push_front(Arrival { content, how: How::Normal });
            }
            for message in read.drain(..).rev() {
                let content = Content::Read(Box::new(message));
                arrivals.push_front(Arrival { content, how: How::Normal });
            }
            accepted.stop(refusal);
        } else if let Some(why) = undecodable {
            accepted.skip(why);
        }
    }

    /// Takes the first.
    fn accept_one(&self, arrivals: &mut VecDeque<Arrival>, accepted: &mut Accepted) {
        let Some(arrival) = arrivals.pop_front() else { return };
        let how = arrival.how;
        let message = match arrival.read() {
            Ok(message) => message,
            Err(why) => return accepted.skip(why),
        };
        let pushed = match how {
            How::Urgent => self.queue().push_urgent(message),
            How::Normal => self.queue().push(message),
            How::Exempt => {
                let pushed = self.queue().push_exempt(message);
                pushed.map_err(|message| (Refusal::Closed, message))
            }
        };
        match pushed {
            Ok(()) => accepted.taken += 1,
            Err((refusal, message)) => {
                arrivals.push_front(Arrival { content: Content::Read(Box::new(message)), how });
                accepted.stop(refusal);
            }
        }
    }

    fn queue(&self) -> &Queue<M> {
        &self.task.cell.queue
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<M>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accepted {
    fn stop(&mut self, refusal: Refusal) {
        self.stopped = Some(match refusal {
            Refusal::Full => Stopped::Full,
            Refusal::Closed | Refusal::Lost | Refusal::Unsendable => Stopped::Closed,
        });
    }

    fn skip(&mut self, why: String) {
        self.undecodable.push((self.taken, why));
        self.taken += 1;
    }
}

fn refused_delivery<M>(error: &DeliverError<M>) -> Refused {
    match error {
        DeliverError::Lost { peer, .. } => Refused::Lost(peer.clone()),
        DeliverError::Unsendable { why, .. } => Refused::Undecodable(why.clone()),
        _ => Refused::Closed,
    }
}

fn refused_sending<M>(error: &SendError<M>) -> Refused {
    match error {
        SendError::Full { .. } => Refused::Full,
        SendError::Closed { .. } => Refused::Closed,
        SendError::Lost { peer, .. } => Refused::Lost(peer.clone()),
        SendError::Unsendable { why, .. } => Refused::Undecodable(why.clone()),
    }
}

fn unanswered(refused: &Refused) -> Unanswered {
    match refused {
        Refused::Full | Refused::Closed => Unanswered::Closed,
        Refused::Undecodable(why) => Unanswered::Undecodable(why.clone()),
        Refused::Lost(peer) => Unanswered::Lost(peer.clone()),
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = match &self.content {
            Content::Unread(body, _) => return write!(f, "arrival of {} bytes", body.len()),
            Content::Read(_) => "arrival that was read",
            Content::Undecodable(_) => "arrival that cannot be read",
        };
        f.write_str(content)
    }
}
