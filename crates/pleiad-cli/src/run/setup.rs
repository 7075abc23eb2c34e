//! What a run needs before its first job.

use std::io;
use std::sync::Arc;
use std::thread;

use pleiad::{Cluster, Cpus};
use tokio::sync::{mpsc, oneshot};

use crate::args::Run;
use crate::plan::Plan;
use crate::problem::Problem;
use crate::source::{Source, SourceError, Values};
use crate::units::show_size;

/// Values read ahead of the jobs that they are for.
const VALUES_AHEAD: usize = 1024;

/// Open files for each job that runs: where its output and its errors come from.
const FILES_OF_A_JOB: u64 = 2;
/// The same if it writes to files by itself: the launcher has one for each job.
const FILES_WITH_RESULTS: u64 = 1;
/// Those for everything else.
const FILES_BESIDES: u64 = 24;

/// Why jobs can never run here.
#[derive(Debug, thiserror::Error)]
enum TooLarge {
    #[error(
        "a job of --cpus {wanted} is too large: there are {there} on this machine\n  \
             ask for fewer, or say with -j how many run at once, whatever they take"
    )]
    Cpus { wanted: Cpus, there: Cpus },
    #[error("a job of --memory {} is too large: this machine has {}\n  ask for less",
             show_size(*.wanted), show_size(*.there))]
    Memory { wanted: u64, there: u64 },
    #[error(
        "{slots} jobs at once need {wanted} open files, and the limit is {there}\n  \
             ask for no more than -j {most}, or raise the limit (ulimit -n; the system's is in \
             /etc/security/limits.conf)"
    )]
    Files { slots: u64, wanted: u64, there: u64, most: u64 },
}

pub(super) async fn start_cluster(args: &Run) -> Result<Cluster, Problem> {
    let mut builder = Cluster::builder();
    if let Some(jobs) = args.jobs {
        builder = builder.cpus(Cpus::tenths(jobs.saturating_mul(cpus(args).as_tenths())));
    }
    builder.start().await.map_err(Problem::failure)
}

/// Makes room for the files of so many jobs at once. The cluster must have been started, so that
/// the jobs keep the limit that there was.
pub(super) fn open_files(args: &Run, slots: u64) -> Result<(), Problem> {
    // If it cannot be told, a job that has no room will.
    let Ok(there) = pleiad::raise_open_files_limit() else { return Ok(()) };
    let of_each = if args.results.is_some() { FILES_WITH_RESULTS } else { FILES_OF_A_JOB };
    let wanted = slots * of_each + FILES_BESIDES;
    if wanted <= there {
        return Ok(());
    }
    let most = there.saturating_sub(FILES_BESIDES) / of_each;
    Err(Problem::usage(TooLarge::Files { slots, wanted, there, most: most.max(1) }))
}

/// How many jobs have room at once.
pub(super) fn slots(args: &Run, cluster: &Cluster) -> Result<u64, Problem> {
    let there = cluster.resources();
    let wanted = cpus(args);
    if wanted > there.cpus {
        return Err(Problem::usage(TooLarge::Cpus { wanted, there: there.cpus }));
    }
    let slots = u64::from(there.cpus.as_tenths() / wanted.as_tenths().max(1));
    match args.memory {
        Some(wanted) if wanted > there.memory => {
            Err(Problem::usage(TooLarge::Memory { wanted, there: there.memory }))
        }
        Some(wanted) => Ok(slots.min(there.memory / wanted)),
        None => Ok(slots),
    }
}

/// Reads the values in a thread of their own: a pipe or a directory may keep it waiting.
pub(super) fn read_values(
    source: &Source,
) -> Result<mpsc::Receiver<Result<Values, SourceError>>, SourceError> {
    let (sender, values) = mpsc::channel(VALUES_AHEAD);
    let reading = source.read()?;
    let feed = move || {
        for value in reading {
            if sender.blocking_send(value).is_err() {
                return;
            }
        }
    };
    let no_thread = |source: io::Error| SourceError::Read { name: "their source".into(), source };
    thread::Builder::new().name("values".into()).spawn(feed).map_err(no_thread)?;
    Ok(values)
}

/// Counts the jobs while the first of them run.
pub(super) fn count(plan: Arc<Plan>) -> oneshot::Receiver<Option<u64>> {
    let (sender, total) = oneshot::channel();
    // Without the thread there is no percentage, and nothing else is missing.
    let _ = thread::Builder::new().name("count".into()).spawn(move || {
        let _ = sender.send(plan.source.count());
    });
    total
}

fn cpus(args: &Run) -> Cpus {
    args.cpus.unwrap_or(Cpus::ONE)
}
