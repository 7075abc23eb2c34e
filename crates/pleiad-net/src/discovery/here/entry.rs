//! What stands in the file of one node: lines of a word and what it says.

use std::net::SocketAddr;

use pleiad_types::limits::{ADDRESSES_MAX, NEIGHBOUR_BYTES_MAX};

use crate::addresses::can_be_dialled;
use crate::discovery::is_name;

const FIRST_LINE: &str = "pleiad 1";

#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) process: u32,
    pub(super) addresses: Vec<SocketAddr>,
}

impl Entry {
    /// Nothing if the name is no name. Addresses beyond the limit are left out.
    pub(super) fn to_text(&self) -> Option<String> {
        let head = is_name(&self.name)
            .then(|| format!("{FIRST_LINE}\nname {}\nprocess {}\n", self.name, self.process))?;
        let addresses = self.addresses.iter().take(ADDRESSES_MAX);
        Some(addresses.fold(head, |text, address| text + &format!("at {address}\n")))
    }

    /// Nothing if it is no entry. Lines with other words are left out: they may come from a later
    /// version.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix(FIRST_LINE)?.strip_prefix('\n')?.lines();
        let (mut name, mut process, mut addresses) = (None, None, Vec::new());
        lines.try_for_each(|line| {
            let (word, what) = line.split_once(' ')?;
            match word {
                "name" => name = Some(what).filter(|name| is_name(name)),
                "process" => process = what.parse().ok(),
                "at" => addresses.push(what.parse().ok().filter(can_be_dialled)?),
                _ => {}
            }
            (addresses.len() <= ADDRESSES_MAX).then_some(())
        })?;
        Some(Self { name: name?.to_owned(), process: process?, addresses })
    }
}

// The longest address has 57 bytes: an IPv6 address with its scope and port.
const _: () = assert!(NEIGHBOUR_BYTES_MAX > 256 + 64 + ADDRESSES_MAX * (57 + 4));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let addresses = vec!["127.0.0.1:1".parse().unwrap(), "[fe80::1%3]:65535".parse().unwrap()];
        let entry = Entry { name: "alpha and more".to_owned(), process: 7, addresses };
        assert_eq!(Entry::from_text(&entry.to_text().unwrap()), Some(entry));
    }

    #[test]
    fn a_word_of_a_later_version_is_left_out() {
        let entry = Entry::from_text("pleiad 1\nname a\nsocket /run/x\nprocess 1\n").unwrap();
        assert_eq!(entry, Entry { name: "a".to_owned(), process: 1, addresses: Vec::new() });
    }

    #[test]
    fn what_is_no_entry_is_nothing() {
        let many = (1..=ADDRESSES_MAX + 1)
            .fold("pleiad 1\nname a\nprocess 1\n".to_owned(), |text, port| {
                text + &format!("at 127.0.0.1:{port}\n")
            });
        let cases = [
            "",
            "pleiad 2\nname a\nprocess 1\n",
            "pleiad 1",
            "pleiad 1\nname a\n",
            "pleiad 1\nprocess 1\n",
            "pleiad 1\nname \u{1b}[2J\nprocess 1\n",
            "pleiad 1\nname a\nprocess -1\n",
            "pleiad 1\nname a\nprocess 1\nat nowhere\n",
            "pleiad 1\nname a\nprocess 1\nat 127.0.0.1:0\n",
            "pleiad 1\nname a\nprocess 1\nat 224.0.0.1:5\n",
            "pleiad 1\nname a\nprocess 1\nword\n",
            &many,
        ];
        for text in cases {
            assert_eq!(Entry::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_name_that_would_be_two_lines_is_not_written() {
        let entry = Entry { name: "a\nat 1.2.3.4:5".to_owned(), process: 1, addresses: Vec::new() };
        assert_eq!(entry.to_text(), None);
    }
}
