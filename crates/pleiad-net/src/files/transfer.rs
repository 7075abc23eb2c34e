//! PURE: what a node decides about files that others send.

use crate::files::messages::{FileRefusal, Hash, Offer};

/// What a node takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) file_bytes_max: u64,
    pub(super) files_bytes_max: u64,
}

/// What is there, under the name of a file that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// A file of so many bytes.
    File(u64),
    /// Something else.
    Other,
}

/// What to do with an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Refuse(FileRefusal),
    /// Ask for its hash.
    AskHash,
    /// Compare its hash with that of what is there: see [`compared`].
    Compare(Hash),
    Take,
}

/// The first look at an offer.
pub(super) fn consider(offer: &Offer, found: Found, limits: &Limits) -> Step {
    if offer.bytes > limits.file_bytes_max {
        return Step::Refuse(FileRefusal::TooLarge { max: limits.file_bytes_max });
    }
    match (found, offer.hash) {
        (Found::Nothing, _) => Step::Take,
        (Found::Other, _) => Step::Refuse(FileRefusal::NotRegular),
        (Found::File(bytes), None) if bytes == offer.bytes => Step::AskHash,
        (Found::File(bytes), Some(hash)) if bytes == offer.bytes => Step::Compare(hash),
        (Found::File(_), _) if offer.overwrite => Step::Take,
        (Found::File(_), _) => Step::Refuse(FileRefusal::Exists),
    }
}

/// The hash is another than that of what is there.
pub(super) fn compared_unequal(offer: &Offer) -> Step {
    if offer.overwrite { Step::Take } else { Step::Refuse(FileRefusal::Exists) }
}

/// Whether there is room for it in the directory, where `used` bytes are.
pub(super) fn has_room(offer: &Offer, found: Found, used: u64, limits: &Limits) -> bool {
    let replaced = if let Found::File(bytes) = found { bytes } else { 0 };
    used.saturating_sub(replaced).saturating_add(offer.bytes) <= limits.files_bytes_max
}

/// A file that is coming.
#[derive(Debug)]
pub(super) struct Coming {
    bytes: u64,
    /// So many are there.
    have: u64,
    /// Something has come already.
    has_begun: bool,
}

impl Coming {
    pub(super) fn new(bytes: u64, have: u64) -> Self {
        Self { bytes, have, has_begun: false }
    }

    pub(super) fn have(&self) -> u64 {
        self.have
    }

    /// What was there is of another file.
    pub(super) fn handle_again(&mut self) -> Result<(), FileRefusal> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Err(violation("it begins again in the middle"));
        }
        self.have = 0;
        Ok(())
    }

    pub(super) fn handle_chunk(
        &mut self,
        offset: u64,
        length: usize,
        length_max: usize,
    ) -> Result<(), FileRefusal> {
        if length == 0 || length > length_max {
            return Err(violation("it sends parts that are empty or too large"));
        }
        if offset != self.have {
            return Err(violation("it sends parts out of order"));
        }
        if length as u64 > self.bytes - self.have {
            return Err(violation("it sends more than it has offered"));
        }
        self.has_begun = true;
        self.have += length as u64;
        Ok(())
    }

    pub(super) fn handle_end(&self) -> Result<(), FileRefusal> {
        if self.have < self.bytes {
            return Err(violation("it sends less than it has offered"));
        }
        Ok(())
    }
}

fn violation(what: &str) -> FileRefusal {
    FileRefusal::Offer(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { file_bytes_max: 1000, files_bytes_max: 5000 };
    const HASH: Hash = [7; 32];

    #[test]
    fn what_is_not_there_is_taken() {
        assert_eq!(consider(&offer(1000), Found::Nothing, &LIMITS), Step::Take);
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_whatever_is_there() {
        for found in [Found::Nothing, Found::Other, Found::File(1001)] {
            let refused = Step::Refuse(FileRefusal::TooLarge { max: 1000 });
            assert_eq!(consider(&offer(1001), found, &LIMITS), refused);
            assert_eq!(consider(&offer(u64::MAX), found, &LIMITS), refused);
        }
    }

    #[test]
    fn a_file_of_the_same_size_is_compared_by_its_hash() {
        let mut offer = offer(10);
        assert_eq!(consider(&offer, Found::File(10), &LIMITS), Step::AskHash);
        offer.hash = Some(HASH);
        assert_eq!(consider(&offer, Found::File(10), &LIMITS), Step::Compare(HASH));
        assert_eq!(compared_unequal(&offer), Step::Refuse(FileRefusal::Exists));
        offer.overwrite = true;
        assert_eq!(compared_unequal(&offer), Step::Take);
    }

    #[test]
    fn another_file_is_replaced_only_if_that_is_allowed() {
        let mut offer = offer(10);
        let refused = Step::Refuse(FileRefusal::Exists);
        assert_eq!(consider(&offer, Found::File(11), &LIMITS), refused);
        offer.overwrite = true;
        assert_eq!(consider(&offer, Found::File(11), &LIMITS), Step::Take);
    }

    #[test]
    fn what_is_no_file_is_never_replaced() {
        let offer = Offer { overwrite: true, ..offer(10) };
        let refused = Step::Refuse(FileRefusal::NotRegular);
        assert_eq!(consider(&offer, Found::Other, &LIMITS), refused);
    }

    #[test]
    fn what_is_replaced_makes_room() {
        assert!(has_room(&offer(1000), Found::Nothing, 4000, &LIMITS));
        assert!(!has_room(&offer(1000), Found::Nothing, 4001, &LIMITS));
        assert!(has_room(&offer(1000), Found::File(500), 4500, &LIMITS));
        assert!(!has_room(&offer(u64::MAX), Found::Nothing, 1, &LIMITS));
    }

    #[test]
    fn a_file_comes_in_order_and_whole() {
        let mut coming = Coming::new(25, 0);
        for offset in [0, 10] {
            coming.handle_chunk(offset, 10, 10).unwrap();
        }
        assert_eq!(coming.handle_end(), Err(violation("it sends less than it has offered")));
        coming.handle_chunk(20, 5, 10).unwrap();
        assert_eq!(coming.handle_end(), Ok(()));
        assert_eq!(coming.have(), 25);
    }

    #[test]
    fn what_does_not_fit_the_offer_is_an_error() {
        let mut coming = Coming::new(25, 0);
        assert!(coming.handle_chunk(1, 10, 10).is_err(), "a gap");
        assert!(coming.handle_chunk(0, 0, 10).is_err(), "nothing");
        assert!(coming.handle_chunk(0, 11, 10).is_err(), "a part that is too large");
        coming.handle_chunk(0, 10, 10).unwrap();
        assert!(coming.handle_chunk(0, 10, 10).is_err(), "the same again");
        coming.handle_chunk(10, 10, 10).unwrap();
        assert!(coming.handle_chunk(20, 6, 10).is_err(), "more than the whole");
        assert!(coming.handle_chunk(u64::MAX, 6, 10).is_err(), "far away");
        assert!(coming.handle_again().is_err(), "in the middle");
    }

    #[test]
    fn it_goes_on_where_it_was_or_begins_again_but_once() {
        let mut coming = Coming::new(25, 20);
        coming.handle_chunk(20, 5, 10).unwrap();
        assert_eq!(coming.handle_end(), Ok(()));

        let mut coming = Coming::new(25, 20);
        coming.handle_again().unwrap();
        assert!(coming.handle_again().is_err());
        coming.handle_chunk(0, 10, 10).unwrap();
        assert_eq!(coming.have(), 10);
    }

    fn offer(bytes: u64) -> Offer {
        Offer {
            from: 1,
            path: "x".to_owned(),
            bytes,
            mode: 0o644,
            modified: (0, 0),
            overwrite: false,
            hash: None,
        }
    }
}
