//! Names that are looked for: ours at the peer, and the peer's here.

use std::collections::{BTreeMap, BTreeSet};

use pleiad_types::limits::{LOCATES_MAX, NAME_BYTES_MAX};

use crate::wire::Violation;

/// What a peer looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The number of its question.
    pub query: u64,
    /// The name.
    pub name: String,
    /// What the messages must be like.
    pub shape: u64,
    /// The same, for people.
    pub text: String,
}

#[derive(Debug, Default)]
pub(crate) struct Names {
    /// What we look for at the peer.
    ours: BTreeSet<u64>,
    /// What the peer looks for, and has not found.
    theirs: BTreeMap<u64, Lookup>,
    by_name: BTreeMap<String, BTreeSet<u64>>,
}

impl Names {
    // ---- ours ----

    /// Whether it was not looked for before.
    pub(crate) fn locate(&mut self, query: u64) -> bool {
        self.ours.insert(query)
    }

    /// Whether it was looked for.
    pub(crate) fn forget(&mut self, query: u64) -> bool {
        self.ours.remove(&query)
    }

    /// Whether an answer is still wanted.
    pub(crate) fn handle_answer(&mut self, query: u64) -> bool {
        self.ours.remove(&query)
    }

    // ---- theirs ----

    pub(crate) fn handle_lookup(&mut self, lookup: &Lookup) -> Result<(), Violation> {
        if self.theirs.len() >= LOCATES_MAX {
            return Err(Violation::BeyondLimit("names that it looks for"));
        }
        if lookup.name.len() > NAME_BYTES_MAX || lookup.text.len() > 4 * NAME_BYTES_MAX {
            return Err(Violation::BeyondLimit("the length of a name"));
        }
        self.by_name.entry(lookup.name.clone()).or_default().insert(lookup.query);
        if self.theirs.insert(lookup.query, lookup.clone()).is_some() {
            return Err(Violation::OutOfPlace("two questions with one number"));
        }
        Ok(())
    }

    /// The peer does not wait any more, or has its answer. Whether it had waited.
    pub(crate) fn settle(&mut self, query: u64) -> bool {
        let Some(lookup) = self.theirs.remove(&query) else { return false };
        if let Some(queries) = self.by_name.get_mut(&lookup.name) {
            queries.remove(&query);
            if queries.is_empty() {
                self.by_name.remove(&lookup.name);
            }
        }
        true
    }

    /// Who waits for this name.
    pub(crate) fn waiting_for(&self, name: &str) -> impl Iterator<Item = &Lookup> {
        let queries = self.by_name.get(name).into_iter().flatten();
        queries.filter_map(|query| self.theirs.get(query))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(query: u64, name: &str) -> Lookup {
        Lookup { query, name: name.to_owned(), shape: 1, text: "u64".to_owned() }
    }

    #[test]
    fn who_waits_for_a_name_is_found_by_it() {
        let mut names = Names::default();
        for (query, name) in [(1, "a"), (2, "b"), (3, "a")] {
            names.handle_lookup(&lookup(query, name)).unwrap();
        }
        let waiting = |names: &Names| names.waiting_for("a").map(|l| l.query).collect::<Vec<_>>();
        assert_eq!(waiting(&names), [1, 3]);
        assert!(names.settle(1) && !names.settle(1));
        assert_eq!(waiting(&names), [3]);
        assert!(names.settle(3));
        assert!(names.by_name.len() == 1 && names.theirs.len() == 1);
    }

    #[test]
    fn what_is_looked_for_already_is_not_asked_again() {
        let mut names = Names::default();
        assert!(names.locate(1) && !names.locate(1));
        assert!(names.forget(1) && names.locate(1));
    }

    #[test]
    fn a_peer_cannot_look_for_endlessly_many_names() {
        let mut names = Names::default();
        let refused = (0..).find(|query| names.handle_lookup(&lookup(*query, "a")).is_err());
        assert_eq!(refused, Some(LOCATES_MAX as u64));
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        assert!(Names::default().handle_lookup(&lookup(1, &long)).is_err());
    }
}
