//! What a peer can do with files that does not keep to the rules. Its messages are defined here once more,
//! as another program would: they are the same to a node if their definitions are.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use pleiad_net::{FileError, FileRefusal, Node, NodeBuilder, Peer};
use pleiad_task::{AskError, Mailbox, Reply, TaskRef, spawn};
use serde::{Deserialize, Serialize};

const SOON: Duration = Duration::from_secs(10);
const MIB: usize = 1 << 20;

type Hash = [u8; 32];

#[derive(Debug, Serialize, Deserialize)]
enum Request {
    Offer(Offer, Reply<Answer>),
    Fetch(Fetch, Reply<Result<(), FileRefusal>>),
    Delete(String, Reply<Result<(), FileRefusal>>),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Offer {
    from: u64,
    path: String,
    bytes: u64,
    mode: u32,
    modified: (i64, u32),
    overwrite: bool,
    hash: Option<Hash>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Fetch {
    path: String,
    taker: TaskRef<Request>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Refused(FileRefusal),
    Hash,
    Same,
    Send { writer: TaskRef<Part>, offset: u64, hash: Hash },
}

#[derive(Debug, Serialize, Deserialize)]
enum Part {
    Watch(Reply<Result<(), FileRefusal>>),
    Again,
    Chunk {
        offset: u64,
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    End(Hash),
}

// ---- offers ----

#[tokio::test]
async fn a_path_out_of_the_directory_is_refused() {
    let lab = Lab::new().await;
    for path in ["../evil", "/etc/evil", "a/../../evil", "..", ".", "", "a//b", "a/", "a\0b", "x/."]
    {
        let refused = lab.offer(path, 10).await;
        assert!(matches!(refused, Answer::Refused(FileRefusal::Path(_))), "{path:?}: {refused:?}");
        let deleted = soon(lab.files.ask(|reply| Request::Delete(path.to_owned(), reply))).await;
        assert!(matches!(deleted, Ok(Err(FileRefusal::Path(_)))), "{path:?}: {deleted:?}");
        let fetched = lab.fetch(path).await;
        assert!(matches!(fetched, Err(FileRefusal::Path(_))), "{path:?}: {fetched:?}");
    }
    assert!(matches!(
        lab.offer(".pleiad-parts/x", 10).await,
        Answer::Refused(FileRefusal::Path(_))
    ));
    lab.assert_empty();
    assert!(!lab.home.path().join("evil").exists());
}

#[tokio::test]
async fn a_size_that_nobody_has_room_for_is_refused() {
    let lab = Lab::with(|shop| shop.file_bytes_max(u64::MAX)).await;
    let refused = lab.offer("x", u64::MAX).await;
    assert!(matches!(refused, Answer::Refused(FileRefusal::NoRoom { .. })), "{refused:?}");
    let lab = Lab::with(|shop| shop.file_bytes_max(u64::MAX).files_bytes_max(u64::MAX)).await;
    for bytes in [u64::MAX, 1 << 60] {
        let refused = lab.offer("x", bytes).await;
        assert!(matches!(refused, Answer::Refused(FileRefusal::DiskFull)), "{refused:?}");
    }
    lab.assert_empty();
}

#[tokio::test]
async fn a_strange_mode_and_time_do_no_harm() {
    let lab = Lab::new().await;
    for (n, modified) in [(i64::MAX, u32::MAX), (i64::MIN, 7), (-1, 0)].into_iter().enumerate() {
        let path = format!("{n}");
        let offer = Offer { mode: u32::MAX, modified, ..offer(&path, 0) };
        let Answer::Send { writer, .. } = lab.ask(offer).await else { panic!() };
        soon(writer.deliver(Part::End(hash_of(b"")))).await.unwrap();
        let ended = soon(writer.ask(Part::Watch)).await.unwrap();
        // The disk may know no such time.
        assert!(matches!(ended, Ok(()) | Err(FileRefusal::Disk(_))), "{ended:?}");
        if let Ok(about) = fs::metadata(lab.shop_path(&path)) {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(about.permissions().mode() & 0o7000, 0, "no rights of others");
        }
    }
    lab.assert_no_parts();
}

// ---- parts ----

#[tokio::test]
async fn what_does_not_fit_the_offer_ends_it_and_leaves_nothing() {
    let lab = Lab::new().await;
    let chunk = |offset, length| Part::Chunk { offset, bytes: vec![7; length] };
    let stories: Vec<(&str, Vec<Part>)> = vec![
        ("out of order", vec![chunk(0, 5), chunk(6, 4)]),
        ("the same again", vec![chunk(0, 5), chunk(0, 5)]),
        ("far away", vec![chunk(u64::MAX, 5)]),
        ("endless", vec![chunk(0, 5), chunk(5, 5), chunk(10, 5)]),
        ("nothing", vec![chunk(0, 0)]),
        ("more than a part", vec![chunk(0, MIB + 1)]),
        ("too little", vec![chunk(0, 5), Part::End(hash_of(&[7; 5]))]),
        ("again in the middle", vec![chunk(0, 5), Part::Again]),
        ("again and again", vec![Part::Again, Part::Again]),
        ("a wrong hash", vec![chunk(0, 10), Part::End([0; 32])]),
    ];
    for (story, parts) in stories {
        let writer = lab.writer("x", 10).await;
        for part in parts {
            let _ = soon(writer.deliver(part)).await;
        }
        let ended = soon(writer.ask(Part::Watch)).await;
        let is_told = match &ended {
            Ok(Err(FileRefusal::Offer(_))) => true,
            Ok(Err(FileRefusal::Hash)) => story == "a wrong hash",
            _ => false,
        };
        assert!(is_told, "{story}: {ended:?}");
        lab.assert_empty();
    }
}

#[tokio::test]
async fn who_sends_on_after_the_end_gets_no_answer_and_keeps_no_thread() {
    let lab = Lab::new().await;
    let writer = lab.writer("x", 10).await;
    for _ in 0..100 {
        let chunk = Part::Chunk { offset: 1, bytes: vec![7] };
        if soon(writer.deliver(chunk)).await.is_err() {
            break;
        }
    }
    let exit = soon(writer.ended()).await;
    assert_eq!(exit.reason, pleiad_task::ExitReason::Returned);
    let asked = soon(writer.ask(Part::Watch)).await;
    assert!(matches!(asked, Err(AskError::Closed(_))), "{asked:?}");
    lab.assert_empty();
}

// ---- losses, and others ----

#[tokio::test]
async fn a_file_goes_on_where_it_was_when_the_sender_was_lost() {
    let lab = Lab::new().await;
    let whole: Vec<u8> = (0..3 * MIB).map(|n| (n % 251) as u8).collect();
    let writer = lab.writer("in/data", whole.len() as u64).await;
    for n in 0..2 {
        let part = whole[n * MIB..(n + 1) * MIB].to_vec();
        soon(writer.deliver(Part::Chunk { offset: (n * MIB) as u64, bytes: part })).await.unwrap();
    }
    drop(writer);
    lab.liar.close().await;

    let (client, peer) = lab.client().await;
    let data = lab.home.path().join("data");
    fs::write(&data, &whole).unwrap();
    let sent = send_when_free(&client, &peer, &data, "in/").await;
    assert_eq!((sent.bytes, sent.moved), (3 * MIB as u64, MIB as u64));
    assert_eq!(fs::read(lab.shop_path("in/data")).unwrap(), whole);
    lab.assert_no_parts();
}

#[tokio::test]
async fn what_is_left_of_another_file_is_not_used() {
    let lab = Lab::new().await;
    let writer = lab.writer("data", 3 * MIB as u64).await;
    soon(writer.deliver(Part::Chunk { offset: 0, bytes: vec![1; MIB] })).await.unwrap();
    drop(writer);

    let (client, peer) = lab.client().await;
    let data = lab.home.path().join("data");
    fs::write(&data, vec![2; 2 * MIB]).unwrap();
    let sent = send_when_free(&client, &peer, &data, "").await;
    assert_eq!(sent.moved, 2 * MIB as u64);
    assert_eq!(fs::read(lab.shop_path("data")).unwrap(), vec![2; 2 * MIB]);
}

#[tokio::test]
async fn two_do_not_send_a_file_of_one_name_at_once() {
    let lab = Lab::new().await;
    let writer = lab.writer("data", 10).await;
    let (client, peer) = lab.client().await;
    let data = lab.home.path().join("data");
    fs::write(&data, b"another").unwrap();
    let refused = soon(client.send_file(&peer, &data)).await.unwrap_err();
    assert!(matches!(refused, FileError::Refused { why: FileRefusal::UnderWay, .. }), "{refused}");

    soon(writer.deliver(Part::Chunk { offset: 0, bytes: vec![7; 10] })).await.unwrap();
    soon(writer.deliver(Part::End(hash_of(&[7; 10])))).await.unwrap();
    soon(writer.ask(Part::Watch)).await.unwrap().unwrap();
    assert_eq!(fs::read(lab.shop_path("data")).unwrap(), [7; 10]);
}

#[tokio::test]
async fn a_file_that_came_to_be_there_meanwhile_is_not_replaced() {
    let lab = Lab::new().await;
    let writer = lab.writer("data", 10).await;
    fs::write(lab.shop_path("data"), "mine").unwrap();
    soon(writer.deliver(Part::Chunk { offset: 0, bytes: vec![7; 10] })).await.unwrap();
    soon(writer.deliver(Part::End(hash_of(&[7; 10])))).await.unwrap();
    let ended = soon(writer.ask(Part::Watch)).await.unwrap();
    assert_eq!(ended, Err(FileRefusal::Exists));
    assert_eq!(fs::read(lab.shop_path("data")).unwrap(), b"mine");
    lab.assert_no_parts();
}

#[tokio::test]
async fn only_so_many_are_taken_at_once() {
    let lab = Lab::new().await;
    let mut writers = Vec::new();
    for n in 0..pleiad_types::limits::FILES_TAKEN_AT_ONCE {
        writers.push(lab.writer(&n.to_string(), 10).await);
    }
    let refused = lab.offer("more", 10).await;
    assert!(matches!(refused, Answer::Refused(FileRefusal::Busy)), "{refused:?}");
}

/// A node that takes files, and one that speaks to its task for files as it likes.
struct Lab {
    home: tempfile::TempDir,
    shop: Node,
    liar: Node,
    files: TaskRef<Request>,
}

impl Lab {
    async fn new() -> Self {
        Self::with(|shop| shop).await
    }

    async fn with(choose: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let builder =
            |name| Node::builder().name(name).home(home.path()).lost_after(Duration::from_secs(1));
        let shop = builder("shop").files(home.path().join("shop"));
        let shop = choose(shop).start().await.expect("a node");
        let liar = builder("liar").start().await.expect("a node");
        let peer = soon(liar.peer("shop")).await.expect("a peer");
        let files = soon(liar.locate("^files").on(&peer)).await.expect("its task for files");
        Self { home, shop, liar, files }
    }

    async fn client(&self) -> (Node, Peer) {
        let client =
            Node::builder().name("client").home(self.home.path()).start().await.expect("a node");
        let peer = soon(client.peer("shop")).await.expect("a peer");
        (client, peer)
    }

    async fn ask(&self, offer: Offer) -> Answer {
        soon(self.files.ask(|reply| Request::Offer(offer, reply))).await.expect("an answer")
    }

    async fn offer(&self, path: &str, bytes: u64) -> Answer {
        self.ask(offer(path, bytes)).await
    }

    async fn writer(&self, path: &str, bytes: u64) -> TaskRef<Part> {
        match self.offer(path, bytes).await {
            Answer::Send { writer, .. } => writer,
            other => panic!("{other:?}"),
        }
    }

    async fn fetch(&self, path: &str) -> Result<(), FileRefusal> {
        let taker = spawn(async |mut mailbox: Mailbox<Request>| drop(mailbox.recv().await));
        let fetch = Fetch { path: path.to_owned(), taker: (*taker).clone() };
        soon(self.files.ask(|reply| Request::Fetch(fetch, reply))).await.expect("an answer")
    }

    fn shop_path(&self, name: &str) -> PathBuf {
        self.home.path().join("shop").join(name)
    }

    fn assert_no_parts(&self) {
        let parts: Vec<_> =
            fs::read_dir(self.shop_path(".pleiad-parts")).expect("a directory").collect();
        assert!(parts.is_empty(), "{parts:?}");
    }

    /// Nothing of a file is there.
    fn assert_empty(&self) {
        self.assert_no_parts();
        let there: Vec<_> = fs::read_dir(self.shop_path("")).expect("a directory").collect();
        assert_eq!(there.len(), 1, "{there:?}");
        assert!(self.shop.names().is_empty());
    }
}

fn offer(path: &str, bytes: u64) -> Offer {
    let (modified, hash) = ((0, 0), None);
    Offer { from: 1, path: path.to_owned(), bytes, mode: 0o644, modified, overwrite: false, hash }
}

fn hash_of(bytes: &[u8]) -> Hash {
    blake3::hash(bytes).into()
}

/// The one who sent it before may not be seen to be gone yet.
async fn send_when_free(
    client: &Node,
    peer: &Peer,
    data: &std::path::Path,
    to: &str,
) -> pleiad_net::FileSent {
    let send = async {
        loop {
            match client.send_file(peer, data).to(to).await {
                Ok(sent) => return sent,
                Err(FileError::Refused { why: FileRefusal::UnderWay, .. }) => {
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    soon(send).await
}

async fn soon<T>(future: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(SOON, future.into_future()).await.expect("it takes too long")
}
