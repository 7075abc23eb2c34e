//! Messages on streams, whole and broken.

use bytes::Bytes;
use pleiad_io::limits::MESSAGE_BYTES_MAX;
use pleiad_io::{MessageReader, MessageRecvError, MessageSendError, MessageStream, MessageWriter};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_message_is_its_length_and_its_body() {
    let mut bytes = Vec::new();
    MessageWriter::new(&mut bytes).send("abc").await.unwrap();
    assert_eq!(bytes, b"\0\0\0\x03abc");
}

#[tokio::test]
async fn empty_messages_are_messages() {
    let (mut here, mut there) = pair(64);
    here.send("").await.unwrap();
    here.send("").await.unwrap();
    drop(here);

    assert_eq!(there.recv().await.unwrap(), Some(Bytes::new()));
    assert_eq!(there.recv().await.unwrap(), Some(Bytes::new()));
    assert_eq!(there.recv().await.unwrap(), None);
    assert_eq!(there.recv().await.unwrap(), None);
}

#[tokio::test]
async fn the_largest_message_passes_and_a_larger_one_is_refused_by_both_ends() {
    let (mut here, mut there) = pair(1 << 16);
    let largest = Bytes::from(vec![7; MESSAGE_BYTES_MAX]);
    let larger = vec![7; MESSAGE_BYTES_MAX + 1];

    let error = here.send(larger.clone()).await.unwrap_err();
    assert!(matches!(error, MessageSendError::TooLarge { .. }), "{error}");
    let mut here = here.bytes_max(usize::MAX);
    let sent = largest.clone();
    let sender = tokio::spawn(async move {
        here.send(sent).await.unwrap();
        here.send(larger).await
    });

    assert!(there.recv().await.unwrap().unwrap() == largest);
    for _ in 0..2 {
        let error = there.recv().await.unwrap_err();
        assert!(matches!(error, MessageRecvError::TooLarge { bytes: 16_777_217, .. }), "{error}");
    }
    drop(there);
    assert!(matches!(sender.await.unwrap(), Err(MessageSendError::Io(_))));
}

/// Method: the reader is read no further than the length, and the announced body never comes.
#[tokio::test]
async fn a_length_over_the_limit_is_refused_before_the_body_comes() {
    let (mut peer, stream) = tokio::io::duplex(64);
    peer.write_all(&[0xff; 4]).await.unwrap();

    let error = MessageReader::new(stream).recv().await.unwrap_err();

    let text = "the peer announces a message of 4294967295 bytes, more than the limit of 16777216";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn an_end_within_the_length_is_an_error_of_its_own() {
    let mut reader = MessageReader::new(&b"\0\0\0\x01x\0\0"[..]);
    assert_eq!(reader.recv().await.unwrap().unwrap(), "x");
    for _ in 0..2 {
        let error = reader.recv().await.unwrap_err();
        assert!(matches!(error, MessageRecvError::TruncatedLength { came: 2 }), "{error}");
    }
}

#[tokio::test]
async fn an_end_within_the_body_is_an_error_of_its_own() {
    let mut reader = MessageReader::new(&b"\0\0\0\x05abc"[..]);
    for _ in 0..2 {
        let error = reader.recv().await.unwrap_err();
        assert!(matches!(error, MessageRecvError::TruncatedBody { came: 3, bytes: 5 }), "{error}");
    }
}

#[tokio::test]
async fn messages_arrive_whole_though_each_byte_comes_alone() {
    let (mut here, mut there) = pair(1);
    let sender = tokio::spawn(async move {
        for message in ["one", "", "three"] {
            here.send(message).await.unwrap();
        }
    });

    let mut came = Vec::new();
    while let Some(message) = there.recv().await.unwrap() {
        came.push(message);
    }

    sender.await.unwrap();
    assert_eq!(came, ["one", "", "three"]);
}

/// Method: `recv` is dropped after each byte.
#[tokio::test]
async fn a_receive_that_is_dropped_loses_nothing() {
    let (mut peer, stream) = tokio::io::duplex(64);
    let mut reader = MessageReader::new(stream);
    let mut came = Vec::new();

    for byte in *b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c" {
        peer.write_u8(byte).await.unwrap();
        tokio::select! {
            biased;
            message = reader.recv() => came.push(message.unwrap().unwrap()),
            () = std::future::ready(()) => {}
        }
    }

    assert_eq!(came, ["ab", "", "c"]);
}

/// Method: the stream takes some bytes, and then `send` is dropped.
#[tokio::test]
async fn a_send_that_is_dropped_leaves_the_stream_whole() {
    let (stream, mut peer) = tokio::io::duplex(3);
    let mut writer = MessageWriter::new(stream);
    tokio::select! {
        biased;
        _ = writer.send("first") => panic!("there is no room for it"),
        () = std::future::ready(()) => {}
    }

    let sender = tokio::spawn(async move {
        writer.send("second").await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).await.unwrap();

    sender.await.unwrap();
    assert_eq!(bytes, b"\0\0\0\x05first\0\0\0\x06second");
}

#[tokio::test]
async fn two_tasks_send_and_receive_on_one_socket_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let echo = tokio::spawn(async move {
        let mut messages = MessageStream::new(listener.accept().await.unwrap().0);
        while let Some(message) = messages.recv().await.unwrap() {
            messages.send(message).await.unwrap();
        }
    });
    let (mut reader, mut writer) =
        MessageStream::new(TcpStream::connect(address).await.unwrap()).split();

    let sender = tokio::spawn(async move {
        for n in 0..200_u8 {
            writer.send(vec![n; 50_000]).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    });
    for n in 0..200_u8 {
        assert!(reader.recv().await.unwrap().unwrap() == vec![n; 50_000]);
    }

    assert_eq!(reader.recv().await.unwrap(), None);
    sender.await.unwrap();
    echo.await.unwrap();
}

#[tokio::test]
async fn what_was_read_ahead_is_given_back() {
    let mut reader = MessageReader::new(&b"\0\0\0\x01xrest"[..]);
    assert_eq!(reader.recv().await.unwrap().unwrap(), "x");
    let (stream, ahead) = reader.into_parts();
    assert_eq!((stream, &ahead[..]), (&b""[..], &b"rest"[..]));
}

proptest! {
    #[test]
    fn any_messages_arrive_whole_wherever_the_stream_is_cut(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        cuts in prop::collection::vec(1_usize..100, 1..50),
    ) {
        let came = run(async {
            let mut bytes = Vec::new();
            let mut writer = MessageWriter::new(&mut bytes);
            for message in &messages {
                writer.send(message.clone()).await.unwrap();
            }
            let (mut peer, stream) = tokio::io::duplex(64);
            let mut reader = MessageReader::new(stream);
            let write = async move {
                let mut rest = &bytes[..];
                for cut in cuts.iter().cycle() {
                    let (piece, after) = rest.split_at((*cut).min(rest.len()));
                    peer.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                    rest = after;
                    if rest.is_empty() {
                        break;
                    }
                }
            };
            let read = async {
                let mut came = Vec::new();
                while let Some(message) = reader.recv().await.unwrap() {
                    came.push(message.to_vec());
                }
                came
            };
            tokio::join!(write, read).1
        });
        prop_assert_eq!(came, messages);
    }

    #[test]
    fn any_bytes_are_messages_or_an_error(
        bytes in prop::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..100),
    ) {
        run(async {
            let mut reader = MessageReader::new(&bytes[..]).bytes_max(20);
            let mut sum = 0;
            while let Ok(Some(message)) = reader.recv().await {
                sum += 4 + message.len();
            }
            assert!(sum <= bytes.len());
        });
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime without drivers").block_on(future)
}

fn pair(
    bytes: usize,
) -> (MessageWriter<tokio::io::DuplexStream>, MessageReader<tokio::io::DuplexStream>) {
    let (here, there) = tokio::io::duplex(bytes);
    (MessageWriter::new(here), MessageReader::new(there))
}
