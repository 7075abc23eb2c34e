//! Puts results that come in any order back into the order of their jobs.

use std::collections::VecDeque;

/// Results that wait for the one before them.
#[derive(Debug)]
pub(crate) struct Reorder<T> {
    /// The place of `waiting[0]`.
    next: u64,
    waiting: VecDeque<Option<T>>,
}

impl<T> Reorder<T> {
    /// Places are counted from 0.
    pub(crate) fn new() -> Self {
        Self { next: 0, waiting: VecDeque::new() }
    }

    /// Takes the result of one place.
    ///
    /// # Panics
    ///
    /// If there was one for this place before.
    pub(crate) fn put(&mut self, place: u64, result: T) {
        let at = place.checked_sub(self.next).expect("each place has one result");
        let at = usize::try_from(at).expect("the caller limits how far a result may be ahead");
        if at >= self.waiting.len() {
            self.waiting.resize_with(at + 1, || None);
        }
        assert!(self.waiting[at].replace(result).is_none(), "each place has one result");
    }

    /// The next result in order, if it has come.
    pub(crate) fn take(&mut self) -> Option<T> {
        let result = self.waiting.front_mut()?.take()?;
        self.waiting.pop_front();
        self.next += 1;
        Some(result)
    }

    /// Whether [`Reorder::take`] has one.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.waiting.front(), Some(Some(_)))
    }

    /// The place of the result that is to come next.
    pub(crate) fn next_place(&self) -> u64 {
        self.next
    }

    /// What has come, in order, without waiting for what is missing.
    pub(crate) fn into_rest(self) -> impl Iterator<Item = T> {
        self.waiting.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_leave_in_the_order_of_their_places() {
        let mut order = Reorder::new();
        for place in [2, 0, 3, 1] {
            order.put(place, place);
            assert_eq!(order.is_ready(), place == 0 || place == 1);
            if place == 0 {
                assert_eq!(order.take(), Some(0));
                assert_eq!(order.take(), None);
                assert_eq!(order.next_place(), 1);
            }
        }
        let all: Vec<_> = std::iter::from_fn(|| order.take()).collect();
        assert_eq!(all, [1, 2, 3]);
        assert_eq!(order.next_place(), 4);
    }

    #[test]
    fn what_is_left_at_the_end_comes_without_the_missing() {
        let mut order = Reorder::new();
        order.put(3, 'd');
        order.put(1, 'b');
        assert_eq!(order.into_rest().collect::<String>(), "bd");
    }
}
