use super::*;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Goal: a pattern gives what bash gives, in the same order.
/// Method: the same patterns in a tree with odd names, by us and by bash in the C locale.
#[test]
fn patterns_give_what_bash_gives() {
    let tree = tree();
    for pattern in [
        "*",
        "*.fa",
        "**/*.fa",
        "**/x",
        "**",
        "*/",
        "**/",
        "a/*",
        "*/x",
        "./*",
        "?",
        ".*fa",
        "a/.*/x",
        "[a-b]/x",
        "link/*",
        "*/b/*/x",
        "a/**/x",
        "**/b/**/x",
        "*/../*.fa",
        "{a,z}/x",
        "*.{fa,txt}",
        "a b/*",
    ] {
        let ours = find(tree.path(), pattern);
        let theirs = bash(tree.path(), pattern);
        assert_eq!(ours, theirs, "{pattern}");
    }
}

#[test]
fn a_name_that_looks_like_a_pattern_is_taken_as_a_name_when_it_exists() {
    let tree = tree();
    assert_eq!(find(tree.path(), "odd[1].fa"), [b"odd[1].fa"]);
}

#[test]
fn a_pattern_that_matches_nothing_is_an_error_that_says_where_it_looked() {
    let tree = tree();
    let error = |pattern: &str| Globs::find(&[tree.path().join(pattern).into()]).unwrap_err();
    assert!(matches!(error("a/*.png"), GlobError::NoMatch { directory, .. }
        if directory == tree.path().join("a")));
    assert!(matches!(error("nowhere/*.png"), GlobError::NoDirectory { .. }));
    assert!(matches!(error("missing"), GlobError::NoSuchFile { .. }));
    let error = Globs::find(&["~/nothing-*".into()]).unwrap_err();
    assert!(error.to_string().contains("inside quotes"), "{error}");
}

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    for file in [
        "b.fa",
        "a.fa",
        "a/x",
        "a/b/x",
        "a/b/c/x",
        "a-b/x",
        "a.d/x.fa",
        "z/x",
        ".hidden.fa",
        "a/.h/x",
        "a b/new\nline.fa",
        "odd[1].fa",
        "\u{e9}",
        "t.txt",
    ] {
        let path = tree.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    fs::write(tree.path().join(OsStr::from_bytes(b"\xff\xfe.fa")), "").unwrap();
    std::os::unix::fs::symlink("a", tree.path().join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", tree.path().join("dangling.fa")).unwrap();
    tree
}

fn find(directory: &Path, pattern: &str) -> Vec<Vec<u8>> {
    let base = [directory.as_os_str().as_bytes(), b"/"].concat();
    let pattern = expand(pattern, &base);
    let globs = Globs::find(&pattern).unwrap();
    globs.walk().map(|path| path.unwrap().into_vec()[base.len()..].to_vec()).collect()
}

/// The tests of one process share its current directory, so every pattern gets the tree's.
fn expand(pattern: &str, base: &[u8]) -> Vec<OsString> {
    let all = pattern::expand_braces(pattern.as_bytes());
    all.into_iter().map(|one| OsString::from_vec([base, &one].concat())).collect()
}

fn bash(directory: &Path, pattern: &str) -> Vec<Vec<u8>> {
    let script = format!("shopt -s globstar; printf '%s\\0' {}", pattern.replace("a b", "a\\ b"));
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(directory)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap();
    output.stdout.split(|&b| b == 0).filter(|p| !p.is_empty()).map(<[u8]>::to_vec).collect()
}
