//! Text in JSON that may be any bytes.
//!
//! What is UTF-8 is a string. Anything else is `{"base64": "…"}`, so that nothing is lost.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

use serde::{Serialize, Serializer, ser::SerializeMap};

/// Whole groups of three bytes for base64.
const BLOCK: usize = 3 << 14;

/// Bytes that are usually text.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl<'a> Text<'a> {
    pub(crate) fn of(text: &'a OsStr) -> Self {
        Self(text.as_bytes())
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut coded = Vec::new();
                base64(&mut coded, self.0);
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &String::from_utf8_lossy(&coded))?;
                map.end()
            }
        }
    }
}

/// Writes what `open` reads as one JSON value, however long it is.
pub(crate) fn write_text<R: Read>(
    open: impl Fn() -> io::Result<R>,
    put: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    if is_utf8(open()?)? {
        put(b"\"")?;
        write_string(open()?, put)?;
        put(b"\"")
    } else {
        put(b"{\"base64\":\"")?;
        let mut coded = Vec::new();
        each_block(open()?, |block| {
            coded.clear();
            base64(&mut coded, block);
            put(&coded)
        })?;
        put(b"\"}")
    }
}

fn is_utf8(input: impl Read) -> io::Result<bool> {
    let mut good = true;
    let mut cut = Vec::new();
    each_block(input, |block| {
        cut.extend_from_slice(block);
        match str::from_utf8(&cut) {
            Ok(_) => cut.clear(),
            Err(error) if error.error_len().is_none() => drop(cut.drain(..error.valid_up_to())),
            Err(_) => {
                good = false;
                cut.clear();
            }
        }
        Ok(())
    })?;
    Ok(good && cut.is_empty())
}

fn write_string(input: impl Read, put: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut cut = Vec::new();
    each_block(input, |block| {
        cut.extend_from_slice(block);
        let (text, rest) = match str::from_utf8(&cut) {
            Ok(text) => (text, Vec::new()),
            Err(error) => {
                let (valid, rest) = cut.split_at(error.valid_up_to());
                (str::from_utf8(valid).expect("it is valid up to here"), rest.to_vec())
            }
        };
        let quoted = serde_json::to_string(text)?;
        put(&quoted.as_bytes()[1..quoted.len() - 1])?;
        cut = rest;
        Ok(())
    })
}

/// Calls `take` with blocks of [`BLOCK`] bytes, the last one shorter.
fn each_block(
    mut input: impl Read,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut block = Vec::new();
    loop {
        block.clear();
        input.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(());
        }
        take(&block)?;
    }
}

fn base64(coded: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            let is_padding = digit as usize > three.len();
            coded.push(if is_padding { b'=' } else { DIGITS[index as usize] });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_what_everyone_else_writes() {
        for (bytes, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("\u{0}\u{7f}>?", "AH8+Pw=="),
        ] {
            let mut out = Vec::new();
            base64(&mut out, bytes.as_bytes());
            assert_eq!(out, coded.as_bytes());
        }
    }

    #[test]
    fn text_is_a_string_and_other_bytes_are_base64() {
        assert_eq!(written(b"a\"b\n\x1b"), r#""a\"b\n\u001b""#);
        assert_eq!(written(b""), r#""""#);
        assert_eq!(written(b"\xff"), r#"{"base64":"/w=="}"#);
        assert_eq!(
            written("cut \u{e9}".as_bytes().split_last().unwrap().1),
            r#"{"base64":"Y3V0IMM="}"#
        );
        assert_eq!(serde_json::to_string(&Text(b"\xff")).unwrap(), r#"{"base64":"/w=="}"#);
    }

    #[test]
    fn text_longer_than_a_block_is_the_same_when_read_back() {
        let text = format!("x{}", "\u{1f980}\n".repeat(BLOCK / 2));
        let back: String = serde_json::from_str(&written(text.as_bytes())).unwrap();
        assert_eq!(back, text);
    }

    fn written(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        let mut put = |piece: &[u8]| {
            out.extend_from_slice(piece);
            Ok(())
        };
        write_text(|| Ok(bytes), &mut put).unwrap();
        String::from_utf8(out).unwrap()
    }
}
