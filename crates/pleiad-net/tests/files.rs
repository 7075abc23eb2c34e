//! Files between nodes, over real sockets.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pleiad_net::{
    FileArrived, FileError, FileEvent, FileEvents, FilePathError, FileRefusal, Node, NodeBuilder,
    Peer, RegisterError,
};
use pleiad_task::{Mailbox, spawn};

const SOON: Duration = Duration::from_secs(10);
const MIB: usize = 1 << 20;

// ---- what is sent ----

#[tokio::test]
async fn a_file_is_sent_with_its_permissions_and_its_time() {
    let lab = Lab::new().await;
    let mut events = lab.shop.file_events();
    let data = lab.file("data.bin", &bytes(3 * MIB + 17));
    fs::set_permissions(&data, fs::Permissions::from_mode(0o640)).unwrap();
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5000);
    fs::File::open(&data).unwrap().set_modified(then).unwrap();

    let mut progress = Vec::new();
    let sending = lab.client.send_file(&lab.peer, &data).to("in/2026/");
    let sent = soon(sending.progress(|p| progress.push((p.bytes, p.of)))).await.unwrap();
    let whole = 3 * MIB as u64 + 17;
    assert_eq!((sent.path.as_str(), sent.bytes, sent.moved), ("in/2026/data.bin", whole, whole));
    assert_eq!(progress.last(), Some(&(whole, whole)));
    assert_eq!(progress.len(), 4);

    let there = lab.shop_path("in/2026/data.bin");
    assert_eq!(fs::read(&there).unwrap(), fs::read(&data).unwrap());
    let about = fs::metadata(&there).unwrap();
    assert_eq!(about.permissions().mode() & 0o7777, 0o640);
    assert_eq!(about.modified().unwrap(), then);
    let arrived = arrival(&mut events).await;
    assert_eq!(arrived.path, there.canonicalize().unwrap());
    assert_eq!((arrived.name.as_str(), arrived.bytes), ("in/2026/data.bin", whole));
    assert_eq!((arrived.from.as_str(), arrived.node), ("client", lab.client.id()));
    assert!(!arrived.was_there);
    lab.assert_no_parts();
}

#[tokio::test]
async fn files_of_any_size_are_sent_whole() {
    let lab = Lab::new().await;
    for length in [0, 1, MIB - 1, MIB, MIB + 1] {
        let data = lab.file(&format!("{length}"), &bytes(length));
        let sent = soon(lab.client.send_file(&lab.peer, &data)).await.unwrap();
        assert_eq!(sent.moved, length as u64);
        assert_eq!(fs::read(lab.shop_path(&sent.path)).unwrap(), bytes(length));
    }
    lab.assert_no_parts();
}

#[tokio::test]
async fn the_same_file_is_sent_once() {
    let lab = Lab::new().await;
    let data = lab.file("data.bin", &bytes(MIB));
    soon(lab.client.send_file(&lab.peer, &data)).await.unwrap();
    let mut events = lab.shop.file_events();
    let again = soon(lab.client.send_file(&lab.peer, &data)).await.unwrap();
    assert_eq!((again.bytes, again.moved), (MIB as u64, 0));
    assert!(arrival(&mut events).await.was_there);
}

#[tokio::test]
async fn another_file_is_replaced_only_if_that_is_allowed() {
    let lab = Lab::new().await;
    let data = lab.file("data", b"one");
    soon(lab.client.send_file(&lab.peer, &data)).await.unwrap();
    for other in ["two", "three"] {
        let data = lab.file("data", other.as_bytes());
        let refused = soon(lab.client.send_file(&lab.peer, &data)).await.unwrap_err();
        assert_eq!(why(refused), FileRefusal::Exists);
    }
    assert_eq!(fs::read(lab.shop_path("data")).unwrap(), b"one");
    for other in ["two", "three"] {
        let data = lab.file("data", other.as_bytes());
        soon(lab.client.send_file(&lab.peer, &data).overwrite(true)).await.unwrap();
        assert_eq!(fs::read(lab.shop_path("data")).unwrap(), other.as_bytes());
    }
}

#[tokio::test]
async fn a_node_without_a_directory_says_how_to_have_one() {
    let lab = Lab::new().await;
    let data = lab.file("data", b"one");
    let peer = soon(lab.shop.peer("client")).await.unwrap();
    let refused = soon(lab.shop.send_file(&peer, &data)).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("NodeBuilder::files"), "{text}");
    assert_eq!(why(refused), FileRefusal::NoDirectory);
    let refused = soon(lab.shop.fetch_file(&peer, "data").to(lab.path("x"))).await.unwrap_err();
    assert_eq!(why(refused), FileRefusal::NoDirectory);
    let refused = soon(lab.shop.delete_file(&peer, "data")).await.unwrap_err();
    assert_eq!(why(refused), FileRefusal::NoDirectory);
}

#[tokio::test]
async fn what_is_no_file_is_not_sent() {
    let lab = Lab::new().await;
    for path in [lab.path("nothing"), lab.path("shop")] {
        let error = soon(lab.client.send_file(&lab.peer, &path).to("x")).await.unwrap_err();
        assert!(matches!(error, FileError::Unreadable { .. }), "{error}");
    }
    assert!(!lab.shop_path("x").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_changed_while_it_is_sent_does_not_arrive() {
    let lab = Lab::new().await;
    let data = lab.file("data", &bytes(8 * MIB));
    let change = |_| fs::write(&data, "other").unwrap();
    let error = soon(lab.client.send_file(&lab.peer, &data).progress(change)).await.unwrap_err();
    assert!(matches!(error, FileError::Changed(_)), "{error}");
    assert!(!lab.shop_path("data").exists());
}

#[tokio::test]
async fn a_file_too_large_or_one_too_many_is_refused_before_anything_is_written() {
    let lab = Lab::with(|shop| shop.file_bytes_max(1000).files_bytes_max(1500)).await;
    let large = lab.file("large", &bytes(1001));
    let refused = soon(lab.client.send_file(&lab.peer, &large)).await.unwrap_err();
    assert_eq!(why(refused), FileRefusal::TooLarge { max: 1000 });
    let (one, two) = (lab.file("one", &bytes(1000)), lab.file("two", &bytes(501)));
    soon(lab.client.send_file(&lab.peer, &one)).await.unwrap();
    let refused = soon(lab.client.send_file(&lab.peer, &two)).await.unwrap_err();
    assert_eq!(why(refused), FileRefusal::NoRoom { max: 1500 });
    lab.assert_no_parts();

    // What is deleted makes room, whoever deletes it; so does what is replaced.
    let other = lab.file("one", &bytes(999));
    soon(lab.client.send_file(&lab.peer, &other).overwrite(true)).await.unwrap();
    soon(lab.client.send_file(&lab.peer, &two)).await.unwrap();
    fs::remove_file(lab.shop_path("one")).unwrap();
    soon(lab.client.send_file(&lab.peer, &two).to("three")).await.unwrap();
}

#[tokio::test]
async fn many_files_are_sent_at_once() {
    let lab = Lab::new().await;
    let sends: Vec<_> = (0..12)
        .map(|n| {
            let data = lab.file(&format!("{n}"), &bytes(MIB / 4 + n));
            let (client, peer) = (lab.client.clone(), lab.peer.clone());
            tokio::spawn(async move { client.send_file(&peer, data).await })
        })
        .collect();
    for (n, sent) in sends.into_iter().enumerate() {
        soon(sent).await.unwrap().unwrap();
        assert_eq!(fs::read(lab.shop_path(&n.to_string())).unwrap(), bytes(MIB / 4 + n));
    }
    lab.assert_no_parts();
}

// ---- what is fetched and deleted ----

#[tokio::test]
async fn a_file_is_fetched_with_its_permissions() {
    let lab = Lab::new().await;
    fs::create_dir_all(lab.shop_path("out")).unwrap();
    fs::write(lab.shop_path("out/result"), bytes(2 * MIB + 5)).unwrap();
    fs::set_permissions(lab.shop_path("out/result"), fs::Permissions::from_mode(0o751)).unwrap();
    let mut last = None;
    let fetching = lab.client.fetch_file(&lab.peer, "out/result").to(lab.home.path());
    let fetched = soon(fetching.progress(|p| last = Some(p.bytes))).await.unwrap();
    assert_eq!(fetched.path, lab.path("result"));
    assert_eq!((fetched.bytes, fetched.was_there), (2 * MIB as u64 + 5, false));
    assert!(last.is_some());
    assert_eq!(fs::read(&fetched.path).unwrap(), bytes(2 * MIB + 5));
    assert_eq!(fs::metadata(&fetched.path).unwrap().permissions().mode() & 0o777, 0o751);

    let fetch = || lab.client.fetch_file(&lab.peer, "out/result").to(lab.path("result"));
    assert!(soon(fetch()).await.unwrap().was_there);
    fs::write(lab.path("result"), "another").unwrap();
    let refused = soon(fetch()).await.unwrap_err();
    assert!(matches!(refused, FileError::NotTaken { why: FileRefusal::Exists, .. }), "{refused}");
    assert!(!soon(fetch().overwrite(true)).await.unwrap().was_there);
    let names: Vec<_> = fs::read_dir(lab.home.path()).unwrap().collect();
    assert!(!format!("{names:?}").contains(".pleiad-part"), "{names:?}");
}

#[tokio::test]
async fn what_is_not_there_or_not_in_the_directory_is_not_fetched() {
    let lab = Lab::new().await;
    lab.file("secret", b"secret");
    symlink(lab.path("secret"), lab.shop_path("link")).unwrap();
    symlink(lab.home.path(), lab.shop_path("home")).unwrap();
    for (path, refusal) in [
        ("nothing", FileRefusal::NotFound),
        ("no/thing", FileRefusal::NotFound),
        ("link", FileRefusal::Way),
        ("home/secret", FileRefusal::Way),
        ("home", FileRefusal::Way),
    ] {
        let fetching = lab.client.fetch_file(&lab.peer, path).to(lab.path("got"));
        assert_eq!(why(soon(fetching).await.unwrap_err()), refusal, "{path}");
    }
    let error = soon(lab.client.fetch_file(&lab.peer, "../secret")).await.unwrap_err();
    assert!(matches!(error, FileError::Path(FilePathError::Dots)), "{error}");
    assert!(!lab.path("got").exists());
}

#[tokio::test]
async fn a_file_is_deleted_with_the_directories_that_are_empty_then() {
    let lab = Lab::new().await;
    let data = lab.file("data", b"one");
    for to in ["a/b/c/one", "a/two"] {
        soon(lab.client.send_file(&lab.peer, &data).to(to)).await.unwrap();
    }
    soon(lab.client.delete_file(&lab.peer, "a/b/c/one")).await.unwrap();
    assert!(!lab.shop_path("a/b").exists());
    assert!(lab.shop_path("a/two").exists());
    soon(lab.client.delete_file(&lab.peer, "a/two")).await.unwrap();
    assert!(!lab.shop_path("a").exists());
    assert!(lab.shop_path("").exists());
    let refused = soon(lab.client.delete_file(&lab.peer, "a/two")).await.unwrap_err();
    assert_eq!(why(refused), FileRefusal::NotFound);
    fs::create_dir(lab.shop_path("dir")).unwrap();
    let refused = soon(lab.client.delete_file(&lab.peer, "dir")).await.unwrap_err();
    assert_eq!(why(refused), FileRefusal::NotRegular);
}

// ---- links ----

#[tokio::test]
async fn links_in_the_directory_lead_nowhere() {
    let lab = Lab::new().await;
    fs::create_dir(lab.path("outside")).unwrap();
    symlink(lab.path("outside"), lab.shop_path("in")).unwrap();
    symlink(lab.path("outside/x"), lab.shop_path("x")).unwrap();
    let data = lab.file("data", b"one");
    for (to, refusal) in [("in/x", FileRefusal::Way), ("x", FileRefusal::NotRegular)] {
        let sending = lab.client.send_file(&lab.peer, &data).to(to).overwrite(true);
        assert_eq!(why(soon(sending).await.unwrap_err()), refusal, "{to}");
        let refused = soon(lab.client.delete_file(&lab.peer, to)).await.unwrap_err();
        assert_eq!(why(refused), refusal, "{to}");
    }
    assert_eq!(fs::read_dir(lab.path("outside")).unwrap().count(), 0);
}

// ---- losses ----

/// Goal: what was sent before the receiver was lost is not sent again to the next that has its directory.
/// Method: the first is closed while the sender is held in its progress.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_goes_on_where_it_was_when_the_receiver_was_lost() {
    let lab = Lab::new().await;
    let data = lab.file("data", &bytes(24 * MIB));
    let (reached, wait) = tokio::sync::oneshot::channel();
    let (closed, go_on) = std::sync::mpsc::channel();
    let (mut reached, shop) = (Some(reached), lab.shop.clone());
    let sending = lab.client.send_file(&lab.peer, &data).progress(move |progress| {
        if progress.bytes >= 8 * MIB as u64
            && let Some(reached) = reached.take()
        {
            reached.send(()).unwrap();
            go_on.recv().unwrap();
        }
    });
    let closing = async move {
        wait.await.unwrap();
        shop.close().await;
        closed.send(()).unwrap();
    };
    // In tasks of their own, since one of them blocks its thread.
    let closing = tokio::spawn(closing);
    let error = soon(sending).await.unwrap_err();
    assert!(matches!(error, FileError::Lost { .. }), "{error}");
    soon(closing).await.unwrap();
    assert!(!lab.shop_path("data").exists());

    let (shop, peer) = lab.second_shop().await;
    let sent = soon(lab.client.send_file(&peer, &data)).await.unwrap();
    assert!(sent.moved <= 20 * MIB as u64, "{} bytes were sent", sent.moved);
    assert_eq!(fs::read(lab.shop_path("data")).unwrap(), bytes(24 * MIB));
    lab.assert_no_parts();
    shop.close().await;
}

// ---- the rest ----

#[tokio::test]
async fn a_task_is_told_of_files() {
    let lab = Lab::new().await;
    let task = spawn(async |mut mailbox: Mailbox<FileEvent>| mailbox.recv().await);
    lab.shop.watch_files(&task, |event| event);
    let data = lab.file("data", b"one");
    soon(lab.client.send_file(&lab.peer, &data)).await.unwrap();
    let Some(FileEvent::Arrived(arrived)) = soon(task).await.unwrap() else { panic!() };
    assert_eq!(arrived.name, "data");
}

#[tokio::test]
async fn the_events_end_with_the_node() {
    let lab = Lab::new().await;
    let mut events = lab.shop.file_events();
    let data = lab.file("data", b"one");
    soon(lab.client.send_file(&lab.peer, &data)).await.unwrap();
    lab.shop.close().await;
    assert_eq!(arrival(&mut events).await.name, "data");
    assert_eq!(soon(events.next()).await, None);
}

#[tokio::test]
async fn names_of_the_system_are_kept_from_users() {
    let lab = Lab::new().await;
    let task = spawn(async |mut mailbox: Mailbox<u64>| mailbox.recv().await);
    let refused = lab.shop.register("^files", &task).unwrap_err();
    assert_eq!(refused, RegisterError::Reserved("^files".to_owned()));
    assert!(lab.shop.names().is_empty());
}

#[tokio::test]
async fn old_parts_are_deleted_when_a_node_starts() {
    let home = tempfile::tempdir().unwrap();
    let parts = home.path().join("files/.pleiad-parts");
    fs::create_dir_all(&parts).unwrap();
    for (name, age) in [("old", 25), ("young", 1)] {
        let file = fs::File::create(parts.join(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age * 3600)).unwrap();
    }
    let files = home.path().join("files");
    let node = Node::builder().home(home.path()).files(&files).start().await.unwrap();
    assert!(!parts.join("old").exists());
    assert!(parts.join("young").exists());
    node.close().await;
}

/// A node that takes files, and one that sends them.
struct Lab {
    home: tempfile::TempDir,
    shop: Node,
    client: Node,
    peer: Peer,
}

impl Lab {
    async fn new() -> Self {
        Self::with(|shop| shop).await
    }

    async fn with(choose: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let shop = node(home.path(), "shop").files(home.path().join("shop"));
        let shop = choose(shop).start().await.expect("a node");
        let client = node(home.path(), "client").start().await.expect("a node");
        let peer = soon(client.peer("shop")).await.expect("a peer");
        Self { home, shop, client, peer }
    }

    /// Another node with the directory of the first.
    async fn second_shop(&self) -> (Node, Peer) {
        let shop = node(self.home.path(), "shop-2").files(self.home.path().join("shop"));
        let shop = shop.start().await.expect("a node");
        let peer = soon(self.client.peer("shop-2")).await.expect("a peer");
        (shop, peer)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn shop_path(&self, name: &str) -> PathBuf {
        self.home.path().join("shop").join(name)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        fs::write(self.path(name), content).expect("a file");
        self.path(name)
    }

    fn assert_no_parts(&self) {
        let parts: Vec<_> =
            fs::read_dir(self.shop_path(".pleiad-parts")).expect("a directory").collect();
        assert!(parts.is_empty(), "{parts:?}");
    }
}

fn node(home: &Path, name: &str) -> NodeBuilder {
    Node::builder().name(name).home(home).lost_after(Duration::from_secs(1))
}

/// Not the same in any two places.
fn bytes(length: usize) -> Vec<u8> {
    let mut state: u64 = 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn why(error: FileError) -> FileRefusal {
    match error {
        FileError::Refused { why, .. } => why,
        other => panic!("{other}"),
    }
}

async fn arrival(events: &mut FileEvents) -> FileArrived {
    match soon(events.next()).await {
        Some(FileEvent::Arrived(arrived)) => arrived,
        other => panic!("{other:?}"),
    }
}

async fn soon<T>(future: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(SOON, future.into_future()).await.expect("it takes too long")
}
