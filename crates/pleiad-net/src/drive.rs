//! Who reads and writes the connections.
//!
//! As long as it is quick, the program's own runtime does: then a message comes to its task without going
//! through another thread. A node has a thread of its own beside that. It gives signs of life, looks after
//! the time, and goes through all connections itself each time: so a program that blocks its runtime is slow
//! to answer, but not lost. The connection for large bodies is its own from the start.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pleiad_proto::wire::LaneKind;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::conn::{Conn, ReadEnd};
use crate::link::Link;

/// How soon the node's own thread comes back to a connection that nobody else reads.
pub(crate) const STALLED_TURN: Duration = Duration::from_millis(5);

/// Has a connection read and written from now on.
pub(crate) fn drive(link: Arc<Link>, conn: Arc<Conn>) {
    // Large bodies would keep the small messages waiting for their turn on the same thread.
    let is_near = conn.lane == LaneKind::Messages;
    let runtime = if is_near { link.mesh.near() } else { link.mesh.own() }.clone();
    drive_on(&runtime, link, conn, is_near);
}

/// `is_near`: if that runtime ends, the node's own goes on.
fn drive_on(runtime: &Handle, link: Arc<Link>, conn: Arc<Conn>, is_near: bool) {
    let registered = {
        let _entered = runtime.enter();
        conn.socket().try_clone().and_then(TcpStream::from_std)
    };
    let socket = match registered {
        Ok(socket) => Arc::new(socket),
        Err(error) if is_near => {
            tracing::debug!(%error, "the program's runtime takes no connection");
            let own = link.mesh.own().clone();
            return drive_on(&own, link, conn, false);
        }
        Err(error) => {
            tracing::warn!(peer = %link.name(), %error, "a connection cannot be driven");
            conn.close();
            return;
        }
    };
    let baton = Baton { link: link.clone(), conn: conn.clone(), is_near };
    let (reads, writes) = (socket.clone(), socket);
    let (write_link, write_conn) = (link.clone(), conn.clone());
    runtime.spawn(async move {
        let _baton = baton;
        drive_reads(&link, &conn, &reads).await;
    });
    runtime.spawn(async move { drive_writes(&write_link, &write_conn, &writes).await });
}

async fn drive_reads(link: &Arc<Link>, conn: &Arc<Conn>, socket: &TcpStream) {
    loop {
        if socket.readable().await.is_err() {
            return;
        }
        let read = socket.try_io(Interest::READABLE, || match link.read(conn) {
            ReadEnd::Drained => Err(io::Error::from(io::ErrorKind::WouldBlock)),
            end => Ok(end),
        });
        match read {
            Ok(ReadEnd::Over) => return,
            Ok(_) => tokio::task::yield_now().await,
            Err(_) if conn.is_over() => return,
            Err(_) => (),
        }
    }
}

async fn drive_writes(link: &Arc<Link>, conn: &Arc<Conn>, socket: &TcpStream) {
    loop {
        conn.write.notified().await;
        loop {
            if conn.is_over() {
                return;
            }
            if !conn.blocked.swap(false, Ordering::AcqRel) {
                link.flush(conn);
                break;
            }
            let flushed = socket.try_io(Interest::WRITABLE, || {
                link.flush(conn);
                if conn.blocked.load(Ordering::Acquire) {
                    return Err(io::Error::from(io::ErrorKind::WouldBlock));
                }
                Ok(())
            });
            if flushed.is_err() && socket.writable().await.is_err() {
                return;
            }
        }
    }
}

/// Is dropped when a connection is driven no more.
struct Baton {
    link: Arc<Link>,
    conn: Arc<Conn>,
    is_near: bool,
}

impl Drop for Baton {
    fn drop(&mut self) {
        if self.is_near && !self.conn.is_over() {
            // The program's runtime has ended before the connection.
            let own = self.link.mesh.own().clone();
            drive_on(&own, self.link.clone(), self.conn.clone(), false);
        }
    }
}
