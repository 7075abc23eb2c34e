//! The processes below this one.

use std::fs;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid, getpgrp, getpid};

/// Kills the direct children but those that `spare` names, each with its process group.
///
/// As this process is a subreaper, what they leave behind becomes its child in turn: repeated
/// until there are no children, this ends everything below. Groups first, as a fork bomb can start
/// new processes faster than they can be killed one by one.
pub(super) fn kill_children(spare: impl Fn(i32) -> bool) {
    let own_group = getpgrp();
    let children = || children().into_iter().filter(|pid| !spare(*pid)).map(Pid::from_raw);
    for child in children() {
        if let Ok(group) = getpgid(Some(child))
            && group != own_group
        {
            let _ = killpg(group, Signal::SIGKILL);
        }
        let _ = kill(child, Signal::SIGKILL);
    }
}

/// The direct children, the dead that wait to be reaped among them.
fn children() -> Vec<i32> {
    // Of this thread: the launcher and guards start everything from one, and inherit orphans in it.
    match fs::read_to_string("/proc/thread-self/children") {
        Ok(list) => list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        Err(_) => children_by_search(),
    }
}

/// For kernels that were built without the list.
fn children_by_search() -> Vec<i32> {
    let own = getpid().to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let pid = name.to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // After the name, which may have anything in it: state, parent, …
            let parent = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?;
            (parent == own).then_some(pid)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn both_ways_find_a_child() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();

        assert!(children().contains(&pid));
        assert!(children_by_search().contains(&pid));

        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children().contains(&pid));
    }
}
