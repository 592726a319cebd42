//! What to run in isolation, and what it may see. Plain data: [`crate::Spawner`] makes it happen.
//!
//! The root is always an overlay: `lowers` (topmost first) below a fresh upper directory in `scratch`, with `mounts` on
//! top, then /proc, /dev, /tmp of its own. Inside, the process is uid and gid 1000 without capabilities, whoever runs
//! us: an ordinary user gets there by a user namespace, root by mounting first and dropping to a reserved host uid.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Limits;

/// uid and gid that processes have inside every sandbox, and that layers name as owner.
pub const SANDBOX_ID: u32 = 1000;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sandbox {
    /// Read-only root trees, topmost first.
    pub lowers: Vec<PathBuf>,
    /// A directory that belongs to this sandbox alone, on a disk: holds the root's upper and work directories and /tmp.
    /// Whoever made it removes it after the sandbox has ended.
    pub scratch: PathBuf,
    /// In order; targets are made when absent.
    pub mounts: Vec<Mount>,
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    pub cwd: String,
    pub hostname: String,
    pub limits: Limits,
    pub lifetime: Lifetime,
}

/// What ends the sandbox besides its own process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Lifetime {
    /// Killed with the `slipway` process that started it: builds, one-off commands.
    Bound,
    /// Lives on and can be adopted: instances. Its init writes the log and the exit record itself.
    Detached {
        /// Log file; lines are `<RFC 3339, 6 digits, +00:00> <label>: <text>`; rotated once to `<file>.1` at
        /// `log_bytes_max`, so twice that is the most it takes.
        log: PathBuf,
        log_bytes_max: u64,
        /// For example `app[web.1]`.
        label: String,
        /// Written (temp + rename) as JSON [`crate::Exit`] when the main process has ended, before init goes.
        exit_record: PathBuf,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Mount {
    Bind(Bind),
    /// An overlay of its own: `upper` and `work` (made when absent) take the changes. They are not synced at the end:
    /// what must survive a power cut is copied or synced by whoever wants it.
    Overlay {
        lowers: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
        target: String,
    },
    Tmpfs {
        target: String,
        bytes_max: u64,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bind {
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: String,
    pub read_only: bool,
}

/// Host user and group that a sandbox's processes have: our own when we are an ordinary user, otherwise a reserved
/// pair. Whoever binds a directory read-write into a sandbox gives it to them.
pub fn host_ids() -> (u32, u32) {
    /// In the range that systemd's list of uids documents as unused (1,879,048,193 to 2,147,483,647).
    const RESERVED: u32 = 1_900_000_000;
    if rustix::process::geteuid().is_root() {
        (RESERVED, RESERVED)
    } else {
        (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        )
    }
}
