//! The loop of a worker: a thread that reads frames, and one for each slot that runs jobs.

use std::any::Any;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use pleiad_types::limits::JOB_MESSAGES_MAX;

use super::output::Outbox;
use super::wire::{self, FromWorker, Run, ToWorker};
use super::{Fault, panics};
use crate::context::JobContext;
use crate::function::{CleanupCall, JobCall, Place, SetupCall};
use crate::queue::push_newest;

/// Job functions get the stack that the main thread of a program usually has.
const STACK_BYTES: usize = 8 << 20;

/// Where a worker lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// In a process of its own.
    Process {
        /// Its standard output and error are files that the agent reads job by job.
        keeps_output: bool,
    },
    /// In threads of the agent's process.
    Threads,
}

/// Serves an agent until it says `Close` or goes away.
///
/// In a process of its own it does not return but ends the process.
pub(crate) fn serve(stream: UnixStream, kind: Kind, machine: &str) {
    panics::keep_panics_of_jobs();
    let Ok(reader) = stream.try_clone() else { return };
    let worker = Arc::new(Worker {
        kind,
        machine: machine.into(),
        outbox: Arc::new(Outbox::new(stream, kind != Kind::Threads)),
        data: OnceLock::new(),
    });
    let outbox = worker.outbox.clone();
    let writer = thread::spawn(move || outbox.run_writer());
    let mut slots = Slots { worker: worker.clone(), slots: Vec::new(), cleanup: None };
    let ended = slots.read_frames(reader);
    if kind != Kind::Threads && ended != Ended::Closed {
        // The agent is gone: nobody wants the results, and the jobs must not outlive it.
        std::process::exit(1);
    }
    slots.finish(ended);
    worker.outbox.close();
    let _ = writer.join();
    if kind != Kind::Threads {
        std::process::exit(0);
    }
}

struct Worker {
    kind: Kind,
    machine: Arc<str>,
    outbox: Arc<Outbox>,
    data: OnceLock<Arc<dyn Any + Send + Sync>>,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Ended {
    /// The agent said so.
    Closed,
    /// The agent is gone, or talks nonsense.
    Lost,
}

struct Slots {
    worker: Arc<Worker>,
    slots: Vec<(Arc<Slot>, thread::JoinHandle<()>)>,
    cleanup: Option<CleanupCall>,
}

impl Slots {
    fn read_frames(&mut self, mut stream: UnixStream) -> Ended {
        let mut read = BytesMut::new();
        while read_some(&mut stream, &mut read).is_ok_and(|n| n > 0) {
            loop {
                let message = match wire::next_frame(&mut read) {
                    Ok(None) => break,
                    Ok(Some(frame)) => ToWorker::decode(frame),
                    Err(e) => Err(e),
                };
                match message {
                    Ok(ToWorker::Close) => return Ended::Closed,
                    Ok(message) => self.handle(message),
                    Err(_) => return Ended::Lost,
                }
            }
        }
        Ended::Lost
    }

    fn handle(&mut self, message: ToWorker) {
        match message {
            ToWorker::Setup { setup, args, cleanup } => self.set_up(setup, &args, cleanup),
            ToWorker::Run { run, place, args } => {
                let inbox = Arc::default();
                self.slot(run.slot).add(Call { run, place, args, inbox });
            }
            ToWorker::Recall(run) => {
                if self.slot(run.slot).take_back(run) {
                    self.worker.outbox.send(&FromWorker::NotStarted(run));
                }
            }
            ToWorker::Stop(run) => {
                if self.slot(run.slot).take_back(run) {
                    self.worker.outbox.send(&FromWorker::NotStarted(run));
                } else if let Some(inbox) = self.slot(run.slot).inbox(run) {
                    inbox.stop();
                }
            }
            ToWorker::Message { run, body } => {
                if let Some(inbox) = self.slot(run.slot).inbox(run) {
                    inbox.put(body);
                }
            }
            ToWorker::Close => {}
        }
    }

    fn set_up(&mut self, setup: i64, args: &[u8], cleanup: Option<i64>) {
        let result = panics::catch(|| {
            self.cleanup = match cleanup {
                Some(place) => Some(find::<CleanupCall>(place)?),
                None => None,
            };
            find::<SetupCall>(setup)?(args).map_err(Fault::Returned)
        });
        let answer = match result {
            Ok(data) => {
                let _ = self.worker.data.set(data);
                FromWorker::Ready
            }
            Err(fault) => FromWorker::SetupFailed(match fault {
                Fault::Panicked { message, location, .. } => {
                    format!("it panicked: {message} ({location})")
                }
                Fault::Returned(text) | Fault::Unreadable(text) | Fault::NoSuchFunction(text) => {
                    text
                }
            }),
        };
        self.worker.outbox.send(&answer);
    }

    fn slot(&mut self, number: u16) -> &Slot {
        while self.slots.len() <= usize::from(number) {
            let slot = Arc::new(Slot::default());
            let runner = SlotRunner { slot: slot.clone(), worker: self.worker.clone() };
            let thread = thread::Builder::new()
                .name(format!("slot {}", self.slots.len()))
                .stack_size(STACK_BYTES)
                .spawn(move || runner.run())
                .expect("the system has room for one more thread");
            self.slots.push((slot, thread));
        }
        &self.slots[usize::from(number)].0
    }

    /// Lets the slots run what they have, unless the agent is lost.
    fn finish(self, ended: Ended) {
        for (slot, _) in &self.slots {
            slot.close(ended == Ended::Lost);
        }
        if ended == Ended::Lost {
            // A job that does not look whether it should stop keeps its thread.
            return;
        }
        for (_, thread) in self.slots {
            let _ = thread.join();
        }
        if let (Some(cleanup), Some(data)) = (self.cleanup, self.worker.data.get()) {
            let _ = panics::catch(|| {
                cleanup(&**data);
                Ok(())
            });
        }
    }
}

/// Reads what there is; a large frame is read straight to where it stays.
fn read_some(stream: &mut UnixStream, read: &mut BytesMut) -> io::Result<usize> {
    const READ_BYTES: usize = 64 << 10;
    let missing = wire::missing_bytes(read).ok().flatten().unwrap_or(0);
    let wanted = READ_BYTES.max(missing);
    let before = read.len();
    read.resize(before + wanted, 0);
    let result = loop {
        match stream.read(&mut read[before..]) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => break result,
        }
    };
    read.truncate(before + result.as_ref().copied().unwrap_or(0));
    result
}

fn find<C: crate::function::Call>(place: i64) -> Result<C, Fault> {
    let (call, _) = Place::<C>::from_distance(place)
        .find()
        .map_err(|e| Fault::NoSuchFunction(e.to_string()))?;
    Ok(call)
}

struct Call {
    run: Run,
    place: i64,
    args: Bytes,
    inbox: Arc<Inbox>,
}

/// A place in the worker where jobs run one after the other.
#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
    changed: Condvar,
}

#[derive(Default)]
struct SlotState {
    queue: VecDeque<Call>,
    running: Option<(Run, Arc<Inbox>)>,
    closing: bool,
}

impl Slot {
    fn add(&self, call: Call) {
        let mut state = self.state();
        let was_empty = state.queue.is_empty();
        state.queue.push_back(call);
        drop(state);
        if was_empty {
            self.changed.notify_one();
        }
    }

    fn take_back(&self, run: Run) -> bool {
        let mut state = self.state();
        // The last ones are taken back first, usually.
        let found = state.queue.iter().rposition(|call| call.run == run);
        found.is_some_and(|i| state.queue.remove(i).is_some())
    }

    fn inbox(&self, run: Run) -> Option<Arc<Inbox>> {
        let state = self.state();
        match &state.running {
            Some((running, inbox)) if *running == run => Some(inbox.clone()),
            _ => state.queue.iter().find(|call| call.run == run).map(|call| call.inbox.clone()),
        }
    }

    fn close(&self, drop_queue: bool) {
        let mut state = self.state();
        state.closing = true;
        if drop_queue {
            state.queue.clear();
            if let Some((_, inbox)) = &state.running {
                inbox.stop();
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The next call. `None`: the slot is to end.
    fn next(&self) -> Option<Call> {
        let mut state = self.state();
        state.running = None;
        loop {
            if let Some(call) = state.queue.pop_front() {
                state.running = Some((call.run, call.inbox.clone()));
                return Some(call);
            }
            if state.closing {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn has_more(&self) -> bool {
        !self.state().queue.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct SlotRunner {
    slot: Arc<Slot>,
    worker: Arc<Worker>,
}

impl SlotRunner {
    fn run(self) {
        let outbox = &self.worker.outbox;
        let mut context = JobContext::inside(self.worker.machine.clone(), outbox.clone());
        let mut printed = Printed::default();
        while let Some(Call { run, place, args, inbox }) = self.slot.next() {
            context.begin(run, inbox, self.worker.data.get());
            let began = Instant::now();
            let result = panics::catch(|| find::<JobCall>(place)?(&args, &context));
            let ran = began.elapsed();
            drop(args);
            if self.worker.kind == (Kind::Process { keeps_output: true }) {
                printed.report(run, outbox);
            }
            let nanos = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
            match result {
                Ok(result) if result.len() > pleiad_types::limits::BODY_BYTES_MAX => {
                    let fault = Fault::Unreadable(format!(
                        "the result has {} bytes, more than the limit of {}: \
                         write it to a file and return its name",
                        result.len(),
                        pleiad_types::limits::BODY_BYTES_MAX
                    ));
                    outbox.add_frame(&FromWorker::Failed { run, nanos, fault });
                }
                Ok(result) => outbox.add_done(run, nanos, &result),
                Err(fault) => outbox.add_frame(&FromWorker::Failed { run, nanos, fault }),
            }
            if !self.slot.has_more() {
                outbox.flush();
            }
        }
    }
}

/// How much of the worker's output files has been reported.
#[derive(Default)]
struct Printed {
    stdout: u64,
    stderr: u64,
}

impl Printed {
    fn report(&mut self, run: Run, outbox: &Outbox) {
        use std::io::Write as _;
        let _ = io::stdout().flush();
        let length = |file: &dyn std::os::fd::AsFd| {
            let end = nix::unistd::lseek(file.as_fd(), 0, nix::unistd::Whence::SeekEnd);
            end.ok().and_then(|end| u64::try_from(end).ok())
        };
        let stdout = length(&io::stdout()).unwrap_or(self.stdout);
        let stderr = length(&io::stderr()).unwrap_or(self.stderr);
        if (stdout, stderr) != (self.stdout, self.stderr) {
            (self.stdout, self.stderr) = (stdout, stderr);
            outbox.add_frame(&FromWorker::Printed { run, stdout, stderr });
        }
    }
}

/// What others have to say to a job.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    stopping: AtomicBool,
    messages: Mutex<VecDeque<Bytes>>,
    changed: Condvar,
}

impl Inbox {
    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Waits for a message, at most until `deadline` or the request to stop.
    pub(crate) fn take(&self, deadline: Instant) -> Option<Bytes> {
        let mut messages = self.messages();
        loop {
            if let Some(message) = messages.pop_front() {
                return Some(message);
            }
            if self.stopping() {
                return None;
            }
            messages = self.wait(messages, deadline)?;
        }
    }

    /// Waits for the request to stop; false at the deadline.
    pub(crate) fn wait_for_stop(&self, deadline: Instant) -> bool {
        let mut messages = self.messages();
        while !self.stopping() {
            match self.wait(messages, deadline) {
                Some(again) => messages = again,
                None => return self.stopping(),
            }
        }
        true
    }

    fn wait<'a>(
        &'a self,
        messages: MutexGuard<'a, VecDeque<Bytes>>,
        deadline: Instant,
    ) -> Option<MutexGuard<'a, VecDeque<Bytes>>> {
        let left = deadline.checked_duration_since(Instant::now())?;
        let woken = self.changed.wait_timeout(messages, left);
        Some(woken.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn put(&self, message: Bytes) {
        push_newest(&mut self.messages(), message, JOB_MESSAGES_MAX);
        self.changed.notify_all();
    }

    fn stop(&self) {
        let messages = self.messages();
        self.stopping.store(true, Ordering::Release);
        drop(messages);
        self.changed.notify_all();
    }

    fn messages(&self) -> MutexGuard<'_, VecDeque<Bytes>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
