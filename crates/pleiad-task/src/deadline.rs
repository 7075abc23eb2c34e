//! Time limits of waits.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};

use crate::block;

/// A time limit that costs nothing until something waits.
pub(crate) enum Deadline {
    None,
    Later(Duration),
    Running(Duration, Pin<Box<Sleep>>),
    /// In a thread that is blocked, by its own clock: `None` is never.
    OfThread(Duration, Option<Instant>),
}

impl Deadline {
    /// Ready, with the time that it was, when it is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Duration> {
        if let Self::Later(after) = *self {
            *self = if block::is_blocked() {
                Self::OfThread(after, Instant::now().checked_add(after))
            } else {
                Self::Running(after, Box::pin(sleep(after)))
            };
        }
        match self {
            Self::Running(after, sleep) => sleep.as_mut().poll(cx).map(|()| *after),
            Self::OfThread(after, Some(end)) if *end <= Instant::now() => Poll::Ready(*after),
            Self::OfThread(_, Some(end)) => {
                block::wake_at(*end);
                Poll::Pending
            }
            Self::None | Self::Later(_) | Self::OfThread(_, None) => Poll::Pending,
        }
    }
}
