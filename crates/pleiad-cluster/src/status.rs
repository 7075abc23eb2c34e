//! What a cluster does, in figures.

use std::fmt;
use std::time::Duration;

use pleiad_sched::{Counts, MachineView};

/// What a cluster does. Prints as a small table.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// Jobs by state.
    pub jobs: Counts,
    /// The machines and what runs there.
    pub machines: Vec<MachineView>,
    /// Worker processes, busy or not.
    pub workers: usize,
    /// Since the cluster was started.
    pub up: Duration,
}

impl Status {
    pub(crate) fn new(
        jobs: Counts,
        machines: Vec<MachineView>,
        workers: usize,
        up: Duration,
    ) -> Self {
        Self { jobs, machines, workers, up }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { blocked, waiting, running, succeeded, failed, cancelled } = self.jobs;
        writeln!(
            f,
            "{:<20} {:>6} {:>9} {:>8} {:>10} {:>9}",
            "machine", "cpus", "succeeded", "failed", "s/job", "job time"
        )?;
        let mut total = Duration::ZERO;
        for machine in &self.machines {
            total += machine.ran;
            let per_job = machine.ran.as_secs_f64() / (machine.succeeded.max(1)) as f64;
            writeln!(
                f,
                "{:<20} {:>6} {:>9} {:>8} {:>10.4} {:>8.1}s",
                machine.spec.name,
                machine.spec.resources.cpus.to_string(),
                machine.succeeded,
                machine.failed,
                per_job,
                machine.ran.as_secs_f64(),
            )?;
        }
        let speedup = total.as_secs_f64() / self.up.as_secs_f64().max(1e-9);
        writeln!(
            f,
            "{} waiting, {running} running, {succeeded} succeeded, {failed} failed, {cancelled} cancelled",
            blocked + waiting
        )?;
        write!(
            f,
            "job time {:.1}s in {:.1}s: {speedup:.2} times as fast as one after the other",
            total.as_secs_f64(),
            self.up.as_secs_f64()
        )
    }
}
