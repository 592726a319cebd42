//! What an operator allows an app's processes: for all of them, or for one process type.

use std::collections::BTreeMap;

use container::Limits;
use serde::Serialize;

use crate::ProcessType;

/// `None`: as the platform has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LimitsSet {
    /// In thousandths of a core.
    pub cpu_milli: Option<u32>,
    pub memory_bytes: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppLimits {
    /// Of every process type that has none of its own, and of one-off processes.
    pub every: LimitsSet,
    pub of_type: BTreeMap<ProcessType, LimitsSet>,
}

/// Less would not let any program start.
pub const MEMORY_BYTES_MIN: u64 = 16 << 20;
pub const CPU_MILLI_MIN: u32 = 10;

/// What cannot be a limit, and what could.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitRefused {
    #[error("{bytes} bytes of memory are too few: {MEMORY_BYTES_MIN} is the least")]
    Memory { bytes: u64 },
    #[error("{milli}/1000 of a processor is too little: {CPU_MILLI_MIN}/1000 is the least")]
    Cpu { milli: u32 },
}

impl LimitsSet {
    pub(crate) fn check(&self) -> Result<(), LimitRefused> {
        match *self {
            Self {
                memory_bytes: Some(bytes),
                ..
            } if bytes < MEMORY_BYTES_MIN => Err(LimitRefused::Memory { bytes }),
            Self {
                cpu_milli: Some(milli),
                ..
            } if milli < CPU_MILLI_MIN => Err(LimitRefused::Cpu { milli }),
            _ => Ok(()),
        }
    }
}

impl AppLimits {
    /// Of instances of a process type, or (`None`) of one-off processes: its own, else the app's, else the platform's.
    pub fn of(&self, process_type: Option<&ProcessType>, platform: Limits) -> Limits {
        let own = process_type.and_then(|name| self.of_type.get(name));
        let own = own.copied().unwrap_or_default();
        Limits {
            cpu_milli: own
                .cpu_milli
                .or(self.every.cpu_milli)
                .or(platform.cpu_milli),
            memory_bytes: own
                .memory_bytes
                .or(self.every.memory_bytes)
                .or(platform.memory_bytes),
            ..platform
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_types_own_limit_wins_over_the_apps_and_that_over_the_platforms() {
        let set = |cpu_milli, memory_bytes| LimitsSet {
            cpu_milli,
            memory_bytes,
        };
        let limits = AppLimits {
            every: set(Some(500), None),
            of_type: BTreeMap::from([("web".parse().unwrap(), set(None, Some(64 << 20)))]),
        };
        let platform = Limits {
            memory_bytes: Some(512 << 20),
            cpu_milli: None,
            processes: Some(256),
        };
        let check = |process_type: Option<&str>, cpu, memory: u64| {
            let process_type = process_type.map(|name| name.parse().unwrap());
            let of = limits.of(process_type.as_ref(), platform);
            assert_eq!((of.cpu_milli, of.memory_bytes), (cpu, Some(memory << 20)));
            assert_eq!(of.processes, Some(256));
        };
        check(Some("web"), Some(500), 64);
        check(Some("worker"), Some(500), 512);
        check(None, Some(500), 512);
        assert_eq!(
            AppLimits::default().of(None, platform),
            platform,
            "nothing set"
        );
    }

    #[test]
    fn what_lets_nothing_start_is_refused() {
        let check = |cpu_milli, memory_bytes, right: bool| {
            let set = LimitsSet {
                cpu_milli,
                memory_bytes,
            };
            assert_eq!(set.check().is_ok(), right, "{set:?}");
        };
        check(None, None, true);
        check(Some(10), Some(16 << 20), true);
        check(Some(9), None, false);
        check(None, Some((16 << 20) - 1), false);
    }
}
