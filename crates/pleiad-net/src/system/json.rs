//! What has a name here, for those who have nothing but JSON.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use pleiad_task::{SendError, TaskRef};

use crate::message::Message;
use crate::system::wire::Refusal;

/// How JSON comes to what has a name.
#[derive(Clone)]
pub(crate) enum Json {
    /// As a message to a task.
    Message(JsonInlet),
    /// As the arguments of a service.
    Call(JsonCall),
    /// Not at all, since it is this.
    None(&'static str),
}

/// Puts a message made of JSON into a mailbox.
pub(crate) type JsonInlet = Arc<dyn Fn(&str) -> Result<(), Refusal> + Send + Sync>;

/// Calls a service with arguments made of JSON, for a result as JSON. The error is [`Refusal::Json`],
/// [`Refusal::Busy`] or [`Refusal::Failed`]. It is dropped if nobody wants the result any more.
pub(crate) type JsonCall = Arc<dyn Fn(String) -> Calling + Send + Sync>;

type Calling = Pin<Box<dyn Future<Output = Result<String, Refusal>> + Send>>;

/// The inlet of a task. Keeps its mailbox open.
pub(crate) fn inlet<M: Message>(task: &TaskRef<M>) -> JsonInlet {
    let task = task.clone();
    Arc::new(move |json| {
        let message = read::<M>(json).map_err(Refusal::Json)?;
        task.send(message).map_err(|error| match error {
            SendError::Full { .. } => Refusal::Busy,
            _ => Refusal::NoSuchName,
        })
    })
}

/// Reads a value of a user's type; a panic of its `Deserialize` is an error.
pub(crate) fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(|| serde_json::from_str(json))) {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(_) => Err("its type has panicked while it was read".to_owned()),
    }
}
