//! The bytes of messages between jobs and those who wait for them.
//!
//! A message begins with a number made from the name of its type, so that a message of another
//! type is an error and not garbage. Both ends are the same program.

use std::any::type_name;

use bytes::Bytes;
use pleiad_types::limits::BODY_BYTES_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::{JobSendError, MessageError};

/// # Errors
///
/// If the value does not serialise, or is over the limit.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Bytes, JobSendError> {
    let body = postcard::to_extend(value, type_number::<T>().to_le_bytes().to_vec())
        .map_err(|e| JobSendError::Unserialisable(e.to_string()))?;
    if body.len() > BODY_BYTES_MAX {
        Err(JobSendError::TooLarge(body.len()))
    } else {
        Ok(body.into())
    }
}

pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, MessageError> {
    let error = |why: &str| MessageError { expected: type_name::<T>(), why: why.to_owned() };
    let (number, value) = body.split_first_chunk().ok_or_else(|| error("it is empty"))?;
    if u64::from_le_bytes(*number) != type_number::<T>() {
        return Err(error("this one is of another type"));
    }
    postcard::from_bytes(value).map_err(|e| error(&e.to_string()))
}

/// FNV-1a (Fowler, Noll and Vo) over the name of the type.
fn type_number<T>() -> u64 {
    type_name::<T>().bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_only_as_what_it_is() {
        let body = encode(&(7_u32, "seven".to_owned())).unwrap();
        assert_eq!(decode::<(u32, String)>(&body), Ok((7, "seven".to_owned())));
        let error = decode::<(u64, String)>(&body).unwrap_err();
        assert!(error.to_string().contains("another type"), "{error}");
        assert!(decode::<u8>(b"").is_err());
    }
}
