use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A number of processors, in tenths: `Cpus::tenths(5)` is half a core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cpus(u32);

impl Cpus {
    /// Takes no processor: for jobs that only wait.
    pub const ZERO: Self = Self(0);
    /// One whole processor, what a job takes unless it says otherwise.
    pub const ONE: Self = Self(10);

    /// `tenths` tenths of a processor.
    pub const fn tenths(tenths: u32) -> Self {
        Self(tenths)
    }

    /// `count` whole processors; saturates far above any machine.
    pub const fn whole(count: u32) -> Self {
        Self(count.saturating_mul(10))
    }

    /// This many tenths of a processor.
    pub const fn as_tenths(self) -> u32 {
        self.0
    }
}

impl From<u32> for Cpus {
    fn from(count: u32) -> Self {
        Self::whole(count)
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 10 {
            0 => write!(f, "{}", self.0 / 10),
            tenth => write!(f, "{}.{tenth}", self.0 / 10),
        }
    }
}

impl fmt::Debug for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a number of processors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseCpusError;

impl fmt::Display for ParseCpusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected processors in steps of 0.1, such as 4 or 0.5")
    }
}

impl std::error::Error for ParseCpusError {}

impl FromStr for Cpus {
    type Err = ParseCpusError;

    fn from_str(text: &str) -> Result<Self, ParseCpusError> {
        let (whole, tenth) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(tenth) || tenth.len() != 1 {
            return Err(ParseCpusError);
        }
        let whole: u32 = whole.parse().map_err(|_| ParseCpusError)?;
        let tenth: u32 = tenth.parse().map_err(|_| ParseCpusError)?;
        let tenths = whole.checked_mul(10).and_then(|w| w.checked_add(tenth));
        tenths.map(Self).ok_or(ParseCpusError)
    }
}

/// What a job takes while it runs, or what a machine has.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Resources {
    /// Processors.
    pub cpus: Cpus,
    /// Memory in bytes.
    pub memory: u64,
    /// Whole graphics processors.
    pub gpus: u32,
    /// Anything else that is counted: licences, disks, cameras.
    pub named: BTreeMap<String, u64>,
}

impl Resources {
    /// One processor and nothing else.
    pub fn one_cpu() -> Self {
        Self { cpus: Cpus::ONE, ..Self::default() }
    }

    /// The first thing of which `self` needs more than `free` has, if there is one.
    pub fn shortage(&self, free: &Self) -> Option<Shortage> {
        let short = |what: &str, needed: u64, free: u64| {
            (needed > free).then(|| Shortage { what: what.to_owned(), needed, free })
        };
        short("cpus", self.cpus.0.into(), free.cpus.0.into())
            .or_else(|| short("memory", self.memory, free.memory))
            .or_else(|| short("gpus", self.gpus.into(), free.gpus.into()))
            .or_else(|| {
                let free_of = |name| free.named.get(name).copied().unwrap_or(0);
                self.named.iter().find_map(|(name, &n)| short(name, n, free_of(name)))
            })
    }

    /// Whether `free` has all that `self` needs.
    pub fn fits(&self, free: &Self) -> bool {
        self.cpus <= free.cpus
            && self.memory <= free.memory
            && self.gpus <= free.gpus
            && self.named.iter().all(|(name, n)| free.named.get(name).is_some_and(|f| n <= f))
    }

    /// Takes `other` out of `self`.
    ///
    /// # Panics
    ///
    /// If it [does not fit](Resources::fits).
    pub fn take(&mut self, other: &Self) {
        assert!(other.fits(self), "cannot take {other:?} out of {self:?}");
        self.cpus.0 -= other.cpus.0;
        self.memory -= other.memory;
        self.gpus -= other.gpus;
        for (name, n) in &other.named {
            if let Some(free) = self.named.get_mut(name) {
                *free -= n;
            }
        }
    }

    /// Adds `other` to `self`.
    pub fn give(&mut self, other: &Self) {
        self.cpus.0 += other.cpus.0;
        self.memory += other.memory;
        self.gpus += other.gpus;
        for (name, n) in &other.named {
            *self.named.entry(name.clone()).or_default() += n;
        }
    }
}

/// Of what, how much is needed, and how much there is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shortage {
    /// `cpus` (counted in tenths), `memory` (bytes), `gpus`, or the name of a named resource.
    pub what: String,
    /// How much is needed.
    pub needed: u64,
    /// How much there is.
    pub free: u64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = |n: u64| match self.what.as_str() {
            "cpus" => Cpus(u32::try_from(n).unwrap_or(u32::MAX)).to_string(),
            "memory" => format!("{} MiB", n.div_ceil(1 << 20)),
            _ => n.to_string(),
        };
        write!(f, "needs {} {}, has {}", amount(self.needed), self.what, amount(self.free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_read_and_printed_in_tenths() {
        for (text, tenths) in [("4", 40), ("0.5", 5), ("0", 0), ("12.0", 120)] {
            assert_eq!(text.parse(), Ok(Cpus::tenths(tenths)), "{text}");
        }
        for text in ["", "-1", "1.25", ".5", "1.", "half", "1e3", "99999999999", "+1", "1.x"] {
            assert_eq!(text.parse::<Cpus>(), Err(ParseCpusError), "{text}");
        }
        assert_eq!(Cpus::tenths(15).to_string(), "1.5");
        assert_eq!(Cpus::whole(3).to_string(), "3");
    }

    #[test]
    fn what_is_taken_and_given_back_leaves_no_trace() {
        let named = |n| BTreeMap::from([("licence".to_owned(), n)]);
        let whole = Resources { cpus: 2.into(), memory: 100, gpus: 1, named: named(3) };
        let part = Resources { cpus: Cpus::tenths(5), memory: 60, gpus: 0, named: named(2) };
        let mut free = whole.clone();
        free.take(&part);
        assert_eq!(part.shortage(&free).unwrap().what, "memory");
        free.give(&part);
        assert_eq!(free, whole);
    }

    #[test]
    fn a_machine_without_a_named_resource_is_short_of_it() {
        let need =
            Resources { named: BTreeMap::from([("fpga".into(), 1)]), ..Resources::one_cpu() };
        let has = Resources { cpus: 8.into(), ..Resources::default() };
        assert!(!need.fits(&has));
        assert_eq!(need.shortage(&has).unwrap().to_string(), "needs 1 fpga, has 0");
    }
}
