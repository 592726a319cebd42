//! What a sandbox may use, and how it is enforced here: cgroup v2, v1, or resource limits, found out once per controller.

use serde::{Deserialize, Serialize};

/// Upper bounds for one sandbox; `None` means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    pub memory_bytes: Option<u64>,
    /// In thousandths of a core: 1500 is one and a half.
    pub cpu_milli: Option<u32>,
    pub processes: Option<u32>,
}

/// How one limit is enforced on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Enforcement {
    CgroupV2,
    CgroupV1,
    /// Per process, or watched and killed by the sandbox's init.
    Rlimit,
    Watched,
    /// Not enforced; `up` and `doctor` say so.
    None,
}

/// What this machine lets us enforce, for the narration of `up` and, later, `doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    pub memory: Enforcement,
    pub cpu: Enforcement,
    pub processes: Enforcement,
    /// Own network namespace for instances and builds.
    pub network: Enforcement,
}
