//! What has a name: the type of what it takes, for nodes to compare and for people to read.

use pleiad_task::far::shape::{Shape, shape_of};

use crate::message::Message;

/// Two are the same if their definitions are, and if both are of tasks, of channels or of services.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub(crate) hash: u64,
    pub(crate) text: String,
}

impl Kind {
    pub(crate) fn of_task<M: Message>() -> Self {
        let shape = shape_of::<M>();
        Self { hash: shape.hash, text: shape.text.clone() }
    }

    pub(crate) fn of_channel<T: Message>() -> Self {
        let shape = shape_of::<T>();
        Self {
            hash: hash("channel", &[&shape]),
            text: format!("what a channel does ({})", shape.text),
        }
    }

    pub(crate) fn of_service<A: Message, R: Message, M: Message>() -> Self {
        let (args, result, messages) = (shape_of::<A>(), shape_of::<R>(), shape_of::<M>());
        Self {
            hash: hash("service", &[&args, &result, &messages]),
            text: format!("calls: {} -> {}", args.text, result.text),
        }
    }
}

/// FNV-1a, as the hashes of shapes are.
fn hash(word: &str, shapes: &[&Shape]) -> u64 {
    let bytes = shapes.iter().flat_map(|shape| shape.hash.to_le_bytes());
    word.bytes().chain(bytes).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use pleiad_task::NoMessage;

    use super::*;

    #[test]
    fn a_channel_a_service_and_a_task_of_the_same_type_differ() {
        let hashes = [
            Kind::of_task::<u64>().hash,
            Kind::of_channel::<u64>().hash,
            Kind::of_service::<u64, u64, u64>().hash,
            Kind::of_service::<u64, u64, NoMessage>().hash,
            Kind::of_service::<u64, String, u64>().hash,
            Kind::of_service::<String, u64, u64>().hash,
        ];
        let different: std::collections::HashSet<_> = hashes.into_iter().collect();
        assert_eq!(different.len(), hashes.len());
        assert_eq!(Kind::of_service::<u64, String, NoMessage>().text, "calls: u64 -> str");
    }
}
