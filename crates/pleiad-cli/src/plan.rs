//! What a command line asks for: the command, and the values to run it over.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::args::Run;
use crate::quote;
use crate::source::{GlobError, Globs, Source, Values, show};
use crate::template::{Start, Style, Template, TemplateError, Unplaced};

/// A run that makes sense.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) source: Source,
    template: Template,
    start: Start,
    stdin_each: bool,
    /// What a shell needs before a job's command to run it in the same place.
    prefix: String,
}

/// Why a command line makes no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PlanError {
    #[error(
        "there is no program to run\n  usage: pleiad run --each '*.txt' -- PROGRAM ARGS, \
             or pleiad run PROGRAM ARGS ::: VALUES"
    )]
    NoProgram,
    #[error(
        "there is no program to run\n  write -- between the values of --each and the program: \
             --each {first} … -- PROGRAM ARGS"
    )]
    NoProgramAfterEach { first: String },
    #[error(
        "there is nothing to run over\n  give --each 'GLOB', --lines FILE (- for standard \
             input), --array 1-100, or values after :::"
    )]
    NoSource,
    #[error("values come from {} and {}\n  give one of them; every combination of lists is \
             written ::: a b ::: c d", .0, .1)]
    SeveralSources(&'static str, &'static str),
    #[error(
        "::: has no values after it\n  if they come from a pattern or a command in the shell, \
             that has found nothing"
    )]
    EmptyList,
    #[error("{0} is not understood\n  use --lines FILE for values in a file, and ::: for lists")]
    OtherMark(String),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Glob(#[from] GlobError),
    #[error("there is no program {program}{}", on_next_line(.hint))]
    NoSuchProgram { program: String, hint: Option<String> },
    #[error("{} is not executable\n  make it so with chmod +x, or name the program that reads it, \
             such as sh or python3", path.display())]
    NotExecutable { path: PathBuf },
    #[error("cannot run jobs in {}", path.display())]
    Workdir { path: PathBuf, source: io::Error },
}

impl Plan {
    pub(crate) fn new(args: &Run) -> Result<Self, PlanError> {
        let (command, lists) = split_lists(&args.command)?;
        if command.is_empty() {
            return Err(match args.each.first() {
                Some(first) => PlanError::NoProgramAfterEach { first: show(first) },
                None => PlanError::NoProgram,
            });
        }
        let source = source(args, lists)?;
        let style = match &args.replace {
            Some(text) => Style::Only(text.clone()),
            None => Style::Braces,
        };
        let start = if args.shell { Start::Shell } else { Start::Program };
        let unplaced = if args.stdin_each { Unplaced::LeaveOut } else { Unplaced::Append };
        let template = Template::parse(&command, source.width(), &style, start, unplaced)?;
        if let Some(path) = &args.workdir {
            let failed = |source| PlanError::Workdir { path: path.clone(), source };
            if !fs::metadata(path).map_err(failed)?.is_dir() {
                return Err(failed(io::ErrorKind::NotADirectory.into()));
            }
        }
        match template.program() {
            Some(program) => check_program(program, args)?,
            None => check_no_line(template.program_beginning(), &command[0], args)?,
        }
        Ok(Self { source, template, start, stdin_each: args.stdin_each, prefix: prefix(args) })
    }

    /// The program and arguments of job `number`.
    pub(crate) fn words(&self, number: u64, values: &Values) -> Vec<OsString> {
        self.template.words(number, values)
    }

    /// The file that job `number` gets as standard input.
    pub(crate) fn stdin<'a>(&self, values: &'a Values) -> Option<&'a Path> {
        self.stdin_each.then(|| Path::new(&values[0]))
    }

    /// The command of job `number` on one line.
    pub(crate) fn show(&self, number: u64, values: &Values) -> String {
        let command = self.template.show(number, values);
        match self.stdin(values) {
            None => command,
            Some(file) if self.start == Start::Program => {
                format!("{command} < {}", show(file.as_os_str()))
            }
            Some(file) => format!("({command}) < {}", show(file.as_os_str())),
        }
    }

    /// [`Plan::show`] with directory and variables, so that it does the same in any shell.
    pub(crate) fn show_complete(&self, number: u64, values: &Values) -> String {
        let command = self.show(number, values);
        match self.start {
            Start::Shell if self.prefix.ends_with("env ") || self.prefix.contains('=') => {
                let line = self.words(number, values);
                format!(
                    "{}{}",
                    self.prefix,
                    quote::show_words(line.iter().map(OsString::as_os_str))
                )
            }
            _ => self.prefix.clone() + &command,
        }
    }
}

/// The command that goes on where this one has ended, given the words of this one.
pub(crate) fn resume_command(words: &[OsString]) -> String {
    let mut again: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
    let end = again.iter().position(|&word| word == "--").unwrap_or(again.len());
    if let Some(at) =
        again[..end].iter().position(|&word| word == "--resume" || word == "--resume-failed")
    {
        again.remove(at);
    }
    again.insert(again.len().min(2), OsStr::new("--resume-failed"));
    quote::show_words(again)
}

type Lists = Vec<Vec<OsString>>;

/// Parts a command from the values behind each `:::`, or the values before it up to `--`.
fn split_lists(words: &[OsString]) -> Result<(Vec<OsString>, Lists), PlanError> {
    let is_mark = |word: &OsString| word == ":::";
    let (command, values) = match words.iter().position(is_mark) {
        None => (words, &[][..]),
        Some(0) => match words.iter().position(|word| word == "--") {
            Some(end) => (&words[end + 1..], &words[..end]),
            None => (&[][..], words),
        },
        Some(at) => words.split_at(at),
    };
    let unknown = |word: &&OsString| [":::+", "::::", "::::+"].iter().any(|mark| *word == mark);
    if let Some(mark) = words.iter().find(unknown) {
        return Err(PlanError::OtherMark(show(mark)));
    }
    let lists = values.split(is_mark).skip(1).map(<[_]>::to_vec).collect::<Lists>();
    if lists.iter().any(Vec::is_empty) {
        return Err(PlanError::EmptyList);
    }
    Ok((command.to_vec(), lists))
}

fn source(args: &Run, lists: Lists) -> Result<Source, PlanError> {
    let given = [
        (!args.each.is_empty(), "--each"),
        (args.lines.is_some(), "--lines"),
        (args.array.is_some(), "--array"),
        (!lists.is_empty(), ":::"),
    ];
    let mut given = given.into_iter().filter_map(|(is_given, name)| is_given.then_some(name));
    match (given.next(), given.next()) {
        (None, _) => return Err(PlanError::NoSource),
        (Some(one), Some(other)) => return Err(PlanError::SeveralSources(one, other)),
        (Some(_), None) => {}
    }
    Ok(if let Some(array) = &args.array {
        Source::Array(array.clone())
    } else if let Some(path) = &args.lines {
        let separator = if args.null { 0 } else { b'\n' };
        Source::Lines { path: (path != Path::new("-")).then(|| path.clone()), separator }
    } else if args.each.is_empty() {
        Source::Lists(lists)
    } else {
        Source::Each(Globs::find(&args.each)?)
    })
}

fn prefix(args: &Run) -> String {
    let mut prefix = String::new();
    if let Some(directory) = &args.workdir {
        prefix = format!("cd {} && ", show(directory.as_os_str()));
    }
    if args.env_clear {
        prefix += "env -i ";
    } else if !args.env.is_empty() {
        prefix += "env ";
    }
    for variable in &args.env {
        let assignment = [variable.name.as_os_str(), &variable.value].join(OsStr::new("="));
        prefix += &(show(&assignment) + " ");
    }
    prefix
}

/// Finds out now what every job would find out.
fn check_program(program: &OsStr, args: &Run) -> Result<(), PlanError> {
    if program.is_empty() {
        return Err(PlanError::NoSuchProgram { program: "''".into(), hint: None });
    }
    if program.as_bytes().contains(&b'/') {
        let directory = args.workdir.as_deref().unwrap_or(Path::new(""));
        let path = directory.join(program);
        return match fs::metadata(&path) {
            Ok(found) if is_executable(&found) => Ok(()),
            Ok(_) => Err(PlanError::NotExecutable { path }),
            Err(_) => Err(no_such(program)),
        };
    }
    let variable = args.env.iter().rev().find(|variable| variable.name == "PATH");
    let path = match variable {
        Some(variable) => Some(variable.value.clone()),
        None if args.env_clear => None,
        None => std::env::var_os("PATH"),
    };
    // Without a PATH the system has one of its own, which only the start can tell.
    let Some(path) = path else { return Ok(()) };
    let mut found = None;
    for directory in std::env::split_paths(&path) {
        let candidate = directory.join(program);
        match fs::metadata(&candidate) {
            Ok(file) if is_executable(&file) => return Ok(()),
            Ok(file) if file.is_file() => found = Some(candidate),
            _ => {}
        }
    }
    Err(found.map_or_else(|| no_such(program), |path| PlanError::NotExecutable { path }))
}

/// A first word such as `gzip -9 {}` is not one program, but a line for a shell.
fn check_no_line(beginning: &OsStr, word: &OsStr, args: &Run) -> Result<(), PlanError> {
    let program = beginning.as_bytes().split(u8::is_ascii_whitespace).next().unwrap_or_default();
    let is_line =
        program.len() < beginning.len() && check_program(OsStr::from_bytes(program), args).is_ok();
    if is_line { Err(no_such(word)) } else { Ok(()) }
}

fn is_executable(file: &fs::Metadata) -> bool {
    file.is_file() && file.permissions().mode() & 0o111 != 0
}

fn no_such(program: &OsStr) -> PlanError {
    const OF_THE_SHELL: [&str; 16] = [
        ".", "alias", "cd", "command", "eval", "exec", "exit", "export", "for", "if", "read",
        "set", "source", "ulimit", "umask", "while",
    ];
    let text = program.to_string_lossy();
    let hint = if OF_THE_SHELL.contains(&&*text) {
        Some(format!("{text} is a part of the shell: add --shell and quote the whole line"))
    } else if text.contains(|c: char| c.is_whitespace() || "|<>;&$".contains(c)) {
        Some("to run a whole line in a shell, add --shell".into())
    } else if Path::new(program).exists() {
        Some(format!("there is a file of this name here: ./{text}"))
    } else if text.contains('/') {
        None
    } else {
        Some("it is in no directory of PATH".into())
    };
    PlanError::NoSuchProgram { program: show(program), hint }
}

fn on_next_line(hint: &Option<String>) -> String {
    hint.as_ref().map(|hint| format!("\n  {hint}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, Command};
    use clap::Parser;

    #[test]
    fn values_stand_behind_the_command_or_before_it() {
        for words in [
            &["echo", "-n", ":::", "a", "b", ":::", "c"][..],
            &[":::", "a", "b", ":::", "c", "--", "echo", "-n"],
            &["--", "echo", "-n", ":::", "a", "b", ":::", "c"],
        ] {
            let plan = make(words).unwrap();
            assert_eq!(plan.source.total(), Some(2), "{words:?}");
            assert_eq!(plan.show(1, &vec!["a".into(), "c".into()]), "echo -n a c");
        }
    }

    #[test]
    fn a_command_line_that_makes_no_sense_says_what_to_write() {
        for (words, expected) in [
            (&["echo"][..], "nothing to run over"),
            (&[], "no program to run"),
            (&["--each", "Cargo.toml", "wc"], "write -- between"),
            (&["--array", "1-2"], "no program to run"),
            (&["--array", "1-2", "--", "echo", ":::", "a"], "values come from --array and :::"),
            (&["echo", ":::"], "::: has no values"),
            (&["echo", ":::", "a", ":::+", "b"], ":::+ is not understood"),
            (&["echo", "{foo}", ":::", "a"], "{foo} is not a placeholder"),
            (&["nosuchprogram", ":::", "a"], "no program nosuchprogram\n  it is in no directory"),
            (&["gzip -9 {} | wc", ":::", "a"], "add --shell"),
            (&["source", "x", ":::", "a"], "a part of the shell"),
            (&["src/main.rs", ":::", "a"], "src/main.rs is not executable"),
            (&["Cargo.toml", ":::", "a"], "./Cargo.toml"),
            (&["./nowhere/x", ":::", "a"], "no program ./nowhere/x"),
            (&["--workdir", "nowhere", "--array", "1", "--", "echo"], "cannot run jobs in nowhere"),
            (&["--each", "*.nothing", "--", "echo"], "no file matches"),
        ] {
            let error = make(words).unwrap_err().to_string();
            assert!(error.contains(expected), "{words:?}: {error}");
        }
    }

    #[test]
    fn a_program_that_depends_on_the_job_is_not_looked_for() {
        make(&["{}", ":::", "nosuchprogram"]).unwrap();
    }

    #[test]
    fn a_shown_command_does_the_same_in_a_shell() {
        let values = vec![OsString::from("a b")];
        let plan = |words: &[&str]| make(words).unwrap();
        let stdin = plan(&["--stdin-each", "wc", "-l", ":::", "x"]);
        assert_eq!(stdin.show(1, &values), "wc -l < 'a b'");
        let all = ["--workdir", "/", "--env", "A=1 2", "wc", ":::", "x"];
        assert_eq!(plan(&all).show_complete(1, &values), "cd / && env 'A=1 2' wc 'a b'");
        let shell = ["--shell", "--env", "A=1", "echo $A {}", ":::", "x"];
        let shown = plan(&shell).show_complete(1, &values);
        assert_eq!(shown, r#"env A=1 /bin/sh -c 'echo $A '\''a b'\'''"#);
        let shell = plan(&["--shell", "--stdin-each", "sort | uniq", ":::", "x"]);
        assert_eq!(shell.show_complete(1, &values), "(sort | uniq) < 'a b'");
    }

    #[test]
    fn the_command_to_go_on_is_the_same_with_resume_failed() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (given, again) in [
            (
                "pleiad run --joblog x echo ::: a",
                "pleiad run --resume-failed --joblog x echo ::: a",
            ),
            (
                "./pleiad run -j 2 --resume --joblog x -- a --resume",
                "./pleiad run --resume-failed -j 2 --joblog x -- a --resume",
            ),
        ] {
            assert_eq!(resume_command(&words(given)), again);
        }
    }

    fn make(words: &[&str]) -> Result<Plan, PlanError> {
        let words = ["pleiad", "run"].iter().chain(words);
        match Cli::try_parse_from(words).unwrap().command {
            Command::Run(run) => Plan::new(&run),
            other => panic!("{other:?}"),
        }
    }
}
