//! Writing, in the thread of its own.

use std::io::{self, IsTerminal, Write};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pleiad::Stream;
use tokio::sync::mpsc;

use super::{DRAWS_HZ, Fault, Message, SharedLog, Show, Shown};
use crate::joblog::Ended;
use crate::json;
use crate::kept::Kept;
use crate::progress::{Counts, Progress};

/// Output that is written in one go.
const WRITE_BYTES: usize = 64 << 10;

/// Without a terminal: the time to the first line about progress, and from one to the next.
const FIRST_LINE: Duration = Duration::from_secs(10);
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Writes what comes, and draws the bar between.
pub(super) struct Writer {
    pieces: Vec<(Stream, Vec<u8>)>,
    bytes: usize,
    /// Standard output has failed: nothing more goes there, and no job into the log.
    has_failed: bool,
    log: Option<SharedLog>,
    /// Jobs whose output is in `pieces`.
    unlogged: Vec<Ended>,
    faults: mpsc::UnboundedSender<Fault>,
    progress: Progress,
    show: Show,
    wants_bar: bool,
    bar: Option<ProgressBar>,
    /// The terminal shows the beginning of a line: no place for the bar.
    is_mid_line: bool,
    next_line: Instant,
}

impl Writer {
    pub(super) fn new(
        show: Show,
        has_bar: bool,
        log: Option<SharedLog>,
        faults: mpsc::UnboundedSender<Fault>,
    ) -> Self {
        let now = Instant::now();
        Self {
            pieces: Vec::new(),
            bytes: 0,
            has_failed: false,
            log,
            unlogged: Vec::new(),
            faults,
            progress: Progress::new(now),
            show,
            wants_bar: has_bar,
            bar: None,
            is_mid_line: false,
            next_line: now + FIRST_LINE,
        }
    }

    pub(super) fn take(&mut self, message: Message) {
        match message {
            Message::Job { shown, log } => {
                // What cannot be read back is as lost as what cannot be written.
                match self.job(&shown) {
                    Ok(()) => self.unlogged.extend(log.map(|log| *log)),
                    Err(error) => self.fail(error),
                }
            }
            Message::Lines { stream, bytes } => self.put(stream, &bytes),
            Message::Progress(counts) => self.progress(counts),
            Message::Note(note) => self.put(Stream::Stderr, format!("pleiad: {note}\n").as_bytes()),
        }
    }

    fn job(&mut self, shown: &Shown) -> io::Result<()> {
        match shown {
            Shown::Output { tag, stdout, stderr } => {
                self.output(Stream::Stdout, tag.as_deref(), stdout)?;
                self.output(Stream::Stderr, tag.as_deref(), stderr)
            }
            Shown::Json { head, output } => self.json(head, output.as_ref()),
            Shown::Nothing => Ok(()),
        }
    }

    fn output(&mut self, stream: Stream, tag: Option<&[u8]>, output: &Kept) -> io::Result<()> {
        let mut at_start = true;
        output.each_block(|block| {
            let Some(tag) = tag else {
                self.put(stream, block);
                return Ok(());
            };
            for line in block.split_inclusive(|&b| b == b'\n') {
                if at_start {
                    self.put(stream, tag);
                }
                self.put(stream, line);
                at_start = line.last() == Some(&b'\n');
            }
            Ok(())
        })
    }

    fn json(&mut self, head: &str, output: Option<&(Kept, Kept)>) -> io::Result<()> {
        let mut put = |bytes: &[u8]| {
            self.put(Stream::Stdout, bytes);
            Ok(())
        };
        put(head.as_bytes())?;
        if let Some((stdout, stderr)) = output {
            put(b",\"stdout\":")?;
            json::write_text(|| stdout.reader(), &mut put)?;
            put(b",\"stderr\":")?;
            json::write_text(|| stderr.reader(), &mut put)?;
        }
        put(b"}\n")
    }

    fn progress(&mut self, counts: Counts) {
        self.write_out();
        let now = Instant::now();
        if self.wants_bar {
            if !self.is_mid_line {
                let columns = usize::from(Term::stderr().size().1);
                let graph = if columns < WIDE_COLUMNS { 10 } else { 24 };
                let room = match counts.total {
                    Some(_) => columns.saturating_sub(graph + " 100% ".len()),
                    None => columns.saturating_sub("| ".len()),
                };
                let line = self.progress.describe(now, &counts, room);
                draw(self.bar.get_or_insert_with(new_bar), &counts, graph, line);
            }
        } else if self.show == Show::Progress && now >= self.next_line {
            self.next_line = now + LINE_EVERY;
            let line = self.progress.describe(now, &counts, usize::MAX);
            self.put(Stream::Stderr, format!("pleiad: {line}\n").as_bytes());
        }
    }

    fn put(&mut self, stream: Stream, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some((last, piece)) if *last == stream => piece.extend_from_slice(bytes),
            _ => self.pieces.push((stream, bytes.to_vec())),
        }
        self.bytes += bytes.len();
        if self.bytes >= WRITE_BYTES {
            self.write_out();
        }
    }

    pub(super) fn write_out(&mut self) {
        self.bytes = 0;
        let pieces = std::mem::take(&mut self.pieces);
        if !pieces.is_empty() {
            self.make_way(&pieces);
            let has_failed = self.has_failed;
            let result = match &self.bar {
                Some(bar) => bar.suspend(|| write_pieces(&pieces, has_failed)),
                None => write_pieces(&pieces, has_failed),
            };
            if let Err(error) = result {
                self.fail(error);
            }
        }
        let unlogged = std::mem::take(&mut self.unlogged);
        let Some(log) = self.log.as_ref().filter(|_| !self.has_failed) else { return };
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        for ended in unlogged {
            if let Err(error) = log.add(&ended) {
                drop(self.faults.send(Fault::Log(error)));
                break;
            }
        }
    }

    /// Takes the bar away for as long as the terminal shows half a line.
    fn make_way(&mut self, pieces: &[(Stream, Vec<u8>)]) {
        if !self.wants_bar {
            return;
        }
        let is_shown = |stream| stream == Stream::Stderr || io::stdout().is_terminal();
        if let Some((_, last)) = pieces.iter().rev().find(|(stream, _)| is_shown(*stream)) {
            self.is_mid_line = last.last() != Some(&b'\n');
        }
        if self.is_mid_line
            && let Some(bar) = self.bar.take()
        {
            bar.finish_and_clear();
        }
    }

    fn fail(&mut self, error: io::Error) {
        if !self.has_failed {
            self.has_failed = true;
            drop(self.faults.send(Fault::Output(error)));
        }
    }

    pub(super) fn finish(mut self) {
        self.write_out();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.is_mid_line {
            let _ = io::stderr().write_all(b"\n");
        }
    }
}

fn write_pieces(pieces: &[(Stream, Vec<u8>)], has_failed: bool) -> io::Result<()> {
    let mut result = Ok(());
    for (stream, bytes) in pieces {
        match stream {
            Stream::Stdout if has_failed || result.is_err() => {}
            Stream::Stdout => {
                let mut stdout = io::stdout().lock();
                result = stdout.write_all(bytes).and_then(|()| stdout.flush());
            }
            // Who has closed standard error does not want to read it.
            Stream::Stderr => drop(io::stderr().write_all(bytes)),
        }
    }
    result
}

/// A terminal with fewer columns has a shorter bar.
const WIDE_COLUMNS: usize = 100;

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_HZ));
    bar
}

fn draw(bar: &ProgressBar, counts: &Counts, graph: usize, line: String) {
    if bar.length() != counts.total || bar.position() == 0 {
        let template = match counts.total {
            Some(_) => format!("{{bar:{graph}.cyan/dim}} {{percent:>3}}% {{wide_msg}}"),
            None => "{spinner:.cyan} {wide_msg}".to_owned(),
        };
        let style = ProgressStyle::with_template(&template).expect("the template is right");
        bar.set_style(style.progress_chars("━╸─"));
        counts.total.map_or_else(|| bar.unset_length(), |total| bar.set_length(total));
    }
    bar.set_position(counts.done());
    bar.set_message(line);
    bar.tick();
}
