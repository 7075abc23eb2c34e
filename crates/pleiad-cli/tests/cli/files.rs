//! Files between processes.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::nodes::{Running, pleiad};
use crate::support::World;

#[test]
fn a_file_goes_to_a_node_and_comes_back_and_is_deleted() {
    let world = World::new();
    let mut shop = Running::node_with(&world, "shop", &["--files", "incoming"]);
    let text = "0123456789abcdef".repeat(200_000);
    world.write("data.bin", &text);

    let put = pleiad(&world, &["files", "put", "data.bin", "shop:in/2026"]);
    assert_eq!(put.succeeded(), "shop:in/2026/data.bin (3.1 MiB)\n");
    assert!(world.read("incoming/in/2026/data.bin") == text);
    let line = shop.line_with("file ");
    assert!(line.contains("Z  file     in/2026/data.bin (3.1 MiB) from pleiad-"), "{line}");
    let put = pleiad(&world, &["files", "put", "data.bin", "shop:in/2026/"]);
    assert_eq!(put.succeeded(), "shop:in/2026/data.bin (3.1 MiB, was there already)\n");
    assert!(shop.line_with("file ").contains("(3.1 MiB, was there already) from"));

    let get = pleiad(&world, &["files", "get", "shop:in/2026/data.bin", "back"]);
    assert_eq!(get.succeeded(), "back (3.1 MiB)\n");
    assert!(world.read("back") == text);
    fs::create_dir(world.path("results")).unwrap();
    pleiad(&world, &["files", "get", "shop:in/2026/data.bin", "results"]).succeeded();
    assert!(world.read("results/data.bin") == text);
    let get = pleiad(&world, &["files", "get", "shop:in/2026/data.bin"]);
    assert_eq!(get.succeeded(), "data.bin (3.1 MiB, was there already)\n");

    let rm = ["files", "rm", "shop:in/2026/data.bin"];
    assert_eq!(pleiad(&world, &rm).succeeded(), "");
    assert!(!world.path("incoming/in").exists());
    pleiad(&world, &rm).failed(1, ["there is no such file"]);
    assert_eq!(world.names(), [".home", "back", "data.bin", "incoming", "results"]);
}

#[test]
fn json_tells_what_was_done_with_a_file() {
    let world = World::new();
    let mut shop = Running::node_with(&world, "shop", &["--files", "incoming", "--json"]);
    world.write("a.txt", "hello");
    let json = |words: &[&str]| -> Value {
        serde_json::from_str(pleiad(&world, words).succeeded()).unwrap()
    };
    let put = json(&["files", "put", "a.txt", "shop", "--json"]);
    assert_eq!(put, json!({"node": "shop", "path": "a.txt", "bytes": 5, "moved": 5}));
    let file: Value = serde_json::from_str(&shop.line_with("file")).unwrap();
    assert_eq!(
        (&file["file"], &file["bytes"], &file["was_there"]),
        (&json!("a.txt"), &json!(5), &json!(false))
    );
    let put = json(&["files", "put", "a.txt", "shop", "--json"]);
    assert_eq!(put["moved"], 0);
    let get = json(&["files", "get", "shop:a.txt", "b.txt", "--json"]);
    let expected =
        json!({"node": "shop", "path": "a.txt", "to": "b.txt", "bytes": 5, "was_here": false});
    assert_eq!(get, expected);
    let rm = json(&["files", "rm", "shop:a.txt", "--json"]);
    assert_eq!(rm, json!({"node": "shop", "path": "a.txt"}));
}

#[test]
fn another_file_is_replaced_only_if_that_is_said() {
    let world = World::new();
    let _shop = Running::node_with(&world, "shop", &["--files", "incoming"]);
    world.write("a.txt", "new");
    world.write("incoming/a.txt", "old");

    let put = pleiad(&world, &["files", "put", "a.txt", "shop"]);
    put.failed(1, ["another file is there as shop:a.txt: --overwrite replaces it"]);
    assert_eq!(world.read("incoming/a.txt"), "old");
    let get = pleiad(&world, &["files", "get", "shop:a.txt"]);
    get.failed(1, ["another file is here as a.txt: --overwrite replaces it"]);
    assert_eq!(world.read("a.txt"), "new");

    pleiad(&world, &["files", "put", "a.txt", "shop", "--overwrite"]).succeeded();
    assert_eq!(world.read("incoming/a.txt"), "new");
    world.write("incoming/a.txt", "newer");
    pleiad(&world, &["files", "get", "shop:a.txt", "--overwrite"]).succeeded();
    assert_eq!(world.read("a.txt"), "newer");
}

#[test]
fn what_is_not_there_or_outside_says_so() {
    let world = World::new();
    world.write("a.txt", "hello");
    world.write("secret", "secret");
    world.write("incoming/b.txt", "hello");
    symlink(world.path("."), world.path("incoming/out")).unwrap();
    symlink(world.path("secret"), world.path("incoming/link")).unwrap();
    pleiad(&world, &["files", "put", "a.txt", "shop"]).failed(3, ["there is no other node"]);
    let _shop = Running::node_with(&world, "shop", &["--files", "incoming"]);
    let _bare = Running::node(&world, "bare");
    let dots = "a path must not contain . or .. as a name";
    let through = "the path leads through something that is no directory, or through a link";
    for (words, code, message) in [
        (&["put", "a.txt", "ship"][..], 3, "there is no node ship, only "),
        (&["put", "a.txt", "bare"], 1, "bare has no directory for files: start it by `pleiad node"),
        (&["get", "bare:b.txt", "c"], 1, "bare has no directory for files"),
        (&["rm", "bare:b.txt"], 1, "bare has no directory for files"),
        (&["put", "nowhere", "shop"], 1, "cannot read nowhere: is it a file?: No such file"),
        (&["put", "incoming", "shop"], 1, "cannot read incoming: is it a file?"),
        (&["put", "..", "shop"], 2, "the name of .. is no text"),
        (&["put", "a.txt", "shop:../x"], 2, dots),
        (&["put", "a.txt", "shop:/tmp"], 2, "a path must be relative"),
        (&["put", "a.txt", "shop:out"], 1, through),
        (&["get", "shop:../secret", "c"], 2, dots),
        (&["get", "shop:out/secret", "c"], 1, through),
        (&["get", "shop:link", "c"], 1, through),
        (&["get", "shop:c"], 1, "shop refuses \"c\": there is no such file"),
        (&["get", "shop:b.txt", "nowhere/c"], 1, "cannot write nowhere/c: No such file"),
        (&["rm", "shop:../secret"], 2, dots),
        (&["rm", "shop:out/secret"], 1, through),
        (&["get", "shop"], 2, "say which file, after a colon"),
        (&["rm", "shop:"], 2, "say which file, after a colon"),
        (&["put", "a.txt", ":in"], 2, "say first which node"),
    ] {
        let ended = pleiad(&world, &[&["files"], words].concat());
        ended.failed(code, [message]);
        assert_eq!(ended.text(), "", "{words:?}");
    }
    assert_eq!(world.names(), [".home", "a.txt", "incoming", "secret"]);
    assert_eq!((world.read("a.txt"), world.read("secret")), ("hello".into(), "secret".into()));
    let ended = pleiad(&world, &["node", "--files", "a.txt"]);
    ended.failed(2, ["cannot use a.txt for files"]);
}
