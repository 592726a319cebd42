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
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

use crate::{
    Entry, Sandbox,
    limits::Capabilities,
    message::{self, Reply, Request},
    mounts::{MOUNT_OVERLAY, MOUNT_PROC},
    sandbox::Lifetime,
    zygote::{self, start_time},
};

/// How long an ending spawner may take over its sandboxes.
const END_MAX: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
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
    /// Not one sandbox but any, found out at the start.
    #[error("this machine does not let us make sandboxes ({step}): {cure}")]
    Forbidden {
        step: String,
        cure: &'static str,
        source: io::Error,
    },
    #[error("cannot describe the sandbox to the spawner")]
    TooLarge(#[source] io::Error),
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
    /// See [`crate::Terminal::order`].
    Terminal {
        handover: OwnedFd,
    },
}

impl Stdio {
    fn fds(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Null => vec![],
            Self::Fds {
                stdin,
                stdout,
                stderr,
            } => vec![stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
            Self::Terminal { handover } => vec![handover.as_fd()],
        }
    }
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

/// A running sandbox: the pid of its init in our pid namespace, pinned by a pidfd. Or a process that has entered one:
/// then it is the attendant's.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    start_time: u64,
    pidfd: OwnedFd,
    /// Ends all of it.
    kill: Signal,
    exit: Mutex<ExitSource>,
}

#[derive(Debug)]
enum ExitSource {
    /// Of a bound sandbox.
    Pipe(OwnedFd),
    /// Of a detached one.
    Record(PathBuf),
    Known(Exit),
}

impl Spawner {
    /// Executes `exe` (normally `/proc/self/exe`) as the spawner and asks it what this machine allows.
    pub fn start(exe: &Path) -> Result<Self, SpawnError> {
        let link = Link::open(exe).map_err(SpawnError::Gone)?;
        let text = message::encode(&Request::Probe).map_err(SpawnError::TooLarge)?;
        link.send(&text, &[])?;
        let capabilities = match link.receive() {
            Ok((Reply::Capabilities(capabilities), _)) => capabilities,
            Err(SpawnError::Step { step, source }) => return Err(forbidden(step, source)),
            Err(other) => return Err(other),
            Ok(_) => return Err(SpawnError::Gone(io::ErrorKind::InvalidData.into())),
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
        let mut process = self.start_process(&request, &stdio.fds(), Signal::KILL)?;
        if let Lifetime::Detached { exit_record, .. } = &sandbox.lifetime {
            process.exit = Mutex::new(ExitSource::Record(exit_record.clone()));
        }
        Ok(process)
    }

    /// Starts another process in a sandbox that runs. It ends with the sandbox, and with the spawner.
    pub fn enter(
        &self,
        sandbox: &Process,
        entry: Entry,
        stdio: Stdio,
    ) -> Result<Process, SpawnError> {
        let request = Request::Enter {
            pid: sandbox.pid,
            entry: Box::new(entry),
        };
        let fds: Vec<_> = [sandbox.pidfd()].into_iter().chain(stdio.fds()).collect();
        // The attendant answers a request to end by killing what it attends to, wherever that is.
        self.start_process(&request, &fds, Signal::TERM)
    }

    fn start_process(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
        kill: Signal,
    ) -> Result<Process, SpawnError> {
        let text = message::encode(request).map_err(SpawnError::TooLarge)?;
        let (reply, mut fds) = self.ask(&text, fds)?;
        let Reply::Spawned { pid, start_time } = reply else {
            return Err(SpawnError::Gone(io::ErrorKind::InvalidData.into()));
        };
        let (Some(exit_pipe), Some(pidfd)) = (fds.pop(), fds.pop()) else {
            return Err(SpawnError::Gone(io::ErrorKind::InvalidData.into()));
        };
        Ok(Process {
            pid,
            start_time,
            pidfd,
            kill,
            exit: Mutex::new(ExitSource::Pipe(exit_pipe)),
        })
    }

    /// A spawner that has died is replaced. Its bound sandboxes have died with it; a request that it had taken is not
    /// repeated, because nobody can know how far it came.
    fn ask(
        &self,
        text: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Reply, Vec<OwnedFd>), SpawnError> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        if link.send(text, fds).is_err() {
            *link = Link::open(&self.exe).map_err(SpawnError::Gone)?;
            link.send(text, fds)?;
        }
        link.receive()
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
            .spawn()?;
        Ok(Self {
            socket: ours,
            child,
        })
    }

    fn send(&self, text: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), SpawnError> {
        message::send(self.socket.as_fd(), text, fds).map_err(SpawnError::Gone)
    }

    fn receive(&self) -> Result<(Reply, Vec<OwnedFd>), SpawnError> {
        let answer = message::receive(self.socket.as_fd()).map_err(SpawnError::Gone)?;
        match answer {
            None => Err(SpawnError::Gone(io::ErrorKind::UnexpectedEof.into())),
            Some((Reply::Failed { step, errno }, _)) => Err(SpawnError::Step {
                step,
                source: io::Error::from_raw_os_error(errno),
            }),
            Some(answer) => Ok(answer),
        }
    }
}

impl Drop for Link {
    /// At the end of its socket the spawner ends its bound sandboxes and removes their groups; it gets a while for that.
    fn drop(&mut self) {
        _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(pidfd) = pidfd {
            _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&END_MAX));
        }
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// In the words of an operator: what to change so that it works here.
fn forbidden(step: String, source: io::Error) -> SpawnError {
    let cure = if rustix::process::geteuid().is_root() {
        "run it as an ordinary user of a machine with user namespaces, or give its container the capability SYS_ADMIN"
    } else if step.starts_with(MOUNT_OVERLAY) {
        "overlays made by ordinary users need Linux 5.11; run it as root"
    } else if step == MOUNT_PROC {
        "a container that hides parts of /proc keeps others from mounting it; show it whole there, or run as root"
    } else {
        "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, or \
         kernel.apparmor_restrict_unprivileged_userns=0, user.max_user_namespaces above 0), or run as root"
    };
    SpawnError::Forbidden { step, cure, source }
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
            kill: Signal::KILL,
            exit: Mutex::new(ExitSource::Record(exit_record.to_owned())),
        };
        let same = start_time(pid) == Some(start_time_recorded) && !process.has_ended()?;
        Ok(same.then_some(process))
    }

    /// Asks the main process to end (SIGTERM, passed on by init to its process group).
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Kills every process of the sandbox at once; of one that has entered it, the process and what it has started.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(self.kill)
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
        let mut source = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
        let exit = source.read().unwrap_or_else(Exit::killed);
        *source = ExitSource::Known(exit.clone());
        Ok(exit)
    }

    /// Without waiting.
    pub fn has_ended(&self) -> io::Result<bool> {
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
            Self::Known(exit) => return Some(exit.clone()),
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

impl AsRawFd for Process {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.pidfd.as_raw_fd()
    }
}
