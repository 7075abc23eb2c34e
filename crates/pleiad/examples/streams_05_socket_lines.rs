//! Sends a file over a pair of sockets: one task writes it in chunks, another reads it by line.
//!
//! Shows [`Chunks`] and [`Lines`], and that streams do not know what was written at once: however
//! the bytes are cut on their way, the same ones arrive, which a checksum on both sides proves.
//!
//! ```sh
//! cargo run --example streams_05_socket_lines            # Cargo.lock
//! cargo run --example streams_05_socket_lines -- FILE
//! ```
//!
//! ```text
//! written:  2 chunks, 28557 bytes, checksum 592891f24a72ff1d
//! read:     1146 lines, 28557 bytes, checksum 592891f24a72ff1d
//! ```

use std::env;

use pleiad::io::{Chunks, Lines};
use pleiad::{Error, spawn_future};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

const CHUNK_BYTES: usize = 16 << 10;

#[tokio::main]
async fn main() -> pleiad::Result<()> {
    let name = env::args().nth(1).unwrap_or_else(|| "Cargo.lock".to_owned());
    let file = File::open(&name).await;
    let file = file.map_err(|error| Error::msg(format!("cannot open {name}: {error}")))?;

    let (here, there) = UnixStream::pair()?;
    let writer = spawn_future(write(file, here));
    let reader = spawn_future(read(there));

    let (chunks, written) = writer.await??;
    println!("written:  {chunks} chunks, {} bytes, checksum {:016x}", written.bytes, written.sum);
    let (lines, read) = reader.await??;
    println!("read:     {lines} lines, {} bytes, checksum {:016x}", read.bytes, read.sum);
    if read == written { Ok(()) } else { Err(Error::msg("they are not the same")) }
}

/// Writes the file in chunks; gives how many there were.
async fn write(file: File, mut socket: UnixStream) -> pleiad::Result<(u64, Checksum)> {
    let (mut count, mut checksum) = (0, Checksum::default());
    let mut chunks = Chunks::new(file, CHUNK_BYTES);
    while let Some(chunk) = chunks.next_chunk().await? {
        checksum.add(&chunk);
        socket.write_all(&chunk).await?;
        count += 1;
    }
    // The end of the stream comes with the end of `socket`.
    Ok((count, checksum))
}

/// Reads lines with their ends, which count here.
async fn read(socket: UnixStream) -> pleiad::Result<(u64, Checksum)> {
    let (mut count, mut checksum) = (0, Checksum::default());
    let mut lines = Lines::new(socket).keep_ends(true);
    while let Some(line) = lines.next_bytes().await? {
        checksum.add(&line);
        count += 1;
    }
    Ok((count, checksum))
}

/// A sum that is another one if a byte is changed, lost or moved (it is known as FNV-1a).
#[derive(PartialEq)]
struct Checksum {
    bytes: u64,
    sum: u64,
}

impl Default for Checksum {
    fn default() -> Self {
        Self { bytes: 0, sum: 0xcbf2_9ce4_8422_2325 }
    }
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        for byte in bytes {
            self.sum = (self.sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
