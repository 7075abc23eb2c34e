//! What the tests of programs share.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::process::Command;

/// Lines with the numbers from 1, at least so many bytes.
pub(crate) fn numbered_lines(bytes: usize) -> Vec<u8> {
    let mut text = String::with_capacity(bytes + 10);
    for n in 1.. {
        text.push_str(&n.to_string());
        text.push('\n');
        if text.len() >= bytes {
            break;
        }
    }
    text.into_bytes()
}

pub(crate) fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// Whether there is no such process, not even one that has ended and was not waited for.
pub(crate) fn is_gone(id: Option<u32>) -> bool {
    let id = id.and_then(|id| i32::try_from(id).ok()).expect("a process that was started");
    kill(Pid::from_raw(id), None) == Err(Errno::ESRCH)
}

/// Waits until it is true; a minute is for ever.
pub(crate) async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let poll = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), poll).await;
    assert!(in_time.is_ok(), "not within a minute: {what}");
}
