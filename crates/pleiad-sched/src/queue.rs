//! The waiting jobs of one class.

use std::collections::{BTreeSet, VecDeque};

use pleiad_types::JobId;

/// Below this many, memory and dead places are not worth a thought.
const SMALL: usize = 1024;

/// The waiting jobs of one class, lowest number first.
///
/// New jobs come in rising order, so they stand in a plain queue. Those that come back (retried,
/// returned, unblocked) with a lower number than the last in the queue stand apart. One that leaves
/// from the middle of the queue leaves its place behind, until half of the places are such.
///
/// Who asks for it tells in `waits` whether a job waits: a job that has left never waits again.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    // Invariant: rising, and the first one waits.
    fresh: VecDeque<JobId>,
    // Invariant: none of them is in `fresh`.
    early: BTreeSet<JobId>,
    /// Places in `fresh` of jobs that have left.
    dead: usize,
}

impl Queue {
    /// Puts a job at its place.
    pub(crate) fn push(&mut self, job: JobId) {
        if self.fresh.back().is_none_or(|&last| last < job) {
            self.fresh.push_back(job);
        } else {
            self.early.insert(job);
        }
    }

    /// Takes the first job out.
    pub(crate) fn pop(&mut self, waits: impl Fn(JobId) -> bool) -> Option<JobId> {
        let first = self.first()?;
        if self.fresh.front() == Some(&first) {
            self.fresh.pop_front();
            self.trim(waits);
        } else {
            self.early.remove(&first);
        }
        Some(first)
    }

    /// Lets a job out, wherever it stands; it must be there, and `waits` must say no already.
    pub(crate) fn remove(&mut self, job: JobId, waits: impl Fn(JobId) -> bool) {
        if self.early.remove(&job) {
            return;
        }
        self.dead += 1;
        if self.dead > SMALL.max(self.fresh.len() / 2) {
            self.fresh.retain(|&job| waits(job));
            self.fresh.shrink_to(self.fresh.len() * 2);
            self.dead = 0;
        }
        self.trim(waits);
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.fresh.len() - self.dead + self.early.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who is next.
    pub(crate) fn first(&self) -> Option<JobId> {
        match (self.fresh.front(), self.early.first()) {
            (Some(&fresh), Some(&early)) => Some(fresh.min(early)),
            (fresh, early) => fresh.or(early).copied(),
        }
    }

    /// About how many are before this one; places of those that have left count.
    pub(crate) fn ahead(&self, job: JobId) -> usize {
        self.fresh.partition_point(|&other| other < job) + self.early.range(..job).count()
    }

    /// All who wait, in no order that matters.
    pub(crate) fn iter(&self, waits: impl Fn(JobId) -> bool) -> impl Iterator<Item = JobId> {
        self.fresh.iter().copied().filter(move |&job| waits(job)).chain(self.early.iter().copied())
    }

    fn trim(&mut self, waits: impl Fn(JobId) -> bool) {
        while self.dead > 0 && self.fresh.front().is_some_and(|&job| !waits(job)) {
            self.fresh.pop_front();
            self.dead -= 1;
        }
        if self.fresh.is_empty() && self.fresh.capacity() > SMALL {
            self.fresh = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_is_next_whoever_came_back_when() {
        let mut queue = Queue::default();
        for job in [5, 6, 3, 9, 1, 7] {
            queue.push(JobId(job));
        }
        assert_eq!(queue.ahead(JobId(7)), 4);
        let mut order = Vec::new();
        while let Some(job) = queue.pop(|_| true) {
            order.push(job.0);
        }
        assert_eq!(order, [1, 3, 5, 6, 7, 9]);
    }

    #[test]
    fn places_of_those_who_left_do_not_pile_up() {
        let mut queue = Queue::default();
        for job in 1..=100_000 {
            queue.push(JobId(job));
        }
        let mut left = BTreeSet::new();
        for job in (2..=100_000).rev() {
            left.insert(JobId(job));
            queue.remove(JobId(job), |job| !left.contains(&job));
            assert!(queue.fresh.len() <= 2 * queue.len() + 2 * SMALL);
        }
        assert_eq!(queue.len(), 1);
        assert!(queue.fresh.capacity() <= 8 * SMALL);
        left.insert(JobId(1));
        queue.remove(JobId(1), |job| !left.contains(&job));
        assert!(queue.is_empty() && queue.first().is_none());
        assert_eq!(queue.fresh.len(), 0);
    }
}
