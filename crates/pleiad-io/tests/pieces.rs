//! Lines, chunks and counted bytes of streams.

use std::time::Duration;

use pleiad_io::limits::LINE_BYTES_MAX;
use pleiad_io::{Chunks, LineError, Lines, Part, read_up_to};
use tokio::io::{AsyncReadExt, AsyncWriteExt, repeat};
use tokio::time::Instant;

#[tokio::test]
async fn both_ends_of_line_are_taken_off_and_the_last_line_needs_none() {
    assert_eq!(
        all(b"unix\nwindows\r\n\n\r\nmac\rmac\nlast\r").await,
        ["unix", "windows", "", "", "mac\rmac", "last\r"]
    );
    assert_eq!(all(b"one\n").await, ["one"]);
    assert!(all(b"").await.is_empty());
}

#[tokio::test]
async fn with_their_ends_the_lines_are_what_has_come() {
    for text in ["unix\nwindows\r\n\n\r\nmac\rmac\nlast\r", "one\n", "\r\n", "one", ""] {
        let mut lines = Lines::new(text.as_bytes()).keep_ends(true);
        let mut came = Vec::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            came.push(line);
        }
        let expected: Vec<_> = text.split_inclusive('\n').collect();
        assert_eq!(came, expected);
    }
}

#[tokio::test]
async fn the_limit_counts_no_ends_of_lines_whether_they_are_kept_or_not() {
    let text = "1234\n1234\r\n12345\n1234\r\r\n12345678901\n1234";
    let mut lines = Lines::new(text.as_bytes()).bytes_max(4).keep_ends(true);
    let mut came = Vec::new();
    for _ in 0..6 {
        came.push(lines.next_line().await.ok().flatten());
    }
    let line = |text: &str| Some(text.to_owned());
    assert_eq!(came, [line("1234\n"), line("1234\r\n"), None, None, None, line("1234")]);
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn lines_are_answered_over_the_stream_that_they_come_from() {
    let (mut client, server) = tokio::io::duplex(64);
    let server = tokio::spawn(async move {
        let mut lines = Lines::new(server);
        while let Some(line) = lines.next_line().await.unwrap() {
            lines.get_mut().write_all(format!("{line}?\n").as_bytes()).await.unwrap();
        }
    });

    client.write_all(b"one\ntwo\n").await.unwrap();
    client.shutdown().await.unwrap();

    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers, "one?\ntwo?\n");
    server.await.unwrap();
}

#[tokio::test]
async fn a_line_of_just_the_limit_is_allowed() {
    for text in ["1234\n", "1234\r\n", "1234"] {
        let mut lines = Lines::new(text.as_bytes()).bytes_max(4);
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "1234");
        assert_eq!(lines.next_line().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_line_over_the_limit_is_left_out_and_the_next_one_is_read() {
    for text in ["12345\nnext", "12345\r\nnext", "12345678901234567890\nnext"] {
        let mut lines = Lines::new(text.as_bytes()).bytes_max(4);
        let error = lines.next_line().await.unwrap_err();
        assert!(matches!(error, LineError::TooLong { limit: 4 }), "{error}");
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "next");
        assert_eq!(lines.next_line().await.unwrap(), None);
    }
    let mut lines = Lines::new(&b"12345"[..]).bytes_max(4);
    assert!(lines.next_line().await.is_err());
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn a_peer_that_never_ends_its_line_is_told_at_the_limit() {
    let mut lines = Lines::new(repeat(b'x'));
    let error = lines.next_line().await.unwrap_err();
    assert!(matches!(error, LineError::TooLong { limit: LINE_BYTES_MAX }), "{error}");
}

#[tokio::test]
async fn what_is_not_text_is_an_error_with_the_bytes_and_the_next_line_is_read() {
    let mut lines = Lines::new(&b"\xff\xfe\ntext\n"[..]);
    let error = lines.next_line().await.unwrap_err();
    assert!(matches!(&error, LineError::NotUtf8(line) if line == &b"\xff\xfe"[..]), "{error}");
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "text");

    let mut lines = Lines::new(&b"\xff\xfe\n"[..]);
    assert_eq!(lines.next_bytes().await.unwrap().unwrap(), &b"\xff\xfe"[..]);
}

#[tokio::test]
async fn lines_may_come_byte_by_byte_and_the_wait_may_be_dropped() {
    let (mut peer, stream) = tokio::io::duplex(1);
    let mut lines = Lines::new(stream).bytes_max(4);
    let mut came = Vec::new();
    for byte in *b"ab\r\n\r\nfar too long\nc\n" {
        peer.write_u8(byte).await.unwrap();
        tokio::select! {
            biased;
            line = lines.next_line() => came.push(line.map_err(|error| error.to_string())),
            () = std::future::ready(()) => {}
        }
    }
    drop(peer);

    let text = |text: &str| Ok(Some(text.to_owned()));
    let too_long = Err("a line is longer than the limit of 4 bytes".to_owned());
    assert_eq!(came, [text("ab"), text(""), too_long, text("c")]);
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn a_hundred_thousand_lines_are_read_as_they_were_written() {
    let text: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
    let (mut peer, stream) = tokio::io::duplex(1000);
    let written = text.clone();
    let writer = tokio::spawn(async move { peer.write_all(written.as_bytes()).await });

    let mut lines = Lines::new(stream);
    for line in text.lines() {
        assert_eq!(lines.next_line().await.unwrap().unwrap(), line);
    }

    assert_eq!(lines.next_line().await.unwrap(), None);
    writer.await.unwrap().unwrap();
}

#[tokio::test]
async fn chunks_have_one_size_but_for_the_last() {
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let mut chunks = Chunks::new(&bytes[..], 16_384);
    let (mut sizes, mut came) = (Vec::new(), Vec::new());
    while let Some(chunk) = chunks.next_chunk().await.unwrap() {
        sizes.push(chunk.len());
        came.extend_from_slice(&chunk);
    }

    assert_eq!(sizes, [16_384, 16_384, 16_384, 16_384, 16_384, 16_384, 1_696]);
    assert!(came == bytes);
    assert_eq!(chunks.next_chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_wait_for_a_chunk_may_be_dropped() {
    let (mut peer, stream) = tokio::io::duplex(1);
    let mut chunks = Chunks::new(stream, 3);
    let mut came = Vec::new();
    for byte in *b"abcdef" {
        peer.write_u8(byte).await.unwrap();
        tokio::select! {
            biased;
            chunk = chunks.next_chunk() => came.push(chunk.unwrap().unwrap()),
            () = std::future::ready(()) => {}
        }
    }
    assert_eq!(came, ["abc", "def"]);
}

#[tokio::test]
async fn so_many_bytes_are_read_and_not_one_more() {
    let mut stream = &b"abcdef"[..];
    assert_eq!(read_up_to(&mut stream, 4).await.unwrap(), Part::Whole("abcd".into()));
    assert_eq!(stream, b"ef");
    assert_eq!(read_up_to(&mut stream, 0).await.unwrap(), Part::Whole("".into()));
    assert_eq!(read_up_to(&mut stream, usize::MAX).await.unwrap(), Part::Ended("ef".into()));
}

#[tokio::test(start_paused = true)]
async fn progress_restarts_the_idle_time_out() {
    let (mut peer, mut stream) = tokio::io::duplex(64);
    let begin = Instant::now();
    let writer = tokio::spawn(async move {
        for byte in *b"abc" {
            tokio::time::sleep(Duration::from_secs(9)).await;
            peer.write_u8(byte).await.unwrap();
        }
        peer
    });

    let part = read_up_to(&mut stream, 10).idle_timeout(Duration::from_secs(10)).await.unwrap();

    assert_eq!(part, Part::TimedOut("abc".into()));
    assert_eq!(begin.elapsed(), Duration::from_secs(37));
    writer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_time_out_gives_what_came_whatever_the_progress() {
    let (mut peer, mut stream) = tokio::io::duplex(64);
    let writer = tokio::spawn(async move {
        while peer.write_u8(b'x').await.is_ok() {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });

    let read = read_up_to(&mut stream, 100).timeout(Duration::from_secs(5));
    let part = read.idle_timeout(Duration::MAX).await.unwrap();

    assert_eq!(part.into_bytes(), "xxx");
    drop(stream);
    writer.await.unwrap();
}

async fn all(text: &[u8]) -> Vec<String> {
    let mut lines = Lines::new(text);
    let mut came = Vec::new();
    while let Some(line) = lines.next_line().await.expect("short text") {
        came.push(line);
    }
    came
}
