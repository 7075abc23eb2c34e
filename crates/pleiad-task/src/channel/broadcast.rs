use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::futures::OwnedNotified;

use crate::channel::error::PublishError;
use crate::channel::hub::{CHANGED, Hub};
use crate::channel::round::{Published, Round};
use crate::deadline::Deadline;

/// A message on its way to all subscribers: see [`Channel::deliver`](crate::Channel::deliver).
#[must_use = "a message is delivered when this is awaited"]
pub struct Broadcast<'a, T> {
    channel: &'a Arc<Hub<T>>,
    step: Step<T>,
    at_least: Option<usize>,
    deadline: Deadline,
    changed: Option<Pin<Box<OwnedNotified>>>,
    /// Whether subscriptions may have ended since it was looked.
    news: bool,
}

enum Step<T> {
    Start(T),
    /// The message is transformed, and waits for subscribers.
    Subscribers(T),
    /// It waits for room in mailboxes. `wanted`: how many are to get it.
    Room {
        round: Round,
        wanted: usize,
    },
    Done,
}

impl<'a, T> Broadcast<'a, T> {
    pub(super) fn new(channel: &'a Arc<Hub<T>>, message: T) -> Self {
        let (step, deadline) = (Step::Start(message), Deadline::None);
        Self { channel, step, at_least: None, deadline, changed: None, news: false }
    }

    /// First waits until there are so many tasks and streams, over all levels of channels; then
    /// delivers to all that are there, and is ready as soon as so many have the message and nobody
    /// else has room: the others miss it. Zero waits for nobody, as
    /// [`send`](crate::Channel::send).
    pub fn at_least(mut self, subscribers: usize) -> Self {
        self.at_least = Some(subscribers);
        self
    }

    /// Gives up after so long, waiting for subscribers and waiting for room taken together. Default:
    /// never.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.deadline = Deadline::Later(after);
        self
    }
}

impl<T: Clone> Broadcast<'_, T> {
    /// Makes one step: with a result, if it was the last, or pending, if it waits.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Published>, PublishError>> {
        match std::mem::replace(&mut self.step, Step::Done) {
            Step::Start(message) => {
                let Ok(snapshot) = self.channel.snapshot() else {
                    return Poll::Ready(Err(self.channel.closed()));
                };
                let Some(message) = self.channel.transform(&snapshot, message) else {
                    let published = Published { filtered: 1, ..Published::default() };
                    return Poll::Ready(Ok(Some(published)));
                };
                if self.at_least.is_some_and(|wanted| wanted > 0) {
                    self.listen();
                    self.step = Step::Subscribers(message);
                    return Poll::Ready(Ok(None));
                }
                let mut round = Round { waits: self.at_least.is_none(), ..Round::default() };
                self.channel.spread(snapshot, message, &mut round);
                let wanted = round.published.reached + round.pending.len();
                self.step = Step::Room { round, wanted };
            }
            Step::Subscribers(message) => {
                let Ok(snapshot) = self.channel.snapshot() else {
                    return Poll::Ready(Err(self.channel.closed()));
                };
                let wanted = self.at_least.unwrap_or(0);
                if self.channel.reach(wanted) < wanted {
                    self.step = Step::Subscribers(message);
                    return Poll::Pending;
                }
                let mut round = Round { waits: true, ..Round::default() };
                self.channel.spread(snapshot, message, &mut round);
                self.step = Step::Room { round, wanted };
            }
            Step::Room { mut round, wanted } => {
                if !self.is_enough(&round) {
                    round.poll_pending(cx);
                    if self.news {
                        round.give_up_ended();
                    }
                }
                if !self.is_enough(&round) && !round.pending.is_empty() {
                    self.step = Step::Room { round, wanted };
                    return Poll::Pending;
                }
                round.give_up();
                return Poll::Ready(self.outcome(round.published).map(Some));
            }
            Step::Done => return Poll::Ready(Ok(Some(Published::default()))),
        }
        Poll::Ready(Ok(None))
    }

    /// Whether those who have no room yet are not waited for.
    fn is_enough(&self, round: &Round) -> bool {
        self.at_least.is_some_and(|wanted| round.published.reached >= wanted)
    }

    fn outcome(&self, published: Published) -> Result<Published, PublishError> {
        let Published { reached, filtered, .. } = published;
        match self.at_least {
            Some(wanted) if reached < wanted && filtered == 0 => Err(PublishError::TooFew {
                channel: self.channel.name.to_string(),
                reached,
                wanted,
            }),
            _ => Ok(published),
        }
    }

    fn timed_out(&mut self, after: Duration) -> Result<Published, PublishError> {
        let (reached, wanted) = match std::mem::replace(&mut self.step, Step::Done) {
            Step::Room { mut round, wanted } => {
                round.give_up();
                // It may have got in at the last moment.
                if round.published.reached >= wanted {
                    return Ok(round.published);
                }
                (round.published.reached, wanted)
            }
            _ => (0, self.at_least.unwrap_or(0)),
        };
        let channel = self.channel.name.to_string();
        Err(PublishError::TimedOut { channel, reached, wanted, after })
    }

    /// From here on no change of subscribers is missed.
    fn listen(&mut self) {
        self.changed = Some(Box::pin(CHANGED.clone().notified_owned()));
    }

    /// Whether there was a change since the last call. Wakes when there is one.
    fn has_changed(&mut self, cx: &mut Context<'_>) -> bool {
        let waits = |changed: &mut Pin<Box<OwnedNotified>>| changed.as_mut().poll(cx).is_pending();
        let waits = self.changed.as_mut().is_some_and(waits);
        if !waits {
            self.listen();
        }
        !waits
    }
}

impl<T: Clone> Future for Broadcast<'_, T> {
    type Output = Result<Published, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match this.poll_step(cx) {
                Poll::Ready(Ok(Some(published))) => return Poll::Ready(Ok(published)),
                Poll::Ready(Ok(None)) => (),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.news = this.has_changed(cx);
                    if !this.news {
                        break;
                    }
                }
            }
        }
        let Poll::Ready(after) = this.deadline.poll(cx) else { return Poll::Pending };
        Poll::Ready(this.timed_out(after))
    }
}

// Nothing in it is pinned but the boxes.
impl<T> Unpin for Broadcast<'_, T> {}

impl<T> fmt::Debug for Broadcast<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broadcast on {}", self.channel.name)
    }
}
