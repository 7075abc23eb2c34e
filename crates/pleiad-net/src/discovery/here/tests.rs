use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

#[test]
fn of_two_nodes_the_second_sees_the_first() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("pleiad").join("mine");
    let (first, seen) = join(&directory, 1).unwrap();
    assert!(seen.is_empty());

    let (second, seen) = join(&directory, 0xabc).unwrap();
    assert_eq!(nodes(&seen), [1]);
    assert_eq!(seen[0].name, "node 1");
    assert_eq!(seen[0].process, std::process::id());
    assert_eq!(seen[0].addresses, [address(1)]);
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("0000000000000abc")), 0o600);

    drop((first, second));
    assert_eq!(files(&directory), [""; 0]);
}

#[test]
fn many_nodes_that_join_at_once_all_know_of_each_other() {
    let home = tempfile::tempdir().unwrap();
    let joined: Vec<_> = std::thread::scope(|scope| {
        let path = home.path();
        let start = |node| scope.spawn(move || join(path, node).unwrap());
        let threads: Vec<_> = (0..8).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (one, (_, seen_by_one)) in (0_u64..).zip(&joined) {
        for (other, (_, seen_by_other)) in (0_u64..).zip(&joined).filter(|(n, _)| *n != one) {
            let met = nodes(seen_by_one).contains(&other) || nodes(seen_by_other).contains(&one);
            assert!(met, "{one} and {other} do not know of each other");
        }
    }
}

#[test]
fn files_that_are_no_entries_are_left_out() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    fs::write(at("0000000000000001"), "garbage").unwrap();
    fs::write(at("0000000000000002"), [0xff; 10]).unwrap();
    fs::write(at("0000000000000003"), "x".repeat(1 << 20)).unwrap();
    let good = "pleiad 1\nname far\nprocess 1\nat 127.0.0.1:1\n";
    fs::write(at("0000000000000004"), format!("{good}{}", "x y\n".repeat(2000))).unwrap();
    fs::create_dir(at("0000000000000005")).unwrap();
    fs::write(at("good"), good).unwrap();
    symlink(at("good"), at("0000000000000006")).unwrap();
    nix::unistd::mkfifo(&at("0000000000000007"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for name in ["8", "00000000000000AB", "+000000000000008", "00000000000000001", ".hidden"] {
        fs::write(at(name), good).unwrap();
    }
    fs::write(at("0000000000000009"), good).unwrap();

    let (_here, seen) = join(home.path(), 0xff).unwrap();
    assert_eq!(nodes(&seen), [9]);
}

#[test]
fn a_full_directory_is_read_up_to_the_limit() {
    let home = tempfile::tempdir().unwrap();
    for node in 1..=NEIGHBOURS_MAX as u64 + 10 {
        let text = "pleiad 1\nname a\nprocess 1\n";
        fs::write(home.path().join(file_name(NodeId(node))), text).unwrap();
    }
    let (_here, seen) = join(home.path(), 0).unwrap();
    assert!((NEIGHBOURS_MAX - 1..=NEIGHBOURS_MAX).contains(&seen.len()), "{}", seen.len());
}

#[test]
fn an_entry_is_forgotten_only_if_nobody_has_written_it_since() {
    let home = tempfile::tempdir().unwrap();
    let (killed, _) = join(home.path(), 1).unwrap();
    let (here, seen) = join(home.path(), 2).unwrap();
    let (again, _) = join(home.path(), 1).unwrap();
    assert!(!here.forget(&seen[0]));
    assert_eq!(files(home.path()), ["0000000000000001", "0000000000000002"]);

    let (third, seen) = join(home.path(), 3).unwrap();
    let gone = seen.iter().find(|neighbour| neighbour.node == NodeId(1)).unwrap();
    assert!(third.forget(gone));
    assert!(!third.forget(gone));
    assert_eq!(files(home.path()), ["0000000000000002", "0000000000000003"]);
    drop((killed, again));
}

#[test]
fn a_directory_in_which_others_may_write_is_refused() {
    let home = tempfile::tempdir().unwrap();
    for mode in [0o777, 0o770, 0o702] {
        fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
        let error = join(home.path(), 1).unwrap_err();
        assert!(matches!(error, HereError::Writable(_)), "{error}");
    }
    assert_eq!(files(home.path()), [""; 0]);
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let home = tempfile::tempdir().unwrap();
    if std::os::unix::fs::chown(home.path(), Some(12345), None).is_err() {
        println!("skipped: only root can give a directory away");
        return;
    }
    let error = join(home.path(), 1).unwrap_err();
    assert!(matches!(error, HereError::OtherUser { user: 12345, .. }), "{error}");
}

#[test]
fn a_file_or_link_in_place_of_the_directory_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (target, link, file) =
        (home.path().join("target"), home.path().join("link"), home.path().join("file"));
    fs::create_dir(&target).unwrap();
    symlink(&target, &link).unwrap();
    fs::write(&file, "").unwrap();
    assert!(matches!(join(&link, 1), Err(HereError::NotADirectory(_))));
    assert!(matches!(join(&file, 1), Err(HereError::Write(..))));
}

#[test]
fn names_that_would_leave_the_directory_are_refused() {
    for name in ["", ".", "..", "../x", "a/b", "a\0", "ä", &"x".repeat(65)] {
        assert!(matches!(default_directory(name), Err(HereError::Cluster(_))), "{name:?}");
    }
    let home = tempfile::tempdir().unwrap();
    for name in ["", "a\nb", "\u{1b}", &"x".repeat(256)] {
        let error = Here::join(home.path(), NodeId(1), name, &[]).unwrap_err();
        assert!(matches!(error, HereError::Name(_)), "{error}");
    }
    assert!(default_directory("lab-1.x_y").unwrap().to_str().unwrap().contains("pleiad/lab-1.x_y"));
}

fn join(directory: &Path, node: u64) -> Result<(Here, Vec<Neighbour>), HereError> {
    Here::join(directory, NodeId(node), &format!("node {node}"), &[address(node)])
}

fn address(node: u64) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], u16::try_from(node % 60_000 + 1).unwrap()))
}

fn nodes(seen: &[Neighbour]) -> Vec<u64> {
    let mut nodes: Vec<_> = seen.iter().map(|neighbour| neighbour.node.0).collect();
    nodes.sort_unstable();
    nodes
}

fn files(directory: &Path) -> Vec<String> {
    let read = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        read.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}
