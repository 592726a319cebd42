//! Which processes and mounts belong to a server, found from outside by the unique name of its folder.

use std::{
    collections::HashMap,
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

const KILLED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    parent: i32,
    mentions: bool,
    pub(crate) command: String,
}

/// Every process that runs from, has open, or has mounted something below the folder called `tag`, and what these have
/// started. Not the caller and its own threads.
pub(crate) fn of(tag: &str) -> Vec<Process> {
    let all: HashMap<i32, Process> = pids()
        .filter_map(|pid| Some((pid, look_at(pid, tag)?)))
        .collect();
    let ours = std::process::id() as i32;
    let belongs = |process: &&Process| {
        let mut at = Some(*process);
        while let Some(this) = at.filter(|this| this.pid != ours) {
            if this.mentions {
                return true;
            }
            at = all.get(&this.parent);
        }
        false
    };
    let mut found: Vec<Process> = all.values().filter(belongs).cloned().collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// Kills them until there are none: one may have started another in between.
pub(crate) fn kill(tag: &str) {
    let end = Instant::now() + KILLED_WITHIN;
    loop {
        let found = of(tag);
        if found.is_empty() || Instant::now() > end {
            return;
        }
        for process in found {
            signal(process.pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn signal(pid: i32, signal: Signal) {
    // Gone already is as good.
    _ = Pid::from_raw(pid).map(|pid| kill_process(pid, signal));
}

/// Mounts of this machine (not of a sandbox) that lie below the folder called `tag`.
pub(crate) fn mounts(tag: &str) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo is readable");
    table
        .lines()
        .filter(|line| line.contains(tag))
        .map(str::to_owned)
        .collect()
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").expect("/proc is readable");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// `None`: it ended while being looked at, or it is a zombie.
fn look_at(pid: i32, tag: &str) -> Option<Process> {
    let proc = Path::new("/proc").join(pid.to_string());
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    // The name in parentheses may itself hold blanks and parentheses.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let command = String::from_utf8_lossy(&fs::read(proc.join("cmdline")).ok()?).replace('\0', " ");
    let mentions = command.contains(tag)
        || fs::read_to_string(proc.join("mountinfo")).is_ok_and(|table| table.contains(tag))
        || links(&proc, tag).unwrap_or(false);
    Some(Process {
        pid,
        parent,
        mentions,
        command,
    })
}

fn links(proc: &Path, tag: &str) -> io::Result<bool> {
    let points_below =
        |link: &Path| fs::read_link(link).is_ok_and(|to| to.to_string_lossy().contains(tag));
    if points_below(&proc.join("exe")) || points_below(&proc.join("cwd")) {
        return Ok(true);
    }
    Ok(fs::read_dir(proc.join("fd"))?
        .flatten()
        .any(|fd| points_below(&fd.path())))
}
