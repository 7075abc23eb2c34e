//! The help is part of the interface.

use crate::support::{Ended, World};

#[test]
fn help_shows_examples_and_placeholders() {
    let world = World::new();
    let help = |words: &[&str]| Ended::of(world.pleiad(words).spawn().unwrap());
    let long = help(&["run", "--help"]);
    for part in [
        "::: 1 2 3 ::: 0.1 0.5",
        "{/.}  the name without",
        "{n}   the number",
        "Exit status:\n  0 ",
        "--resume-failed",
    ] {
        assert!(long.succeeded().contains(part), "{part}");
    }
    assert!(long.text().lines().all(|line| line.chars().count() <= 100));
    assert!(help(&["--help"]).succeeded().contains("launch"));
    assert_eq!(help(&["--version"]).succeeded(), help(&["version"]).succeeded());
    for command in
        ["node", "peers", "tasks", "send", "call", "files", "events", "token", "doctor", "bench"]
    {
        let long = help(&[command, "--help"]);
        assert!(long.succeeded().contains("Example"), "{command}");
        assert!(long.text().lines().all(|line| line.chars().count() <= 106), "{command}");
        assert!(help(&["--help"]).succeeded().contains(&format!("\n  {command} ")), "{command}");
    }
    for command in ["put", "get", "rm"] {
        let long = help(&["files", command, "--help"]);
        assert!(long.succeeded().contains(&format!("  pleiad files {command} ")), "{command}");
        assert!(long.text().lines().all(|line| line.chars().count() <= 106), "{command}");
    }
    help(&[]).failed(2, ["Usage: pleiad <COMMAND>"]);
}
