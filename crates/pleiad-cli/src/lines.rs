//! Output of a running job, line by line.

use pleiad::{Attempt, Stream};

/// A line that is longer is written in pieces.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Turns pieces of two streams, cut anywhere, into whole lines.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    tag: Option<Box<[u8]>>,
    attempt: Option<Attempt>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Lines {
    /// Each line is to begin with `tag`.
    pub(crate) fn new(tag: Option<Box<[u8]>>) -> Self {
        Self { tag, ..Self::default() }
    }

    /// Takes what came, and gives the lines that are complete.
    pub(crate) fn take(
        &mut self,
        attempt: Attempt,
        stream: Stream,
        bytes: &[u8],
    ) -> Vec<(Stream, Vec<u8>)> {
        let mut lines = Vec::new();
        if self.attempt.is_some_and(|before| before != attempt) {
            lines = self.finish();
        }
        self.attempt = Some(attempt);
        let partial = self.partial(stream);
        partial.extend_from_slice(bytes);
        let end = match partial.iter().rposition(|&b| b == b'\n') {
            Some(last) => last + 1,
            None if partial.len() > LINE_BYTES_MAX => partial.len(),
            None => return lines,
        };
        let rest = partial.split_off(end);
        let complete = std::mem::replace(partial, rest);
        lines.push((stream, self.tagged(complete)));
        lines
    }

    /// The last lines, if they have no end; each gets one.
    pub(crate) fn finish(&mut self) -> Vec<(Stream, Vec<u8>)> {
        let mut lines = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let mut partial = std::mem::take(self.partial(stream));
            if !partial.is_empty() {
                partial.push(b'\n');
                lines.push((stream, self.tagged(partial)));
            }
        }
        lines
    }

    fn partial(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn tagged(&self, lines: Vec<u8>) -> Vec<u8> {
        let Some(tag) = &self.tag else { return lines };
        lines.split_inclusive(|&b| b == b'\n').fold(Vec::new(), |mut all, line| {
            all.extend_from_slice(tag);
            all.extend_from_slice(line);
            all
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pleiad::Stream::{Stderr, Stdout};

    #[test]
    fn a_line_comes_when_it_is_whole() {
        let mut lines = Lines::new(None);
        assert_eq!(lines.take(Attempt(1), Stdout, b"on"), []);
        assert_eq!(lines.take(Attempt(1), Stderr, b"x\n"), [(Stderr, b"x\n".to_vec())]);
        let two = lines.take(Attempt(1), Stdout, b"e\ntwo\nthr");
        assert_eq!(two, [(Stdout, b"one\ntwo\n".to_vec())]);
        assert_eq!(lines.finish(), [(Stdout, b"thr\n".to_vec())]);
        assert_eq!(lines.finish(), []);
    }

    #[test]
    fn each_line_begins_with_the_tag() {
        let mut lines = Lines::new(Some(b"v\t".as_slice().into()));
        let two = lines.take(Attempt(1), Stdout, b"a\n\n");
        assert_eq!(two, [(Stdout, b"v\ta\nv\t\n".to_vec())]);
    }

    #[test]
    fn another_attempt_begins_on_a_line_of_its_own() {
        let mut lines = Lines::new(None);
        lines.take(Attempt(1), Stdout, b"half");
        let next = lines.take(Attempt(2), Stdout, b"whole\n");
        assert_eq!(next, [(Stdout, b"half\n".to_vec()), (Stdout, b"whole\n".to_vec())]);
    }

    #[test]
    fn an_endless_line_is_not_kept() {
        let mut lines = Lines::new(None);
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(lines.take(Attempt(1), Stdout, &long), [(Stdout, long)]);
    }
}
