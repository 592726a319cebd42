//! Attendant: brings a process into the world of a sandbox that already runs, and ends it. It stands with its feet
//! outside, in our pid namespace, where nobody inside can see or touch it; the process is its child, and lives under the
//! limits of the sandbox: same user, same control groups, same filter.
//!
//! When the sandbox ends, the kernel kills the process. When the client goes, the attendant does (SIGTERM), and with it
//! all that its session has started.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{CWD, Dir, Mode, OFlags, openat},
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use serde::{Deserialize, Serialize};

use crate::{
    Exit, Limits,
    command::{self, Identity, Program, Streams},
    exit_record::ExitRecord,
    init::{self, Fds, await_go, exit_of, reap, tell},
    signals,
    zygote::{Failed, Gate, Step},
};

/// What to run in a sandbox that runs already.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    pub cwd: String,
    /// Of the sandbox that is entered.
    pub limits: Limits,
}

/// The main process of a sandbox is the first that its init starts, in a pid namespace that is new.
const USER_NAMESPACE_OF_MAIN: &str = "/proc/2/ns/user";
/// A session that is being killed can still be forking.
const KILLS_MAX: u32 = 50;
const KILL_AGAIN: Duration = Duration::from_millis(10);

/// `sandbox` is the pidfd of its init.
pub(crate) fn main(entry: &Entry, mut gate: Gate, sandbox: &OwnedFd, fds: Fds, root: bool) -> ! {
    let result = attend(entry, &mut gate, sandbox, fds, root);
    if let Err(failed) = &result {
        tell(gate.error.as_ref(), failed);
    }
    // No destructors: they belong to the spawner, whose image this is.
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

fn attend(
    entry: &Entry,
    gate: &mut Gate,
    sandbox: &OwnedFd,
    fds: Fds,
    root: bool,
) -> Result<(), Failed> {
    _ = rustix::thread::set_name(c"slipway-enter");
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .step(|| "bind to the parent".to_owned())?;
    await_go(gate.go.take())?;
    let machine = open_dir("/proc")?;
    enter(sandbox, root)?;
    let identity = if root {
        Identity::Join(open_file(USER_NAMESPACE_OF_MAIN)?)
    } else {
        Identity::AsWeAre
    };
    let record = ExitRecord::Pipe(fds.exit);
    let streams = Streams::new(fds.stdio, None, root)?;
    let signals = signals::block(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
        .step(|| "block signals".to_owned())?;
    let program = Program {
        argv: &entry.argv,
        env: &entry.env,
        cwd: &entry.cwd,
        limits: &entry.limits,
        dies_with_parent: true,
    };
    // SAFETY: one thread; the child executes or exits.
    let main = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()).step(|| "fork".to_owned()),
        0 => command::execute(&program, streams, gate.error.as_ref(), identity),
        pid => pid,
    };
    drop((streams, gate.error.take()));
    init::close_streams();
    init::drop_capabilities();
    let exit = keep(main, &signals, &machine);
    // As when a sandbox's own main process ends: nothing that it has started stays.
    end_session(main, &machine);
    record
        .write(&exit)
        .step(|| "write the exit record".to_owned())
}

/// All its namespaces at once. As root the user namespace comes last, in the process itself: it is of its main process.
fn enter(sandbox: &OwnedFd, root: bool) -> Result<(), Failed> {
    let mut namespaces =
        libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if !root {
        namespaces |= libc::CLONE_NEWUSER;
    }
    // SAFETY: a plain system call on an open descriptor; this process has one thread.
    match unsafe { libc::setns(sandbox.as_raw_fd(), namespaces) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()).step(|| "enter the namespaces".to_owned()),
    }
}

/// Until the process has ended; any signal but news of children ends it.
fn keep(main: i32, signals: &OwnedFd, machine: &OwnedFd) -> Exit {
    loop {
        let mut fds = [PollFd::new(signals, PollFlags::IN)];
        if poll(&mut fds, None).is_err_and(|error| error != Errno::INTR) {
            end_session(main, machine);
        }
        let asked = signals::read(signals.as_fd());
        if asked.iter().any(|signal| *signal != libc::SIGCHLD) {
            end_session(main, machine);
        }
        if let Some(status) = reap(main) {
            return exit_of(status, false);
        }
    }
}

/// Kills the process, its session, and what these have started, until there is nothing left of them.
fn end_session(main: i32, machine: &OwnedFd) {
    for _ in 0..KILLS_MAX {
        let found = of_session(main, machine);
        if found.is_empty() {
            return;
        }
        for pid in found {
            // Gone already is as good.
            _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        std::thread::sleep(KILL_AGAIN);
    }
}

/// One process, as /proc shows it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    pid: i32,
    parent: i32,
    session: i32,
}

/// The living processes of a session, and their descendants in other sessions.
fn of_session(main: i32, machine: &OwnedFd) -> Vec<i32> {
    let all: Vec<Seen> = Dir::read_from(machine)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok())
        .filter_map(|pid| seen(pid, machine))
        .collect();
    family(main, &all)
}

fn family(main: i32, all: &[Seen]) -> Vec<i32> {
    let mut found: Vec<i32> = all
        .iter()
        .filter(|one| one.pid == main || one.session == main)
        .map(|one| one.pid)
        .collect();
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        let children = all.iter().filter(|one| one.parent == parent);
        let new: Vec<i32> = children
            .map(|one| one.pid)
            .filter(|pid| !found.contains(pid))
            .collect();
        found.extend(new);
        at += 1;
    }
    found
}

/// `None`: it has ended.
fn seen(pid: i32, machine: &OwnedFd) -> Option<Seen> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let stat = openat(machine, format!("{pid}/stat"), flags, Mode::empty()).ok()?;
    let mut text = String::new();
    File::from(stat).read_to_string(&mut text).ok()?;
    // The name in parentheses may itself hold blanks and parentheses.
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let (parent, _group) = (fields.next()?.parse().ok()?, fields.next()?);
    let session = fields.next()?.parse().ok()?;
    (state != "Z" && state != "X").then_some(Seen {
        pid,
        parent,
        session,
    })
}

fn open_dir(path: &str) -> Result<OwnedFd, Failed> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).step(|| format!("open {path}"))
}

fn open_file(path: &str) -> Result<OwnedFd, Failed> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).step(|| format!("open {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_a_session_and_its_descendants() {
        let all: Vec<Seen> = [
            // pid, parent, session
            (10, 1, 10),
            (11, 10, 10),
            (12, 11, 12),
            (13, 12, 12),
            // Its parent has gone; the session tells.
            (14, 1, 10),
            (20, 1, 20),
            (21, 20, 20),
        ]
        .map(|(pid, parent, session)| Seen {
            pid,
            parent,
            session,
        })
        .to_vec();
        let check = |main, expected: &[i32]| {
            let mut found = family(main, &all);
            found.sort_unstable();
            assert_eq!(found, expected);
        };
        check(10, &[10, 11, 12, 13, 14]);
        check(20, &[20, 21]);
        check(99, &[]);
    }
}
