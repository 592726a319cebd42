//! What a platform gives back when it has nothing to do: a deploy leaves code mapped and memory with the allocator that
//! may not be needed again for hours. Mapped code comes back from the page cache when it is run.

use std::{fs, time::Duration};

use rustix::time::{ClockId, clock_gettime};

const LOOK_EVERY: Duration = Duration::from_secs(3);
/// Processor time between two looks with which we are at rest: 1 %.
const BUSY_MAX: Duration = Duration::from_millis(30);
/// Less than this is not worth the page faults.
const GROWTH_MIN_BYTES: u64 = 1 << 20;

/// One look at ourselves.
#[derive(Debug, Clone, Copy)]
struct Look {
    processor: Duration,
    resident_bytes: u64,
}

/// Looks now and then, for as long as it is polled.
pub(crate) async fn when_idle() {
    let mut before = look();
    let mut least_bytes = 0;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let mut now = look();
        if is_worth_it(before, now, least_bytes) {
            give_back();
            now = look();
            least_bytes = now.resident_bytes;
        }
        before = now;
    }
}

fn is_worth_it(before: Look, now: Look, least_bytes: u64) -> bool {
    now.processor.saturating_sub(before.processor) <= BUSY_MAX
        && now.resident_bytes >= least_bytes + GROWTH_MIN_BYTES
}

fn look() -> Look {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let resident = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    Look {
        processor: spent.try_into().unwrap_or_default(),
        resident_bytes: resident.unwrap_or(0) * rustix::param::page_size() as u64,
    }
}

fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Some((start, end)) = std::env::current_exe()
        .ok()
        .and_then(|exe| code(&maps, exe.to_str()?))
    else {
        return;
    };
    // SAFETY: the range is our own code as it stands in the file: nothing has been written to it, and whatever runs next
    // is read again.
    _ = unsafe { libc::madvise(start as *mut _, end - start, libc::MADV_DONTNEED) };
}

/// Where the code of `exe` is, and the constants before it, of the lines of `/proc/self/maps`. What lies behind the code is
/// written to when a program is loaded, also where it may not be written to afterwards.
fn code(maps: &str, exe: &str) -> Option<(usize, usize)> {
    let parts: Vec<&str> = maps.lines().filter(|line| line.ends_with(exe)).collect();
    let code = parts.iter().position(|line| line.contains(" r-xp "))?;
    let (start, _) = range(parts.first()?)?;
    let mut end = start;
    for part in &parts[..=code] {
        let (from, to) = range(part)?;
        if from != end || part.contains(" rw") {
            return None;
        }
        end = to;
    }
    Some((start, end))
}

fn range(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    Some((address(start)?, address(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_what_is_never_written_to() {
        let maps = "\
55d0aa000000-55d0aa100000 r--p 00000000 fe:00 7                          /opt/slipway
55d0aa100000-55d0ab000000 r-xp 00100000 fe:00 7                          /opt/slipway
55d0ab000000-55d0ab080000 r--p 01000000 fe:00 7                          /opt/slipway
7f0000000000-7f0000100000 r-xp 00000000 fe:00 9                          /lib/libc.so.6
";
        assert_eq!(
            code(maps, "/opt/slipway"),
            Some((0x55d0_aa00_0000, 0x55d0_ab00_0000))
        );
        let apart = maps.replace("55d0aa100000-55d0ab", "55d0aa200000-55d0ab");
        assert_eq!(code(&apart, "/opt/slipway"), None);
        let written = maps.replace("r--p 00000000", "rw-p 00000000");
        assert_eq!(code(&written, "/opt/slipway"), None);
        assert_eq!(code(maps, "/opt/other"), None);
        assert_eq!(code("", "/opt/slipway"), None);
    }

    #[test]
    fn it_is_given_back_once_and_at_rest() {
        let look = |ms, resident_bytes| Look {
            processor: Duration::from_millis(ms),
            resident_bytes,
        };
        let mib = 1 << 20;
        let check = |now, least, expected| {
            assert_eq!(
                is_worth_it(look(100, 9 * mib), now, least),
                expected,
                "{now:?}"
            );
        };
        check(look(110, 9 * mib), 0, true);
        check(look(110, 9 * mib), 8 * mib, true);
        check(look(110, 9 * mib), 8 * mib + 1, false);
        check(look(200, 9 * mib), 0, false);
    }

    #[test]
    fn we_run_on_after_it() {
        give_back();
        assert!(look().resident_bytes > 0);
    }
}
