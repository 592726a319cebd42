//! What the processes of a sandbox use, for people to read: limits are kept elsewhere.

use std::{fs, time::Duration};

use super::tree;

/// Of all processes of one instance, without its init.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Theirs alone: not files, not what they share with others.
    pub memory_bytes: u64,
    /// All that they have used of processors so far, and those before them that they have waited for.
    pub cpu: Duration,
}

/// `None`: it has ended.
pub(crate) fn of(init: u32) -> Option<Usage> {
    let below = tree::below(init).ok()?;
    let pages: u64 = below.iter().copied().filter_map(own_pages).sum();
    let ticks: u64 = below.into_iter().filter_map(ticks).sum();
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Usage {
        memory_bytes: pages * rustix::param::page_size() as u64,
        cpu: Duration::from_secs(ticks) / u32::try_from(ticks_per_second).unwrap_or(u32::MAX),
    })
}

/// Resident without shared (proc_pid_statm(5)).
fn own_pages(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let mut fields = statm
        .split(' ')
        .skip(1)
        .map_while(|field| field.parse::<u64>().ok());
    let (resident, shared) = (fields.next()?, fields.next()?);
    Some(resident.saturating_sub(shared))
}

fn ticks(pid: u32) -> Option<u64> {
    ticks_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// utime, stime, cutime and cstime (proc_pid_stat(5)). The name before them may hold anything.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks = fields.split(' ').skip(11).take(4);
    Some(ticks.filter_map(|field| field.parse::<u64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_their_own_and_that_of_their_children() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 9 8 7 6 10 20 30 40 20 0 1 0 123\n";
        assert_eq!(ticks_of(stat), Some(100));
        assert_eq!(ticks_of("42 (x"), None);
    }

    #[test]
    fn what_works_uses_a_processor() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sh -c 'while :; do :; done' & wait"])
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while of(child.id()).is_none_or(|usage| usage.cpu < Duration::from_millis(50)) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(of(child.id()).unwrap().memory_bytes > 0);
        for pid in tree::below(child.id()).unwrap() {
            let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        child.wait().unwrap();
    }
}
