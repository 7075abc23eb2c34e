//! `pleiad run` gives what a plain loop in a shell gives, byte by byte.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::support::World;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn files_of_this_repository_give_what_a_loop_gives() {
    let world = World::new();
    // A copy, so that nobody changes it between the two.
    world.bash(&format!("cp -r {REPOSITORY}/crates {REPOSITORY}/Cargo.toml ."));
    for (words, script) in [
        (&["--each", "**/*.rs", "--", "cat"][..], "for f in **/*.rs; do cat \"$f\"; done"),
        (
            &["--each", "**/*", "--", "wc", "-c"],
            "for f in **/*; do wc -c \"$f\" 2> /dev/null; done; true",
        ),
        (
            &["--stdin-each", "--each", "*.toml", "crates/**/*.toml", "--", "sha256sum"],
            "for f in *.toml crates/**/*.toml; do sha256sum < \"$f\"; done",
        ),
        (
            &["--shell", "--each", "**/*.rs", "--", "grep -c fn {} | sed s/^/{/.}:{n}:/"],
            "n=0; for f in **/*.rs; do n=$((n+1)); b=${f##*/}; \
             grep -c fn \"$f\" | sed \"s/^/${b%.rs}:$n:/\"; done",
        ),
        (
            &["printf", "%s %s %s\\n", "{1}", "{2}", "{n}", ":::", "a", "b", ":::", "1", "2", "3"],
            "n=0; for a in a b; do for b in 1 2 3; do n=$((n+1)); \
             printf '%s %s %s\\n' $a $b $n; done; done",
        ),
    ] {
        let ours = world.run(words).stdout;
        let theirs = world.bash(script);
        assert!(!theirs.is_empty());
        assert!(ours == theirs, "{words:?} is not {script:?}");
    }
}

#[test]
fn names_with_any_bytes_arrive_as_they_are() {
    let world = World::new();
    let names: [&[u8]; 6] =
        [b"-dash", b"a b  c", b"line\nbreak", b"quote'\"$x`y`", b"tab\t*?[", b"\xff\xfe.bin"];
    for name in names {
        world.write(Path::new(OsStr::from_bytes(name)), name);
    }
    let ours =
        world.run(["--each", "*", "--", "sh", "-c", r#"printf '%s|' "$1"; cat -- "$1""#, "_"]);
    let expected: Vec<u8> = names.iter().flat_map(|name| [*name, b"|", *name].concat()).collect();
    assert_eq!(ours.code, 0, "{}", ours.stderr);
    assert_eq!(ours.stdout, expected);

    // The same by a pipe, and the same through a shell.
    let list = world.bash("printf '%s\\0' *");
    let through_pipe = world.run_with(&list, ["--lines", "-", "-0", "--", "printf", "%s|"]);
    let expected: Vec<u8> = names.iter().flat_map(|name| [*name, b"|"].concat()).collect();
    assert_eq!(through_pipe.stdout, expected);
    let through_shell =
        world.run_with(&list, ["--shell", "--lines", "-", "-0", "--", "printf '%s|' {}"]);
    assert_eq!(through_shell.stdout, expected);
}

#[test]
fn a_shown_command_does_the_same_when_it_is_pasted() {
    let world = World::new();
    for name in [&b"a b"[..], b"line\nbreak", b"it's", b"\xff"] {
        world.write(Path::new(OsStr::from_bytes(name)), b"x");
    }
    let words = ["--each", "*", "--", "printf", "%s|%s|", "{}", "{{.ID}} ${HOME} \\{}"];
    let ran = world.run(words);
    let shown = world.run(["--dry-run"].iter().chain(&words));
    assert_eq!(shown.text().lines().count(), 4);
    assert_eq!(world.bash(shown.text()), ran.stdout);
}
