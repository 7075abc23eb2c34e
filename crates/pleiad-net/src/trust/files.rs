//! Files that hold secrets: only their owner may read them, and they are whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use pleiad_types::limits;

use super::fingerprint::{BASE32, hash};
use super::key_error::KeyError;

/// Makes `dir` and what is above it, with mode 0700, or checks that nobody else may write to it.
pub(super) fn private_dir(dir: &Path) -> Result<(), KeyError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir).map_err(|error| KeyError::file("create", dir, error))?;
    let metadata = fs::metadata(dir).map_err(|error| KeyError::file("read", dir, error))?;
    refuse_mode(dir, &metadata, 0o022, 0o700)
}

/// The contents of a file that nobody else may read; `None` if there is no such file.
pub(super) fn read_secret(path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
    read(path, 0o077, 0o600)
}

/// The contents of a file that nobody else may change; `None` if there is no such file.
pub(super) fn read_trusted(path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
    read(path, 0o022, 0o644)
}

/// What becomes of a file that is already there.
#[derive(Clone, Copy)]
pub(super) enum Present {
    /// It stays, and the call fails with [`KeyError::Exists`].
    Keep,
    /// It is replaced.
    Replace,
}

/// Writes a file of mode 0600. It appears whole, and survives a power cut once this has returned.
pub(super) fn write_secret(path: &Path, text: &[u8], present: Present) -> Result<(), KeyError> {
    let temporary = Temporary::beside(path)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let error = |error| KeyError::file("write", path, error);
    let mut file = options.open(&temporary.0).map_err(error)?;
    file.write_all(text).map_err(error)?;
    file.sync_all().map_err(error)?;
    match present {
        Present::Replace => fs::rename(&temporary.0, path).map_err(error)?,
        // A link fails if the name is taken: of several processes that create the file, one wins.
        Present::Keep => fs::hard_link(&temporary.0, path).map_err(|link| match link.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
            _ => error(link),
        })?,
    }
    #[cfg(unix)]
    File::open(directory_of(path)).and_then(|dir| dir.sync_all()).map_err(error)?;
    Ok(())
}

/// `body` between a line that says what it is and a line that proves that it is whole.
pub(super) fn seal(title: &str, body: &str) -> Vec<u8> {
    let text = format!("{title}\n{body}");
    format!("{text}{CHECK}{}\n", BASE32.encode(&hash(text.as_bytes()))).into_bytes()
}

/// The body of a file that [`seal`] has made with this title; `expected` says what it should be.
pub(super) fn unseal<'a>(
    path: &Path,
    text: &'a [u8],
    title: &str,
    expected: &'static str,
) -> Result<&'a str, KeyError> {
    let cut_off = || KeyError::CutOff { path: path.to_owned() };
    let not_ours = || KeyError::NotOurs { path: path.to_owned(), expected };
    if text.len() <= title.len() && title.as_bytes().starts_with(text) {
        return Err(cut_off());
    }
    let text = std::str::from_utf8(text).map_err(|_| not_ours())?;
    let body = text.strip_prefix(title).and_then(|rest| rest.strip_prefix('\n'));
    let body = body.ok_or_else(not_ours)?;
    let end = body.rfind(CHECK).ok_or_else(cut_off)?;
    let check = body[end + CHECK.len()..].strip_suffix('\n').ok_or_else(cut_off)?;
    let covered = &text[..title.len() + 1 + end];
    if check != BASE32.encode(&hash(covered.as_bytes())) {
        return Err(KeyError::Damaged {
            path: path.to_owned(),
            what: "its check line does not match".to_owned(),
        });
    }
    Ok(&body[..end])
}

/// A part of a body, in PEM format.
pub(super) fn to_pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let base64 = data_encoding::BASE64.encode(der);
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    format!("{text}-----END {label}-----\n")
}

const CHECK: &str = "check: ";

fn read(path: &Path, refused: u32, wanted: u32) -> Result<Option<Vec<u8>>, KeyError> {
    let error = |error| KeyError::file("read", path, error);
    let wrong = |what: &str| KeyError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let limit = limits::KEY_FILE_BYTES_MAX;
    // Asked before it is opened, because opening a pipe would wait.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(wrong("it is not a regular file")),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(other) => return Err(error(other)),
    }
    let file = File::open(path).map_err(error)?;
    refuse_mode(path, &file.metadata().map_err(error)?, refused, wanted)?;
    let mut text = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut text).map_err(error)?;
    if text.len() > limit {
        return Err(wrong("it is larger than 1 MiB"));
    }
    Ok(Some(text))
}

fn refuse_mode(
    path: &Path,
    metadata: &fs::Metadata,
    refused: u32,
    wanted: u32,
) -> Result<(), KeyError> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
        if mode & refused != 0 {
            return Err(KeyError::OpenToOthers { path: path.to_owned(), mode, wanted });
        }
    }
    #[cfg(not(unix))]
    let _ = (path, metadata, refused, wanted);
    Ok(())
}

/// The name of a file that is to become another one. What is still there at the end is removed.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> Result<Self, KeyError> {
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(KeyError::crypto)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = format!(".{name}.{}.tmp", BASE32.encode(&random));
        Ok(Self(directory_of(path).join(name)))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_text_is_whole_or_refused_at_every_length() {
        let path = Path::new("key");
        let sealed = seal("a title", "a: 1\nb: 2\n");

        assert_eq!(unseal(path, &sealed, "a title", "key").unwrap(), "a: 1\nb: 2\n");
        for length in 0..sealed.len() {
            let error = unseal(path, &sealed[..length], "a title", "key").unwrap_err();
            assert!(matches!(error, KeyError::CutOff { .. }), "{length}: {error}");
        }
    }

    #[test]
    fn every_changed_byte_is_found() {
        let sealed = seal("a title", "a: 1\nb: 2\n");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            unseal(Path::new("key"), &changed, "a title", "key").unwrap_err();
        }
    }

    #[test]
    fn nothing_but_the_file_is_left_after_writing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");

        write_secret(&path, b"one", Present::Keep).unwrap();
        let error = write_secret(&path, b"two", Present::Keep).unwrap_err();
        assert!(matches!(error, KeyError::Exists { .. }), "{error}");
        assert_eq!(read_secret(&path).unwrap().unwrap(), b"one");

        write_secret(&path, b"three", Present::Replace).unwrap();
        assert_eq!(read_secret(&path).unwrap().unwrap(), b"three");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_secret(&path, &vec![b'x'; limits::KEY_FILE_BYTES_MAX + 1], Present::Keep).unwrap();

        assert!(read_secret(&path).unwrap_err().to_string().contains("larger than 1 MiB"));
    }

    #[cfg(unix)]
    #[test]
    fn files_and_directories_open_to_others_are_refused_with_the_command_that_helps() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join("a").join("b");
        private_dir(&private).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&private), 0o700);
        let path = private.join("key");
        write_secret(&path, b"secret", Present::Keep).unwrap();
        assert_eq!(mode(&path), 0o600);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let text = read_secret(&path).unwrap_err().to_string();
        assert!(text.contains("(mode 0640): run `chmod 0600 "), "{text}");

        fs::set_permissions(&private, fs::Permissions::from_mode(0o770)).unwrap();
        let text = private_dir(&private).unwrap_err().to_string();
        assert!(text.contains("(mode 0770): run `chmod 0700 "), "{text}");
    }
}
