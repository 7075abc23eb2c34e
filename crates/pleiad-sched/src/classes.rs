//! Classes of jobs: their numbers, who waits in them, and whose turn it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use pleiad_types::{Cpus, JobId, MachineId, limits};

use crate::machine::Machine;
use crate::queue::Queue;
use crate::spec::{Class, ClassId};

/// All classes that somebody has asked for, or that a job or lane has.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    entries: BTreeMap<ClassId, Box<ClassEntry>>,
    /// Only looked into, never walked through: its order is random.
    numbers: HashMap<Arc<Class>, ClassId>,
    last: u32,
    /// The classes with waiting jobs that some machine could run, in the order of their turns.
    line: BTreeSet<Turn>,
    /// How many classes in line take so many processors.
    needs: BTreeMap<Cpus, u32>,
}

/// What the books keep of a class.
#[derive(Debug)]
pub(crate) struct ClassEntry {
    pub(crate) class: Arc<Class>,
    /// Calls of `class` less calls of `release_class`.
    pub(crate) handles: u32,
    /// Jobs that have a record.
    pub(crate) jobs: u64,
    /// Lanes that are open.
    pub(crate) lanes: u32,
    /// Lanes that all machines could hold if they were empty.
    pub(crate) capacity: u64,
    pub(crate) queue: Queue,
    /// How long a job runs, as a moving average in nanoseconds.
    ran: Option<u64>,
    /// Starts of others that had less right to it, since this class last started a job.
    pub(crate) overtaken: u32,
    /// The machine that is kept for it.
    pub(crate) reserved: Option<MachineId>,
    /// Where it stands in line.
    pub(crate) turn: Option<Turn>,
}

/// A place in line: higher priority first, then the lowest job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Turn {
    pub(crate) priority: Reverse<i32>,
    pub(crate) head: JobId,
    pub(crate) class: ClassId,
}

impl Classes {
    /// The number of this class, with one handle more.
    pub(crate) fn intern<'a>(
        &mut self,
        mut class: Class,
        machines: impl Iterator<Item = &'a Machine>,
    ) -> ClassId {
        class.resources.named.retain(|_, amount| *amount > 0);
        if let Some(&id) = self.numbers.get(&class) {
            self.get_mut(id).handles += 1;
            return id;
        }
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.entries.contains_key(&ClassId(self.last)) {
                break;
            }
        }
        let id = ClassId(self.last);
        let class = Arc::new(class);
        self.numbers.insert(Arc::clone(&class), id);
        let capacity = machines.map(|machine| machine.lanes_possible(&class)).sum();
        let entry = ClassEntry {
            class,
            handles: 1,
            jobs: 0,
            lanes: 0,
            capacity,
            queue: Queue::default(),
            ran: None,
            overtaken: 0,
            reserved: None,
            turn: None,
        };
        self.entries.insert(id, Box::new(entry));
        id
    }

    /// Takes one handle away.
    pub(crate) fn release(&mut self, id: ClassId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.handles = entry.handles.saturating_sub(1);
            self.forget_unused(id);
        }
    }

    /// Forgets the class if it has no handle, job or lane.
    pub(crate) fn forget_unused(&mut self, id: ClassId) {
        let entry = self.get(id);
        if entry.handles == 0
            && entry.jobs == 0
            && entry.lanes == 0
            && let Some(entry) = self.entries.remove(&id)
        {
            self.numbers.remove(&entry.class);
        }
    }

    pub(crate) fn find(&self, id: ClassId) -> Option<&ClassEntry> {
        self.entries.get(&id).map(|entry| &**entry)
    }

    /// A class that has a handle, job or lane.
    pub(crate) fn get(&self, id: ClassId) -> &ClassEntry {
        self.entries.get(&id).expect("a class in use has an entry")
    }

    /// A class that has a handle, job or lane, to be changed.
    pub(crate) fn get_mut(&mut self, id: ClassId) -> &mut ClassEntry {
        self.entries.get_mut(&id).expect("a class in use has an entry")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ClassId, &ClassEntry)> {
        self.entries.iter().map(|(&id, entry)| (id, &**entry))
    }

    /// Counts the lanes that this machine could hold; the machine is new or has changed.
    pub(crate) fn add_machine(&mut self, machine: &Machine) {
        for entry in self.entries.values_mut() {
            entry.capacity += machine.lanes_possible(&entry.class);
        }
        self.update_turns();
    }

    /// Undoes [`add_machine`](Self::add_machine), before the machine goes or changes.
    pub(crate) fn remove_machine(&mut self, machine: &Machine) {
        for entry in self.entries.values_mut() {
            entry.capacity -= machine.lanes_possible(&entry.class);
        }
        self.update_turns();
    }

    /// Puts a class where it belongs in line, after its first job has changed.
    pub(crate) fn update_turn(&mut self, id: ClassId) {
        let entry = self.entries.get_mut(&id).expect("a class in use has an entry");
        let head = entry.queue.first().filter(|_| entry.capacity > 0);
        let priority = Reverse(entry.class.priority);
        let turn = head.map(|head| Turn { priority, head, class: id });
        if turn == entry.turn {
            return;
        }
        let before = std::mem::replace(&mut entry.turn, turn);
        let cpus = entry.class.resources.cpus;
        if let Some(before) = before {
            self.line.remove(&before);
        } else {
            *self.needs.entry(cpus).or_default() += 1;
        }
        if let Some(turn) = turn {
            self.line.insert(turn);
        } else if let Some(count) = self.needs.get_mut(&cpus) {
            *count -= 1;
            if *count == 0 {
                self.needs.remove(&cpus);
            }
        }
    }

    /// Who stands in line from `from` on, in order.
    pub(crate) fn line(&self, from: std::ops::Bound<Turn>) -> impl Iterator<Item = Turn> {
        self.line.range((from, std::ops::Bound::Unbounded)).copied()
    }

    /// The classes before this place in line, in order.
    pub(crate) fn before(&self, turn: Turn) -> impl Iterator<Item = &ClassEntry> {
        self.line.range(..turn).map(|turn| self.get(turn.class))
    }

    /// Calls `f` with each class before this place in line, in order.
    pub(crate) fn for_each_before(
        &mut self,
        turn: Turn,
        mut f: impl FnMut(ClassId, &mut ClassEntry),
    ) {
        for before in self.line.range(..turn) {
            if let Some(entry) = self.entries.get_mut(&before.class) {
                f(before.class, entry);
            }
        }
    }

    /// With fewer free processors than this, nobody in line could start.
    pub(crate) fn cpus_min(&self) -> Option<Cpus> {
        self.needs.first_key_value().map(|(&cpus, _)| cpus)
    }

    /// Number of classes in line, and the sum of [`cpus_min`](Self::cpus_min)'s books.
    pub(crate) fn line_lens(&self) -> (usize, usize) {
        (self.line.len(), self.needs.values().map(|&count| count as usize).sum())
    }

    fn update_turns(&mut self) {
        let ids: Vec<_> = self.entries.keys().copied().collect();
        for id in ids {
            self.update_turn(id);
        }
    }
}

impl ClassEntry {
    /// Whether it may have one more lane.
    pub(crate) fn has_lane_left(&self) -> bool {
        self.class.lanes_max.is_none_or(|max| self.lanes < max)
    }

    /// Learns how long a job has run.
    pub(crate) fn measure(&mut self, ran: Duration) {
        let ran = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
        // An eighth of the new value: a few long jobs among many short ones do not stop batches,
        // and a class that changes is learnt anew within a few dozen jobs.
        self.ran = Some(self.ran.map_or(ran, |average| average - average / 8 + ran / 8));
    }

    /// Learns that a job has run for `ran` and has not ended.
    pub(crate) fn measure_stall(&mut self, ran: Duration) {
        let ran = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
        self.ran = Some(self.ran.unwrap_or(0).max(ran));
    }

    /// How many jobs a lane should hold, the running one included; at least 1.
    ///
    /// Enough for [`LANE_WORK_MAX`](limits::LANE_WORK_MAX), but never more than half of a fair
    /// share of what waits, so that all lanes end at about the same time: guided self-scheduling
    /// (Polychronopoulos and Kuck, IEEE Transactions on Computers C-36, 1987), halved because the
    /// jobs of one class may differ.
    pub(crate) fn depth(&self) -> usize {
        let Some(ran) = self.ran else { return 1 };
        let work = u64::try_from(limits::LANE_WORK_MAX.as_nanos()).unwrap_or(u64::MAX);
        let by_work = usize::try_from(work / ran.max(1)).unwrap_or(usize::MAX);
        let lanes = self.capacity.min(self.class.lanes_max.map_or(u64::MAX, u64::from)).max(1);
        let lanes = usize::try_from(lanes).unwrap_or(usize::MAX);
        let by_share = self.queue.len().div_ceil(lanes.saturating_mul(2));
        let by_class = self.class.lane_jobs_max.min(limits::LANE_JOBS_MAX);
        by_work.min(by_share).min(by_class).max(1)
    }
}

#[cfg(test)]
mod tests {
    use pleiad_types::ComputationId;

    use super::*;

    fn classes() -> (Classes, ClassId) {
        let mut classes = Classes::default();
        let id = classes.intern(Class::new(ComputationId(1)), std::iter::empty());
        (classes, id)
    }

    #[test]
    fn equal_classes_have_one_number_until_nobody_uses_it() {
        let (mut classes, id) = classes();
        assert_eq!(classes.intern(Class::new(ComputationId(1)), std::iter::empty()), id);
        let other = Class { priority: 1, ..Class::new(ComputationId(1)) };
        assert_ne!(classes.intern(other, std::iter::empty()), id);
        classes.release(id);
        assert!(classes.find(id).is_some());
        classes.get_mut(id).jobs += 1;
        classes.release(id);
        assert!(classes.find(id).is_some(), "a job still has it");
        classes.get_mut(id).jobs -= 1;
        classes.forget_unused(id);
        assert!(classes.find(id).is_none());
        assert_ne!(classes.intern(Class::new(ComputationId(1)), std::iter::empty()), id);
    }

    #[test]
    fn a_lane_holds_ten_milliseconds_of_work_but_no_more_than_half_a_share() {
        let (mut classes, id) = classes();
        let entry = classes.get_mut(id);
        entry.capacity = 4;
        for job in 1..=8_000 {
            entry.queue.push(JobId(job));
        }
        assert_eq!(entry.depth(), 1, "nothing is known");
        entry.measure(Duration::from_micros(100));
        assert_eq!(entry.depth(), 100);
        entry.ran = Some(10);
        assert_eq!(entry.depth(), 1000, "8000 / (2 × 4)");
        for _ in 0..7_990 {
            entry.queue.pop(|_| true);
        }
        assert_eq!(entry.depth(), 2, "10 / (2 × 4), rounded up");
        entry.measure_stall(limits::LANE_STALL);
        assert_eq!(entry.depth(), 1);
    }
}
