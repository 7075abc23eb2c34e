use serde::Serialize;
use serde::de::DeserializeOwned;

/// What can travel between nodes: whatever serde can write and read. Implemented for all of it.
///
/// Both sides need the same definition; that it is the same is checked when a task is located. Messages
/// may contain references to tasks and replies, wherever these are.
pub trait Message: Serialize + DeserializeOwned + Send + 'static {}

impl<M: Serialize + DeserializeOwned + Send + 'static> Message for M {}
