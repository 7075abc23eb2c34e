//! How far a run is, in words.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::units::show_time;

/// The rate is that of the last while, so that the time left follows a change.
const WINDOW: Duration = Duration::from_secs(20);
const SAMPLES_MAX: usize = 64;

/// Where the jobs of a run are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counts {
    /// All jobs of this run, once that is known.
    pub(crate) total: Option<u64>,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) running: u64,
    /// Read, and not yet running.
    pub(crate) queued: u64,
}

impl Counts {
    pub(crate) fn done(&self) -> u64 {
        self.succeeded + self.failed
    }

    fn waiting(&self) -> u64 {
        match self.total {
            Some(total) => total.saturating_sub(self.done() + self.running),
            None => self.queued,
        }
    }
}

/// The counts over time.
#[derive(Debug)]
pub(crate) struct Progress {
    samples: VecDeque<(Instant, u64)>,
}

impl Progress {
    pub(crate) fn new(now: Instant) -> Self {
        Self { samples: VecDeque::from([(now, 0)]) }
    }

    /// How far the run is: `118 done, 2 failed, 4 running, 174 waiting, 52/s, 3 s left`. Of what
    /// does not fit into so many columns, the least important parts are left out.
    pub(crate) fn describe(&mut self, now: Instant, counts: &Counts, columns: usize) -> String {
        let done = match counts.total {
            Some(total) => format!("{} of {total} done", counts.done()),
            None => format!("{} done", counts.done()),
        };
        let rate = self.rate(now, counts.done());
        let mut parts = [
            Some(done),
            (counts.failed > 0).then(|| format!("{} failed", counts.failed)),
            Some(format!("{} running", counts.running)),
            match (counts.waiting(), counts.total) {
                (0, _) => None,
                (waiting, Some(_)) => Some(format!("{waiting} waiting")),
                (waiting, None) => Some(format!("{waiting} or more waiting")),
            },
            rate.map(|rate| match rate {
                10.0.. => format!("{rate:.0}/s"),
                1.0.. => format!("{rate:.1}/s"),
                _ => format!("{:.0}/min", rate * 60.0),
            }),
            rate.zip(counts.total).and_then(|(rate, total)| {
                let left = total.checked_sub(counts.done()).filter(|&left| left > 0)?;
                let left = Duration::try_from_secs_f64((left as f64 / rate).ceil()).ok()?;
                Some(format!("{} left", show_left(left)))
            }),
        ];
        // Waiting, running, the rate, the time left, failures: in this order they go.
        let mut least = [3, 2, 4, 5, 1].into_iter();
        loop {
            let text = parts.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ");
            match least.next() {
                Some(part) if text.chars().count() > columns => parts[part] = None,
                _ => return text,
            }
        }
    }

    fn rate(&mut self, now: Instant, done: u64) -> Option<f64> {
        while self.samples.len() > 1 && now.duration_since(self.samples[1].0) >= WINDOW {
            self.samples.pop_front();
        }
        let (since, before) = *self.samples.front()?;
        let newest = self.samples.back().map_or(since, |sample| sample.0);
        if now.duration_since(newest) >= WINDOW / SAMPLES_MAX as u32 {
            self.samples.push_back((now, done));
        }
        let seconds = now.duration_since(since).as_secs_f64();
        (done > before && seconds > 0.0).then(|| (done - before) as f64 / seconds)
    }
}

/// Like other times, but without the pretence of tenths of a second.
fn show_left(left: Duration) -> String {
    match left.as_secs() {
        seconds @ ..60 => format!("{seconds} s"),
        _ => show_time(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_what_is_done_and_what_is_left() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        let counts = Counts { total: Some(300), succeeded: 98, failed: 2, running: 4, queued: 100 };
        assert_eq!(
            progress.describe(start + Duration::from_secs(4), &counts, usize::MAX),
            "100 of 300 done, 2 failed, 4 running, 196 waiting, 25/s, 8 s left"
        );
    }

    #[test]
    fn a_narrow_line_leaves_out_what_matters_least() {
        let counts = Counts { total: Some(300), succeeded: 98, failed: 2, running: 4, queued: 100 };
        for (columns, expected) in [
            (60, "100 of 300 done, 2 failed, 4 running, 25/s, 8 s left"),
            (45, "100 of 300 done, 2 failed, 25/s, 8 s left"),
            (40, "100 of 300 done, 2 failed, 8 s left"),
            (26, "100 of 300 done, 2 failed"),
            (10, "100 of 300 done"),
        ] {
            let start = Instant::now();
            let mut progress = Progress::new(start);
            let text = progress.describe(start + Duration::from_secs(4), &counts, columns);
            assert_eq!(text, expected, "{columns}");
        }
    }

    #[test]
    fn without_a_total_there_is_no_time_left() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        let counts = Counts { total: None, succeeded: 3, failed: 0, running: 2, queued: 9 };
        let text = progress.describe(start + Duration::from_secs(2), &counts, usize::MAX);
        assert_eq!(text, "3 done, 2 running, 9 or more waiting, 1.5/s");
    }

    #[test]
    fn nothing_done_yet_has_no_rate() {
        let mut progress = Progress::new(Instant::now());
        let counts = Counts { total: Some(2), running: 2, ..Counts::default() };
        let later = Instant::now() + Duration::from_secs(1);
        let text = progress.describe(later, &counts, usize::MAX);
        assert_eq!(text, "0 of 2 done, 2 running");
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut progress = Progress::new(start);
        let mut text = String::new();
        for second in 0..100_u64 {
            // Ten a second at first, one a second later.
            let done = if second < 50 { second * 10 } else { 500 + second - 50 };
            let counts = Counts { total: Some(1000), succeeded: done, ..Counts::default() };
            text = progress.describe(start + Duration::from_secs(second), &counts, usize::MAX);
            assert!(progress.samples.len() <= SAMPLES_MAX + 2);
        }
        assert!(text.contains(", 1.0/s, "), "{text}");
    }
}
