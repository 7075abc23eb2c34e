//! The far side of the measurements: a task that every `pleiad node` has.

use std::sync::Arc;

use pleiad::net::Node;
use pleiad::{Mailbox, RegisterError, Reply, TaskBuilder};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::mesh::bench::raw::{self, Place};

/// By which it is found.
pub(super) const NAME: &str = "bench";

/// Raw connections that are open or waited for at once.
const RAW_MAX: usize = 4;

/// What it takes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// Counts.
    Body(#[serde(with = "serde_bytes")] Vec<u8>),
    /// How many bodies there were since it was asked before.
    Count(Reply<u64>),
    /// Answers at once.
    Ask(#[serde(with = "serde_bytes")] Vec<u8>, Reply<u64>),
    /// Waits for a raw connection.
    Raw(Reply<Result<Place, String>>),
}

/// Lets others measure to this node.
pub(crate) fn offer(node: &Node) -> Result<(), RegisterError> {
    let address = node.addresses().first().cloned();
    let task = TaskBuilder::new().name(NAME).spawn(|mailbox| answer(mailbox, address));
    node.register(NAME, &task)
}

async fn answer(mut mailbox: Mailbox<Message>, address: Option<String>) {
    let raw = Arc::new(Semaphore::new(RAW_MAX));
    let mut count = 0;
    while let Some(message) = mailbox.recv().await {
        match message {
            Message::Body(_) => count += 1,
            Message::Count(reply) => reply.send(std::mem::take(&mut count)),
            Message::Ask(body, reply) => reply.send(body.len() as u64),
            Message::Raw(reply) => {
                let permit = raw.clone().try_acquire_owned();
                let place = match permit {
                    Ok(permit) => raw::serve(address.as_deref(), permit).await,
                    Err(_) => Err("others are measuring at this moment".to_owned()),
                };
                reply.send(place);
            }
        }
    }
}
