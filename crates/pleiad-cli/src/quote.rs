//! Words as a shell reads them.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

/// Adds `word` to `text` so that bash, zsh or ksh read it back as the same bytes, on one line.
///
/// Control characters and bytes that are not UTF-8 are written as `$'\n'`, `$'\xff'`.
pub(crate) fn show_word(text: &mut String, word: &OsStr) {
    let bytes = word.as_bytes();
    match word.to_str() {
        Some(plain) if is_plain(bytes) => text.push_str(plain),
        Some(printable) if !printable.chars().any(char::is_control) => {
            text.push('\'');
            text.push_str(&printable.replace('\'', r"'\''"));
            text.push('\'');
        }
        _ => show_escaped(text, bytes),
    }
}

/// The words of a command on one line, to be pasted into a shell.
pub(crate) fn show_words<'a>(words: impl IntoIterator<Item = &'a OsStr>) -> String {
    let mut text = String::new();
    for (i, word) in words.into_iter().enumerate() {
        if i > 0 {
            text.push(' ');
        } else if word.as_bytes().contains(&b'=') {
            // Unquoted it would set a variable instead of naming a program.
            show_escaped(&mut text, word.as_bytes());
            continue;
        }
        show_word(&mut text, word);
    }
    text
}

/// Adds `word` to `line` so that every POSIX `sh` reads it back as one word with the same bytes.
pub(crate) fn single_quote(line: &mut Vec<u8>, word: &[u8]) {
    if is_plain(word) {
        return line.extend_from_slice(word);
    }
    line.push(b'\'');
    for &byte in word {
        match byte {
            b'\'' => line.extend_from_slice(br"'\''"),
            _ => line.push(byte),
        }
    }
    line.push(b'\'');
}

fn is_plain(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|b| b.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(b))
}

fn show_escaped(text: &mut String, word: &[u8]) {
    text.push_str("$'");
    for chunk in word.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => text.push_str(r"\n"),
                '\t' => text.push_str(r"\t"),
                '\r' => text.push_str(r"\r"),
                '\\' => text.push_str(r"\\"),
                '\'' => text.push_str(r"\'"),
                c if c.is_control() => {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        show_byte(text, byte);
                    }
                }
                c => text.push(c),
            }
        }
        for &byte in chunk.invalid() {
            show_byte(text, byte);
        }
    }
    text.push('\'');
}

fn show_byte(text: &mut String, byte: u8) {
    write!(text, "\\x{byte:02x}").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const ODD: [&[u8]; 12] = [
        b"plain/path-1.fa",
        b"",
        b"two words",
        b"it's",
        b"line\nbreak\ttab\rback\\slash",
        b"\xff\xfe raw 'quoted'",
        "\u{e9}t\u{e9} \u{1f980}".as_bytes(),
        b"$HOME `id` $(id) *?[a] {} ~ ! # & ; | < > \"",
        b"\x01\x1b[31m",
        "\u{85}".as_bytes(),
        b"\xffabc",
        b"-n",
    ];

    #[test]
    fn a_plain_word_stays_as_it_is() {
        assert_eq!(show_words(["grep", "-n", "a b", ""].map(OsStr::new)), "grep -n 'a b' ''");
        assert_eq!(show_words(["A=1"].map(OsStr::new)), "$'A=1'");
    }

    #[test]
    fn bash_reads_every_shown_word_back_byte_for_byte() {
        for word in ODD {
            let shown =
                show_words([OsStr::new("printf"), OsStr::new("%s"), OsStr::from_bytes(word)]);
            assert!(!shown.contains('\n'), "{shown}");
            let out = Command::new("bash").args(["-c", &shown]).output().unwrap();
            assert_eq!(out.stdout, word, "{shown}");
        }
    }

    #[test]
    fn sh_reads_every_quoted_word_back_byte_for_byte() {
        for word in ODD {
            let mut line = b"printf %s ".to_vec();
            single_quote(&mut line, word);
            let out = Command::new("sh").arg("-c").arg(OsStr::from_bytes(&line)).output().unwrap();
            assert_eq!(out.stdout, word);
        }
    }
}
