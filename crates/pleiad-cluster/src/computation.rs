//! Workers that are to be unlike the others.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::Cluster;
use crate::engine::{Command, Computation, Setup, WorkersMode};
use crate::error::SubmitError;
use crate::function::{CleanupEntry, CleanupFn, JobFn, SetupEntry, TryJobFn, TrySetupEntry};
use crate::submit;

/// Where the workers of a computation live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Workers {
    /// Each lane has a process of its own. A job that aborts, is killed or runs out of memory
    /// harms no other; a job that runs over its limit can be ended. The default.
    #[default]
    Processes,
    /// All lanes are threads of one process, and share the data that the setup has made. If one
    /// job ends the process, those beside it are run again, each in a process of its own.
    SharedProcess,
    /// All lanes are threads of this very process: for tests of programs, whose `main` cannot
    /// begin with [`init`](crate::init()). Arguments and results still pass through bytes. A job
    /// that aborts ends the program; one that ignores its limit keeps its thread.
    InProcess,
}

impl From<Workers> for WorkersMode {
    fn from(workers: Workers) -> Self {
        match workers {
            Workers::Processes => Self::Processes,
            Workers::SharedProcess => Self::SharedProcess,
            Workers::InProcess => Self::InProcess,
        }
    }
}

/// Says how the workers of some jobs are to be. See [`Cluster::computation`].
#[must_use = "a computation begins with `open`"]
pub struct ComputationBuilder<D> {
    cluster: Cluster,
    prepared: Result<Computation, SubmitError>,
    data: PhantomData<D>,
}

impl<D> fmt::Debug for ComputationBuilder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ComputationBuilder({:?})", self.cluster)
    }
}

impl ComputationBuilder<()> {
    pub(crate) fn new(cluster: Cluster, computation: Computation) -> Self {
        Self { cluster, prepared: Ok(computation), data: PhantomData }
    }
}

impl<D: 'static> ComputationBuilder<D> {
    /// Calls `setup` in each new worker before its first job. The data that it returns is there
    /// for every job of that worker, by [`JobContext::data`](crate::JobContext::data).
    ///
    /// If it panics, takes too long, or ends its process three times, all jobs of this computation
    /// fail with that reason.
    pub fn setup<F, Args, M>(self, setup: F, args: Args) -> ComputationBuilder<F::Output>
    where
        F: JobFn<Args, M, Output: Send + Sync>,
        Args: Serialize + DeserializeOwned + 'static,
        M: 'static,
    {
        let _ = setup;
        self.set_up(SetupEntry::<F, Args, M>::place().distance(), &args)
    }

    /// As [`setup`](Self::setup), with a function that returns a `Result`: if it is an `Err`, all
    /// jobs of this computation fail with that reason.
    pub fn try_setup<F, Args, M>(self, setup: F, args: Args) -> ComputationBuilder<F::Success>
    where
        F: TryJobFn<Args, M, Success: Send + Sync + 'static>,
        Args: Serialize + DeserializeOwned + 'static,
        M: 'static,
    {
        let _ = setup;
        self.set_up(TrySetupEntry::<F, Args, M>::place().distance(), &args)
    }

    fn set_up<T, A: Serialize>(self, place: i64, args: &A) -> ComputationBuilder<T> {
        let prepared = self.prepared.and_then(|computation| {
            let setup = Setup { place, args: submit::encode(args)?, cleanup: None };
            Ok(Computation { setup: Some(setup), ..computation })
        });
        ComputationBuilder { cluster: self.cluster, prepared, data: PhantomData }
    }

    /// How long the setup may take. Default: 10 minutes.
    pub fn setup_limit(self, limit: Duration) -> Self {
        self.change(|computation| computation.setup_limit = limit)
    }

    /// Calls `cleanup` with the data when a worker ends in good order: when the cluster is closed,
    /// or the worker is not needed any more. A worker that is ended by force cleans up nothing.
    ///
    /// Call it after [`setup`](Self::setup), whose data it gets.
    pub fn cleanup<F: CleanupFn<D>>(self, cleanup: F) -> Self {
        let _ = cleanup;
        self.change(|computation| {
            if let Some(setup) = &mut computation.setup {
                setup.cleanup = Some(CleanupEntry::<F, D>::place().distance());
            }
        })
    }

    /// Where the workers live. Default: as the cluster was told.
    pub fn workers(self, workers: Workers) -> Self {
        self.change(|computation| {
            // Without `init`, this program cannot be started as a worker.
            if computation.mode != WorkersMode::InProcess {
                computation.mode = workers.into();
            }
        })
    }

    /// Keeps what jobs print, and hands it over with their results
    /// ([`Completed::stdout`](crate::Completed)), instead of passing it on to this process's
    /// output. Only for [`Workers::Processes`].
    pub fn keep_output(self) -> Self {
        self.change(|computation| computation.keeps_output = true)
    }

    /// The cluster, for jobs that run in these workers. Workers start when there are jobs.
    ///
    /// # Errors
    ///
    /// If the arguments of the setup do not serialise, the choices contradict each other, or the
    /// cluster is closed.
    pub async fn open(self) -> Result<Cluster, SubmitError> {
        let computation = Box::new(self.prepared?);
        if computation.keeps_output && computation.mode != WorkersMode::Processes {
            let why = "`keep_output` needs workers in processes of their own: \
                       who has printed what cannot be known in a shared one";
            return Err(SubmitError::Invalid(why.to_owned()));
        }
        let id = self.cluster.ask(|reply| Command::Open { computation, reply }).await;
        Ok(Cluster { computation: id.ok_or(SubmitError::Closed)?, ..self.cluster })
    }

    fn change(mut self, change: impl FnOnce(&mut Computation)) -> Self {
        if let Ok(computation) = &mut self.prepared {
            change(computation);
        }
        self
    }
}
