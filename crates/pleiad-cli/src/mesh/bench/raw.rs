//! TCP without anything: what a network gives at best. It blocks threads of its own, as the simplest
//! program would.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::mesh::bench::measure::{BULK_BYTES, SMALL_BYTES};

/// The one who has asked comes at once. Also the longest silence on the connection.
const PATIENCE: Duration = Duration::from_secs(5);

const ECHO: u8 = 1;
const SINK: u8 = 2;

/// Where a raw connection is waited for, and what it has to begin with: only who was told so may come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Place {
    address: SocketAddr,
    token: [u8; 16],
}

// ---- the side that measures ----

/// There and back, each in a time.
pub(super) fn round_trips(place: &Place, each: Duration) -> io::Result<Vec<Duration>> {
    let mut stream = connect(place, ECHO)?;
    let (start, mut times, mut body) = (Instant::now(), Vec::new(), [7; SMALL_BYTES]);
    while start.elapsed() < each {
        let sent = Instant::now();
        stream.write_all(&body)?;
        stream.read_exact(&mut body)?;
        times.push(sent.elapsed());
    }
    Ok(times)
}

/// Bytes in a second.
pub(super) fn bulk(place: &Place, each: Duration) -> io::Result<f64> {
    let mut stream = connect(place, SINK)?;
    let (start, mut bytes, body) = (Instant::now(), 0_u64, vec![7; BULK_BYTES]);
    while start.elapsed() < each {
        stream.write_all(&body)?;
        bytes += body.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut taken = [0; 8];
    stream.read_exact(&mut taken)?;
    if u64::from_le_bytes(taken) != bytes {
        return Err(io::Error::other("not all has come"));
    }
    Ok(bytes as f64 / start.elapsed().as_secs_f64())
}

fn connect(place: &Place, what: u8) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&place.address, PATIENCE)?;
    prepare(&stream)?;
    stream.write_all(&place.token)?;
    stream.write_all(&[what])?;
    Ok(stream)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))
}

// ---- the far side ----

/// Waits for one connection, at the address of the node.
pub(super) async fn serve(
    address: Option<&str>,
    permit: OwnedSemaphorePermit,
) -> Result<Place, String> {
    let address = address.and_then(|address| address.parse::<SocketAddr>().ok());
    let host = address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip());
    let listener = TcpListener::bind((host, 0)).await.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let mut token = [0; 16];
    getrandom::fill(&mut token).map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Ok(Ok((stream, _))) = timeout(PATIENCE, listener.accept()).await
            && let Ok(stream) = stream.into_std()
        {
            // It may have gone away, which is what it measures.
            let _ = tokio::task::spawn_blocking(move || answer(stream, &token)).await;
        }
        drop(permit);
    });
    Ok(Place { address, token })
}

fn answer(mut stream: TcpStream, token: &[u8; 16]) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    prepare(&stream)?;
    let mut head = [0; 17];
    stream.read_exact(&mut head)?;
    if !head.starts_with(token) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    if head[16] == ECHO {
        let mut body = [0; SMALL_BYTES];
        loop {
            stream.read_exact(&mut body)?;
            stream.write_all(&body)?;
        }
    }
    let (mut bytes, mut body) = (0_u64, vec![0; BULK_BYTES]);
    loop {
        match stream.read(&mut body)? {
            0 => return stream.write_all(&bytes.to_le_bytes()),
            read => bytes += read as u64,
        }
    }
}
