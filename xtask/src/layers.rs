//! Who may use whom. A new entry is a decision about the design.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// Each crate, and all that it may use when it is built for use (not for its own tests).
const LAYERS: &[(&str, &[&str])] = &[
    ("pleiad-types", &[]),
    ("pleiad-sched", &["pleiad-types", "thiserror"]),
    ("pleiad-proto", &["bytes", "pleiad-types", "postcard", "serde", "thiserror"]),
    ("pleiad-sim", &["bytes", "pleiad-proto", "pleiad-types"]),
    (
        "pleiad-task",
        &[
            "bytes",
            "futures-core",
            "pin-project-lite",
            "pleiad-types",
            "postcard",
            "serde",
            "thiserror",
            "tokio",
            "tracing",
        ],
    ),
    ("pleiad-io", &["bytes", "nix", "pleiad-types", "thiserror", "tokio"]),
    (
        "pleiad-cluster",
        &[
            "bytes",
            "futures-core",
            "indicatif",
            "libc",
            "nix",
            "pleiad-sched",
            "pleiad-types",
            "postcard",
            "serde",
            "tempfile",
            "thiserror",
            "tokio",
            "tracing",
        ],
    ),
    (
        "pleiad-net",
        &[
            "blake3",
            "bytes",
            "data-encoding",
            "directories",
            "futures-core",
            "getrandom",
            "mdns-sd",
            "nix",
            "pleiad-proto",
            "pleiad-task",
            "pleiad-types",
            "postcard",
            "rcgen",
            "rustls",
            "serde",
            "serde_bytes",
            "serde_json",
            "thiserror",
            "tokio",
            "tokio-rustls",
            "tracing",
        ],
    ),
    ("pleiad", &["pleiad-cluster", "pleiad-io", "pleiad-net", "pleiad-task"]),
    (
        "pleiad-cli",
        &[
            "anyhow",
            "clap",
            "console",
            "futures-util",
            "getrandom",
            "humantime",
            "indicatif",
            "pleiad",
            "serde",
            "serde_bytes",
            "serde_json",
            "tempfile",
            "thiserror",
            "tokio",
        ],
    ),
    ("xtask", &["anyhow", "serde", "serde_json"]),
];

/// What must never come near these, by whatever way: they are pure.
const PURE: &[&str] = &["pleiad-types", "pleiad-proto", "pleiad-sched", "pleiad-sim"];
const IMPURE: &[&str] = &["tokio", "mio", "socket2", "rand", "libc", "nix", "rustix"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
    workspace_members: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// Nothing for a normal dependency.
    kind: Option<String>,
}

/// Compares the table with what cargo says; gives the number of crates.
pub(crate) fn check() -> Result<usize> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--all-features", "--locked"])
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let name_of: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect();
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for node in &metadata.resolve.nodes {
        let normal = node.deps.iter().filter(|d| d.dep_kinds.iter().any(|k| k.kind.is_none()));
        let names = normal.filter_map(|d| name_of.get(d.pkg.as_str()).copied());
        uses.entry(name_of[node.id.as_str()]).or_default().extend(names);
    }

    let mut problems = Vec::new();
    let members: BTreeSet<&str> =
        metadata.workspace_members.iter().map(|id| name_of[id.as_str()]).collect();
    let table: BTreeMap<&str, BTreeSet<&str>> =
        LAYERS.iter().map(|(name, may)| (*name, may.iter().copied().collect())).collect();
    for name in &members {
        let Some(may) = table.get(name) else {
            problems.push(format!("{name} is not in the table"));
            continue;
        };
        for used in uses[name].difference(may) {
            problems.push(format!("{name} uses {used}, and the table does not allow it"));
        }
        for unused in may.difference(&uses[name]) {
            problems.push(format!("{name} may use {unused}, but does not: shorten the table"));
        }
    }
    for name in table.keys().filter(|name| !members.contains(*name)) {
        problems.push(format!("{name} is in the table, but there is no such crate"));
    }
    for pure in PURE {
        for impure in reachable(pure, &uses).iter().filter(|used| IMPURE.contains(used)) {
            problems.push(format!("{pure} is to be pure, but {impure} is below it"));
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    Ok(members.len())
}

fn reachable<'a>(from: &'a str, uses: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(name) = next.pop() {
        for used in uses.get(name).into_iter().flatten() {
            if seen.insert(*used) {
                next.push(used);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    #[test]
    fn crates_use_only_what_they_may() {
        super::check().unwrap();
    }
}
