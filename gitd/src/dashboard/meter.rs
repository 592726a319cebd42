//! How much of a processor instances use: between two looks.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// By instance and its first process.
#[derive(Debug, Default)]
pub(super) struct Meter {
    before: HashMap<u32, (Instant, Duration)>,
    now: HashMap<u32, (Instant, Duration)>,
}

impl Meter {
    /// Percent of one processor since the last look; `None` at the first. `used` is all that it ever has.
    pub(super) fn read(&mut self, pid: u32, used: Duration, at: Instant) -> Option<f64> {
        self.now.insert(pid, (at, used));
        let (before_at, before) = self.before.get(&pid)?;
        let time = at.duration_since(*before_at).as_secs_f64();
        // A process that has ended takes its share with it.
        let share = used.saturating_sub(*before).as_secs_f64();
        (time > 0.0).then(|| 100.0 * share / time)
    }

    /// The look is over; what was not seen is forgotten.
    pub(super) fn turn(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_time_between() {
        let (start, mut meter) = (Instant::now(), Meter::default());
        let second = |n| start + Duration::from_secs(n);
        let used = Duration::from_millis;
        assert_eq!(meter.read(7, used(5000), second(0)), None);
        meter.turn();
        assert_eq!(meter.read(7, used(6500), second(1)), Some(150.0));
        meter.turn();
        assert_eq!(meter.read(7, used(6000), second(2)), Some(0.0));
        meter.turn();
        meter.turn();
        assert_eq!(
            meter.read(7, used(9000), second(3)),
            None,
            "not seen in between"
        );
    }
}
