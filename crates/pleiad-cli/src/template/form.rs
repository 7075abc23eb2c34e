/// Which part of a value takes the place of a placeholder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Whole,
    WithoutExtension,
    Name,
    Directory,
    Stem,
}

impl Form {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" => Self::Whole,
            "." => Self::WithoutExtension,
            "/" => Self::Name,
            "//" => Self::Directory,
            "/." => Self::Stem,
            _ => return None,
        })
    }

    pub(super) fn of(self, value: &[u8]) -> &[u8] {
        match self {
            Self::Whole => value,
            Self::WithoutExtension => without_extension(value),
            Self::Name => name(value),
            Self::Directory => directory(value),
            Self::Stem => without_extension(name(value)),
        }
    }
}

/// What `dirname` prints.
fn directory(path: &[u8]) -> &[u8] {
    let path = without_end_slashes(path);
    match path.iter().rposition(|&b| b == b'/') {
        None => b".",
        Some(slash) => match without_end_slashes(&path[..slash]) {
            b"" => b"/",
            directory => directory,
        },
    }
}

/// What `basename` prints.
fn name(path: &[u8]) -> &[u8] {
    let path = without_end_slashes(path);
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) if path.len() > 1 => &path[slash + 1..],
        _ => path,
    }
}

/// The name of a hidden file, `.profile`, is not an extension.
fn without_extension(path: &[u8]) -> &[u8] {
    let start = path.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
    let Some(dot) = path[start..].iter().rposition(|&b| b == b'.').map(|dot| start + dot) else {
        return path;
    };
    if path[start..dot].iter().all(|&b| b == b'.') { path } else { &path[..dot] }
}

fn without_end_slashes(mut path: &[u8]) -> &[u8] {
    while let [before @ .., b'/'] = path
        && !before.is_empty()
    {
        path = before;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_path_are_what_dirname_and_basename_say() {
        for (path, bare, name, directory, stem) in [
            ("a", "a", "a", ".", "a"),
            ("a.fa", "a", "a.fa", ".", "a"),
            ("d.x/a", "d.x/a", "a", "d.x", "a"),
            ("d/a.tar.gz", "d/a.tar", "a.tar.gz", "d", "a.tar"),
            ("/a.fa", "/a", "a.fa", "/", "a"),
            ("/", "/", "/", "/", "/"),
            ("d//a/", "d//a/", "a", "d", "a"),
            (".profile", ".profile", ".profile", ".", ".profile"),
            ("d/.x.y", "d/.x", ".x.y", "d", ".x"),
            ("..", "..", "..", ".", ".."),
            ("a.", "a", "a.", ".", "a"),
            ("", "", "", ".", ""),
        ] {
            let of = |form: Form| str::from_utf8(form.of(path.as_bytes())).unwrap();
            assert_eq!(of(Form::Whole), path);
            assert_eq!(of(Form::WithoutExtension), bare, "{path}");
            assert_eq!(of(Form::Name), name, "{path}");
            assert_eq!(of(Form::Directory), directory, "{path}");
            assert_eq!(of(Form::Stem), stem, "{path}");
        }
    }
}
