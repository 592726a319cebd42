//! The processes of a sandbox, from /proc. One whose parent has ended becomes its init's child, so the tree holds them all.

use std::{fs, io};

/// Processes of one sandbox that are looked at; more would not change what is said.
const PROCESSES_MAX: usize = 1000;

/// Without `init`, the sandbox's pid 1, itself. Pids are those of our own pid namespace.
pub(super) fn below(init: u32) -> io::Result<Vec<u32>> {
    let mut pids = children(init)?;
    let mut next = 0;
    while let Some(&pid) = pids.get(next).filter(|_| next < PROCESSES_MAX) {
        next += 1;
        // One that has just ended has no children.
        pids.extend(children(pid).unwrap_or_default());
    }
    pids.truncate(PROCESSES_MAX);
    Ok(pids)
}

/// A thread that has just ended has none; a kernel that does not tell is an error.
fn children(pid: u32) -> io::Result<Vec<u32>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")));
    let (lists, mut errors): (Vec<_>, Vec<_>) = lists.partition(Result::is_ok);
    if lists.is_empty()
        && let Some(Err(error)) = errors.pop()
    {
        return Err(error);
    }
    let lists: Vec<String> = lists.into_iter().flatten().collect();
    let pids = lists.iter().flat_map(|list| list.split_whitespace());
    Ok(pids.filter_map(|pid| pid.parse().ok()).collect())
}
