/// The end of a stream of bytes, in bounded memory.
#[derive(Debug, Clone, Default)]
pub struct LastBytes {
    // Invariant: at most twice as many as are to be kept, after each `add`.
    bytes: Vec<u8>,
    max: usize,
}

impl LastBytes {
    /// Keeps so many.
    pub fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), max }
    }

    /// More bytes have come.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        // Not each time, so that moving the rest to the front costs little for each byte.
        if self.bytes.len() > 2 * self.max {
            self.bytes.drain(..self.bytes.len() - self.max);
        }
    }

    /// The last ones.
    pub fn last(&self) -> &[u8] {
        &self.bytes[self.bytes.len().saturating_sub(self.max)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_kept_however_they_come() {
        let mut kept = LastBytes::new(3);
        assert_eq!(kept.last(), b"");
        for piece in ["a", "bc", "defgh", "i"] {
            kept.add(piece.as_bytes());
        }
        assert_eq!(kept.last(), b"ghi");
        kept.add(b"0123456789");
        assert_eq!(kept.last(), b"789");
    }
}
