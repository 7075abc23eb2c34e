//! Whether docs/from-pycos.md has each feature of pycos that is about tasks, streams and the network, and
//! the faults that it has there; and whether the examples and tests that it names are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::promises;

/// The numbers of the features, by letter. T: tasks and messages, locks, channels, other help for tasks,
/// streams. N: the network. X: faults of messages, of links, of trust, of discovery.
const FEATURES: [(char, &[(u32, u32)]); 3] = [
    ('T', &[(1, 35), (40, 44), (50, 58), (60, 63), (70, 89)]),
    ('N', &[(1, 47)]),
    ('X', &[(6, 7), (30, 31), (43, 43), (50, 53), (70, 76)]),
];

/// Gives the number of features.
pub(crate) fn check() -> Result<usize> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("docs/from-pycos.md"))?;
    let rows: Vec<Row<'_>> = text.lines().filter_map(Row::read).collect();
    let known: BTreeSet<&str> = rows.iter().map(|row| row.feature).collect();
    let features: Vec<String> = FEATURES
        .iter()
        .flat_map(|(letter, ranges)| {
            let numbers = ranges.iter().flat_map(|&(first, last)| first..=last);
            numbers.map(move |number| format!("{letter}{number}"))
        })
        .collect();
    let missing: Vec<_> = features.iter().filter(|name| !known.contains(name.as_str())).collect();
    ensure!(missing.is_empty(), "docs/from-pycos.md says nothing about {missing:?}");

    let functions = promises::functions(&root)?;
    for Row { feature, held_by } in rows {
        let is_local = feature.starts_with('T') || feature.starts_with('X');
        let Some(held_by) = held_by else {
            ensure!(is_local, "{feature} has no column for what holds it");
            continue;
        };
        let tests: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        let missing: Vec<_> = tests.iter().filter(|name| !functions.contains(**name)).collect();
        ensure!(missing.is_empty(), "{feature} names tests that are not there: {missing:?}");
        let is_held = !tests.is_empty() || held_by.contains("](../crates/");
        ensure!(is_held, "{feature} names no example and no test that holds it");
    }
    let links = text.split("](../").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let missing: Vec<_> = links.filter(|link| !root.join(link).exists()).collect();
    ensure!(missing.is_empty(), "docs/from-pycos.md links to what is not there: {missing:?}");
    Ok(features.len())
}

/// A row of a table, about one feature, which is in its last column.
struct Row<'a> {
    feature: &'a str,
    /// Examples and tests, in the tables of four columns.
    held_by: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let feature = *cells.last()?;
        let number = feature.strip_prefix(|letter: char| letter.is_ascii_uppercase())?;
        let held_by = if let [_, _, held_by, _] = cells[..] { Some(held_by) } else { None };
        number.parse::<u32>().is_ok().then_some(Self { feature, held_by })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_for_people_from_pycos_has_each_feature() {
        super::check().unwrap();
    }
}
