//! The launcher with real processes: what is started, what is told, and that nothing is left.
//!
//! Without the usual harness, as the launcher is this same executable in another role.

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    pleiad_cluster::launcher_testing::serve_if_asked();
    linux::main()
}

#[cfg(target_os = "linux")]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod linux {
    use std::collections::HashMap;
    use std::ffi::{OsStr, OsString};
    use std::fs::{self, File};
    use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::Path;
    use std::process::{Child, Command, ExitCode, Stdio};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use libtest_mimic::{Arguments, Trial};
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use pleiad_cluster::ForegroundEnd;
    use pleiad_cluster::launcher_testing::{
        Launch, LaunchId, Launcher, LauncherEvent, ProcessLimits, Stage, StopHow, Usage,
        launch_foreground,
    };
    use pleiad_types::ExitStatus;
    use tokio::runtime::{Builder, Runtime};

    /// Another role of this executable, besides those of the launcher.
    const ROLE: &str = "LAUNCHER_TEST_ROLE";

    /// What is promised for the death of an agent holds for every death.
    const GONE: Duration = Duration::from_secs(5);

    /// For what should take a moment, on a machine that is busy with other tests.
    const SOON: Duration = Duration::from_secs(20);

    pub(super) fn main() -> ExitCode {
        match std::env::var(ROLE).as_deref() {
            Ok("agent") => return agent(),
            Ok("foreground") => return foreground(),
            _ => {}
        }
        let mut arguments = Arguments::from_args();
        // Each starts processes of its own; the time limits are for a machine that is not swamped.
        arguments.test_threads.get_or_insert(2);
        libtest_mimic::run(&arguments, trials()).exit_code()
    }

    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            fn trials() -> Vec<Trial> {
                vec![$(Trial::test(stringify!($name), || { $name(); Ok(()) })),*]
            }
        };
    }

    trials![
        exit_codes_and_signals_are_told,
        a_program_is_told_started_before_ended,
        what_cannot_be_started_says_why,
        a_zero_byte_is_refused,
        arguments_need_not_be_text,
        arguments_may_be_very_long,
        the_own_name_can_be_chosen,
        environment_is_changed_as_asked,
        the_path_of_the_program_counts,
        programs_run_in_their_directory,
        memory_is_limited,
        processor_time_is_limited,
        open_files_are_limited,
        usage_is_measured,
        only_the_given_descriptors_are_open,
        programs_have_default_signals,
        streams_end_when_the_program_closes_them,
        a_polite_stop_interrupts,
        a_program_that_ignores_interrupts_is_terminated,
        a_program_that_ignores_everything_is_killed,
        a_stopped_program_can_be_stopped,
        a_late_stop_hits_no_other_program,
        killing_an_idle_guard_does_no_harm,
        a_kill_takes_the_whole_tree,
        daemons_end_with_their_program,
        many_sessions_end_with_their_program,
        a_process_that_keeps_moving_is_caught,
        killing_the_agent_leaves_nothing,
        killing_the_launcher_leaves_nothing,
        killing_a_guard_leaves_nothing,
        killing_a_program_leaves_nothing,
        terminating_the_launcher_leaves_nothing,
        dropping_the_launcher_leaves_nothing,
        shutdown_returns_when_nothing_is_left,
        launches_after_the_end_are_refused,
        two_hundred_programs_run_at_once,
        the_foreground_returns_the_status,
        the_foreground_has_a_time_limit,
        the_foreground_hands_on_an_interrupt,
        killing_the_foreground_leaves_nothing,
        throughput,
    ];

    fn exit_codes_and_signals_are_told() {
        let mut world = World::new();
        for code in [0, 3, 255] {
            let end = world.run(sh(&format!("exit {code}")));
            assert_eq!(end.status, ExitStatus::Code(code));
        }
        for signal in [9, 11, 15, 34, 64] {
            let end = world.run(sh(&format!("kill -{signal} $$")));
            assert_eq!(end.status, ExitStatus::Signal(signal));
        }
        world.nothing_else();
    }

    fn a_program_is_told_started_before_ended() {
        let mut world = World::new();
        let (launch, mut output) = with_output(sh("echo $$"));
        let id = world.launcher.launch(launch);

        let LauncherEvent::Started { id: started, pid } = world.event() else { panic!() };
        let LauncherEvent::Ended { id: ended, .. } = world.event() else { panic!() };

        assert_eq!((started, ended), (id, id));
        assert_eq!(read(&mut output), format!("{pid}\n").as_bytes());
        world.nothing_else();
    }

    fn what_cannot_be_started_says_why() {
        let mut world = World::new();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("plain");
        fs::write(&file, "#!/bin/sh\n").unwrap();
        let in_folder = |workdir: &Path| Launch {
            workdir: Some(workdir.to_owned()),
            ..program("true", [""; 0])
        };
        let cases = [
            (program("no-such-program-at-all", [""; 0]), Stage::Program, libc::ENOENT),
            (program("/no/such/program", [""; 0]), Stage::Program, libc::ENOENT),
            (program("", [""; 0]), Stage::Request, 0),
            (program(&file, [""; 0]), Stage::Program, libc::EACCES),
            (in_folder(Path::new("/no/such/folder")), Stage::Workdir, libc::ENOENT),
            (in_folder(&file), Stage::Workdir, libc::ENOTDIR),
        ];
        for (launch, expected, errno) in cases {
            let id = world.launcher.launch(launch);
            let LauncherEvent::NotStarted { id: of, stage, error } = world.event() else {
                panic!()
            };
            assert_eq!((of, stage, error.raw_os_error().unwrap_or(0)), (id, expected, errno));
        }
        world.nothing_else();
    }

    fn a_zero_byte_is_refused() {
        let mut world = World::new();
        world.launcher.launch(program("true", ["a\0b"]));
        let LauncherEvent::NotStarted { stage: Stage::Request, error, .. } = world.event() else {
            panic!()
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        world.nothing_else();
    }

    fn arguments_need_not_be_text() {
        let mut world = World::new();
        let odd = OsStr::from_bytes(b"\xff\xfe \n'\"\x01");
        let (launch, mut output) = with_output(program("printf", [OsStr::new("%s|"), odd, odd]));
        world.run(launch);
        assert_eq!(read(&mut output), [odd.as_bytes(), b"|", odd.as_bytes(), b"|"].concat());
    }

    fn arguments_may_be_very_long() {
        let mut world = World::new();
        let (mut launch, mut output) = with_output(sh("echo $#; printf '%s' \"$@\" | wc -c"));
        launch.args.extend((0..1500).map(|_| OsString::from("x".repeat(1000))));
        let end = world.run(launch);
        assert_eq!(end.status, ExitStatus::Code(0));
        // The script's own name takes the first of them.
        assert_eq!(read(&mut output), b"1499\n1499000\n");
    }

    fn the_own_name_can_be_chosen() {
        let mut world = World::new();
        let (mut launch, mut output) = with_output(program("sh", ["-c", "echo $0"]));
        launch.arg0 = Some("another".into());
        world.run(launch);
        assert_eq!(read(&mut output), b"another\n");
    }

    fn environment_is_changed_as_asked() {
        let mut world = World::new();
        let own: HashMap<_, _> = std::env::vars_os().collect();
        assert!(own.contains_key(OsStr::new("PATH")), "this test needs a variable to remove");
        let env = |world: &mut World, changes: &[(&str, Option<&str>)], clear| {
            let (mut launch, mut output) = with_output(program("/usr/bin/env", ["-0"]));
            launch.env = changes
                .iter()
                .map(|(name, value)| (name.into(), value.map(OsString::from)))
                .collect();
            launch.env_clear = clear;
            world.run(launch);
            read(&mut output)
                .split(|byte| *byte == 0)
                .filter_map(|pair| {
                    let equals = pair.iter().position(|byte| *byte == b'=')?;
                    let part = |part: &[u8]| OsString::from_vec(part.to_vec());
                    Some((part(&pair[..equals]), part(&pair[equals + 1..])))
                })
                .collect::<HashMap<_, _>>()
        };

        assert_eq!(env(&mut world, &[], false), own, "and no variable for the launcher's role");

        let changes = [("A", Some("1")), ("A", Some("2=3")), ("PATH", None), ("NONE", None)];
        let mut expected = own;
        expected.remove(OsStr::new("PATH"));
        expected.insert("A".into(), "2=3".into());
        assert_eq!(env(&mut world, &changes, false), expected);

        let expected = HashMap::from([("A".into(), "2=3".into())]);
        assert_eq!(env(&mut world, &changes, true), expected);
    }

    fn the_path_of_the_program_counts() {
        let mut world = World::new();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("only-here");
        fs::write(&file, "#!/bin/sh\nexit 5\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&file, mode).unwrap();
        let path = [OsStr::new("/nowhere:/proc/1/root:"), folder.path().as_os_str()];
        let mut launch = program("only-here", [""; 0]);
        launch.env = vec![("PATH".into(), Some(path.join(OsStr::new(""))))];
        assert_eq!(world.run(launch).status, ExitStatus::Code(5));
    }

    fn programs_run_in_their_directory() {
        let mut world = World::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let (mut launch, mut output) = with_output(program("pwd", [""; 0]));
        launch.workdir = Some(path.clone());
        world.run(launch);
        assert_eq!(read(&mut output), [path.as_os_str().as_bytes(), b"\n"].concat());
    }

    fn memory_is_limited() {
        let mut world = World::new();
        // A line of 256 MiB, of which tail has to keep all.
        let greedy = "head -c 256M /dev/zero | tail -n 1 | wc -c";
        let (mut launch, mut output) = with_output(sh(greedy));
        launch.limits.memory = Some(64 << 20);
        world.run(launch);
        assert_eq!(read(&mut output), b"0\n");
    }

    fn processor_time_is_limited() {
        let mut world = World::new();
        let mut launch = sh("while :; do :; done");
        launch.limits.cpu_seconds = Some(1);
        let end = world.run(launch);
        assert_eq!(end.status, ExitStatus::Signal(libc::SIGXCPU));
        // The kernel counts ticks for the limit, and time for the usage.
        assert!(end.usage.user + end.usage.system >= Duration::from_millis(500), "{:?}", end.usage);
    }

    fn open_files_are_limited() {
        let mut world = World::new();
        let (mut launch, mut output) = with_output(sh("ulimit -n; ulimit -c"));
        launch.limits.files = Some(77);
        world.run(launch);
        assert_eq!(read(&mut output), b"77\n0\n");
    }

    fn usage_is_measured() {
        let mut world = World::new();
        let small = world.run(program("true", [""; 0])).usage;
        let large = world.run(sh("head -c 64M /dev/zero | tail -n 1 >/dev/null")).usage;
        assert!(large.memory_max > 60 << 20, "{large:?}");
        assert!(small.memory_max < 20 << 20, "{small:?}");
        assert!(large.user + large.system > Duration::ZERO);
    }

    fn only_the_given_descriptors_are_open() {
        let mut world = World::new();
        // Open in this process while the launcher starts, and meant for any child.
        let leaky = File::open("/dev/null").unwrap();
        nix::fcntl::fcntl(&leaky, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))
            .unwrap();
        let mut leaked = World::new();
        for world in [&mut world, &mut leaked] {
            // The shell's glob has a descriptor of its own, which is closed when echo runs.
            let list = "cd /proc/$$/fd; for fd in *; do [ -e $fd ] && printf '%s ' $fd; done";
            let (launch, mut output) = with_output(sh(list));
            world.run(launch);
            assert_eq!(read(&mut output), b"0 1 2 ");

            let (mut launch, mut output) = with_output(sh(&format!("{list}; cat <&3")));
            let (extra, mut ours) = io::pipe().unwrap();
            launch.extra = Some(extra.into());
            ours.write_all(b"extra").unwrap();
            drop(ours);
            world.run(launch);
            assert_eq!(read(&mut output), b"0 1 2 3 extra");
        }
    }

    fn programs_have_default_signals() {
        let mut world = World::new();
        let (launch, mut output) =
            with_output(program("grep", ["-E", "^Sig(Blk|Ign)", "/proc/self/status"]));
        world.run(launch);
        let text = String::from_utf8(read(&mut output)).unwrap();
        let mut masks = text.lines().map(|line| line.rsplit('\t').next().unwrap());
        // Two are the C library's own, which nobody can set.
        let own = 0b11 << 31;
        assert!(masks.all(|mask| u64::from_str_radix(mask, 16).unwrap() & !own == 0), "{text}");
    }

    fn streams_end_when_the_program_closes_them() {
        let mut world = World::new();
        let (mut launch, mut output) = with_output(sh("exec >&- 2>&-; read line"));
        let (theirs, ours) = io::pipe().unwrap();
        launch.stdin = theirs.into();
        world.start(launch);

        assert_eq!(read(&mut output), b"", "the end arrives while the program runs");

        drop(ours);
        assert_eq!(world.end().status, ExitStatus::Code(1));
    }

    fn a_polite_stop_interrupts() {
        let mut world = World::new();
        let script = "trap 'exit 7' INT; echo ready; while :; do sleep 0.05; done";
        let (id, _output) = world.start_ready(sh(script));
        world.launcher.stop(id, StopHow::Polite);
        assert_eq!(world.end().status, ExitStatus::Code(7));

        let (id, _) = world.start(program("sleep", ["100"]));
        world.launcher.stop(id, StopHow::Polite);
        assert_eq!(world.end().status, ExitStatus::Signal(libc::SIGINT));
        world.nothing_else();
    }

    fn a_program_that_ignores_interrupts_is_terminated() {
        let mut world = World::new();
        let mut launch = sh("trap '' INT; echo ready; exec sleep 100");
        launch.grace = Duration::from_secs(2);
        let (id, _output) = world.start_ready(launch);
        let since = Instant::now();
        world.launcher.stop(id, StopHow::Polite);
        assert_eq!(world.end().status, ExitStatus::Signal(libc::SIGTERM));
        assert!(since.elapsed() >= Duration::from_secs(1));
    }

    fn a_program_that_ignores_everything_is_killed() {
        let mut world = World::new();
        let marker = marker();
        let script = "trap '' INT TERM; echo ready; while :; do sleep 100; done";
        let mut launch = marked(script, &marker);
        launch.grace = Duration::from_secs(1);
        let (id, _output) = world.start_ready(launch);
        let since = Instant::now();
        world.launcher.stop(id, StopHow::Polite);
        assert_eq!(world.end().status, ExitStatus::Signal(libc::SIGKILL));
        assert!(since.elapsed() >= Duration::from_secs(1));
        assert_eq!(processes(&marker), []);
    }

    fn a_stopped_program_can_be_stopped() {
        let mut world = World::new();
        for how in [StopHow::Polite, StopHow::Kill] {
            let (id, pid) = world.start(program("sleep", ["100"]));
            kill(pid, Signal::SIGSTOP).unwrap();
            eventually(SOON, "the program is stopped", || state(pid) == Some('T'));
            world.launcher.stop(id, how);
            let signal = if how == StopHow::Polite { libc::SIGINT } else { libc::SIGKILL };
            assert_eq!(world.end().status, ExitStatus::Signal(signal));
        }
    }

    /// Goal: a stop that comes when its program has just ended must not hit the next one.
    /// Method: stop short programs at about the time of their end, and go on with others.
    fn a_late_stop_hits_no_other_program() {
        let mut world = World::new();
        for round in 0..100 {
            let (id, pid) = world.start(program("true", [""; 0]));
            if round % 2 == 0 {
                eventually(SOON, "the program has ended", || {
                    matches!(state(pid), None | Some('Z'))
                });
            }
            world.launcher.stop(id, StopHow::Polite);
            world.launcher.stop(id, StopHow::Kill);
            let next = world.launcher.launch(sh("exit 5"));
            let mut ends = HashMap::new();
            while ends.len() < 2 {
                if let LauncherEvent::Ended { id, status, .. } = world.event() {
                    ends.insert(id, status);
                }
            }
            assert_eq!(ends[&next], ExitStatus::Code(5));
        }
        world.nothing_else();
    }

    fn killing_an_idle_guard_does_no_harm() {
        let mut world = World::new();
        for _ in 0..10 {
            let (theirs, ours) = io::pipe().unwrap();
            let mut launch = sh("read line");
            launch.stdin = theirs.into();
            let (_, pid) = world.start(launch);
            let guard = parent(pid).unwrap();
            drop(ours);
            world.end();
            // It may be gone already, if it was given nothing more to do.
            let _ = kill(guard, Signal::SIGKILL);
            let launches: Vec<_> =
                (0..3).map(|_| world.launcher.launch(program("true", [""; 0]))).collect();
            let mut over = 0;
            while over < launches.len() {
                match world.event() {
                    LauncherEvent::Ended { status, .. } => {
                        assert_eq!(status, ExitStatus::Code(0));
                        over += 1;
                    }
                    // It was given one of them before its death was noticed.
                    LauncherEvent::Lost { .. } => over += 1,
                    LauncherEvent::Started { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        world.nothing_else();
    }

    fn a_kill_takes_the_whole_tree() {
        let mut world = World::new();
        let marker = marker();
        let (id, _output) = world.start_ready(marked(&daemons(), &marker));
        assert!(processes(&marker).len() >= 4);
        world.launcher.stop(id, StopHow::Kill);
        assert_eq!(world.end().status, ExitStatus::Signal(libc::SIGKILL));
        assert_eq!(processes(&marker), [], "nothing is left when the end is told");
    }

    fn daemons_end_with_their_program() {
        let mut world = World::new();
        let marker = marker();
        let script = format!("{DAEMONS_START} exit 4");
        let (_, _output) = world.start_ready(marked(&script, &marker));
        assert_eq!(world.end().status, ExitStatus::Code(4));
        assert_eq!(processes(&marker), [], "nothing is left when the end is told");
    }

    fn many_sessions_end_with_their_program() {
        let mut world = World::new();
        let marker = marker();
        let script = "i=0; while [ $i -lt 100 ]; do
            setsid sh -c 'trap \"\" INT TERM HUP; while :; do sleep 100; done' \"$0\" &
            i=$((i + 1)); done; echo ready";
        let (_, _output) = world.start_ready(marked(script, &marker));
        assert_eq!(world.end().status, ExitStatus::Code(0));
        assert_eq!(processes(&marker), []);
    }

    /// Goal: a process that is never the same one for long is ended all the same.
    /// Method: each copy starts the next, in a session of its own, and ends.
    fn a_process_that_keeps_moving_is_caught() {
        let mut world = World::new();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("comet");
        fs::write(&file, "setsid sh \"$0\" \"$1\" &\n").unwrap();
        let marker = marker();
        let script = "sh \"$1\" \"$0\"; echo ready; sleep 0.2";
        let mut launch = marked(script, &marker);
        launch.args.push(file.into());
        let (_, _output) = world.start_ready(launch);
        assert_eq!(world.end().status, ExitStatus::Code(0));
        eventually(GONE, "nothing is left", || processes(&marker).is_empty());
    }

    fn killing_the_agent_leaves_nothing() {
        let scene = Scene::new();
        kill(scene.agent_pid(), Signal::SIGKILL).unwrap();
        scene.nothing_is_left();
    }

    fn killing_the_launcher_leaves_nothing() {
        let mut scene = Scene::new();
        kill(scene.launcher, Signal::SIGKILL).unwrap();
        assert_eq!(scene.line(), "lost launch-1");
        assert_eq!(scene.line(), "lost launch-2");
        assert_eq!(scene.line(), "launcher ended");
        scene.nothing_is_left();
    }

    fn killing_a_guard_leaves_nothing() {
        let mut scene = Scene::new();
        let guard = parent(scene.programs[0]).unwrap();
        assert_ne!(guard, scene.launcher);
        kill(guard, Signal::SIGKILL).unwrap();
        assert_eq!(scene.line(), "lost launch-1");
        eventually(GONE, "nothing is left of the first", || {
            processes(&scene.markers[0]).is_empty()
        });
        assert!(processes(&scene.markers[1]).len() >= 4, "the second goes on");
        kill(scene.agent_pid(), Signal::SIGKILL).unwrap();
        scene.nothing_is_left();
    }

    fn killing_a_program_leaves_nothing() {
        let mut scene = Scene::new();
        kill(scene.programs[0], Signal::SIGKILL).unwrap();
        assert_eq!(scene.line(), "ended launch-1");
        assert_eq!(processes(&scene.markers[0]), []);
        assert_ne!(processes(&scene.markers[1]), []);
        kill(scene.agent_pid(), Signal::SIGKILL).unwrap();
        scene.nothing_is_left();
    }

    fn terminating_the_launcher_leaves_nothing() {
        let mut scene = Scene::new();
        kill(scene.launcher, Signal::SIGTERM).unwrap();
        assert_eq!(scene.line(), "lost launch-1");
        assert_eq!(scene.line(), "lost launch-2");
        assert_eq!(scene.line(), "launcher ended");
        scene.nothing_is_left();
    }

    fn dropping_the_launcher_leaves_nothing() {
        let mut world = World::new();
        let marker = marker();
        let (_, _output) = world.start_ready(marked(&daemons(), &marker));
        let launcher = world.launcher_pid();
        drop(world);
        eventually(GONE, "nothing is left", || processes(&marker).is_empty());
        eventually(GONE, "the launcher is gone", || state(launcher).is_none());
    }

    fn shutdown_returns_when_nothing_is_left() {
        let mut world = World::new();
        let marker = marker();
        let (_, _output) = world.start_ready(marked(&daemons(), &marker));
        let since = Instant::now();
        world.runtime.block_on(world.launcher.shutdown());
        assert_eq!(processes(&marker), []);
        assert!(since.elapsed() < GONE);
    }

    fn launches_after_the_end_are_refused() {
        let mut world = World::new();
        let (_, _) = world.start(program("sleep", ["100"]));
        kill(world.launcher_pid(), Signal::SIGKILL).unwrap();
        loop {
            match world.event() {
                LauncherEvent::Lost { .. } => {}
                LauncherEvent::LauncherEnded => break,
                other => panic!("{other:?}"),
            }
        }
        world.launcher.launch(program("true", [""; 0]));
        let event = world.event();
        let LauncherEvent::NotStarted { stage: Stage::Request, .. } = event else { panic!() };
    }

    fn two_hundred_programs_run_at_once() {
        let mut world = World::new();
        let (theirs, ours) = io::pipe().unwrap();
        for _ in 0..200 {
            let mut launch = sh("read line; exit 6");
            launch.stdin = theirs.try_clone().unwrap().into();
            world.launcher.launch(launch);
        }
        for _ in 0..200 {
            let LauncherEvent::Started { .. } = world.event() else { panic!() };
        }
        drop((theirs, ours));
        for _ in 0..200 {
            assert_eq!(world.end().status, ExitStatus::Code(6));
        }
        world.nothing_else();
    }

    fn the_foreground_returns_the_status() {
        let run = |script: &str| foreground_command(script, &marker()).output().unwrap();
        let output = run("cat; echo error >&2; exit 9");
        assert_eq!(output.status.code(), Some(9));
        assert_eq!(output.stderr, b"error\n");
        assert_eq!(run("kill -KILL $$").status.code(), Some(137));
    }

    fn the_foreground_has_a_time_limit() {
        let marker = marker();
        let mut command = foreground_command(&daemons(), &marker);
        let output = command.env("LAUNCHER_TEST_LIMIT_MS", "300").output().unwrap();
        assert_eq!(output.status.code(), Some(124));
        assert_eq!(processes(&marker), []);
    }

    fn the_foreground_hands_on_an_interrupt() {
        let marker = marker();
        let script = "trap 'exit 8' INT; echo ready; while :; do sleep 0.05; done";
        let mut child = foreground_command(script, &marker).stdout(Stdio::piped()).spawn().unwrap();
        wait_ready(child.stdout.take().unwrap());
        kill(pid_of(&child), Signal::SIGINT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(8));
        assert_eq!(processes(&marker), []);
    }

    fn killing_the_foreground_leaves_nothing() {
        let marker = marker();
        let mut child =
            foreground_command(&daemons(), &marker).stdout(Stdio::piped()).spawn().unwrap();
        wait_ready(child.stdout.take().unwrap());
        kill(pid_of(&child), Signal::SIGKILL).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
        eventually(GONE, "nothing is left", || processes(&marker).is_empty());
    }

    /// Prints, and asserts nothing: the machine may be busy.
    fn throughput() {
        const PROGRAMS: u32 = 2000;
        let mut world = World::new();
        for window in [1, 4, 32] {
            let since = Instant::now();
            let (mut launched, mut ended) = (0, 0);
            while ended < PROGRAMS {
                while launched < PROGRAMS && launched - ended < window {
                    world.launcher.launch(program("/bin/true", [""; 0]));
                    launched += 1;
                }
                if let LauncherEvent::Ended { .. } = world.event() {
                    ended += 1;
                }
            }
            let rate = f64::from(PROGRAMS) / since.elapsed().as_secs_f64();
            println!("throughput: {rate:.0} programs/s, {window} at once");
        }
    }

    /// Besides the program itself, one in the background, one in a session of its own, and one
    /// behind two forks. These ignore what can be ignored.
    const DAEMONS_START: &str = "
        stay='trap \"\" INT TERM HUP; echo up; while :; do sleep 100; done'
        { sh -c \"$stay\" \"$0\" &
          setsid sh -c \"$stay\" \"$0\" &
          (setsid sh -c \"($stay) & exit\" \"$0\" &) & } | { read a; read b; read c; echo ready; }
        ";

    /// The same, and the program stays with them.
    fn daemons() -> String {
        format!("{DAEMONS_START} while :; do sleep 100; done")
    }

    /// A launcher in this process.
    struct World {
        launcher: Launcher,
        runtime: Runtime,
    }

    struct End {
        status: ExitStatus,
        usage: Usage,
    }

    impl World {
        fn new() -> Self {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let launcher = runtime.block_on(async { Launcher::start() }).unwrap();
            Self { launcher, runtime }
        }

        fn launcher_pid(&self) -> Pid {
            Pid::from_raw(self.launcher.process_id().cast_signed())
        }

        fn event(&mut self) -> LauncherEvent {
            let event = async { tokio::time::timeout(SOON, self.launcher.next_event()).await };
            self.runtime.block_on(event).expect("an event within the time limit")
        }

        fn start(&mut self, launch: Launch) -> (LaunchId, Pid) {
            let id = self.launcher.launch(launch);
            match self.event() {
                LauncherEvent::Started { id: started, pid } if started == id => {
                    (id, Pid::from_raw(pid.cast_signed()))
                }
                other => panic!("{other:?}"),
            }
        }

        /// Starts a program that says when it is ready.
        fn start_ready(&mut self, launch: Launch) -> (LaunchId, io::PipeReader) {
            let (launch, mut output) = with_output(launch);
            let (id, _) = self.start(launch);
            let mut ready = [0; 6];
            output.read_exact(&mut ready).unwrap();
            assert_eq!(&ready, b"ready\n");
            (id, output)
        }

        fn end(&mut self) -> End {
            match self.event() {
                LauncherEvent::Ended { status, usage, .. } => End { status, usage },
                other => panic!("{other:?}"),
            }
        }

        fn run(&mut self, launch: Launch) -> End {
            self.start(launch);
            self.end()
        }

        fn nothing_else(&mut self) {
            // What there is to be told arrives before the end of one more program.
            let id = self.launcher.launch(program("true", [""; 0]));
            let LauncherEvent::Started { id: started, .. } = self.event() else { panic!() };
            let LauncherEvent::Ended { id: ended, .. } = self.event() else { panic!() };
            assert_eq!((started, ended), (id, id));
        }
    }

    /// A child that does not survive a failed test.
    struct Agent(Child);

    impl Drop for Agent {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// An agent in a process of its own, with two programs of many processes each.
    struct Scene {
        agent: Agent,
        lines: BufReader<std::process::ChildStdout>,
        launcher: Pid,
        programs: Vec<Pid>,
        markers: [String; 2],
    }

    impl Scene {
        fn new() -> Self {
            let markers = [marker(), marker()];
            let mut command = this_executable("agent");
            let mut child = command.args(&markers).stdout(Stdio::piped()).spawn().unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap());
            let (agent, launcher) = (Agent(child), Pid::from_raw(0));
            let mut scene = Self { agent, lines, launcher, programs: Vec::new(), markers };
            scene.launcher = Pid::from_raw(scene.line().parse().unwrap());
            for _ in 0..2 {
                let line = scene.line();
                scene.programs.push(Pid::from_raw(line.parse().unwrap()));
            }
            for marker in &scene.markers {
                assert!(processes(marker).len() >= 4, "{:?}", processes(marker));
            }
            scene
        }

        fn agent_pid(&self) -> Pid {
            pid_of(&self.agent.0)
        }

        fn line(&mut self) -> String {
            let mut line = String::new();
            self.lines.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        }

        fn nothing_is_left(&self) {
            let since = Instant::now();
            eventually(GONE, "nothing is left", || {
                self.markers.iter().all(|marker| processes(marker).is_empty())
            });
            eventually(GONE.saturating_sub(since.elapsed()), "the launcher is gone", || {
                // Dead and not reaped is gone: there may be nobody to reap it.
                matches!(state(self.launcher), None | Some('Z'))
            });
        }
    }

    /// The agent of a [`Scene`].
    fn agent() -> ExitCode {
        let mut world = World::new();
        println!("{}", world.launcher.process_id());
        let mut outputs = Vec::new();
        for marker in std::env::args().skip(1) {
            let (launch, mut output) = with_output(marked(&daemons(), &marker));
            let (_, pid) = world.start(launch);
            let mut ready = [0; 6];
            output.read_exact(&mut ready).unwrap();
            outputs.push(output);
            println!("{pid}");
        }
        let mut ended = Vec::new();
        loop {
            let event = world.runtime.block_on(world.launcher.next_event());
            match event {
                LauncherEvent::Ended { id, .. } => ended.push(format!("ended {id}")),
                LauncherEvent::Lost { id } => ended.push(format!("lost {id}")),
                LauncherEvent::LauncherEnded => ended.push("launcher ended".to_owned()),
                LauncherEvent::Started { .. } | LauncherEvent::NotStarted { .. } => panic!(),
            }
            // Two that end at once may do so in any order.
            if ended.len() == 1 && ended[0].ends_with("launch-2") {
                continue;
            }
            ended.sort_by_key(|line| (line.starts_with("launcher"), line.clone()));
            for line in ended.drain(..) {
                println!("{line}");
            }
        }
    }

    /// A program in the foreground, as the command line has it.
    fn foreground() -> ExitCode {
        let mut args = std::env::args_os().skip(1);
        let program = args.next().unwrap();
        let limit = std::env::var("LAUNCHER_TEST_LIMIT_MS").ok();
        let limit = limit.map(|limit| Duration::from_millis(limit.parse().unwrap()));
        let grace = Duration::from_secs(1);
        let limits = ProcessLimits::default();
        let end =
            launch_foreground(program, args.collect(), Vec::new(), None, limits, limit, grace);
        match end.unwrap() {
            ForegroundEnd::Ended(status) => {
                ExitCode::from(u8::try_from(status.shell_code()).unwrap())
            }
            ForegroundEnd::LimitReached => ExitCode::from(124),
        }
    }

    fn foreground_command(script: &str, marker: &str) -> Command {
        let mut command = this_executable("foreground");
        command.args(["sh", "-c", script, marker]).stdin(Stdio::null());
        command
    }

    fn this_executable(role: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, role);
        command
    }

    fn program<A: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = A>,
    ) -> Launch {
        let null =
            || OwnedFd::from(File::options().read(true).write(true).open("/dev/null").unwrap());
        Launch {
            program: program.as_ref().to_owned(),
            args: args.into_iter().map(|arg| arg.as_ref().to_owned()).collect(),
            arg0: None,
            env: Vec::new(),
            env_clear: false,
            workdir: None,
            limits: ProcessLimits::default(),
            stdin: null(),
            stdout: null(),
            stderr: null(),
            extra: None,
            grace: Duration::from_secs(5),
        }
    }

    fn sh(script: &str) -> Launch {
        program("sh", ["-c", script])
    }

    /// A script that knows its marker as `$0`.
    fn marked(script: &str, marker: &str) -> Launch {
        program("sh", ["-c", script, marker])
    }

    fn with_output(launch: Launch) -> (Launch, io::PipeReader) {
        let (ours, theirs) = io::pipe().unwrap();
        (Launch { stdout: theirs.into(), ..launch }, ours)
    }

    fn read(output: &mut io::PipeReader) -> Vec<u8> {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn wait_ready(output: impl io::Read) {
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
    }

    /// A text that no other process has among its arguments.
    fn marker() -> String {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        format!("launcher-test-{}-{number}-end", std::process::id())
    }

    /// The live processes with this marker, but not the test's own.
    fn processes(marker: &str) -> Vec<Pid> {
        let marked = |pid: Pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<_> = line.split(|byte| *byte == 0).collect();
            words.contains(&marker.as_bytes()) && !own_executable(pid)
        };
        fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .map(Pid::from_raw)
            .filter(|pid| marked(*pid))
            .collect()
    }

    fn own_executable(pid: Pid) -> bool {
        let own = std::env::current_exe().ok();
        own.is_some() && fs::read_link(format!("/proc/{pid}/exe")).ok() == own
    }

    fn stat(pid: Pid) -> Option<Vec<String>> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields = stat.rsplit_once(')')?.1;
        Some(fields.split_ascii_whitespace().map(str::to_owned).collect())
    }

    fn state(pid: Pid) -> Option<char> {
        stat(pid)?.first()?.chars().next()
    }

    fn parent(pid: Pid) -> Option<Pid> {
        Some(Pid::from_raw(stat(pid)?.get(1)?.parse().ok()?))
    }

    fn pid_of(child: &Child) -> Pid {
        Pid::from_raw(child.id().cast_signed())
    }

    fn eventually(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
        let since = Instant::now();
        while !holds() {
            assert!(since.elapsed() < limit, "{what}: not within {limit:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
