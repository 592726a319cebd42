//! The memory limit where no control group keeps it: init adds up what the processes of its sandbox use.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Often while a sandbox is young or near its limit, seldom otherwise, so that a hundred idle ones cost nothing that
/// could be noticed.
const OFTEN: Duration = Duration::from_millis(200);
const SELDOM: Duration = Duration::from_secs(4);
const YOUNG: Duration = Duration::from_secs(20);

pub(crate) struct MemoryWatch {
    bytes_max: u64,
    started: Instant,
    seen: u64,
    looked: Instant,
}

impl MemoryWatch {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let now = Instant::now();
        Self {
            bytes_max,
            started: now,
            seen: 0,
            looked: now,
        }
    }

    pub(crate) fn next(&self) -> Duration {
        let calm = self.started.elapsed() > YOUNG && self.seen < self.bytes_max / 2;
        let interval = if calm { SELDOM } else { OFTEN };
        interval.saturating_sub(self.looked.elapsed())
    }

    pub(crate) fn is_over(&mut self) -> bool {
        if !self.next().is_zero() {
            return false;
        }
        self.seen = resident_bytes();
        if self.seen > self.bytes_max {
            self.seen = used_bytes();
        }
        // After looking, so that it never takes more than a part of the time.
        self.looked = Instant::now();
        self.seen > self.bytes_max
    }
}

/// Never less than what they use, and cheap: files and shared pages count, the latter once per process.
fn resident_bytes() -> u64 {
    let pages: u64 = processes()
        .filter_map(|process| {
            // size resident shared ...
            let statm = fs::read_to_string(process.join("statm")).ok()?;
            statm.split(' ').nth(1)?.parse::<u64>().ok()
        })
        .sum();
    pages * rustix::param::page_size() as u64
}

/// What a control group would count, but for files: forked workers share most of their memory, and it counts once.
fn used_bytes() -> u64 {
    let kib: u64 = processes()
        .filter_map(|process| fs::read_to_string(process.join("smaps_rollup")).ok())
        .map(|rollup| proportional_kib(&rollup))
        .sum();
    kib * 1024
}

/// Anonymous and shared memory, each page divided by how many map it.
fn proportional_kib(rollup: &str) -> u64 {
    let field = |name: &str| {
        let value = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    [field("Pss_Anon:"), field("Pss_Shmem:")]
        .into_iter()
        .flatten()
        .sum()
}

/// All of the sandbox but init.
fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| {
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            pid.is_some_and(|pid: u32| pid != 1)
        })
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_the_kernel_says_is_ours_alone() {
        let rollup = "55d0 ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\nPss: 700 kB\nPss_Anon:   300 kB\n\
                      Pss_File: 390 kB\nPss_Shmem:   10 kB\n";
        assert_eq!(proportional_kib(rollup), 310);
        assert_eq!(proportional_kib(""), 0);
    }
}
