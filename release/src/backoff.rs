//! When an instance that has crashed is started again: at once, then after 1 s, doubling to 5 min; from the start again
//! when it had been up for 5 min (Heroku backs off to 24 h; a machine of one's own need not wait so long).

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(5);
/// An instance that was up as long as this did not crash at boot.
const FORGIVEN_AFTER: Duration = Duration::from_mins(5);

/// The crashes of one slot in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crashes {
    count: u32,
    last_at: Duration,
}

impl Crashes {
    /// One more, of an instance that had been up for `up_for`. Times are since an epoch of the caller's.
    pub(crate) fn again(before: Option<Self>, up_for: Duration, now: Duration) -> Self {
        let before = before.filter(|_| up_for < FORGIVEN_AFTER);
        Self {
            count: before.map_or(0, |crashes| crashes.count).saturating_add(1),
            last_at: now,
        }
    }

    pub(crate) fn last_at(&self) -> Duration {
        self.last_at
    }

    pub(crate) fn restart_at(&self) -> Duration {
        let wait = match self.count {
            0 | 1 => Duration::ZERO,
            count => {
                // 2^9 s is beyond the longest.
                let doublings = (count - 2).min(9);
                (FIRST * 2u32.pow(doublings)).min(LONGEST)
            }
        };
        self.last_at + wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes() {
        let mut crashes = None;
        let waits: Vec<u64> = (0..13)
            .map(|_| {
                let next = Crashes::again(crashes, Duration::ZERO, Duration::ZERO);
                crashes = Some(next);
                next.restart_at().as_secs()
            })
            .collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }

    #[test]
    fn a_long_life_is_forgiven() {
        let many = Crashes {
            count: u32::MAX,
            last_at: Duration::ZERO,
        };
        let now = Duration::from_secs(1000);
        let after =
            |up_for| Crashes::again(Some(many), Duration::from_secs(up_for), now).restart_at();
        assert_eq!(after(299), now + LONGEST);
        assert_eq!(after(300), now);
    }
}
