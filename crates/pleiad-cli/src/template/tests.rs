use super::*;

#[test]
fn each_placeholder_takes_its_part_of_the_value() {
    let words = run(&["convert", "{}", "{.}.png", "{/}", "{//}", "{/.}", "{n}"], 7, &["d/a b.jpg"]);
    assert_eq!(words, ["convert", "d/a b.jpg", "d/a b.png", "a b.jpg", "d", "a b", "7"]);
}

#[test]
fn without_a_placeholder_the_values_are_the_last_arguments() {
    assert_eq!(run(&["gzip", "-9"], 1, &["a"]), ["gzip", "-9", "a"]);
    assert_eq!(run(&["echo"], 1, &["a", "b"]), ["echo", "a", "b"]);
    assert_eq!(run(&["echo", "{n}"], 3, &["a"]), ["echo", "3"], "the number is a placeholder");
    let wc = ["wc"].map(OsString::from);
    let wc = Template::parse(&wc, 1, &Style::Braces, Start::Program, Unplaced::LeaveOut).unwrap();
    assert_eq!(wc.words(1, &["a".into()]), ["wc"]);
}

#[test]
fn several_sources_are_told_apart_by_number() {
    assert_eq!(run(&["cp", "{1}", "{2.}-{1/}"], 1, &["x/a", "b.c"]), ["cp", "x/a", "b-a"]);
    assert_eq!(run(&["echo", "{}", "end"], 1, &["a", "b"]), ["echo", "a", "b", "end"]);
    assert!(matches!(parse(&["x{}"], 2), Err(TemplateError::Ambiguous { .. })));
    assert!(matches!(parse(&["{.}"], 2), Err(TemplateError::Ambiguous { .. })));
    let error = parse(&["{3}"], 2).unwrap_err();
    assert!(error.to_string().contains("are only 2"), "{error}");
    assert!(matches!(parse(&["{0}"], 1), Err(TemplateError::NoSuchSource { .. })));
}

#[test]
fn braces_that_are_no_placeholder_stay_byte_for_byte() {
    for text in [
        r#"{"a":1,"b":{"c":[2]}}"#,
        "${HOME}/x",
        "{print $1}",
        "{{.ID}}",
        "{{}}",
        "{a,b}",
        "{",
        "}{",
        "a{ }b",
        "{\u{e9}}",
        r"a\b",
    ] {
        assert_eq!(run(&[text, "{}"], 1, &["v"]), [text, "v"], "{text}");
    }
}

#[test]
fn a_backslash_before_a_placeholder_stands_for_its_text() {
    assert_eq!(
        run(&[r"\{}", r"a\{foo}b", r"\{n}{}", r"\x{}"], 1, &["v"]),
        ["{}", "a{foo}b", "{n}v", r"\xv"]
    );
}

#[test]
fn an_unknown_placeholder_is_an_error_that_says_how_to_write_it() {
    for unknown in ["{foo}", "{n.}", "{...}", "{print}", "{99999999999999999999}", "{-}"] {
        let error = parse(&["x", &format!("a{unknown}b")], 1).unwrap_err();
        assert_eq!(error, TemplateError::Unknown(unknown.into()));
        assert!(error.to_string().contains(&format!(r"'\{unknown}'")), "{error}");
    }
}

#[test]
fn a_chosen_text_is_replaced_instead_of_braces() {
    let style = Style::Only("%".into());
    let parse = |words: &[&str]| {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        Template::parse(&words, 1, &style, Start::Program, Unplaced::Append)
    };
    let template = parse(&["mv", "%", "{foo}%-%"]).unwrap();
    assert_eq!(template.words(1, &["v".into()]), ["mv", "v", "{foo}v-v"]);
    assert_eq!(parse(&["echo"]).unwrap().words(1, &["v".into()]), ["echo", "v"]);
}

#[test]
fn bytes_that_are_not_utf8_pass_through() {
    let value = OsString::from_vec(b"d/\xff\xfe.x".to_vec());
    let template = parse(&["cat", "{/.}"], 1).unwrap();
    assert_eq!(template.words(1, std::slice::from_ref(&value))[1].as_bytes(), b"\xff\xfe");
    assert_eq!(template.show(1, &[value]), r"cat $'\xff\xfe'");
}

#[test]
fn a_value_stays_one_word_of_a_shell_line() {
    let shell = |line: &str, values: &[&str]| {
        let line = [OsString::from(line)];
        let template =
            Template::parse(&line, values.len(), &Style::Braces, Start::Shell, Unplaced::Append)?;
        let values: Vec<_> = values.iter().map(OsString::from).collect();
        let words = template.words(1, &values);
        assert_eq!(words[..2], ["/bin/sh", "-c"]);
        Ok::<_, TemplateError>((words[2].clone().into_string().unwrap(), template.show(1, &values)))
    };
    let (line, shown) = shell("grep x {} | wc -l > {.}.n", &["it's $(me).t"]).unwrap();
    assert_eq!(line, r"grep x 'it'\''s $(me).t' | wc -l > 'it'\''s $(me)'.n");
    assert_eq!(shown, line);
    assert_eq!(shell("cat", &["a b"]).unwrap().0, "cat 'a b'");
    assert_eq!(shell("cat x{}", &["a b", "c"]).unwrap().0, "cat x'a b' c");
    assert_eq!(shell("cat '{}'", &["a"]), Err(TemplateError::InsideQuotes("{}".into())));
    let (_, shown) = shell("a\nb {}", &["c"]).unwrap();
    assert_eq!(shown, r"/bin/sh -c $'a\nb c'");
}

#[test]
fn the_program_is_known_unless_it_depends_on_the_job() {
    assert_eq!(parse(&["gzip", "{}"], 1).unwrap().program(), Some(OsStr::new("gzip")));
    assert_eq!(parse(&["./{}"], 1).unwrap().program(), None);
}

fn parse(words: &[&str], sources: usize) -> Result<Template, TemplateError> {
    let words: Vec<_> = words.iter().map(OsString::from).collect();
    Template::parse(&words, sources, &Style::Braces, Start::Program, Unplaced::Append)
}

fn run(words: &[&str], number: u64, values: &[&str]) -> Vec<OsString> {
    let values: Vec<_> = values.iter().map(OsString::from).collect();
    parse(words, values.len()).unwrap().words(number, &values)
}
