//! What kind of world a seed makes.

use std::time::Duration;

use crate::random::Random;

/// How much goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing. Nobody is lost, and a goodbye loses nothing.
    Calm,
    /// Connections break, processes stop for a while; nobody may be lost for it.
    Rough,
    /// Anything.
    Wild,
}

/// See the [module](self).
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) weather: Weather,
    pub(crate) hosts: usize,
    /// The way of a byte, and by how much it may be late.
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    pub(crate) bytes_per_ms: u64,
    /// Bytes that a connection takes before it waits for its reader.
    pub(crate) window: usize,
    /// The largest piece in which they arrive.
    pub(crate) piece_bytes_max: usize,
    /// Of each host.
    pub(crate) lost_after: Vec<Duration>,
    /// How long something happens, and how often.
    pub(crate) lasts: Duration,
    pub(crate) act_every: Duration,
    pub(crate) fault_every: Duration,
    /// Of a hundred messages, those that are large; and the size of the largest.
    pub(crate) large_percent: u64,
    pub(crate) body_bytes_max: u64,
    /// Room in a mailbox.
    pub(crate) room_max: u64,
    /// A task looks into its mailbox at most so seldom.
    pub(crate) step_ms_max: u64,
}

impl Scenario {
    pub(crate) fn of(random: &mut Random) -> Self {
        let weather = match random.below(10) {
            0 => Weather::Calm,
            1..3 => Weather::Rough,
            _ => Weather::Wild,
        };
        let hosts = *random.pick(&[2, 2, 3, 3, 4]).unwrap_or(&2);
        let is_far = random.percent(30);
        let delay = if is_far { random.millis(5, 100) } else { random.micros(50, 5000) };
        let usual = Duration::from_secs(5);
        let is_even = weather != Weather::Wild || random.percent(50);
        let lost_after =
            (0..hosts).map(|_| if is_even { usual } else { random.millis(2000, 8000) }).collect();
        // On a slow link, large messages would take longer than a run.
        let window = *random.pick(&[2_000, 65_536, 1 << 20]).unwrap_or(&65_536);
        let bytes_per_ms = *random.pick(&[2_000, 20_000, 1_000_000]).unwrap_or(&20_000);
        let is_slow = window < 10_000 || bytes_per_ms < 10_000;
        let window = if is_far { window.max(30_000) } else { window };
        let is_heavy = !is_slow && random.percent(5);
        let large = if is_slow { [0, 1, 3] } else { [0, 5, 30] };
        Self {
            weather,
            hosts,
            delay,
            jitter: delay * random.below(3) as u32,
            bytes_per_ms,
            window,
            piece_bytes_max: *random.pick(&[3000, 16_384, 65_536]).unwrap_or(&16_384),
            lost_after,
            lasts: random.millis(2000, 12_000),
            act_every: random.millis(20, 120),
            fault_every: random.millis(200, 2000),
            large_percent: *random.pick(&large).unwrap_or(&1),
            body_bytes_max: if is_heavy { 3 << 20 } else { 200_000 },
            room_max: *random.pick(&[1, 4, 64]).unwrap_or(&4),
            step_ms_max: *random.pick(&[2, 30, 300]).unwrap_or(&30),
        }
    }
}
