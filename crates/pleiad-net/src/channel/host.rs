//! The task that stands for a channel, on its node.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use pleiad_task::{Channel, Mailbox, Reply, SubscribeError};
use pleiad_types::limits::CHANNEL_WAITING_MAX;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::channel::request::{Counts, NotDelivered, NotSubscribed, Request, size};
use crate::message::Message;

/// See the [module](self).
pub(super) struct Host<T> {
    channel: Channel<T>,
    near: Handle,
    /// Messages that wait for subscribers, or for room.
    // Invariant: at most `CHANNEL_WAITING_MAX`.
    waiting: JoinSet<()>,
}

impl<T: Message + Clone> Host<T> {
    pub(super) fn new(channel: Channel<T>, near: Handle) -> Self {
        Self { channel, near, waiting: JoinSet::new() }
    }

    /// Until the channel is closed, or nobody has it any more.
    pub(super) async fn run(mut self, mut mailbox: Mailbox<Request<T>>) {
        let channel = self.channel.clone();
        let closed = channel.closed();
        tokio::pin!(closed);
        loop {
            tokio::select! {
                biased;
                () = &mut closed => break,
                Some(_) = self.waiting.join_next(), if !self.waiting.is_empty() => (),
                request = mailbox.recv() => match request {
                    Some(request) => self.act(request).await,
                    None => break,
                },
            }
        }
        mailbox.close();
        // They end with the channel, or with those who wait.
        while self.waiting.join_next().await.is_some() {}
    }

    async fn act(&mut self, request: Request<T>) {
        match request {
            Request::Publish(message) => drop(self.channel.send(message)),
            Request::Deliver { message, at_least, timeout, reply } => {
                self.deliver(message, at_least.map(size), timeout, reply).await;
            }
            Request::Subscribe { task, instead_of, reply } => {
                if let Some(before) = instead_of {
                    self.channel.unsubscribe(&before);
                }
                let subscribed = self.channel.subscribe(&task);
                reply.send(subscribed.map(drop).map_err(|error| match error {
                    SubscribeError::TaskClosed { .. } => NotSubscribed::TaskClosed,
                    _ => NotSubscribed::ChannelClosed,
                }));
            }
            Request::Unsubscribe { task, reply } => reply.send(self.channel.unsubscribe(&task)),
        }
    }

    async fn deliver(
        &mut self,
        message: T,
        at_least: Option<usize>,
        timeout: Option<Duration>,
        mut reply: Reply<Result<Counts, NotDelivered>>,
    ) {
        if self.waiting.len() >= CHANNEL_WAITING_MAX {
            return reply.send(Err(NotDelivered::Busy));
        }
        let channel = self.channel.clone();
        let mut delivery = Box::pin(async move {
            let mut delivery = channel.deliver(message);
            if let Some(subscribers) = at_least {
                delivery = delivery.at_least(subscribers);
            }
            if let Some(timeout) = timeout {
                delivery = delivery.timeout(timeout);
            }
            let delivered = tokio::select! {
                biased;
                delivered = delivery => delivered,
                () = reply.unwanted() => return,
            };
            reply.send(delivered.map(Counts::from).map_err(NotDelivered::from));
        });
        // The first step is made here: so it is before what the same publisher sends next.
        let is_over = poll_fn(|cx| Poll::Ready(delivery.as_mut().poll(cx).is_ready())).await;
        if !is_over {
            self.waiting.spawn_on(delivery, &self.near);
        }
    }
}
