//! Channels that other nodes publish on and subscribe to.

use std::sync::Arc;

use pleiad_task::{Channel, TaskBuilder};

use crate::error::RegisterError;
use crate::kind::Kind;
use crate::mesh::Mesh;
use crate::message::Message;
use crate::registry::{Offer, Subject};
use crate::system::json::Json;

pub(crate) mod error;
pub(crate) mod forward;
mod host;
pub(crate) mod locate;
pub(crate) mod remote;
mod request;
pub(crate) mod stream;

/// Lets others find a channel. A task stands for it, which does what they ask for.
pub(crate) fn register<T: Message + Clone>(
    mesh: &Arc<Mesh>,
    channel: &Channel<T>,
) -> Result<(), RegisterError> {
    let name = channel.name();
    if channel.is_closed() {
        return Err(RegisterError::Closed(name.to_owned()));
    }
    if mesh.registry.has_subject(name, channel) {
        return Ok(());
    }
    let host = host::Host::new(channel.clone(), mesh.near().clone());
    let builder = TaskBuilder::new().name(name).daemon(true).on(mesh.near());
    let task = builder.spawn(|mailbox| host.run(mailbox)).detach();
    // If the name is taken, the task has nobody who could send to it, and ends.
    let subject: Subject = Box::new(channel.clone());
    let offer = Offer {
        kind: Kind::of_channel::<T>(),
        json: Json::None("a channel"),
        subject: Some(subject),
    };
    mesh.register(name, &task, offer)
}
