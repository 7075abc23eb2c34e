//! The future that tokio runs: the user's, and around it the task's life.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use crate::cell::{End, TaskCell};
use crate::current;
use crate::exit::{Exit, Failure};
use crate::queue::bits::{KILLED, STOPPED};

/// What the end of a function means: [`Plain`] or [`Fallible`].
pub(crate) trait Outcome<R>: Send {
    type Value: Send;

    fn judge(output: R) -> Result<Self::Value, String>;
}

/// Whatever it returns, the function has returned.
pub(crate) struct Plain;

impl<R: Send> Outcome<R> for Plain {
    type Value = R;

    fn judge(output: R) -> Result<R, String> {
        Ok(output)
    }
}

/// A function that returns an error has failed.
pub(crate) struct Fallible;

impl<R: Send, E: std::fmt::Display> Outcome<Result<R, E>> for Fallible {
    type Value = R;

    fn judge(output: Result<R, E>) -> Result<R, String> {
        // The alternate form of anyhow's errors, and of those made alike, is the chain of causes.
        output.map_err(|error| format!("{error:#}"))
    }
}

pin_project! {
    pub(crate) struct Runner<M, F, O> {
        #[pin]
        future: Option<F>,
        cell: Arc<TaskCell<M>>,
        extras: Option<Box<Extras>>,
        // Whether the cell knows the waker.
        rooted: bool,
        outcome: PhantomData<fn() -> O>,
    }

    impl<M, F, O> PinnedDrop for Runner<M, F, O> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            // Still there: the runtime is shut down, and drops its tasks.
            if this.future.is_some() {
                let _entered = current::enter(this.cell.id(), Arc::as_ptr(this.cell) as usize);
                let dropped = current::catch(|| this.future.set(None));
                this.cell.finish(dropped.map_or_else(End::Failed, |()| End::Terminated));
            }
        }
    }
}

/// What few tasks need.
#[derive(Default)]
struct Extras {
    /// Its grace, and the end of it, once it was asked to stop.
    grace: Option<(Duration, Pin<Box<Sleep>>)>,
    /// If somebody listens.
    span: Option<tracing::Span>,
}

impl<M, F, O> Runner<M, F, O> {
    pub(crate) fn new(cell: Arc<TaskCell<M>>, future: F) -> Self {
        let span = tracing::debug_span!(
            target: "pleiad",
            "task",
            id = cell.id().number(),
            name = tracing::field::Empty
        );
        let extras = (!span.is_disabled()).then(|| {
            span.record("name", cell.identity().name());
            Box::new(Extras { grace: None, span: Some(span) })
        });
        Self { future: Some(future), cell, extras, rooted: false, outcome: PhantomData }
    }
}

impl<M, F, O> Future for Runner<M, F, O>
where
    F: Future,
    O: Outcome<F::Output>,
{
    type Output = Result<O::Value, Exit>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let queue = &this.cell.queue;
        let span = this.extras.as_ref().and_then(|extras| extras.span.clone());
        let _in_span = span.as_ref().map(tracing::Span::enter);
        let _entered = current::enter(this.cell.id(), Arc::as_ptr(this.cell) as usize);

        loop {
            let before = queue.attention();
            let end = if is_to_be_dropped(before) {
                Err(End::Terminated)
            } else {
                // An error may panic when it is made into a text.
                let poll = || {
                    this.future.as_mut().as_pin_mut().map(|future| future.poll(cx).map(O::judge))
                };
                match current::catch(poll) {
                    Ok(Some(Poll::Pending)) => {
                        queue.settle();
                        if !*this.rooted {
                            *this.rooted = true;
                            queue.set_root(cx.waker());
                        }
                        let now = queue.attention();
                        if is_to_be_dropped(now) {
                            continue;
                        }
                        if now & STOPPED == 0 {
                            return Poll::Pending;
                        }
                        ready!(poll_grace(this.extras, this.cell, cx));
                        let task = this.cell.identity();
                        tracing::warn!(%task, "a task did not stop within its grace");
                        queue.stop(KILLED);
                        continue;
                    }
                    Ok(Some(Poll::Ready(Ok(value)))) => Ok(value),
                    Ok(Some(Poll::Ready(Err(message)))) => {
                        let failure = Failure { message, location: None, backtrace: None };
                        Err(End::Failed(Box::new(failure)))
                    }
                    Ok(None) => Err(End::Terminated),
                    Err(failure) => Err(End::Failed(failure)),
                }
            };
            let dropped = current::catch(|| this.future.set(None));
            return Poll::Ready(match (end, dropped) {
                (Ok(value), Ok(())) => {
                    this.cell.finish(End::Returned);
                    Ok(value)
                }
                (Err(end @ End::Failed(_)), _) => Err(this.cell.fail(end)),
                (_, Err(failure)) => Err(this.cell.fail(End::Failed(failure))),
                (Err(end), Ok(())) => Err(this.cell.fail(end)),
            });
        }
    }
}

/// At once, whatever it does.
fn is_to_be_dropped(attention: u32) -> bool {
    attention & KILLED != 0
}

#[cold]
fn poll_grace<M>(
    extras: &mut Option<Box<Extras>>,
    cell: &TaskCell<M>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    let extras = extras.get_or_insert_default();
    let grace = cell.grace();
    // It may be asked again, with another.
    if extras.grace.as_ref().is_none_or(|(before, _)| *before != grace) {
        extras.grace = None;
    }
    let (_, end) = match &mut extras.grace {
        Some(running) => running,
        none => match current::catch(|| Box::pin(sleep(grace))) {
            Ok(sleep) => none.insert((grace, sleep)),
            Err(failure) => {
                let task = cell.identity();
                tracing::error!(%task, %failure, "a task gets no grace: its runtime has no timers");
                return Poll::Ready(());
            }
        },
    };
    end.as_mut().poll(cx)
}
