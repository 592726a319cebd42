//! Starts sandboxes. `slipway` is multi-threaded, so it does not fork itself: once, at the start, it executes its own
//! binary as `slipway-spawner`, a single-threaded process that clones each sandbox on request (about a millisecond; the
//! inits share its pages) and hands back a pidfd over a Unix socket.

use std::{
    fs,
    io::{self, Read as _},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

use crate::{
    Sandbox,
    limits::Capabilities,
    message::{self, Reply, Request},
    sandbox::Lifetime,
    zygote,
};

/// argv[0] under which the binary runs [`main`].
pub const ARGV0: &str = "slipway-spawner";

/// Body of the spawner process: `slipway`'s `main` calls it when argv[0] is [`ARGV0`]. The socket is its stdin.
pub fn main() -> ! {
    zygote::run(io::stdin().as_fd())
}

/// Handle on the spawner process. Dropping it ends the spawner, and with it all [`Lifetime::Bound`] sandboxes.
#[derive(Debug)]
pub struct Spawner {
    exe: PathBuf,
    link: Mutex<Link>,
    capabilities: Capabilities,
}

#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    child: Child,
}

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The step that failed inside the sandbox (`mount /usr`, `exec web`), with the errno.
    #[error("cannot start the sandbox: {step}")]
    Step { step: String, source: io::Error },
    #[error(
        "this machine does not let an ordinary user make a sandbox ({step}); allow user namespaces (sysctl \
         kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0), or run as root"
    )]
    Forbidden { step: String, source: io::Error },
    #[error("the spawner does not answer")]
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
    /// A process of the sandbox was killed because the sandbox went over its memory limit.
    pub out_of_memory: bool,
    /// Seconds since the Unix epoch.
    pub ended_at: u64,
}

/// A running sandbox: the pid of its init in our pid namespace, pinned by a pidfd.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    start_time: u64,
    pidfd: OwnedFd,
    exit: ExitSource,
}

#[derive(Debug)]
enum ExitSource {
    /// Of a bound sandbox.
    Pipe(OwnedFd),
    /// Of a detached one.
    Record(PathBuf),
}

impl Spawner {
    /// Executes `exe` (normally `/proc/self/exe`) as the spawner and asks it what this machine allows.
    pub fn start(exe: &Path) -> Result<Self, SpawnError> {
        let link = Link::open(exe).map_err(SpawnError::Gone)?;
        let Reply::Capabilities(capabilities) = link.ask(&Request::Probe, &[])?.0 else {
            return Err(SpawnError::Gone(io::ErrorKind::InvalidData.into()));
        };
        Ok(Self {
            exe: exe.to_owned(),
            link: Mutex::new(link),
            capabilities,
        })
    }

    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Returns once the sandbox's command has been executed, or with the step that failed; nothing is left then.
    pub fn spawn(&self, sandbox: &Sandbox, stdio: Stdio) -> Result<Process, SpawnError> {
        let request = Request::Spawn(Box::new(sandbox.clone()));
        let fds = match &stdio {
            Stdio::Null => vec![],
            Stdio::Fds {
                stdin,
                stdout,
                stderr,
            } => vec![stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        };
        let (reply, mut fds) = self.ask(&request, &fds)?;
        let Reply::Spawned { pid } = reply else {
            return Err(SpawnError::Gone(io::ErrorKind::InvalidData.into()));
        };
        let (Some(exit_pipe), Some(pidfd)) = (fds.pop(), fds.pop()) else {
            return Err(SpawnError::Gone(io::ErrorKind::InvalidData.into()));
        };
        let exit = match &sandbox.lifetime {
            Lifetime::Bound => ExitSource::Pipe(exit_pipe),
            Lifetime::Detached { exit_record, .. } => ExitSource::Record(exit_record.clone()),
        };
        Ok(Process {
            pid,
            start_time: start_time(pid).unwrap_or(0),
            pidfd,
            exit,
        })
    }

    /// A spawner that has died is replaced, once per request.
    fn ask(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Reply, Vec<OwnedFd>), SpawnError> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        match link.ask(request, fds) {
            Err(SpawnError::Gone(_)) => {
                *link = Link::open(&self.exe).map_err(SpawnError::Gone)?;
                link.ask(request, fds)
            }
            answer => answer,
        }
    }
}

impl Link {
    fn open(exe: &Path) -> io::Result<Self> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let child = Command::new(exe)
            .arg0(ARGV0)
            .stdin(theirs)
            .env_clear()
            .current_dir("/")
            // Ctrl-C on the terminal is for slipway alone; bound sandboxes end with it, detached ones stay.
            .process_group(0)
            .spawn()?;
        Ok(Self {
            socket: ours,
            child,
        })
    }

    fn ask(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Reply, Vec<OwnedFd>), SpawnError> {
        message::send(self.socket.as_fd(), request, fds).map_err(SpawnError::Gone)?;
        let answer = message::receive(self.socket.as_fd()).map_err(SpawnError::Gone)?;
        let (reply, fds) =
            answer.ok_or_else(|| SpawnError::Gone(io::ErrorKind::UnexpectedEof.into()))?;
        match reply {
            Reply::Failed {
                step,
                errno,
                forbidden,
            } => {
                let source = io::Error::from_raw_os_error(errno);
                Err(if forbidden {
                    SpawnError::Forbidden { step, source }
                } else {
                    SpawnError::Step { step, source }
                })
            }
            reply => Ok((reply, fds)),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // It ends at the end of its socket; SIGKILL only makes sure, and its bound sandboxes die with it.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Process {
    /// Pid of the sandbox's init, for records.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Clock ticks after boot (field 22 of /proc/PID/stat): tells a reused pid apart.
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// A detached sandbox started by an earlier `slipway`, if it still runs.
    pub fn adopt(
        pid: u32,
        start_time_recorded: u64,
        exit_record: &Path,
    ) -> io::Result<Option<Self>> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Read after the pidfd pins the process, so that both are about the same one.
        let process = Self {
            pid,
            start_time: start_time_recorded,
            pidfd,
            exit: ExitSource::Record(exit_record.to_owned()),
        };
        let same = start_time(pid) == Some(start_time_recorded) && !process.has_ended()?;
        Ok(same.then_some(process))
    }

    /// Asks the main process to end (SIGTERM, passed on by init to its process group).
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Kills every process of the sandbox at once.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Readable when the sandbox has ended: for `tokio::io::unix::AsyncFd`.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Blocks until the sandbox has ended. Without a record (init itself was killed): signal 9.
    pub fn wait(&self) -> io::Result<Exit> {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        while let Err(error) = poll(&mut fds, None) {
            if error != rustix::io::Errno::INTR {
                return Err(error.into());
            }
        }
        Ok(self.exit.read().unwrap_or_else(Exit::killed))
    }

    fn has_ended(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        Ok(poll(&mut fds, Some(&now))? > 0)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            // It has ended already: what was wanted.
            Err(rustix::io::Errno::SRCH) => Ok(()),
            result => Ok(result?),
        }
    }
}

impl ExitSource {
    fn read(&self) -> Option<Exit> {
        let record = match self {
            Self::Pipe(pipe) => {
                let mut text = Vec::new();
                fs::File::from(pipe.try_clone().ok()?)
                    .read_to_end(&mut text)
                    .ok()?;
                text
            }
            Self::Record(path) => fs::read(path).ok()?,
        };
        serde_json::from_slice(&record).ok()
    }
}

impl Exit {
    fn killed() -> Self {
        Self {
            code: None,
            signal: Some(Signal::KILL.as_raw()),
            out_of_memory: false,
            ended_at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| now.as_secs()),
        }
    }

    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name in parentheses may itself hold parentheses and spaces; fields are counted behind the last one.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

impl AsRawFd for Process {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.pidfd.as_raw_fd()
    }
}
