/// How many threads run the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The runtime of the thread that asks for it.
    One,
    /// A runtime with two workers.
    Two,
}

impl Threads {
    pub(crate) fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Tasks with a mailbox that wait for a message.
    Memory,
    /// Tasks with a mailbox that end at once.
    Spawn,
    /// The same without a mailbox.
    Future,
    /// One task asks another, one question after the other.
    Ask,
    /// Eight tasks send to one, whose mailbox has room for 1024: they wait when it is full.
    Bounded,
    /// Eight tasks send to one without waiting for room, held back only by a [`Pace`](crate::work::Pace).
    Unbounded,
    /// One publishes, ten subscribers get each message.
    Broadcast,
    /// A running task gets another behaviour.
    Swap,
}

/// What a figure says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// So many a second.
    Rate(&'static str),
    /// So many bytes for each.
    Bytes,
    /// So many nanoseconds for each.
    Nanoseconds,
}

/// A line of the table of figures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) work: Work,
    pub(crate) threads: Threads,
    pub(crate) unit: Unit,
}

const fn row(
    id: &'static str,
    title: &'static str,
    work: Work,
    threads: Threads,
    unit: Unit,
) -> Row {
    Row { id, title, work, threads, unit }
}

pub(crate) const ROWS: &[Row] = &[
    row("memory", "an idle task with a mailbox", Work::Memory, Threads::One, Unit::Bytes),
    row(
        "spawn-1",
        "spawn and end, with a mailbox, one thread",
        Work::Spawn,
        Threads::One,
        Unit::Rate("tasks"),
    ),
    row(
        "spawn-2",
        "spawn and end, with a mailbox, two workers",
        Work::Spawn,
        Threads::Two,
        Unit::Rate("tasks"),
    ),
    row(
        "future-1",
        "spawn and end, without a mailbox, one thread",
        Work::Future,
        Threads::One,
        Unit::Rate("tasks"),
    ),
    row(
        "future-2",
        "spawn and end, without a mailbox, two workers",
        Work::Future,
        Threads::Two,
        Unit::Rate("tasks"),
    ),
    row("ask-1", "ask and answer, one thread", Work::Ask, Threads::One, Unit::Rate("round trips")),
    row("ask-2", "ask and answer, two workers", Work::Ask, Threads::Two, Unit::Rate("round trips")),
    row(
        "bounded-1",
        "8 senders, a mailbox for 1024, one thread",
        Work::Bounded,
        Threads::One,
        Unit::Rate("messages"),
    ),
    row(
        "bounded-2",
        "8 senders, a mailbox for 1024, two workers",
        Work::Bounded,
        Threads::Two,
        Unit::Rate("messages"),
    ),
    row(
        "unbounded-1",
        "8 senders, an unbounded mailbox, one thread",
        Work::Unbounded,
        Threads::One,
        Unit::Rate("messages"),
    ),
    row(
        "unbounded-2",
        "8 senders, an unbounded mailbox, two workers",
        Work::Unbounded,
        Threads::Two,
        Unit::Rate("messages"),
    ),
    row(
        "broadcast-1",
        "one publisher, 10 subscribers, one thread",
        Work::Broadcast,
        Threads::One,
        Unit::Rate("deliveries"),
    ),
    row(
        "broadcast-2",
        "one publisher, 10 subscribers, two workers",
        Work::Broadcast,
        Threads::Two,
        Unit::Rate("deliveries"),
    ),
    row(
        "swap-1",
        "a request to change, to the first answer after",
        Work::Swap,
        Threads::One,
        Unit::Nanoseconds,
    ),
];
