//! References that have travelled: who must be kept reachable for whom.
//!
//! Each time that a task is mentioned to the peer, a count goes up here. The peer counts the same on its
//! side, and when it needs the task no more it says how often it was mentioned until then: so a mention
//! that is on its way meanwhile is not forgotten.

use std::collections::BTreeMap;

use pleiad_types::NodeId;

use crate::wire::Violation;

/// A task anywhere.
pub type Place = (NodeId, u64);

#[derive(Debug, Default)]
pub(crate) struct References {
    /// Mentioned to the peer, and how often.
    given: BTreeMap<Place, u64>,
    /// Mentioned by the peer, and how often.
    got: BTreeMap<Place, u64>,
}

impl References {
    /// A task is mentioned to the peer. True, if it was not before: then it is to be kept reachable.
    pub(crate) fn give(&mut self, place: Place) -> bool {
        let count = self.given.entry(place).or_default();
        *count += 1;
        *count == 1
    }

    /// The peer has mentioned a task.
    pub(crate) fn handle_got(&mut self, place: Place) {
        *self.got.entry(place).or_default() += 1;
    }

    /// A task that the peer has mentioned is needed no more. How often it was, if ever.
    pub(crate) fn release(&mut self, place: Place) -> Option<u64> {
        self.got.remove(&place)
    }

    /// The peer needs a task no more that was mentioned so often. True, if it is not mentioned again.
    pub(crate) fn handle_released(&mut self, place: Place, count: u64) -> Result<bool, Violation> {
        const WRONG: Violation = Violation::OutOfPlace("it gives back more than it got");
        let Some(given) = self.given.get_mut(&place) else { return Err(WRONG) };
        *given = given.checked_sub(count).ok_or(WRONG)?;
        let is_over = *given == 0;
        if is_over {
            self.given.remove(&place);
        }
        Ok(is_over)
    }

    /// A mention did not go. True, if the task is not mentioned any more.
    pub(crate) fn take_back(&mut self, place: Place) -> bool {
        self.handle_released(place, 1) == Ok(true)
    }

    /// A task of ours has ended: nobody needs to give it back. Whether it was given.
    pub(crate) fn is_given(&self, place: Place) -> bool {
        self.given.contains_key(&place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: Place = (NodeId(1), 12);

    #[test]
    fn a_mention_on_its_way_keeps_a_task_that_is_given_back() {
        let (mut home, mut peer) = (References::default(), References::default());
        assert!(home.give(TASK));
        peer.handle_got(TASK);
        assert!(!home.give(TASK), "it is on its way");
        let count = peer.release(TASK).unwrap();
        assert_eq!(home.handle_released(TASK, count), Ok(false));
        peer.handle_got(TASK);
        let count = peer.release(TASK).unwrap();
        assert_eq!(home.handle_released(TASK, count), Ok(true));
        assert!(home.handle_released(TASK, 1).is_err());
    }
}
