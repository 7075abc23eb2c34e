//! What a joiner and the node that admits it say to each other: one question, one answer.
//!
//! A message is two bytes of length (big end first) and that many bytes in postcard's format.

use std::io;

use pleiad_types::limits;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) secret: [u8; 16],
    /// An Ed25519 key that the joiner has made.
    pub(super) public_key: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Admitted { certificate: Vec<u8>, authority: Vec<u8>, cluster_name: String },
    Refused(String),
}

/// Why no message came.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Link(#[from] io::Error),
    #[error("{0} bytes announced, 16 384 allowed")]
    TooLong(usize),
    #[error("what came is not a message of the admission exchange")]
    Garbage,
}

pub(super) async fn read<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<T, ReadError> {
    let length = usize::from(stream.read_u16().await?);
    if length > limits::ADMISSION_BYTES_MAX {
        return Err(ReadError::TooLong(length));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await?;
    match postcard::take_from_bytes(&frame) {
        Ok((message, [])) => Ok(message),
        _ => Err(ReadError::Garbage),
    }
}

pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> io::Result<()> {
    let body = postcard::to_allocvec(message).map_err(io::Error::other)?;
    let length = u16::try_from(body.len()).ok().filter(|n| fits(*n));
    let length = length.ok_or_else(|| io::Error::other("message over 16 384 bytes"))?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    stream.write_all(&frame).await?;
    stream.flush().await
}

fn fits(length: u16) -> bool {
    usize::from(length) <= limits::ADMISSION_BYTES_MAX
}
