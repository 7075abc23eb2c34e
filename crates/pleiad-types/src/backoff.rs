use std::time::Duration;

/// How long to wait before something is tried again: before retry n, `first` × 2ⁿ⁻¹, at most `max`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Backoff {
    /// Before the first retry. Default: 100 ms.
    pub first: Duration,
    /// The longest wait. Default: one minute.
    pub max: Duration,
}

impl Backoff {
    /// Retries at once.
    pub const NONE: Self = Self { first: Duration::ZERO, max: Duration::ZERO };

    /// The wait before the retry of this number; 0 counts as 1.
    pub fn wait(self, retry: u32) -> Duration {
        let factor = 1_u32.checked_shl(retry.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_secs(60) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let plan = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(5) };
        let waits = [1, 2, 3, 4, 40, u32::MAX].map(|n| plan.wait(n).as_secs());
        assert_eq!(waits, [1, 2, 4, 5, 5, 5]);
        assert_eq!(Backoff::NONE.wait(7), Duration::ZERO);
    }
}
