//! The spawner process: waits for requests, clones each sandbox's init, and tidies up after those that have ended.
//!
//! It is single-threaded, so what runs after the clone is ordinary Rust. It allocates little, because each init keeps a
//! copy-on-write image of it for as long as it lives.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _},
    mem,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};

use crate::{
    Entry, Limits, Sandbox, attendant,
    cgroup::{Cgroups, Group},
    exit_record::ExitRecord,
    init::{self, Fds},
    message::{self, Reply, Request},
    sandbox::{Lifetime, SANDBOX_ID, host_ids},
    signals,
};

/// Which step failed, and how. Crosses a pipe from the sandbox as `errno step`.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) step: String,
    pub(crate) errno: i32,
}

pub(crate) trait Step<T> {
    /// Names what was tried.
    fn step(self, step: impl FnOnce() -> String) -> Result<T, Failed>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl FnOnce() -> String) -> Result<T, Failed> {
        self.map_err(|error| Failed {
            step: step(),
            errno: error.into().raw_os_error().unwrap_or(libc::EINVAL),
        })
    }
}

pub(crate) fn run(socket: BorrowedFd<'_>) -> ! {
    // A session of its own: Ctrl-C and a terminal that closes are for slipway alone. Only in a group's leader it fails.
    _ = rustix::process::setsid();
    signals::reset();
    let status = match serve(socket) {
        Ok(()) => 0,
        Err(_) => 1,
    };
    std::process::exit(status)
}

struct Zygote {
    cgroups: Cgroups,
    /// The inits that still run, by pid.
    running: HashMap<i32, Running>,
    /// As root, mounts come first and the user namespace last.
    root: bool,
}

struct Running {
    group: Group,
    end: End,
}

/// What becomes of it when slipway goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// It stays.
    Stays,
    Killed,
    /// It is the attendant of a process in a sandbox that may stay, and is asked to end that.
    Asked,
}

/// What a clone starts its life in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Birth {
    NewNamespaces,
    OurNamespaces,
}

/// What an init and its spawner have between them until the command has been executed.
pub(crate) struct Gate {
    /// A byte comes when the parent has done its part: identity maps, and control groups.
    pub(crate) go: Option<OwnedFd>,
    /// Takes `errno step`; closed when the command has been executed: the spawner waits for that.
    pub(crate) error: Option<OwnedFd>,
}

fn serve(socket: BorrowedFd<'_>) -> io::Result<()> {
    let children = signals::block(&[libc::SIGCHLD])?;
    crate::seccomp::prepare();
    let mut zygote = Zygote {
        cgroups: Cgroups::probe(),
        running: HashMap::new(),
        root: rustix::process::geteuid().is_root(),
    };
    let served = zygote.serve(socket, &children);
    zygote.end_bound();
    served
}

impl Zygote {
    fn serve(&mut self, socket: BorrowedFd<'_>, children: &OwnedFd) -> io::Result<()> {
        loop {
            let mut fds = [
                PollFd::new(&socket, PollFlags::IN),
                PollFd::new(children, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                result => _ = result?,
            }
            let (asked, ended) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
            if ended {
                signals::drain(children.as_fd());
                self.reap();
            }
            if asked {
                let Some((request, fds)) = message::receive(socket)? else {
                    return Ok(());
                };
                let (reply, fds) = self.answer(request, fds);
                let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                message::send(socket, &message::encode(&reply)?, &fds)?;
            }
        }
    }

    fn answer(&mut self, request: Request, fds: Vec<OwnedFd>) -> (Reply, Vec<OwnedFd>) {
        let result = match request {
            Request::Probe => self
                .try_out()
                .map(|()| (Reply::Capabilities(self.cgroups.capabilities()), vec![])),
            Request::Spawn(sandbox) => self.spawn(&sandbox, fds),
            Request::Enter { pid, entry } => self.enter(pid, &entry, fds),
        };
        result.unwrap_or_else(|Failed { step, errno }| (Reply::Failed { step, errno }, vec![]))
    }

    fn spawn(
        &mut self,
        sandbox: &Sandbox,
        stdio: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), Failed> {
        let (exit_reader, exit_writer) =
            pipe_with(PipeFlags::CLOEXEC).step(|| "pipe".to_owned())?;
        let group = self.cgroups.create(&sandbox.limits)?;
        let fds = Fds {
            exit: Some(exit_writer),
            oom_events: group.out_of_memory_events(),
            stdio,
        };
        let (root, watch_memory) = (self.root, !group.limits_memory());
        let init = |gate| init::main(sandbox, gate, fds, root, watch_memory);
        let end = match sandbox.lifetime {
            Lifetime::Bound => End::Killed,
            Lifetime::Detached { .. } => End::Stays,
        };
        let started = self.start(Running { group, end }, Birth::NewNamespaces, init);
        if started.is_err() {
            ExitRecord::forget(&sandbox.lifetime);
        }
        let (pid, pidfd) = started?;
        Ok((spawned(pid), vec![pidfd, exit_reader]))
    }

    /// Into the control groups of the sandbox, wherever it was started from.
    fn enter(
        &mut self,
        sandbox: u32,
        entry: &Entry,
        mut fds: Vec<OwnedFd>,
    ) -> Result<(Reply, Vec<OwnedFd>), Failed> {
        if fds.is_empty() {
            return Err(Errno::BADF).step(|| "find the sandbox".to_owned());
        }
        let init = fds.remove(0);
        let (exit_reader, exit_writer) =
            pipe_with(PipeFlags::CLOEXEC).step(|| "pipe".to_owned())?;
        let attended = Fds {
            exit: Some(exit_writer),
            oom_events: None,
            stdio: fds,
        };
        let root = self.root;
        let running = Running {
            group: self.cgroups.shared_with(sandbox),
            end: End::Asked,
        };
        let (pid, pidfd) = self.start(running, Birth::OurNamespaces, |gate| {
            attendant::main(entry, gate, &init, attended, root)
        })?;
        Ok((spawned(pid), vec![pidfd, exit_reader]))
    }

    /// Whether sandboxes are possible here: namespaces, the mounts that every one needs, and nothing else.
    fn try_out(&mut self) -> Result<(), Failed> {
        let running = Running {
            group: self.cgroups.create(&Limits::default())?,
            end: End::Killed,
        };
        let root = self.root;
        self.start(running, Birth::NewNamespaces, |gate| {
            init::try_out(gate, root)
        })
        .map(|_| ())
    }

    /// Clones `init` and returns once it has executed its command or ended without complaint. On failure its end is
    /// awaited: nothing may be left when that is reported.
    fn start(
        &mut self,
        running: Running,
        birth: Birth,
        main: impl FnOnce(Gate),
    ) -> Result<(u32, OwnedFd), Failed> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).step(|| "pipe".to_owned());
        let ((go_reader, go_writer), (error_reader, error_writer)) = (pipe()?, pipe()?);
        let cradle = running.group.cradle();
        let in_group = cradle.and_then(|dir| clone(self.root, birth, Some(&dir)).ok());
        let is_in_group = in_group.is_some();
        let cloned = in_group.map_or_else(|| clone(self.root, birth, None), Ok);
        let cloned = cloned.step(|| NAMESPACES.to_owned());
        let (pid, pidfd) = match cloned.inspect_err(|_| running.group.remove())? {
            Cloned::Child => {
                drop((go_writer, error_reader));
                let (go, error) = (Some(go_reader), Some(error_writer));
                let gate = Gate { go, error };
                match running.group.join() {
                    Ok(()) => main(gate),
                    Err(failed) => init::end(gate, Err(failed)),
                }
                // It exits by itself.
                std::process::abort()
            }
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop((go_reader, error_writer));
        let admitted = self.admit(pid, birth, (!is_in_group).then_some(&running.group));
        self.running.insert(pid, running);
        let result = admitted.and_then(|()| {
            // A child that cannot read it has died, and says so in the error pipe.
            _ = rustix::io::write(&go_writer, &[1]);
            read_error(error_reader)
        });
        if let Err(failed) = result {
            self.end(pid);
            return Err(failed);
        }
        Ok((pid.unsigned_abs(), pidfd))
    }

    /// What only the parent can do: identity maps of an ordinary user's namespace, and control groups.
    fn admit(&self, pid: i32, birth: Birth, group: Option<&Group>) -> Result<(), Failed> {
        if !self.root && birth == Birth::NewNamespaces {
            write_id_maps(&format!("/proc/{pid}"), host_ids())?;
        }
        group.map_or(Ok(()), |group| group.add(pid))
    }

    fn reap(&mut self) {
        while let Some(pid) = wait_any() {
            self.forget(pid);
        }
    }

    fn end(&mut self, pid: i32) {
        // SAFETY: a plain system call; the pid is our own child's, which has not been reaped.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        wait_for(pid);
        self.forget(pid);
    }

    /// slipway is gone: with it goes what was bound to it, and the groups of that.
    fn end_bound(&mut self) {
        let all: Vec<(i32, End)> = self
            .running
            .iter()
            .map(|(pid, running)| (*pid, running.end))
            .collect();
        for (pid, end) in all {
            match end {
                End::Stays => {}
                End::Killed => self.end(pid),
                // SAFETY: as in `end`.
                End::Asked => _ = unsafe { libc::kill(pid, libc::SIGTERM) },
            }
        }
    }

    fn forget(&mut self, pid: i32) {
        if let Some(running) = self.running.remove(&pid) {
            running.group.remove();
        }
    }
}

fn spawned(pid: u32) -> Reply {
    Reply::Spawned {
        pid,
        // Before it can be reaped: this pid is still its own.
        start_time: start_time(pid).unwrap_or(0),
    }
}

/// Mounts wait for disks and file servers, and while one does, no other sandbox starts.
const START_MAX: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};
pub(crate) const NAMESPACES: &str = "make namespaces";

/// Maps [`SANDBOX_ID`] inside to [`crate::sandbox::host_ids`] in the namespace of the process at `proc`, in /proc.
pub(crate) fn write_id_maps(proc: &str, (uid, gid): (u32, u32)) -> Result<(), Failed> {
    // Without the right to change groups an unprivileged gid map is allowed (user_namespaces(7)).
    let files = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{SANDBOX_ID} {uid} 1")),
        ("gid_map", format!("{SANDBOX_ID} {gid} 1")),
    ];
    for (name, content) in files {
        fs::write(format!("{proc}/{name}"), content).step(|| format!("write {name}"))?;
    }
    Ok(())
}

/// Of linux/sched.h. The crate libc has it as a number in which it does not fit.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

enum Cloned {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// clone3(2) as a fork, into new namespaces and a control group of v2 if so wanted, with a pidfd.
fn clone(root: bool, birth: Birth, group: Option<&OwnedFd>) -> io::Result<Cloned> {
    let mut flags = libc::CLONE_PIDFD;
    if birth == Birth::NewNamespaces {
        flags |= libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
        if !root {
            flags |= libc::CLONE_NEWUSER;
        }
    }
    let mut pidfd: RawFd = -1;
    // SAFETY: all zero is a valid clone_args.
    let mut args: libc::clone_args = unsafe { mem::zeroed() };
    args.flags = u64::from(flags.unsigned_abs());
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    }
    args.pidfd = ptr::from_mut(&mut pidfd) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    // SAFETY: no stack is given, so this behaves like fork; the process has one thread.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            mem::size_of::<libc::clone_args>(),
        )
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        // SAFETY: the kernel has just made this descriptor for us.
        pid => Ok(Cloned::Parent {
            pid: i32::try_from(pid).unwrap_or(-1),
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}

/// Empty: the command has been executed (its end of the pipe closed on exec).
fn read_error(pipe: OwnedFd) -> Result<(), Failed> {
    let mut text = String::new();
    let step = || "start in time".to_owned();
    let mut fds = [PollFd::new(&pipe, PollFlags::IN)];
    if rustix::io::retry_on_intr(|| poll(&mut fds, Some(&START_MAX))).step(step)? == 0 {
        return Err(Errno::TIMEDOUT).step(step);
    }
    fs::File::from(pipe).read_to_string(&mut text).step(step)?;
    if text.is_empty() {
        return Ok(());
    }
    let (errno, step) = text.split_once(' ').unwrap_or(("22", &text));
    Err(Failed {
        step: step.to_owned(),
        errno: errno.parse().unwrap_or(libc::EINVAL),
    })
}

fn wait_any() -> Option<i32> {
    // SAFETY: waitpid writes nothing when given no status pointer.
    let pid = unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) };
    (pid > 0).then_some(pid)
}

fn wait_for(pid: i32) {
    // SAFETY: as above.
    unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
}

/// Clock ticks after boot, field 22 of /proc/PID/stat.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name in parentheses may itself hold parentheses and spaces; fields are counted behind the last one.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a hierarchy of v2 takes groups; there is none for an ordinary user on many machines.
    fn place_of_v2() -> Option<std::path::PathBuf> {
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        let mut mounts = mounts.lines().map(|line| line.split(' '));
        let place = mounts.find_map(|mut fields| {
            let place = fields.nth(1)?;
            (fields.next()? == "cgroup2").then(|| place.to_owned())
        })?;
        let dir = std::path::Path::new(&place).join(format!("slipway-test-{}", std::process::id()));
        fs::create_dir(&dir).ok().map(|()| dir)
    }

    #[test]
    fn a_process_is_born_into_its_group() {
        let Some(dir) = place_of_v2() else {
            eprintln!("no control groups of v2 can be made here");
            return;
        };
        let group = OwnedFd::from(fs::File::open(&dir).unwrap());
        let pid = match clone(true, Birth::OurNamespaces, Some(&group)).unwrap() {
            // SAFETY: one of several threads has been forked: nothing but system calls.
            Cloned::Child => unsafe {
                libc::pause();
                libc::_exit(0)
            },
            Cloned::Parent { pid, .. } => pid,
        };
        let inside = fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        // SAFETY: our own child, which has not been waited for.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        wait_for(pid);
        assert_eq!(inside.trim(), pid.to_string());
        // A moment may pass until the kernel has taken it apart.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while fs::remove_dir(&dir).is_err() {
            assert!(std::time::Instant::now() < until, "{}", dir.display());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
