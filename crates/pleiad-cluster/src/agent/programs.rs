//! Programs: starting, their streams, and their ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use pleiad_sched::{Class, End};
use pleiad_types::{ExitStatus, LaneId, Time};
use std::collections::VecDeque;
use tokio::sync::watch;

use super::capture::{self, BothCaptured, CapturedStream, Over};
use super::{Agent, Deadline, Lane, LaneKind, Launched, ProgramLane, Run};
use crate::engine::{ProgramWork, Report};
use crate::error::JobErrorKind;
use crate::launcher::{Launch, LaunchId, ProcessLimits, Stage, StopHow};
use crate::program::{Captured, ProgramOutput, Sink, Stdin, Stream, Usage};

/// How a launched process ended.
pub(super) enum Finished {
    Ended {
        status: ExitStatus,
        usage: Usage,
    },
    /// Nobody knows: its guard or the launcher was killed, and it with them.
    Lost,
    /// The launcher was killed before it could start it.
    NeverStarted,
}

impl Finished {
    pub(super) const LOST: &str = "the process that watched it was killed";
}

/// A program that runs, and what has gathered of its end.
pub(super) struct RunningProgram {
    run: Run,
    launch: LaunchId,
    /// Where it is, if it was not to be searched for.
    file: Option<PathBuf>,
    started: SystemTime,
    began: Instant,
    success: Vec<i32>,
    stop_asked: bool,
    finished: Option<(Finished, Duration)>,
    captured: Option<BothCaptured>,
    /// Tells those who read its output of its end.
    over: watch::Sender<Over>,
}

impl Agent {
    pub(super) fn run_program(
        &mut self,
        lane: LaneId,
        run: Run,
        class: &Class,
        work: &ProgramWork,
    ) {
        let memory = class.resources.memory;
        let found = self.lanes.entry(lane).or_insert_with(|| {
            let memory = (memory > 0).then_some(memory);
            let programs = ProgramLane { works: VecDeque::new(), memory, running: None };
            Lane { kind: LaneKind::Program(Box::new(programs)), queue: VecDeque::new() }
        });
        found.queue.push_back(run);
        if let LaneKind::Program(programs) = &mut found.kind {
            programs.works.push_back(work.clone());
            self.start_next_program(lane);
        }
    }

    fn start_next_program(&mut self, lane: LaneId) {
        let Some(Lane { kind: LaneKind::Program(programs), queue }) = self.lanes.get_mut(&lane)
        else {
            return;
        };
        if programs.running.is_some() {
            return;
        }
        let (Some(work), Some(&run)) = (programs.works.pop_front(), queue.front()) else { return };
        let memory = programs.memory;
        match self.launch_program(run, work, memory) {
            Ok(running) => {
                self.launched.insert(running.launch, Launched::Program(lane));
                self.unstarted.insert(running.launch);
                if let Some(Lane { kind: LaneKind::Program(programs), .. }) =
                    self.lanes.get_mut(&lane)
                {
                    programs.running = Some(running);
                }
            }
            Err(why) => self.program_not_started(lane, why.text, why.transient),
        }
    }

    fn launch_program(
        &mut self,
        run: Run,
        work: ProgramWork,
        memory: Option<u64>,
    ) -> Result<RunningProgram, NotStarted> {
        let ProgramWork { program, chunks } = work;
        let has_path = program.program.as_encoded_bytes().contains(&b'/');
        let file = has_path
            .then(|| program.workdir.iter().chain([&program.program.clone().into()]).collect());
        let stdin = open_stdin(&program.stdin)?;
        let tail = chunks.is_some();
        let (stdout, stdout_reader) = open_sink(&program.stdout, "standard output")?;
        let (stderr, stderr_reader) = open_sink(&program.stderr, "standard error")?;
        let launch = Launch {
            program: program.program,
            args: program.args,
            arg0: None,
            env: program.env.into_iter().collect(),
            env_clear: program.env_clear,
            workdir: program.workdir,
            limits: ProcessLimits { memory, ..ProcessLimits::default() },
            stdin,
            stdout,
            stderr,
            extra: None,
            grace: self.options.grace,
        };
        let launcher = self.launcher().map_err(|e| NotStarted {
            text: format!("the launcher process cannot be started: {}", told(&e)),
            transient: true,
        })?;
        let launch = launcher.launch(launch);
        let (over, is_over) = watch::channel(Over::default());
        let captured = if stdout_reader.is_none() && stderr_reader.is_none() {
            Some(BothCaptured::empty())
        } else {
            let sender = self.sender.clone();
            let stream = |reader, stream| CapturedStream {
                reader,
                stream,
                attempt: run.1,
                chunks: chunks.clone(),
                only_tail: tail,
                over: is_over.clone(),
            };
            let stdout = stream(stdout_reader, Stream::Stdout);
            let stderr = stream(stderr_reader, Stream::Stderr);
            tokio::spawn(capture::both(launch, stdout, stderr, sender));
            None
        };
        Ok(RunningProgram {
            run,
            launch,
            file,
            started: SystemTime::now(),
            began: Instant::now(),
            success: program.success,
            stop_asked: false,
            finished: None,
            captured,
            over,
        })
    }

    /// Whether the file of the program is there, though the system says that it is not: then the
    /// interpreter is missing that its first line names.
    pub(super) fn lacks_interpreter(&mut self, id: LaunchId) -> bool {
        let Some(Launched::Program(lane)) = self.launched.get(&id) else { return false };
        let lane = *lane;
        let file = self.running_program(lane, id).and_then(|running| running.file.as_ref());
        file.is_some_and(|file| file.exists())
    }

    pub(super) fn program_not_started(&mut self, lane: LaneId, why: String, transient: bool) {
        let Some(Lane { kind: LaneKind::Program(programs), queue }) = self.lanes.get_mut(&lane)
        else {
            return;
        };
        programs.running = None;
        let Some(run) = queue.pop_front() else { return };
        let end = if transient { End::Failed } else { End::Impossible };
        self.fail(lane, run, end, JobErrorKind::NotStarted(why));
        self.start_next_program(lane);
    }

    pub(super) fn program_finished(
        &mut self,
        now: Time,
        id: LaunchId,
        lane: LaneId,
        how: Finished,
    ) {
        // All its processes have ended, so its streams have too, unless one was handed to a stranger.
        const LAST_OUTPUT: Duration = Duration::from_secs(2);
        if let Some(running) = self.running_program(lane, id) {
            let ran = running.began.elapsed();
            running.finished = Some((how, ran));
            running.over.send_modify(|over| over.stopped = running.stop_asked);
            if running.captured.is_none() {
                self.deadlines.push((now + LAST_OUTPUT, Deadline::Output(lane, id)));
            }
        }
        self.settle_program(id, lane);
    }

    pub(super) fn give_up_output(&mut self, lane: LaneId, id: LaunchId) {
        if let Some(running) = self.running_program(lane, id) {
            running.over.send_modify(|over| over.late = true);
        }
    }

    pub(super) fn handle_captured(&mut self, id: LaunchId, captured: BothCaptured) {
        let Some(Launched::Program(lane)) = self.launched.get(&id) else { return };
        let lane = *lane;
        if let Some(running) = self.running_program(lane, id) {
            running.captured = Some(captured);
        }
        self.settle_program(id, lane);
    }

    fn running_program(&mut self, lane: LaneId, id: LaunchId) -> Option<&mut RunningProgram> {
        match &mut self.lanes.get_mut(&lane)?.kind {
            LaneKind::Program(programs) => {
                programs.running.as_mut().filter(|running| running.launch == id)
            }
            LaneKind::Worker { .. } => None,
        }
    }

    /// Tells the end of the program once both its end and all its output are known.
    fn settle_program(&mut self, id: LaunchId, lane: LaneId) {
        let known = |r: &RunningProgram| r.finished.is_some() && r.captured.is_some();
        if !self.running_program(lane, id).is_some_and(|running| known(running)) {
            return;
        }
        self.launched.remove(&id);
        let Some(Lane { kind: LaneKind::Program(programs), queue }) = self.lanes.get_mut(&lane)
        else {
            return;
        };
        let Some(running) = programs.running.take() else { return };
        queue.pop_front();
        let run = running.run;
        if let (Some((finished, ran)), Some(captured)) = (running.finished, running.captured) {
            let context = Context {
                run,
                started: running.started,
                ran,
                stop_asked: running.stop_asked,
                success: &running.success,
            };
            let end = context.end(finished, captured);
            self.ended(lane, run, ran, end);
        }
        self.start_next_program(lane);
    }

    pub(super) fn stop_program(&mut self, lane: LaneId, run: Run, how: StopHow) {
        let Some(Lane { kind: LaneKind::Program(programs), .. }) = self.lanes.get_mut(&lane) else {
            return;
        };
        match &mut programs.running {
            Some(running) if running.run == run => {
                running.stop_asked = true;
                let id = running.launch;
                if let Some(launcher) = &mut self.launcher {
                    launcher.stop(id, how);
                }
            }
            _ => self.take_waiting_program(lane, run),
        }
    }

    /// Gives back a program that waits behind another in its lane.
    pub(super) fn take_waiting_program(&mut self, lane: LaneId, run: Run) {
        let Some(Lane { kind: LaneKind::Program(programs), queue }) = self.lanes.get_mut(&lane)
        else {
            return;
        };
        let Some(position) = queue.iter().position(|queued| *queued == run) else { return };
        let running = usize::from(programs.running.is_some());
        if position >= running && programs.works.remove(position - running).is_some() {
            queue.remove(position);
            self.ended(lane, run, Duration::ZERO, End::NotStarted);
        }
    }
}

struct Context<'a> {
    run: Run,
    started: SystemTime,
    ran: Duration,
    stop_asked: bool,
    success: &'a [i32],
}

impl Context<'_> {
    fn end(self, finished: Finished, captured: BothCaptured) -> End<Report> {
        let (status, usage) = match finished {
            Finished::Ended { status, usage } => (status, usage),
            Finished::NeverStarted => return End::NotStarted,
            Finished::Lost if self.stop_asked => return End::Stopped(Report::Stopped(None)),
            Finished::Lost => {
                return End::Died(Report::Error(Box::new(JobErrorKind::WorkerDied {
                    how: Finished::LOST.to_owned(),
                    stderr: captured.stderr_text(),
                })));
            }
        };
        if let Some(why) = captured.failed {
            return End::Failed(Report::Error(Box::new(JobErrorKind::Output(why))));
        }
        let output = Box::new(ProgramOutput {
            status,
            stdout: captured.stdout,
            stderr: captured.stderr,
            usage,
            started: self.started,
            ran: self.ran,
            attempt: self.run.1,
        });
        let success = matches!(status, ExitStatus::Code(code) if self.success.contains(&code));
        match (success, self.stop_asked) {
            (true, _) => End::Succeeded(Report::Program(output)),
            (false, true) => End::Stopped(Report::Stopped(Some(output))),
            (false, false) => End::Failed(Report::Program(output)),
        }
    }
}

struct NotStarted {
    text: String,
    transient: bool,
}

impl NotStarted {
    fn io(what: &str, error: &io::Error) -> Self {
        use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
        let transient = !matches!(error.kind(), NotFound | PermissionDenied | NotADirectory);
        Self { text: format!("{what}: {}", told(error)), transient }
    }
}

fn open_stdin(stdin: &Stdin) -> Result<OwnedFd, NotStarted> {
    let file = match stdin {
        Stdin::Empty => File::open("/dev/null"),
        Stdin::File(path) => File::open(path),
        Stdin::Bytes(bytes) => tempfile::tempfile().and_then(|mut file| {
            file.write_all(bytes)?;
            file.rewind()?;
            Ok(file)
        }),
    };
    let what = || match stdin {
        Stdin::Empty => "standard input".to_owned(),
        Stdin::File(path) => format!("standard input from {}", path.display()),
        Stdin::Bytes(_) => "a temporary file for standard input".to_owned(),
    };
    file.map(OwnedFd::from).map_err(|e| NotStarted::io(&what(), &e))
}

fn open_sink(sink: &Sink, what: &str) -> Result<(OwnedFd, Option<OwnedFd>), NotStarted> {
    match sink {
        Sink::Keep | Sink::Stream => match io::pipe() {
            Ok((reader, writer)) => Ok((writer.into(), Some(reader.into()))),
            Err(e) => Err(NotStarted::io(what, &e)),
        },
        Sink::File(path) => {
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
            let file =
                file.map_err(|e| NotStarted::io(&format!("{what} to {}", path.display()), &e))?;
            Ok((file.into(), None))
        }
    }
}

/// The error, with what helps against it.
fn told(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE) => {
            "too many files are open at once; run fewer jobs at once, or raise the limit (ulimit -n)"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

/// Says in a person's words why a program did not start.
pub(super) fn why_not_started(stage: Stage, error: &io::Error) -> String {
    if stage != Stage::Program {
        return format!("failed to {stage}: {}", told(error));
    }
    match error.kind() {
        io::ErrorKind::NotFound => "no such program".to_owned(),
        io::ErrorKind::PermissionDenied => "it is not executable".to_owned(),
        io::ErrorKind::ArgumentListTooLong => {
            "its arguments and environment are too long for this system".to_owned()
        }
        _ if error.raw_os_error() == Some(libc::ENOEXEC) => {
            "it is no program; a script must begin with a line such as #!/bin/sh".to_owned()
        }
        _ => error.to_string(),
    }
}

impl From<crate::launcher::Usage> for Usage {
    fn from(usage: crate::launcher::Usage) -> Self {
        Self { user: usage.user, system: usage.system, memory_max: usage.memory_max }
    }
}

impl BothCaptured {
    fn empty() -> Self {
        Self { stdout: Captured::memory(""), stderr: Captured::memory(""), failed: None }
    }

    fn stderr_text(&self) -> String {
        let tail = self.stderr.tail(pleiad_types::limits::STDERR_TAIL_BYTES).unwrap_or_default();
        String::from_utf8_lossy(&tail).into_owned()
    }
}
