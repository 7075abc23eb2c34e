//! The command line.

mod files;
mod mesh;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use pleiad::Cpus;

use crate::source::Array;
use crate::units;

pub(crate) use files::{Files, FilesAction, Get, Moving, Place as FilesPlace, Put, Rm};
pub(crate) use mesh::{Bench, Call, Doctor, Events, Node, Peers, Place, Reach, Send, Tasks, Token};

/// Jobs at once that may be asked for: each takes processes and descriptors.
const AT_ONCE_MAX: u32 = 10_000;

#[derive(Debug, Parser)]
#[command(
    name = "pleiad",
    version,
    about = "Runs jobs on every core you own, and talks to tasks on every machine",
    after_help = EXIT_HELP,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a program once for each file, line, number or value, on all cores
    Run(Box<Run>),
    /// Run one program in the foreground under limits, and end all that it started with it
    Launch(Box<Launch>),
    /// Be a node: print texts and files that are sent to it, and who comes and goes
    Node(Box<Node>),
    /// List the nodes that are there
    Peers(Peers),
    /// List the tasks of the nodes
    Tasks(Tasks),
    /// Send a message to a task on some node
    Send(Send),
    /// Call a service on some node, and print its result
    Call(Call),
    /// Send a file to a node, fetch one from it, or delete one there
    Files(Box<Files>),
    /// Print who comes and goes
    Events(Events),
    /// Invite another machine into the cluster
    Token(Token),
    /// Say what is known of the network here, and why nobody is found
    Doctor(Doctor),
    /// Measure how fast messages are, beside raw TCP
    Bench(Box<Bench>),
    /// Print the version
    Version,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "pleiad run [OPTIONS] --each 'GLOB'… | --lines FILE | --array 1-100  -- PROGRAM [ARGS]…\n       \
                      pleiad run [OPTIONS] PROGRAM [ARGS]… ::: VALUES… [::: VALUES…]",
    after_help = "See --help for placeholders and examples.",
    after_long_help = RUN_HELP
)]
pub(crate) struct Run {
    /// Run for each file that matches; quote the pattern, or let the shell expand it. ** goes
    /// through all directories below
    #[arg(long, value_name = "GLOB", num_args = 1.., help_heading = "What to run over")]
    pub(crate) each: Vec<OsString>,

    /// Run for each line of FILE; - is standard input
    #[arg(long, value_name = "FILE", help_heading = "What to run over")]
    pub(crate) lines: Option<PathBuf>,

    /// Run for each number: 1-100, 0-90:10, or 3,7,20-29
    #[arg(
        long,
        value_name = "FROM-TO[:STEP]",
        allow_hyphen_values = true,
        help_heading = "What to run over"
    )]
    pub(crate) array: Option<Array>,

    /// Values of --lines end with a NUL byte, as `find -print0` writes them
    #[arg(short = '0', long, requires = "lines", help_heading = "What to run over")]
    pub(crate) null: bool,

    /// Give the file named by the value as standard input, instead of its name as an argument;
    /// without this, jobs have empty standard input
    #[arg(long, help_heading = "The command")]
    pub(crate) stdin_each: bool,

    /// Replace STR by the value, and nothing in braces
    #[arg(short = 'I', long, value_name = "STR", help_heading = "The command")]
    pub(crate) replace: Option<OsString>,

    /// The command is a line for /bin/sh; each value is quoted, so that it stays one word
    #[arg(long, help_heading = "The command")]
    pub(crate) shell: bool,

    /// Set a variable of the jobs' environment; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable_parser(), help_heading = "The command")]
    pub(crate) env: Vec<Variable>,

    /// Begin with an empty environment: the jobs have only what --env sets
    #[arg(long, help_heading = "The command")]
    pub(crate) env_clear: bool,

    /// Run the jobs in this directory; values are passed as they are
    #[arg(long, value_name = "DIR", help_heading = "The command")]
    pub(crate) workdir: Option<PathBuf>,

    /// Jobs at once; without it, as many as have room on this machine's processors
    #[arg(
        short = 'j',
        long,
        value_name = "N",
        value_parser = at_once,
        allow_hyphen_values = true,
        help_heading = "How many at once"
    )]
    pub(crate) jobs: Option<u32>,

    /// Processors that each job takes, in steps of 0.1 [default: 1]
    #[arg(
        long,
        value_name = "X",
        value_parser = cpus,
        allow_hyphen_values = true,
        help_heading = "How many at once"
    )]
    pub(crate) cpus: Option<Cpus>,

    /// Memory that each job takes, such as 512M or 2G; no process of it can have more
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = units::size,
        allow_hyphen_values = true,
        help_heading = "How many at once"
    )]
    pub(crate) memory: Option<u64>,

    /// End a job that runs longer, such as 90 (seconds), 30m or 1h30m
    #[arg(
        long,
        value_name = "TIME",
        value_parser = units::time,
        allow_hyphen_values = true,
        help_heading = "When a job fails"
    )]
    pub(crate) limit: Option<Duration>,

    /// Try a failed job again up to N times
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        value_parser = retries,
        allow_hyphen_values = true,
        hide_default_value = true,
        help_heading = "When a job fails"
    )]
    pub(crate) retries: u32,

    /// Wait before the first retry; each further wait is twice as long, up to 5 minutes; 0 is at
    /// once [default: 1s]
    #[arg(
        long,
        value_name = "TIME",
        value_parser = units::time_or_zero,
        allow_hyphen_values = true,
        requires = "retries",
        help_heading = "When a job fails"
    )]
    pub(crate) backoff: Option<Duration>,

    /// Stop everything at the first job that fails
    #[arg(long, help_heading = "When a job fails")]
    pub(crate) fail_fast: bool,

    /// Log each finished job to FILE, in GNU parallel's format
    ///
    /// A job is logged once its output has been written, so that what a later run leaves out is
    /// never lost. FILE may not have jobs of an earlier run, unless that is resumed.
    #[arg(long, value_name = "FILE", help_heading = "Logs and results")]
    pub(crate) joblog: Option<PathBuf>,

    /// Leave out the jobs in the job log
    ///
    /// A log of another command or of other inputs is refused.
    #[arg(long, requires = "joblog", help_heading = "Logs and results")]
    pub(crate) resume: bool,

    /// Leave out the jobs in the job log that succeeded
    #[arg(long, requires = "joblog", conflicts_with = "resume", help_heading = "Logs and results")]
    pub(crate) resume_failed: bool,

    /// Write the output of job N to DIR/N/stdout and DIR/N/stderr instead of printing it, and how it
    /// ended to DIR/N/status.json
    ///
    /// status.json is there once the job has ended, and has what --json prints.
    #[arg(long, value_name = "DIR", help_heading = "Logs and results")]
    pub(crate) results: Option<PathBuf>,

    /// Print the output of each job as a whole, in the order of the values; this is the default
    ///
    /// Output of jobs that end before one ahead of them waits in memory up to 64 MiB, then in a
    /// temporary file. When a million jobs wait for one, nothing new starts until it ends.
    #[arg(short = 'k', long, help_heading = "What is printed")]
    pub(crate) keep_order: bool,

    /// Print each line as soon as it is complete, in any order
    ///
    /// Lines of attempts that are tried again are printed as well.
    #[arg(long, visible_alias = "lb", conflicts_with_all = ["keep_order", "results"], help_heading = "What is printed")]
    pub(crate) line_buffer: bool,

    /// Begin each line of output with the value and a tab
    #[arg(long, help_heading = "What is printed")]
    pub(crate) tag: bool,

    /// Print a line of JSON for each finished job, in the order of the values
    ///
    /// Its keys are job, values, command, outcome (succeeded, failed, limit-reached, not-started or
    /// lost), exit, signal, error, attempts, started (seconds since 1970), seconds, cpu_seconds,
    /// memory_bytes_max, stdout and stderr. What is not UTF-8 is {"base64": "…"} instead of a text.
    #[arg(long, conflicts_with_all = ["line_buffer", "tag"], help_heading = "What is printed")]
    pub(crate) json: bool,

    /// Print the commands, and run nothing
    #[arg(short = 'n', long, help_heading = "What is printed")]
    pub(crate) dry_run: bool,

    /// Print neither progress nor a summary of success; failures are still told
    #[arg(short, long, help_heading = "What is printed")]
    pub(crate) quiet: bool,

    /// Print no progress
    #[arg(long, help_heading = "What is printed")]
    pub(crate) no_progress: bool,

    /// The program and its arguments, with placeholders
    #[arg(trailing_var_arg = true, value_name = "PROGRAM", hide = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "pleiad launch [OPTIONS] -- PROGRAM [ARGS]…",
    after_help = "Its exit status is the program's, 128 + the signal that ended it, 124 after \
                  --limit, 126 if it is not executable, 127 if there is no such program."
)]
pub(crate) struct Launch {
    /// The most memory that each of its processes can have, such as 512M or 2G
    #[arg(long, value_name = "SIZE", value_parser = units::size, allow_hyphen_values = true)]
    pub(crate) memory: Option<u64>,

    /// The most processor time that each of its processes can take
    #[arg(long, value_name = "TIME", value_parser = units::time, allow_hyphen_values = true)]
    pub(crate) cpu_time: Option<Duration>,

    /// Files that each of its processes can have open
    #[arg(long, value_name = "N", value_parser = open_files, allow_hyphen_values = true)]
    pub(crate) files: Option<u64>,

    /// End it after this time
    #[arg(long, value_name = "TIME", value_parser = units::time, allow_hyphen_values = true)]
    pub(crate) limit: Option<Duration>,

    /// Run it in this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) workdir: Option<PathBuf>,

    /// Set a variable of its environment; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable_parser())]
    pub(crate) env: Vec<Variable>,

    /// The program and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "PROGRAM")]
    pub(crate) command: Vec<OsString>,
}

/// A variable of an environment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Variable {
    pub(crate) name: OsString,
    pub(crate) value: OsString,
}

const EXIT_HELP: &str = "\
Exit status of those that talk to nodes:
  0 done · 1 failed · 2 the command line is wrong · 3 nobody is reached · 124 no answer in time";

// clap takes the placeholder of the number for a line break, unless a style, here none, begins in it.
const RUN_HELP: &str = "\
Placeholders in the command:
  {}    the value                       reads/a.fa.gz
  {.}   without its extension           reads/a.fa
  {/}   the name in its directory       a.fa.gz
  {//}  its directory                   reads
  {/.}  the name without its extension  a.fa
  {\u{1b}[0mn}   the number of the job, from 1
  {1} {2.} {3/} …  the value of the 1st, 2nd, 3rd list, when there are several :::
Without a placeholder, the value is the last argument. A placeholder is { and } with nothing
but letters, digits and . / _ - between them, not after a $ and not in double braces:
{\"a\":1}, ${HOME}, {{.ID}} and {print $1} stay as they are. To pass the text {} itself, write
\\{}; with -I STR, only STR is replaced. Nothing passes through a shell, unless --shell asks for
one.

Examples:
  Compress all logs, four at a time:
    pleiad run -j 4 --each 'logs/**/*.log' -- gzip -9
  Search each file, two processors a job; after an interruption, add --resume-failed:
    pleiad run --each 'reads/*.fa' --cpus 2 --joblog log -- blastn -query {} -out {.}.txt
  A parameter sweep, every combination:
    pleiad run ./simulate --seed {1} --rate {2} ::: 1 2 3 ::: 0.1 0.5
  Names from a pipe, of any bytes:
    find . -name '*.png' -print0 | pleiad run --lines - -0 -- optipng -quiet
  A pipeline in a shell:
    pleiad run --shell --each '*.csv' -- 'sort {} | uniq -c > {.}.counts'
  A file of whole commands:
    pleiad run --lines commands.txt -- sh -c {}

Exit status:
  0 every job succeeded · 1 a job failed · 2 the command line is wrong, and nothing was run ·
  124 jobs failed, all of them by their --limit · 130 interrupted by Ctrl-C
The first Ctrl-C asks the jobs to stop, a second one ends them at once.";

fn at_once(text: &str) -> Result<u32, String> {
    // To GNU parallel, +1 is one more than there are processors.
    match text.parse().ok().filter(|_| !text.starts_with('+')).unwrap_or(0) {
        n @ 1..=AT_ONCE_MAX => Ok(n),
        _ => Err(format!(
            "expected a number from 1 to {AT_ONCE_MAX}; without -j as many run as there is room for"
        )),
    }
}

fn cpus(text: &str) -> Result<Cpus, String> {
    let cpus: Cpus = text.parse().map_err(|error| format!("{error}"))?;
    if cpus == Cpus::ZERO {
        return Err("a job takes at least 0.1; to run more at once, use -j".into());
    }
    Ok(cpus)
}

fn retries(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(n @ 0..=1_000_000) => Ok(n),
        _ => Err("expected a number from 0 to 1000000".into()),
    }
}

fn open_files(text: &str) -> Result<u64, String> {
    // Three are open at the start.
    match text.parse() {
        Ok(n @ 3..) => Ok(n),
        _ => Err("expected a number of at least 3".into()),
    }
}

fn variable_parser() -> impl clap::builder::TypedValueParser<Value = Variable> {
    use clap::builder::TypedValueParser as _;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    clap::builder::OsStringValueParser::new().try_map(|text| {
        let bytes = text.as_bytes();
        match bytes.iter().position(|&b| b == b'=') {
            Some(at @ 1..) => Ok(Variable {
                name: OsString::from_vec(bytes[..at].to_vec()),
                value: OsString::from_vec(bytes[at + 1..].to_vec()),
            }),
            _ => Err("expected NAME=VALUE"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_the_program_are_not_taken_for_ours() {
        let run = run(&["-j", "4", "gzip", "-9", "-j", "x", ":::", "a"]).unwrap();
        assert_eq!(run.jobs, Some(4));
        assert_eq!(run.command, ["gzip", "-9", "-j", "x", ":::", "a"]);
        let run = self::run(&["--each", "a", "b", "--", "-odd", "--", "x"]).unwrap();
        assert_eq!(run.each, ["a", "b"]);
        assert_eq!(run.command, ["-odd", "--", "x"]);
    }

    #[test]
    fn wrong_numbers_say_what_is_expected() {
        for (words, expected) in [
            (["-j", "0"], "from 1 to 10000"),
            (["-j", "-1"], "from 1 to 10000"),
            (["-j", "1000000"], "from 1 to 10000"),
            (["-j", "+1"], "from 1 to 10000"),
            (["-j", "50%"], "without -j as many run"),
            (["--cpus", "0"], "at least 0.1"),
            (["--cpus", "-2"], "steps of 0.1"),
            (["--memory", "0"], "above zero"),
            (["--memory", "-2G"], "such as 512M"),
            (["--limit", "-5"], "such as 30s"),
            (["--limit", "0"], "above zero"),
            (["--retries", "-1"], "from 0 to"),
            (["--array", "5-1"], "5-1 is empty"),
            (["--array", "1-10:0"], "step of 0"),
            (["--env", "=x"], "NAME=VALUE"),
        ] {
            let error = run(&words).unwrap_err().to_string();
            assert!(error.contains(expected), "{words:?}: {error}");
        }
        assert!(run(&["--limt", "5", "--", "x"]).is_err(), "an unknown option is not a program");
    }

    fn run(words: &[&str]) -> Result<Box<Run>, clap::Error> {
        let words = ["pleiad", "run"].iter().chain(words);
        match Cli::try_parse_from(words)?.command {
            Command::Run(run) => Ok(run),
            other => panic!("{other:?}"),
        }
    }
}
