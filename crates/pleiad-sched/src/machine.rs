//! Machines, what is free there, and their lanes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use pleiad_types::{Attempt, Cpus, JobId, LaneId, MachineId, Resources, Time, limits};

use crate::classes::{ClassEntry, Classes};
use crate::spec::{Class, ClassId, MachineSpec, Placement};
use crate::table::Table;

/// The machines, and which of them have free processors.
#[derive(Debug, Default)]
pub(crate) struct Machines {
    table: Table<Box<Machine>>,
    last: u32,
    last_lane: u32,
    /// The machines that take lanes, most free processors first: jobs spread.
    roomy: BTreeSet<(Reverse<Cpus>, MachineId)>,
}

/// What the books keep of a machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) id: MachineId,
    pub(crate) spec: MachineSpec,
    pub(crate) free: Resources,
    /// Its lanes take more than it has, since it has become smaller. No new lanes until they fit.
    pub(crate) in_debt: bool,
    pub(crate) draining: bool,
    /// The class for which its room is kept, and the priority of that.
    pub(crate) reserved: Option<(ClassId, i32)>,
    pub(crate) lanes: BTreeMap<LaneId, Lane>,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) ran: Duration,
    /// Its place in [`Machines::roomy`].
    listed: Option<Cpus>,
}

/// A share of a machine in which jobs of one class run one after the other.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) class: ClassId,
    pub(crate) opened: Time,
    /// When the first job began, as far as the books know.
    pub(crate) since: Time,
    /// When its timer rings.
    pub(crate) timer: Option<Time>,
    // Invariant: never empty between two calls of the scheduler, at most `LANE_JOBS_MAX`.
    pub(crate) jobs: VecDeque<LaneJob>,
    /// For one job that may kill its worker.
    pub(crate) alone: bool,
    /// It gets no more jobs. True as soon as it has given one back: so no attempt is ever put twice
    /// into one lane, and a repeated message about it is recognised.
    pub(crate) closing: bool,
    /// All jobs behind the first have been asked back.
    pub(crate) recalled: bool,
    /// The first job has been told to stop.
    pub(crate) stopped: bool,
}

/// A job in a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LaneJob {
    pub(crate) job: JobId,
    pub(crate) attempt: Attempt,
    /// It has been asked back.
    pub(crate) recalled: bool,
    /// It was cancelled and is final; the machine has not yet said what became of it there.
    pub(crate) ghost: bool,
}

impl Machines {
    pub(crate) fn join(&mut self, spec: MachineSpec) -> MachineId {
        self.last += 1;
        let id = MachineId(self.last);
        let machine = Machine {
            id,
            free: spec.resources.clone(),
            spec,
            in_debt: false,
            draining: false,
            reserved: None,
            lanes: BTreeMap::new(),
            succeeded: 0,
            failed: 0,
            ran: Duration::ZERO,
            listed: None,
        };
        self.table.insert(id.0.into(), Box::new(machine));
        self.list(id);
        id
    }

    pub(crate) fn remove(&mut self, id: MachineId) -> Option<Box<Machine>> {
        let machine = self.table.remove(id.0.into())?;
        if let Some(cpus) = machine.listed {
            self.roomy.remove(&(Reverse(cpus), id));
        }
        Some(machine)
    }

    pub(crate) fn find(&self, id: MachineId) -> Option<&Machine> {
        self.table.get(id.0.into()).map(|machine| &**machine)
    }

    pub(crate) fn find_mut(&mut self, id: MachineId) -> Option<&mut Machine> {
        self.table.get_mut(id.0.into()).map(|machine| &mut **machine)
    }

    /// A machine that is known to be there.
    pub(crate) fn get(&self, id: MachineId) -> &Machine {
        self.find(id).expect("lanes and reservations go with their machine")
    }

    /// A machine that is known to be there, to be changed.
    pub(crate) fn get_mut(&mut self, id: MachineId) -> &mut Machine {
        self.find_mut(id).expect("lanes and reservations go with their machine")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Machine> {
        self.table.iter().map(|(_, machine)| &**machine)
    }

    /// Those that take lanes and have at least so many free processors, most free first.
    pub(crate) fn with_free(&self, cpus: Cpus) -> impl Iterator<Item = &Machine> {
        let roomy = self.roomy.iter().take_while(move |(Reverse(free), _)| *free >= cpus);
        roomy.map(|&(_, id)| self.get(id))
    }

    /// Opens a lane and takes its resources, which must be free.
    pub(crate) fn open_lane(
        &mut self,
        now: Time,
        id: MachineId,
        class: (ClassId, &Class),
        alone: bool,
    ) -> LaneId {
        // Numbers come again after 2³² lanes, but never while a lane has them; a message of a lane
        // so old is still told apart by job and attempt.
        loop {
            self.last_lane = self.last_lane.wrapping_add(1);
            if !self.get(id).lanes.contains_key(&LaneId(self.last_lane)) {
                break;
            }
        }
        let lane_id = LaneId(self.last_lane);
        let lane = Lane {
            class: class.0,
            opened: now,
            since: now,
            timer: None,
            jobs: VecDeque::new(),
            alone,
            closing: false,
            recalled: false,
            stopped: false,
        };
        let machine = self.get_mut(id);
        machine.free.take(&class.1.resources);
        machine.lanes.insert(lane_id, lane);
        self.list(id);
        lane_id
    }

    /// Takes a lane away and gives its resources back. Its class must still be there.
    pub(crate) fn close_lane(&mut self, id: MachineId, lane: LaneId, classes: &Classes) -> Lane {
        let machine = self.get_mut(id);
        let lane = machine.lanes.remove(&lane).expect("a lane is closed once");
        if machine.in_debt {
            machine.count_free(classes);
        } else {
            machine.free.give(&classes.get(lane.class).class.resources);
        }
        self.list(id);
        lane
    }

    /// Corrects the list of those with free processors, after a machine has changed.
    pub(crate) fn list(&mut self, id: MachineId) {
        let machine = self.table.get_mut(id.0.into()).expect("a machine that changes is there");
        let listed = machine.takes_lanes().then_some(machine.free.cpus);
        if listed == machine.listed {
            return;
        }
        if let Some(before) = machine.listed {
            self.roomy.remove(&(Reverse(before), id));
        }
        if let Some(cpus) = listed {
            self.roomy.insert((Reverse(cpus), id));
        }
        machine.listed = listed;
    }

    /// Panics if the list of those with free processors is wrong.
    pub(crate) fn check_list(&self) {
        let right = self.iter().filter(|machine| machine.takes_lanes());
        let right: BTreeSet<_> = right.map(|m| (Reverse(m.free.cpus), m.id)).collect();
        assert_eq!(self.roomy, right, "the list of machines with room is wrong");
    }
}

impl Machine {
    /// Whether a new lane may be opened at all.
    pub(crate) fn takes_lanes(&self) -> bool {
        self.takes_jobs() && self.lanes.len() < limits::MACHINE_LANES_MAX
    }

    /// Whether its lanes may get more jobs.
    pub(crate) fn takes_jobs(&self) -> bool {
        !self.draining && !self.in_debt
    }

    /// Whether jobs of this class may start here now, in a new lane.
    pub(crate) fn has_room(&self, id: ClassId, entry: &ClassEntry) -> bool {
        let class = &entry.class;
        self.takes_lanes()
            && class.resources.fits(&self.free)
            && self.admits(&class.placement)
            && self.is_open_to(id, class.priority)
    }

    /// Whether jobs of this class may be here at all.
    pub(crate) fn admits(&self, placement: &Placement) -> bool {
        (placement.only_on.is_empty() || placement.only_on.contains(&self.id))
            && (placement.tags.is_empty() || placement.tags.is_subset(&self.spec.tags))
    }

    /// Whether its room is not kept for others.
    pub(crate) fn is_open_to(&self, class: ClassId, priority: i32) -> bool {
        self.reserved.is_none_or(|(id, kept)| id == class || kept < priority)
    }

    /// Whether a job of this class could run here if nothing else did.
    pub(crate) fn suits(&self, class: &Class) -> bool {
        !self.draining
            && class.resources.fits(&self.spec.resources)
            && self.admits(&class.placement)
    }

    /// How many lanes of this class there could be if there were no others.
    pub(crate) fn lanes_possible(&self, class: &Class) -> u64 {
        if !self.suits(class) {
            return 0;
        }
        let (need, has) = (&class.resources, &self.spec.resources);
        let mut lanes = limits::MACHINE_LANES_MAX as u64;
        let mut bound = |need: u64, has: u64| {
            lanes = lanes.min(has.checked_div(need).unwrap_or(u64::MAX));
        };
        bound(need.cpus.as_tenths().into(), has.cpus.as_tenths().into());
        bound(need.memory, has.memory);
        bound(need.gpus.into(), has.gpus.into());
        for (name, &need) in &need.named {
            bound(need, has.named.get(name).copied().unwrap_or(0));
        }
        lanes
    }

    /// What its lanes take.
    pub(crate) fn used(&self, classes: &Classes) -> Resources {
        let mut used = Resources::default();
        for lane in self.lanes.values() {
            used.give(&classes.get(lane.class).class.resources);
        }
        used
    }

    /// Counts anew what is free.
    pub(crate) fn count_free(&mut self, classes: &Classes) {
        let used = self.used(classes);
        self.in_debt = used.shortage(&self.spec.resources).is_some();
        self.free = less(&self.spec.resources, &used);
    }
}

impl Lane {
    /// Where in the lane this attempt is.
    pub(crate) fn position(&self, job: JobId, attempt: Attempt) -> Option<usize> {
        self.jobs.iter().position(|entry| entry.job == job && entry.attempt == attempt)
    }

    /// When it is to be looked at.
    pub(crate) fn deadline(&self, limit: Option<Duration>) -> Option<Time> {
        let stall = self.jobs.len() > 1 && !self.recalled;
        let stall = stall.then(|| self.since + limits::LANE_STALL);
        let limit = limit.filter(|_| !self.stopped).map(|limit| self.since + limit);
        match (stall, limit) {
            (Some(stall), Some(limit)) => Some(stall.min(limit)),
            (stall, limit) => stall.or(limit),
        }
    }
}

/// Whether `free` and `more` together have all that `need` needs.
pub(crate) fn fits_with(need: &Resources, free: &Resources, more: &Resources) -> bool {
    let of = |from: &Resources, name| from.named.get(name).copied().unwrap_or(0);
    need.cpus.as_tenths() <= free.cpus.as_tenths().saturating_add(more.cpus.as_tenths())
        && need.memory <= free.memory.saturating_add(more.memory)
        && need.gpus <= free.gpus.saturating_add(more.gpus)
        && need.named.iter().all(|(name, &n)| n <= of(free, name).saturating_add(of(more, name)))
}

/// What is left of `total` without `used`; nothing where more is used than there is.
pub(crate) fn less(total: &Resources, used: &Resources) -> Resources {
    let named = total.named.iter().map(|(name, &amount)| {
        let used = used.named.get(name).copied().unwrap_or(0);
        (name.clone(), amount.saturating_sub(used))
    });
    Resources {
        cpus: Cpus::tenths(total.cpus.as_tenths().saturating_sub(used.cpus.as_tenths())),
        memory: total.memory.saturating_sub(used.memory),
        gpus: total.gpus.saturating_sub(used.gpus),
        named: named.collect(),
    }
}
