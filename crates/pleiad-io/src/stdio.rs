use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::process::{ChildStdin, ChildStdout};

/// What goes to the first program of a pipeline: see [`Running::split`](crate::Running::split).
///
/// [`shutdown`](tokio::io::AsyncWriteExt::shutdown), or dropping it, ends the input. If the pipeline
/// reads something else, or the input was taken or has ended, writing is an error of the kind
/// [`NotConnected`](io::ErrorKind::NotConnected).
#[derive(Debug, Default)]
pub struct PipelineStdin(pub(crate) Option<ChildStdin>);

/// What comes from the last program of a pipeline: see [`Running::split`](crate::Running::split).
///
/// Once it is dropped, a program that writes more is ended by SIGPIPE, or gets an error. If the
/// output goes elsewhere or was taken, reading is an error of the kind
/// [`NotConnected`](io::ErrorKind::NotConnected).
#[derive(Debug, Default)]
pub struct PipelineStdout(pub(crate) Option<ChildStdout>);

impl AsyncWrite for PipelineStdin {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Some(stdin) => Pin::new(stdin).poll_write(cx, bytes),
            None => Poll::Ready(Err(not_here("input"))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Some(stdin) => Pin::new(stdin).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stdin = &mut self.get_mut().0;
        let Some(pipe) = stdin else { return Poll::Ready(Ok(())) };
        let done = Pin::new(pipe).poll_shutdown(cx);
        if done.is_ready() {
            // Only the drop closes it.
            *stdin = None;
        }
        done
    }
}

impl AsyncRead for PipelineStdout {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Some(stdout) => Pin::new(stdout).poll_read(cx, buffer),
            None => Poll::Ready(Err(not_here("output"))),
        }
    }
}

fn not_here(which: &str) -> io::Error {
    let text = format!("the standard {which} of the pipeline was taken, is closed, or is no pipe");
    io::Error::new(io::ErrorKind::NotConnected, text)
}
