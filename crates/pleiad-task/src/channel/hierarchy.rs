//! Which channel is subscribed to which, in this process.
//!
//! A cycle can be made by two threads that do not know of each other, so there is one lock for all
//! channels, held while one is subscribed to another: never while something is published.

use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use pleiad_types::limits::CHANNEL_LEVELS_MAX;

static LINKS: LazyLock<Mutex<Links>> = LazyLock::new(Mutex::default);

/// Why there can be no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Forbidden {
    Cycle,
    TooDeep,
}

/// Channels with channels below or above them. Others are not here.
#[derive(Default)]
pub(super) struct Links {
    children: HashMap<u64, Vec<u64>>,
    parents: HashMap<u64, Vec<u64>>,
}

/// Until this is dropped, no link comes or goes.
pub(super) fn lock() -> MutexGuard<'static, Links> {
    LINKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The channel is closed.
pub(super) fn forget(channel: u64) {
    lock().remove_all(channel);
}

impl Links {
    /// Whether `child` may be subscribed to `parent`.
    pub(super) fn check(&self, parent: u64, child: u64) -> Result<(), Forbidden> {
        if self.leads_to(child, parent, &mut HashSet::new()) {
            return Err(Forbidden::Cycle);
        }
        let below = levels(&self.children, child, &mut HashMap::new());
        let above = levels(&self.parents, parent, &mut HashMap::new());
        if above + below > CHANNEL_LEVELS_MAX { Err(Forbidden::TooDeep) } else { Ok(()) }
    }

    pub(super) fn add(&mut self, parent: u64, child: u64) {
        let children = self.children.entry(parent).or_default();
        if !children.contains(&child) {
            children.push(child);
            self.parents.entry(child).or_default().push(parent);
        }
    }

    pub(super) fn remove(&mut self, parent: u64, child: u64) {
        take_out(&mut self.children, parent, child);
        take_out(&mut self.parents, child, parent);
    }

    fn remove_all(&mut self, channel: u64) {
        for child in self.children.remove(&channel).unwrap_or_default() {
            take_out(&mut self.parents, child, channel);
        }
        for parent in self.parents.remove(&channel).unwrap_or_default() {
            take_out(&mut self.children, parent, channel);
        }
    }

    /// Calls itself at most [`CHANNEL_LEVELS_MAX`] deep.
    fn leads_to(&self, from: u64, to: u64, seen: &mut HashSet<u64>) -> bool {
        if from == to {
            return true;
        }
        if !seen.insert(from) {
            return false;
        }
        let below = self.children.get(&from);
        below.is_some_and(|below| below.iter().any(|&child| self.leads_to(child, to, seen)))
    }
}

/// How many channels are above each other in `links` from `from` on, with itself.
fn levels(links: &HashMap<u64, Vec<u64>>, from: u64, known: &mut HashMap<u64, usize>) -> usize {
    if let Some(&levels) = known.get(&from) {
        return levels;
    }
    let next = links.get(&from).into_iter().flatten();
    let levels = 1 + next.map(|&next| levels(links, next, known)).max().unwrap_or(0);
    known.insert(from, levels);
    levels
}

fn take_out(links: &mut HashMap<u64, Vec<u64>>, from: u64, to: u64) {
    if let Some(ends) = links.get_mut(&from) {
        ends.retain(|&end| end != to);
        if ends.is_empty() {
            links.remove(&from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_is_found_however_long_it_is() {
        let mut links = Links::default();
        links.add(1, 2);
        links.add(2, 3);
        assert_eq!(links.check(1, 1), Err(Forbidden::Cycle));
        assert_eq!(links.check(2, 1), Err(Forbidden::Cycle));
        assert_eq!(links.check(3, 1), Err(Forbidden::Cycle));
        assert_eq!(links.check(1, 3), Ok(()), "two ways are no cycle");
    }

    #[test]
    fn what_is_taken_out_leaves_nothing() {
        let mut links = Links::default();
        links.add(1, 2);
        links.add(1, 2);
        links.add(2, 3);
        links.add(1, 3);
        links.remove(1, 3);
        links.remove_all(2);
        assert!(links.children.is_empty() && links.parents.is_empty());
    }

    #[test]
    fn no_hierarchy_has_more_levels_than_the_limit() {
        let mut links = Links::default();
        let bottom = CHANNEL_LEVELS_MAX as u64;
        for level in 1..bottom {
            assert_eq!(links.check(level, level + 1), Ok(()));
            links.add(level, level + 1);
        }
        assert_eq!(links.check(bottom, 1000), Err(Forbidden::TooDeep));
        assert_eq!(links.check(1000, 1), Err(Forbidden::TooDeep));
        assert_eq!(links.check(1, bottom), Ok(()));
    }
}
