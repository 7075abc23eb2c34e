//! A node in a process of its own: the test's own program, started again.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child as Process, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pleiad_net::Node;
use pleiad_task::spawn;

/// The test that is a node if it is started by [`Child::start`], and nothing otherwise.
pub(crate) const ENTRY: &str = "as_a_child";

pub(crate) struct Child {
    process: Process,
    pub(crate) address: String,
}

impl Child {
    /// A node of the cluster of this home, with one thread, and a task of the name `child`.
    pub(crate) fn start(home: &Path, listen: &str, lost_after: Duration) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", ENTRY, "--nocapture", "--test-threads=1"])
            .env("PLEIAD_CHILD_HOME", home)
            .env("PLEIAD_CHILD_LISTEN", listen)
            .env("PLEIAD_CHILD_LOST_MS", lost_after.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let out = BufReader::new(process.stdout.take().expect("it is a pipe"));
        let mut lines = out.lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("at ").map(str::to_owned));
        Self { process, address: address.expect("it says where it listens") }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("a number of a process"));
        kill(pid, signal).expect("it is there");
    }

    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What [`ENTRY`] does.
pub(crate) fn run() {
    let Some(home) = std::env::var_os("PLEIAD_CHILD_HOME") else { return };
    let variable = |name: &str| std::env::var(name).expect("it is given");
    // It ends with its parent, whatever else happens.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let lost_after = variable("PLEIAD_CHILD_LOST_MS").parse().expect("a number");
        let node = Node::builder()
            .name("child")
            .home(home)
            .discovery(false)
            .listen(variable("PLEIAD_CHILD_LISTEN"))
            .lost_after(super::ms(lost_after));
        let node = node.start().await.expect("a node");
        let task = spawn(super::listener);
        node.register("child", &task).expect("nobody has the name");
        println!("\nat {}", node.addresses()[0]);
        task.ended().await;
    });
}
