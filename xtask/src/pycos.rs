//! Whether docs/from-pycos.md has each feature of the tasks and streams of pycos.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Result, ensure};

/// The numbers of the features: tasks and messages, locks, channels, other help for tasks, streams.
const FEATURES: [RangeInclusive<u32>; 5] = [1..=35, 40..=44, 50..=58, 60..=63, 70..=89];

/// Gives the number of features.
pub(crate) fn check() -> Result<usize> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/from-pycos.md");
    let text = fs::read_to_string(page)?;
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let features: Vec<String> =
        FEATURES.into_iter().flatten().map(|number| format!("T{number}")).collect();
    let missing: Vec<_> = features.iter().filter(|name| !words.contains(name.as_str())).collect();
    ensure!(missing.is_empty(), "docs/from-pycos.md says nothing about {missing:?}");
    Ok(features.len())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_for_people_from_pycos_has_each_feature() {
        super::check().unwrap();
    }
}
