//! Whether the tests that docs/promises.md names are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Gives the number of tests that are named.
pub(crate) fn check() -> Result<usize> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("docs/promises.md"))?;
    let named: BTreeSet<&str> =
        text.split('`').skip(1).step_by(2).filter(|name| is_test_name(name)).collect();
    let functions = functions(&root)?;
    let missing: Vec<_> = named.iter().filter(|name| !functions.contains(**name)).collect();
    ensure!(missing.is_empty(), "docs/promises.md names tests that are not there: {missing:?}");
    ensure!(!named.is_empty(), "docs/promises.md names no tests");
    Ok(named.len())
}

/// The names of all functions of the crates.
pub(crate) fn functions(root: &Path) -> Result<BTreeSet<String>> {
    let mut functions = BTreeSet::new();
    collect_functions(&root.join("crates"), &mut functions)?;
    Ok(functions)
}

/// A sentence in small letters.
fn is_test_name(text: &str) -> bool {
    text.matches('_').count() >= 2 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn collect_functions(folder: &Path, functions: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect_functions(&path, functions)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            functions.extend(text.split("fn ").skip(1).filter_map(|rest| {
                rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned)
            }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tests_that_the_promises_name_are_there() {
        super::check().unwrap();
    }
}
