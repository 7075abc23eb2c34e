//! A map from dense, growing numbers to values.

use std::collections::VecDeque;

/// Values in one page.
const PAGE: usize = 256;

/// A map from numbers that are given out in rising order.
///
/// Every operation takes constant time; walks are in rising order. Memory is that of the pages (of
/// 256 numbers) in which something lives, and a pointer for each page between the lowest and the
/// highest of them, whatever was there before.
///
/// A number below all that are there is as good as any other, but costs time and pointers for the
/// pages between.
#[derive(Debug)]
pub struct Table<T> {
    // Invariant: neither the first nor the last is `None`.
    pages: VecDeque<Option<Box<Page<T>>>>,
    /// The number of the first page.
    first_page: u64,
    len: usize,
    // An empty page, so that a table with few values does not allocate for each of them.
    spare: Option<Box<Page<T>>>,
}

#[derive(Debug)]
struct Page<T> {
    live: usize,
    slots: [Option<T>; PAGE],
}

impl<T> Table<T> {
    /// An empty table; allocates nothing.
    pub const fn new() -> Self {
        Self { pages: VecDeque::new(), first_page: 0, len: 0, spare: None }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of this number.
    pub fn get(&self, key: u64) -> Option<&T> {
        let (page, slot) = split(key);
        let index = usize::try_from(page.checked_sub(self.first_page)?).ok()?;
        self.pages.get(index)?.as_ref()?.slots[slot].as_ref()
    }

    /// The value of this number, to be changed.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let (page, slot) = split(key);
        let index = usize::try_from(page.checked_sub(self.first_page)?).ok()?;
        self.pages.get_mut(index)?.as_mut()?.slots[slot].as_mut()
    }

    /// Sets the value of this number, and gives the one that it had.
    pub fn insert(&mut self, key: u64, value: T) -> Option<T> {
        let (page, slot) = split(key);
        let index = self.reach(page);
        let spare = &mut self.spare;
        let page = self.pages[index].get_or_insert_with(|| spare.take().unwrap_or_else(Page::new));
        let before = page.slots[slot].replace(value);
        if before.is_none() {
            page.live += 1;
            self.len += 1;
        }
        before
    }

    /// Takes the value of this number out.
    pub fn remove(&mut self, key: u64) -> Option<T> {
        let (page, slot) = split(key);
        let index = usize::try_from(page.checked_sub(self.first_page)?).ok()?;
        let place = self.pages.get_mut(index)?;
        let page = place.as_mut()?;
        let value = page.slots[slot].take()?;
        page.live -= 1;
        self.len -= 1;
        if page.live == 0 {
            self.spare = place.take();
            self.trim();
        }
        Some(value)
    }

    /// All numbers with their values, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let pages = (self.first_page..).zip(&self.pages);
        pages.filter_map(|(number, page)| Some((number, page.as_ref()?))).flat_map(
            |(number, page)| {
                let keys = number * PAGE as u64..;
                keys.zip(&page.slots).filter_map(|(key, slot)| Some((key, slot.as_ref()?)))
            },
        )
    }

    /// Makes a place for the page, and gives its index.
    fn reach(&mut self, page: u64) -> usize {
        if self.pages.is_empty() {
            self.first_page = page;
        }
        while page < self.first_page {
            self.pages.push_front(None);
            self.first_page -= 1;
        }
        let index = usize::try_from(page - self.first_page).expect("keys are dense");
        while self.pages.len() <= index {
            self.pages.push_back(None);
        }
        index
    }

    fn trim(&mut self) {
        while let Some(None) = self.pages.front() {
            self.pages.pop_front();
            self.first_page += 1;
        }
        while let Some(None) = self.pages.back() {
            self.pages.pop_back();
        }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Page<T> {
    fn new() -> Box<Self> {
        Box::new(Self { live: 0, slots: [const { None }; PAGE] })
    }
}

fn split(key: u64) -> (u64, usize) {
    (key / PAGE as u64, (key % PAGE as u64) as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pages_in_which_nothing_lives_are_given_back() {
        let mut table = Table::new();
        for key in 1..=10_000 {
            table.insert(key, key);
        }
        for key in 1..10_000 {
            assert_eq!(table.remove(key), Some(key));
        }
        assert_eq!(table.pages.len(), 1);
        assert_eq!(table.iter().collect::<Vec<_>>(), [(10_000, &10_000)]);
    }

    #[test]
    fn a_number_below_all_others_is_as_good_as_any() {
        let mut table = Table::new();
        table.insert(5_000, 'b');
        assert_eq!(table.get(3), None);
        assert_eq!(table.remove(3), None);
        table.insert(3, 'a');
        assert_eq!(table.iter().collect::<Vec<_>>(), [(3, &'a'), (5_000, &'b')]);
        assert_eq!(table.get(u64::MAX), None);
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(steps in prop::collection::vec((0_u64..2_000, any::<bool>()), 1..400)) {
            let mut table = Table::new();
            let mut map = BTreeMap::new();
            for (n, (key, insert)) in steps.into_iter().enumerate() {
                if insert {
                    prop_assert_eq!(table.insert(key, n), map.insert(key, n));
                } else {
                    prop_assert_eq!(table.remove(key), map.remove(&key));
                }
                prop_assert_eq!(table.len(), map.len());
                prop_assert_eq!(table.get(key), map.get(&key));
                prop_assert!(!matches!(table.pages.front(), Some(None)));
                prop_assert!(!matches!(table.pages.back(), Some(None)));
            }
            prop_assert!(table.iter().map(|(k, v)| (k, *v)).eq(map));
        }
    }
}
