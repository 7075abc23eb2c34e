//! Measures tasks in one process: pleiad beside its peers, alternately, each measure in a process of
//! its own. See README.md.

#![deny(unsafe_code)]

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use peer::{PEERS, Peer};
use program::{PROGRAMS, Program};
use row::{ROWS, Row, Work};
use table::Line;

mod peer;
mod program;
mod row;
mod table;
mod work;

const HELP: &str = "\
Measures tasks in one process: pleiad beside its peers.

Usage: peers [OPTIONS]

      --only ROW     only rows whose name begins so; may be given several times
      --peer NAME    only this peer, and tokio, to compare it with; may be given several times
      --rounds N     rounds of which the median counts (default: 5)
      --quick        3 rounds, shorter, with a tenth of the idle tasks
      --json         prints a line of JSON for each figure
      --list         prints the names of the rows and peers
      --help         prints this
";

/// The hidden argument of the processes that measure.
const MEASURE: &str = "--measure";

struct Options {
    only: Vec<String>,
    peers: Vec<String>,
    rounds: usize,
    json: bool,
    /// Tasks, for memory.
    idle: u64,
    /// For everything else, how long.
    target: Duration,
}

/// Who is measured in a row, and how.
enum Who {
    Library(&'static Peer),
    Program(&'static Program, PathBuf),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [MEASURE, row, peer, n] => {
            measure(row, peer, n);
            ExitCode::SUCCESS
        }
        ["--help" | "-h"] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        ["--list"] => {
            let names = |names: Vec<&str>| names.join(" ");
            println!("rows: {}", names(ROWS.iter().map(|row| row.id).collect()));
            println!("peers: {}", names(all_names().collect()));
            ExitCode::SUCCESS
        }
        _ => match options(&words) {
            Ok(options) => {
                run(&options);
                ExitCode::SUCCESS
            }
            Err(problem) => {
                eprintln!("error: {problem}\n\n{HELP}");
                ExitCode::from(2)
            }
        },
    }
}

fn all_names() -> impl Iterator<Item = &'static str> {
    PEERS.iter().map(|peer| peer.name).chain(PROGRAMS.iter().map(|program| program.name))
}

fn options(words: &[&str]) -> Result<Options, String> {
    let mut options = Options {
        only: Vec::new(),
        peers: Vec::new(),
        rounds: 0,
        json: false,
        idle: 1_000_000,
        target: Duration::from_millis(500),
    };
    let mut quick = false;
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word {
            "--only" => {
                let row = value()?;
                if !ROWS.iter().any(|known| known.id.starts_with(row)) {
                    return Err(format!("there is no row {row}"));
                }
                options.only.push(row.to_owned());
            }
            "--peer" => {
                let peer = value()?;
                if !all_names().any(|known| known == peer) {
                    return Err(format!("there is no peer {peer}"));
                }
                options.peers.push(peer.to_owned());
            }
            "--rounds" => {
                options.rounds = match value()?.parse() {
                    Ok(rounds) if rounds > 0 => rounds,
                    _ => return Err("--rounds needs a number of rounds".to_owned()),
                };
            }
            "--quick" => quick = true,
            "--json" => options.json = true,
            // What `cargo bench` adds.
            "--bench" => {}
            _ => return Err(format!("{word} is not understood")),
        }
    }
    if quick {
        options.idle /= 10;
        options.target = Duration::from_millis(150);
    }
    if options.rounds == 0 {
        options.rounds = if quick { 3 } else { 5 };
    }
    Ok(options)
}

/// Does one work in this process, and prints the figure.
fn measure(row: &str, peer: &str, n: &str) {
    let row = ROWS.iter().find(|known| known.id == row).expect("a row");
    let peer = PEERS.iter().find(|known| known.name == peer).expect("a peer");
    let n: u64 = n.parse().expect("a number");
    let figure = match peer.timed(row.work) {
        Some(timed) => work::each(|n| timed(row.threads, n), Duration::from_millis(n)),
        None => peer.memory.expect("a work of this peer")(n) as f64 / n as f64,
    };
    println!("{figure}");
}

fn run(options: &Options) {
    for row in ROWS {
        if !options.only.is_empty() && !options.only.iter().any(|name| row.id.starts_with(name)) {
            continue;
        }
        let mut lines = Vec::new();
        let mut measured = Vec::new();
        for (line, who) in taking_part(row, options) {
            if let Some(who) = who {
                measured.push((lines.len(), who));
            }
            lines.push(line);
        }
        if lines.is_empty() {
            continue;
        }
        // Memory is the same every time, and takes long.
        let rounds = if row.work == Work::Memory { 1 } else { options.rounds };
        for round in 0..rounds {
            for turn in 0..measured.len() {
                // Another one begins each round.
                let (index, who) = &measured[(round + turn) % measured.len()];
                let line = &mut lines[*index];
                progress(&format!("{} {}/{rounds} {}", row.id, round + 1, line.peer));
                match figure(row, who, options) {
                    Ok(figure) => line.each.push(figure),
                    Err(problem) => line.left_out = Some(problem),
                }
            }
        }
        progress("");
        if options.json {
            print!("{}", table::json(row, &lines));
        } else {
            println!("{}", table::text(row, &lines));
        }
    }
}

/// Says on a terminal what is going on, in place of what it said before.
fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    } else if !text.is_empty() {
        eprintln!("{text}");
    }
}

/// The peers that have an equivalent of this row; those that cannot be measured here say why.
fn taking_part(row: &Row, options: &Options) -> Vec<(Line, Option<Who>)> {
    let wanted = |name: &str| {
        let base = name == PEERS[0].name;
        options.peers.is_empty() || base || options.peers.iter().any(|peer| peer == name)
    };
    let line = |peer, left_out| Line { peer, each: Vec::new(), left_out };
    let mut all = Vec::new();
    for peer in PEERS.iter().filter(|peer| wanted(peer.name) && peer.does(row.work)) {
        match room(row, peer.idle, options) {
            Ok(()) => all.push((line(peer.name, None), Some(Who::Library(peer)))),
            Err(problem) => all.push((line(peer.name, Some(problem)), None)),
        }
    }
    for program in PROGRAMS.iter().filter(|one| wanted(one.name) && one.does(row.work)) {
        match room(row, program.idle, options).and_then(|()| program.prepare()) {
            Ok(folder) => all.push((line(program.name, None), Some(Who::Program(program, folder)))),
            Err(problem) => all.push((line(program.name, Some(problem)), None)),
        }
    }
    all
}

/// Whether there is memory for this row; a quarter more than what is needed.
fn room(row: &Row, idle: u64, options: &Options) -> Result<(), String> {
    let needed = options.idle * idle / 4 * 5;
    if row.work == Work::Memory && work::available().is_some_and(|available| available < needed) {
        return Err(format!("needs {:.1} GB of free memory", needed as f64 / 1e9));
    }
    Ok(())
}

/// Has one measure made by another process.
fn figure(row: &Row, who: &Who, options: &Options) -> Result<f64, String> {
    let n = match row.work {
        Work::Memory => options.idle,
        _ => options.target.as_millis() as u64,
    };
    let mut command = match who {
        Who::Program(program, folder) => program.command(folder, row.work, row.threads, n),
        Who::Library(peer) => {
            let me = std::env::current_exe().map_err(|error| error.to_string())?;
            let mut command = Command::new(me);
            command.args([MEASURE, row.id, peer.name, &n.to_string()]);
            command
        }
    };
    let tool = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("{tool}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{tool}: {}", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("{tool}: no figure, but {text:?}"))
}
