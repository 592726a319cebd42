//! Ends a sandbox whose start was cut off: the platform was killed after it had asked for the process and before it had
//! noted the pid. Its init holds its directory open, for the exit record, and nobody else does.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// The kernel takes a killed sandbox apart in milliseconds.
const END_MAX: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};

/// Compared by inode: the path that /proc shows of a file in another mount namespace need not be the one we know.
pub(super) fn end_holders_of(dir: &Path) {
    let Some(wanted) = identity(dir) else {
        return;
    };
    for process in processes() {
        if holds(&process, wanted) {
            end(&process, wanted);
        }
    }
}

fn end(process: &Path, wanted: (u64, u64)) {
    let pid = process
        .file_name()
        .and_then(|name| name.to_str()?.parse().ok());
    let Some(pid) = pid.and_then(Pid::from_raw) else {
        return;
    };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    // Looked at again now that the pidfd pins it: the pid may have become another process.
    if holds(process, wanted) && pidfd_send_signal(&pidfd, Signal::KILL).is_ok() {
        _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&END_MAX));
    }
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok())
        .map(|entry| entry.path())
}

fn holds(process: &Path, wanted: (u64, u64)) -> bool {
    let files = fs::read_dir(process.join("fd")).into_iter().flatten();
    files
        .flatten()
        .any(|file| identity(&file.path()) == Some(wanted))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
