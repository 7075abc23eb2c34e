//! A cluster, as the program that uses it sees it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pleiad_sched::{Class, Explanation, MachineSpec};
use pleiad_types::{ComputationId, Cpus, JobId, Resources, limits};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::agent::{AgentOptions, PROGRAMS};
use crate::computation::{ComputationBuilder, Workers};
use crate::engine::{self, Command, Computation, EngineOptions, Inbound, SetId, WorkersMode};
use crate::error::{StartError, SubmitError};
use crate::events::{Event, Events};
use crate::function::{JobEntry, JobFn, TryJobEntry, TryJobFn};
use crate::init;
use crate::map::Map;
use crate::program::{Program, ProgramOutput};
use crate::status::Status;
use crate::submit::{self, Submit};

/// Cores to which jobs are given: this machine's.
///
/// A handle: clones share the cluster. When the last handle, job and result stream is dropped,
/// everything that runs is ended at once; [`close`](Self::close) is the way to end in good order.
///
/// ```no_run
/// use pleiad_cluster::{Cluster, init};
///
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     init();
///     let cluster = Cluster::local().await?;
///     assert_eq!(cluster.submit(square, (7,)).await?, 49);
///     assert_eq!(cluster.map(square, 0..4).await?, [0, 1, 4, 9]);
///     cluster.close().await;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Cluster {
    pub(crate) shared: Arc<Shared>,
    pub(crate) computation: ComputationId,
}

pub(crate) struct Shared {
    engine: mpsc::UnboundedSender<Inbound>,
    events: broadcast::WeakSender<Event>,
    machine: Arc<str>,
    resources: Resources,
    default_mode: WorkersMode,
    latest_set: AtomicU64,
}

impl Cluster {
    /// This machine's cores, and all its memory.
    ///
    /// In a test, where [`init`](crate::init()) cannot be called, jobs run in threads of the test
    /// ([`Workers::InProcess`]).
    ///
    /// # Errors
    ///
    /// If `init` was not called, or a process or thread cannot be started.
    pub async fn local() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// A cluster of this machine that is to be unlike [`local`](Self::local).
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// Runs `function` with `args`, a tuple, as a job.
    ///
    /// Await it for the result, or [`start`](Submit::start) it to get a [`Job`](crate::Job).
    ///
    /// A panic is a failure of the job. A function that returns a `Result` has succeeded even if
    /// that is an `Err`: see [`try_submit`](Self::try_submit).
    ///
    /// The function runs in another process, so it must capture nothing. What it needs are its
    /// arguments:
    ///
    /// ```
    /// # use pleiad_cluster::{Cluster, Submit};
    /// fn submit(cluster: &Cluster, factor: u64) -> Submit<u64> {
    ///     cluster.submit(|n: u64, factor: u64| n * factor, (7, factor))
    /// }
    /// # let _ = submit as fn(&Cluster, u64) -> Submit<u64>;
    /// ```
    ///
    /// A closure that captures is an error of the compiler:
    ///
    /// ```compile_fail
    /// # use pleiad_cluster::{Cluster, Submit};
    /// fn submit(cluster: &Cluster, factor: u64) -> Submit<u64> {
    ///     cluster.submit(move |n: u64| n * factor, (7,))
    /// }
    /// # let _ = submit as fn(&Cluster, u64) -> Submit<u64>;
    /// ```
    ///
    /// So is a pointer to a function, in place of the function itself:
    ///
    /// ```compile_fail
    /// # use pleiad_cluster::{Cluster, Submit};
    /// fn submit(cluster: &Cluster, function: fn(u64) -> u64) -> Submit<u64> {
    ///     cluster.submit(function, (7,))
    /// }
    /// # let _ = submit as fn(&Cluster, fn(u64) -> u64) -> Submit<u64>;
    /// ```
    pub fn submit<F, Args, M>(&self, function: F, args: Args) -> Submit<F::Output>
    where
        F: JobFn<Args, M, Output: Serialize + DeserializeOwned>,
        Args: Serialize + DeserializeOwned + 'static,
        M: 'static,
    {
        let _ = function;
        let place = JobEntry::<F, Args, M>::place().distance();
        Submit::new(self.clone(), submit::call(place, &args), submit::decode_value)
    }

    /// Runs `function`, which returns a `Result`, as a job that fails, and is tried again if it
    /// has retries, when that is an `Err`.
    pub fn try_submit<F, Args, M>(&self, function: F, args: Args) -> Submit<F::Success>
    where
        F: TryJobFn<Args, M, Success: Serialize + DeserializeOwned>,
        Args: Serialize + DeserializeOwned + 'static,
        M: 'static,
    {
        let _ = function;
        let place = TryJobEntry::<F, Args, M>::place().distance();
        Submit::new(self.clone(), submit::call(place, &args), submit::decode_value)
    }

    /// Runs `function` once for each of `items`.
    ///
    /// Await it for all results in order, or see [`Map`] for other ways.
    pub fn map<F, A, I, M>(&self, function: F, items: I) -> Map<F::Output>
    where
        F: JobFn<(A,), M, Output: Serialize + DeserializeOwned>,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A, IntoIter: Send + 'static>,
        M: 'static,
    {
        let _ = function;
        let place = JobEntry::<F, (A,), M>::place().distance();
        Map::of_calls(self.clone(), place, items.into_iter())
    }

    /// Runs `function`, which returns a `Result`, once for each of `items`. See
    /// [`try_submit`](Self::try_submit).
    pub fn try_map<F, A, I, M>(&self, function: F, items: I) -> Map<F::Success>
    where
        F: TryJobFn<(A,), M, Success: Serialize + DeserializeOwned>,
        A: Serialize + DeserializeOwned + 'static,
        I: IntoIterator<Item = A, IntoIter: Send + 'static>,
        M: 'static,
    {
        let _ = function;
        let place = TryJobEntry::<F, (A,), M>::place().distance();
        Map::of_calls(self.clone(), place, items.into_iter())
    }

    /// Runs a program as a job.
    ///
    /// It fails if the program ends with another exit status than those of
    /// [`success_codes`](Program::success_codes).
    pub fn run(&self, program: Program) -> Submit<ProgramOutput> {
        Submit::of_program(self.clone(), program)
    }

    /// Runs each of these programs as a job. See [`Map`].
    pub fn run_all<I>(&self, programs: I) -> Map<ProgramOutput>
    where
        I: IntoIterator<Item = Program, IntoIter: Send + 'static>,
    {
        Map::of_programs(self.clone(), programs.into_iter())
    }

    /// Workers that are to be unlike the others: with data of their own, or shared, or keeping
    /// what their jobs print.
    pub fn computation(&self) -> ComputationBuilder<()> {
        let computation = Computation {
            mode: self.shared.default_mode,
            keeps_output: false,
            setup: None,
            setup_limit: Duration::from_secs(600),
        };
        ComputationBuilder::new(self.clone(), computation)
    }

    /// The name of the machine on which jobs run.
    pub fn machine(&self) -> &str {
        &self.shared.machine
    }

    /// What the machine lends.
    pub fn resources(&self) -> &Resources {
        &self.shared.resources
    }

    /// How many jobs wait and run, and what they have taken.
    ///
    /// # Errors
    ///
    /// If the cluster is closed.
    pub async fn status(&self) -> Result<Status, SubmitError> {
        self.ask(|reply| Command::Status { reply }).await.ok_or(SubmitError::Closed)
    }

    /// Why a job does not run, or what it does.
    pub async fn explain(&self, job: JobId) -> Explanation {
        let answer = self.ask(|reply| Command::Explain { job, reply }).await;
        answer.unwrap_or(Explanation::NoSuchJob)
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        let closed = || broadcast::channel(1).1;
        Events(self.shared.events.upgrade().map_or_else(closed, |events| events.subscribe()))
    }

    /// Waits until no job waits or runs.
    ///
    /// # Cancel safety
    ///
    /// Cancel-safe.
    pub async fn wait(&self) {
        let _ = self.ask(|reply| Command::WaitIdle { reply }).await;
    }

    /// Cancels all jobs, of every handle. Those that run are asked to stop.
    pub fn cancel_all(&self) {
        self.tell(Command::CancelAll { kill: false });
    }

    /// Cancels all jobs, of every handle, and ends those that run by force.
    pub fn kill_all(&self) {
        self.tell(Command::CancelAll { kill: true });
    }

    /// Ends the cluster in good order: no new jobs are accepted, those accepted are finished,
    /// workers clean up and end.
    ///
    /// Workers that have not ended a minute after their last job are ended by force.
    ///
    /// # Cancel safety
    ///
    /// The cluster goes on closing if this is dropped.
    pub async fn close(&self) {
        let _ = self.ask(|reply| Command::Close { reply }).await;
    }

    pub(crate) fn class(&self, programs: bool) -> Class {
        Class::new(if programs { PROGRAMS } else { self.computation })
    }

    pub(crate) fn new_set(&self) -> SetId {
        SetId(self.shared.latest_set.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// False if the cluster is closed.
    pub(crate) fn tell(&self, command: Command) -> bool {
        self.shared.engine.send(Inbound::Command(command)).is_ok()
    }

    /// `None` if the cluster is closed.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply));
        answer.await.ok()
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({}, {})", self.shared.machine, self.computation)
    }
}

/// Says how a cluster is to be. See [`Cluster::builder`].
#[derive(Debug, Clone)]
#[must_use = "a cluster begins with `start`"]
pub struct ClusterBuilder {
    machine: Option<String>,
    resources: Resources,
    grace: Duration,
    workers: Option<Workers>,
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        let mut resources = Resources { memory: machine_memory(), ..Resources::default() };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        resources.cpus = Cpus::whole(u32::try_from(cores).unwrap_or(u32::MAX));
        Self { machine: None, resources, grace: limits::STOP_GRACE, workers: None }
    }
}

impl ClusterBuilder {
    /// How many processors jobs may take together. Default: those of this machine that this
    /// process may use. More is allowed, for jobs that mostly wait.
    pub fn cpus(mut self, cpus: impl Into<Cpus>) -> Self {
        self.resources.cpus = cpus.into();
        self
    }

    /// How many bytes of memory jobs may take together. Default: what the machine has.
    pub fn memory(mut self, bytes: u64) -> Self {
        self.resources.memory = bytes;
        self
    }

    /// How many graphics processors there are. Default: none.
    pub fn gpus(mut self, gpus: u32) -> Self {
        self.resources.gpus = gpus;
        self
    }

    /// How much there is of something else that is counted.
    pub fn resource(mut self, name: impl Into<String>, amount: u64) -> Self {
        self.resources.named.insert(name.into(), amount);
        self
    }

    /// The machine's name. Default: its host name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.machine = Some(name.into());
        self
    }

    /// How long a job that was asked to stop has before it is ended by force. Default: 5 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Where workers live. Default: [`Workers::Processes`]; in tests, [`Workers::InProcess`].
    pub fn workers(mut self, workers: Workers) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Starts the cluster.
    ///
    /// # Errors
    ///
    /// If [`init`](crate::init()) was not called, or a process or thread cannot be started.
    pub async fn start(self) -> Result<Cluster, StartError> {
        if self.resources.cpus == Cpus::ZERO {
            return Err(StartError::Invalid("a cluster needs at least 0.1 processors".to_owned()));
        }
        let processes = init::was_called();
        let workers = match self.workers {
            Some(Workers::InProcess) => Workers::InProcess,
            Some(workers) if processes => workers,
            None if processes => Workers::Processes,
            None if init::is_test_harness() => Workers::InProcess,
            _ => return Err(StartError::NotInitialised),
        };
        let name = self.machine.or_else(host_name).unwrap_or_else(|| "this machine".to_owned());
        let machine: Arc<str> = name.as_str().into();
        let tags = Default::default();
        let options = EngineOptions {
            machine: MachineSpec { name, resources: self.resources.clone(), tags },
            agent: AgentOptions {
                machine: machine.clone(),
                grace: self.grace,
                idle_workers_max: self.resources.cpus.as_tenths().div_ceil(10) as usize,
                processes,
            },
        };
        let (engine, events) = engine::start(options).await?;
        let shared = Shared {
            engine,
            events,
            machine,
            resources: self.resources,
            default_mode: workers.into(),
            latest_set: AtomicU64::new(0),
        };
        let cluster = Cluster { shared: Arc::new(shared), computation: PROGRAMS };
        let ended = |_| StartError::Invalid("the engine has ended at once".to_owned());
        cluster.computation().open().await.map_err(ended)
    }
}

fn host_name() -> Option<String> {
    nix::unistd::gethostname().ok()?.into_string().ok().filter(|name| !name.is_empty())
}

fn machine_memory() -> u64 {
    use nix::unistd::{SysconfVar, sysconf};
    let value = |var| sysconf(var).ok().flatten().and_then(|n| u64::try_from(n).ok());
    let pages = value(SysconfVar::_PHYS_PAGES);
    pages.zip(value(SysconfVar::PAGE_SIZE)).map_or(0, |(pages, bytes)| pages * bytes)
}
