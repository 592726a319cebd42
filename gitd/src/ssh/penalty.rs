//! Sources whose logins fail again and again wait before they may try once more (OpenSSH's PerSourcePenalties, with its
//! numbers).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::network::{Network, source};

/// Less than this together is let pass: everybody picks the wrong key at times.
const LET_PASS: Duration = Duration::from_secs(15);
const PENALTY_MAX: Duration = Duration::from_secs(600);
/// Sources that are remembered, some megabytes at most; past that, new ones get off.
const SOURCES_MAX: usize = 65_536;

/// Why a connection ended without a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offence {
    WrongKeys,
    NoKey,
    TooSlow,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Penalties {
    exempt: Arc<[Network]>,
    sources: Arc<Mutex<Sources>>,
}

#[derive(Debug, Default)]
struct Sources {
    penalties: HashMap<IpAddr, Penalty>,
    looked_through: Option<Instant>,
}

#[derive(Debug)]
struct Penalty {
    until: Instant,
    /// It has once come to [`LET_PASS`], and holds to its end.
    holds: bool,
}

/// A connection that has not logged in. When it goes without, that is an offence.
pub(super) struct Suspect {
    penalties: Penalties,
    address: IpAddr,
    /// A key of it was refused.
    failed: Arc<AtomicBool>,
    slow: bool,
    cleared: bool,
}

impl Suspect {
    pub(super) fn is_slow(&mut self) {
        self.slow = true;
    }

    pub(super) fn is_cleared(&mut self) {
        self.cleared = true;
    }
}

impl Drop for Suspect {
    fn drop(&mut self) {
        let offence = match (self.slow, self.failed.load(Ordering::Relaxed)) {
            (true, _) => Offence::TooSlow,
            (false, true) => Offence::WrongKeys,
            (false, false) => Offence::NoKey,
        };
        if !self.cleared {
            self.penalties.add(self.address, offence, Instant::now());
        }
    }
}

impl Offence {
    fn costs(self) -> Duration {
        Duration::from_secs(match self {
            Self::WrongKeys => 5,
            Self::NoKey => 1,
            Self::TooSlow => 10,
        })
    }
}

impl Penalties {
    pub(super) fn new(exempt: &[Network]) -> Self {
        Self {
            exempt: exempt.into(),
            sources: Arc::default(),
        }
    }

    pub(super) fn suspect(&self, address: IpAddr, failed: Arc<AtomicBool>) -> Suspect {
        Suspect {
            penalties: self.clone(),
            address,
            failed,
            slow: false,
            cleared: false,
        }
    }

    fn add(&self, address: IpAddr, offence: Offence, now: Instant) {
        if self.exempt.iter().any(|network| network.contains(address)) {
            return;
        }
        let mut sources = self.sources();
        let source = source(address);
        if !sources.has_room_for(source, now) {
            return;
        }
        let penalty = sources.penalties.entry(source).or_insert(Penalty {
            until: now,
            holds: false,
        });
        penalty.holds &= penalty.until > now;
        penalty.until = (penalty.until.max(now) + offence.costs()).min(now + PENALTY_MAX);
        penalty.holds |= penalty.until - now >= LET_PASS;
    }

    /// How long the source still has to wait.
    pub(super) fn left(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let sources = self.sources();
        let penalty = sources.penalties.get(&source(address))?;
        (penalty.holds && penalty.until > now).then(|| penalty.until - now)
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sources {
    /// Forgets those whose time is over, at most every [`LET_PASS`]: there are many.
    fn has_room_for(&mut self, source: IpAddr, now: Instant) -> bool {
        if self.penalties.contains_key(&source) || self.penalties.len() < SOURCES_MAX {
            return true;
        }
        if self.looked_through.is_none_or(|at| now - at >= LET_PASS) {
            self.penalties.retain(|_, penalty| penalty.until > now);
            self.looked_through = Some(now);
        }
        self.penalties.len() < SOURCES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_source_waits_after_its_third_failure_and_others_do_not() {
        let penalties = Penalties::new(&["192.0.2.0/24".parse().expect("a network")]);
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let (bad, office) = (address("198.51.100.1"), address("192.0.2.1"));
        for _ in 0..2 {
            penalties.add(bad, Offence::WrongKeys, start);
        }
        assert_eq!(penalties.left(bad, start), None);
        penalties.add(bad, Offence::WrongKeys, start);
        assert_eq!(penalties.left(bad, start), Some(Duration::from_secs(15)));
        assert_eq!(penalties.left(bad, after(14)), Some(Duration::from_secs(1)));
        assert_eq!(penalties.left(bad, after(15)), None);
        assert_eq!(penalties.left(address("198.51.100.2"), start), None);
        // It does not begin with the old penalty again.
        penalties.add(bad, Offence::NoKey, after(20));
        assert_eq!(penalties.left(bad, after(20)), None);
        for _ in 0..1000 {
            penalties.add(bad, Offence::TooSlow, after(20));
            penalties.add(office, Offence::TooSlow, after(20));
        }
        assert_eq!(penalties.left(bad, after(20)), Some(PENALTY_MAX));
        assert_eq!(penalties.left(office, after(20)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let penalties = Penalties::default();
        let start = Instant::now();
        for n in 0..70_000 {
            penalties.add(IpAddr::V4(n.into()), Offence::TooSlow, start);
        }
        assert_eq!(penalties.sources().penalties.len(), SOURCES_MAX);
        penalties.add(address("192.0.2.1"), Offence::NoKey, start + PENALTY_MAX);
        assert_eq!(penalties.sources().penalties.len(), 1);
    }
}
