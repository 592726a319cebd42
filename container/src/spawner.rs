//! Starts sandboxes. `slipway` is multi-threaded, so it does not fork itself: once, at the start, it executes its own
//! binary as `slipway-spawner`, a single-threaded process that forks each sandbox on request (a few hundred
//! microseconds; the inits share its pages) and hands back a pidfd over a Unix socket (SCM_RIGHTS).

use std::{io, os::fd::OwnedFd, path::Path};

use serde::{Deserialize, Serialize};

use crate::{Sandbox, limits::Capabilities};

/// argv[0] under which the binary runs [`main`].
pub const ARGV0: &str = "slipway-spawner";

/// Body of the spawner process: `slipway`'s `main` calls it when argv[0] is [`ARGV0`]. Never returns.
pub fn main() -> ! {
    todo!()
}

/// Handle on the spawner process; cheap to share by reference. Ends the spawner, and with it all
/// [`crate::sandbox::Lifetime::Bound`] sandboxes, when dropped.
#[derive(Debug)]
pub struct Spawner {}

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The step that failed inside the child (`mount /usr`, `pivot_root`, `exec web`), with the errno.
    #[error("cannot start sandbox: {step}")]
    Step { step: String, source: io::Error },
    #[error("the spawner has ended")]
    Gone(#[source] io::Error),
}

/// Standard streams of a bound sandbox. A detached one has /dev/null and its log instead.
#[derive(Debug)]
pub enum Stdio {
    Null,
    Fds {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
}

/// How the main process of a sandbox ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status, when it exited.
    pub code: Option<i32>,
    /// Signal number, when it was killed.
    pub signal: Option<i32>,
    /// It was killed because it went over its memory limit.
    pub out_of_memory: bool,
    /// Seconds since the Unix epoch.
    pub ended_at: u64,
}

/// A running sandbox: the pid of its init in our pid namespace, pinned by a pidfd.
#[derive(Debug)]
pub struct Process {
    _pidfd: OwnedFd,
}

impl Spawner {
    /// Executes `exe` (normally `/proc/self/exe`) as the spawner and asks it what this machine allows.
    pub fn start(_exe: &Path) -> Result<Self, SpawnError> {
        todo!()
    }
    pub fn capabilities(&self) -> &Capabilities {
        todo!()
    }
    /// Returns once the sandbox's command has been executed, or with the step that failed. Nothing is left behind then.
    pub fn spawn(&self, _sandbox: &Sandbox, _stdio: Stdio) -> Result<Process, SpawnError> {
        todo!()
    }
}

impl Process {
    /// Pid of the sandbox's init, for records; `start_time` (clock ticks after boot, /proc/PID/stat field 22) tells a
    /// reused pid apart.
    pub fn pid(&self) -> u32 {
        todo!()
    }
    pub fn start_time(&self) -> u64 {
        todo!()
    }
    /// A detached sandbox started by an earlier `slipway`, if it still runs.
    pub fn adopt(_pid: u32, _start_time: u64, _exit_record: &Path) -> io::Result<Option<Self>> {
        todo!()
    }
    /// Asks the main process to end (SIGTERM, passed on by init to its process group).
    pub fn terminate(&self) -> io::Result<()> {
        todo!()
    }
    /// Kills every process of the sandbox at once.
    pub fn kill(&self) -> io::Result<()> {
        todo!()
    }
    /// Readable when the sandbox has ended: for `tokio::io::unix::AsyncFd`.
    pub fn pidfd(&self) -> std::os::fd::BorrowedFd<'_> {
        todo!()
    }
    /// Blocks until the sandbox has ended. Without a record (init itself was killed): signal 9.
    pub fn wait(&self) -> io::Result<Exit> {
        todo!()
    }
}
