//! How fast programs start and end, beside the tools that people use for it.
//!
//! `cargo bench -p pleiad-cli --bench programs`; with `-- --quick` a tenth of the work. What is not
//! installed is named and left out: `apt install parallel` and `pip install hyperqueue` bring two.
//! The tools take turns, several times, and medians are printed.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;

struct Tool {
    name: &'static str,
    words: Vec<String>,
    /// How often it runs the program, which is less for slow tools.
    programs: usize,
    reads_numbers: bool,
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let programs = if quick { 400 } else { 4000 };
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let pleiad = env!("CARGO_BIN_EXE_pleiad");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/hq_programs.py");
    let tools = [
        Tool {
            name: "pleiad run -j 2",
            words: words(&format!("{pleiad} run -j 2 --array 1-{programs} -- /bin/true")),
            programs,
            reads_numbers: false,
        },
        Tool {
            name: "xargs -P 2 -n 1",
            words: words("xargs -P 2 -n 1 /bin/true"),
            programs,
            reads_numbers: true,
        },
        Tool {
            name: "parallel -j 2",
            words: words("parallel -j 2 /bin/true"),
            programs: programs / 4,
            reads_numbers: true,
        },
        Tool {
            name: "hyperqueue",
            words: words(&format!("python3 {script} {}", programs / 4)),
            programs: programs / 4,
            reads_numbers: false,
        },
    ];
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); tools.len()];
    for _ in 0..ROUNDS {
        for (tool, rates) in tools.iter().zip(&mut rates) {
            if let Some(time) = run(tool) {
                rates.push(tool.programs as f64 / time.as_secs_f64());
            }
        }
    }
    println!("{:<20} {:>16} {:>8}", "/bin/true", "programs/s", "ratio");
    let ours = median(&mut rates[0]);
    for (tool, rates) in tools.iter().zip(&mut rates) {
        match (median(rates), ours) {
            (Some(rate), Some(ours)) => {
                println!("{:<20} {rate:>16.0} {:>8.2}", tool.name, ours / rate);
            }
            _ => println!("{:<20} not installed, or it failed", tool.name),
        }
    }

    let mut times: Vec<f64> = (0..50)
        .filter_map(|_| {
            let words = words(&format!("{pleiad} run ::: 1 -- /bin/true"));
            let tool = Tool { name: "", words, programs: 1, reads_numbers: false };
            Some(run(&tool)?.as_secs_f64() * 1e3)
        })
        .collect();
    if let Some(time) = median(&mut times) {
        println!("{:<20} {time:>13.1} ms", "one program, whole");
    }
}

fn run(tool: &Tool) -> Option<Duration> {
    let begin = Instant::now();
    let mut child = Command::new(&tool.words[0])
        .args(&tool.words[1..])
        .stdin(if tool.reads_numbers { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    if let Some(mut stdin) = child.stdin.take() {
        let numbers: String = (1..=tool.programs).map(|n| format!("{n}\n")).collect();
        stdin.write_all(numbers.as_bytes()).ok()?;
    }
    let status = child.wait().ok()?;
    status.success().then(|| begin.elapsed())
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
