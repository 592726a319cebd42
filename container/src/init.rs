//! Init: pid 1 of a sandbox. Makes the world the sandbox may see, starts the main process in it, and stays: reaps, passes
//! SIGTERM on, keeps the log of a detached sandbox, watches memory where no control group does, and writes the exit
//! record. When it ends, the kernel kills whatever is left of the sandbox.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::Mode,
    io::Errno,
    thread::{CapabilitySet, CapabilitySets, set_capabilities},
};

use crate::{
    Exit, Sandbox,
    command::{self, Identity, Program, Streams},
    exit_record::ExitRecord,
    log_pump::LogPump,
    memory_watch::MemoryWatch,
    mounts,
    sandbox::Lifetime,
    signals,
    zygote::{Failed, Gate, Step},
};

/// What init inherits from the spawner.
pub(crate) struct Fds {
    /// Takes the exit record of a bound sandbox.
    pub(crate) exit: Option<OwnedFd>,
    /// The control group's count of out-of-memory kills.
    pub(crate) oom_events: Option<OwnedFd>,
    /// Standard streams of a bound sandbox, or the handover of its terminal.
    pub(crate) stdio: Vec<OwnedFd>,
}

pub(crate) fn main(
    sandbox: &Sandbox,
    mut gate: Gate,
    fds: Fds,
    root: bool,
    watch_memory: bool,
) -> ! {
    let result = supervise(sandbox, &mut gate, fds, root, watch_memory);
    end(gate, result)
}

/// In the clone that finds out whether sandboxes are possible at all.
pub(crate) fn try_out(mut gate: Gate, root: bool) -> ! {
    let result = die_with_parent()
        .and_then(|()| await_go(gate.go.take()))
        .and_then(|()| mounts::try_out(root));
    end(gate, result)
}

pub(crate) fn end(gate: Gate, result: Result<(), Failed>) -> ! {
    if let Err(failed) = &result {
        tell(gate.error.as_ref(), failed);
    }
    // No destructors: they belong to the spawner, whose image this is.
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(i32::from(result.is_err())) }
}

fn supervise(
    sandbox: &Sandbox,
    gate: &mut Gate,
    fds: Fds,
    root: bool,
    watch_memory: bool,
) -> Result<(), Failed> {
    _ = rustix::thread::set_name(c"slipway-init");
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if matches!(sandbox.lifetime, Lifetime::Bound) {
        die_with_parent()?;
    }
    await_go(gate.go.take())?;
    // The log and the record lie outside of what the sandbox sees.
    let record = ExitRecord::open(&sandbox.lifetime, fds.exit)?;
    let mut pump = LogPump::open(&sandbox.lifetime)?;
    mounts::enter(sandbox, root)?;
    set_hostname(&sandbox.hostname)?;
    let signals = signals::block(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
        .step(|| "block signals".to_owned())?;
    let streams = Streams::new(fds.stdio, pump.as_mut(), root)?;
    let identity = if root {
        Identity::New
    } else {
        Identity::AsWeAre
    };
    // SAFETY: one thread; the child executes or exits.
    let main = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()).step(|| "fork".to_owned()),
        0 => {
            let program = Program::from(sandbox);
            command::execute(&program, streams, gate.error.as_ref(), identity)
        }
        pid => pid,
    };
    drop((streams, gate.error.take()));
    close_streams();
    drop_capabilities();
    let watch = sandbox.limits.memory_bytes.filter(|_| watch_memory);
    let exit = keep(
        main,
        &signals,
        pump.as_mut(),
        watch.map(MemoryWatch::new),
        fds.oom_events.as_ref(),
    );
    if let Some(pump) = &mut pump {
        pump.drain();
    }
    record
        .write(&exit)
        .step(|| "write the exit record".to_owned())
}

/// The spawner is the only reader; if it is gone there is nobody to tell.
pub(crate) fn tell(error: Option<&OwnedFd>, failed: &Failed) {
    if let Some(error) = error {
        _ = rustix::io::write(
            error,
            format!("{} {}", failed.errno, failed.step).as_bytes(),
        );
    }
}

pub(crate) fn await_go(go: Option<OwnedFd>) -> Result<(), Failed> {
    let mut byte = [0];
    match go.map(|go| rustix::io::read(&go, &mut byte)) {
        Some(Ok(1)) => Ok(()),
        _ => Err(Failed {
            step: "be let into its control groups".to_owned(),
            errno: libc::EPERM,
        }),
    }
}

/// Init itself keeps none: the caller waits for the end of the main process's output, and the spawner's socket is there.
pub(crate) fn close_streams() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        for target in 0..3 {
            // SAFETY: as in `install`.
            unsafe { libc::dup2(null.as_raw_fd(), target) };
        }
    }
}

/// For signals to the main process, and for reading what it uses of memory; the rest was for making its world.
pub(crate) fn drop_capabilities() {
    let kept = CapabilitySet::KILL | CapabilitySet::SYS_PTRACE;
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    // What cannot be given up is still out of the sandbox's reach.
    _ = set_capabilities(None, sets);
}

/// Until the main process has ended.
fn keep(
    main: i32,
    signals: &OwnedFd,
    mut pump: Option<&mut LogPump>,
    mut watch: Option<MemoryWatch>,
    oom_events: Option<&OwnedFd>,
) -> Exit {
    let mut over_memory = false;
    loop {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        fds.extend(
            pump.as_ref()
                .and_then(|pump| pump.source())
                .map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)),
        );
        let timeout = watch
            .as_ref()
            .map(|watch| watch.next())
            .into_iter()
            .chain(pump.as_ref().and_then(|p| p.flush_after()));
        let timeout = timeout.min().and_then(|time| Timespec::try_from(time).ok());
        let polled = poll(&mut fds, timeout.as_ref());
        let signalled = polled.is_ok() && !fds[0].revents().is_empty();
        drop(fds);
        if polled.is_err_and(|error| error != Errno::INTR) {
            break;
        }
        if let Some(pump) = pump.as_deref_mut() {
            pump.pump();
        }
        if watch.as_mut().is_some_and(MemoryWatch::is_over) {
            over_memory = true;
            // SAFETY: from pid 1, -1 is every other process of the sandbox.
            unsafe { libc::kill(-1, libc::SIGKILL) };
        }
        if signalled {
            for signal in signals::read(signals.as_fd()) {
                if signal != libc::SIGCHLD {
                    // SAFETY: the main process leads its own group.
                    unsafe { libc::kill(-main, signal) };
                }
            }
            if let Some(status) = reap(main) {
                return exit_of(status, over_memory || oom_events.is_some_and(oom_killed));
            }
        }
    }
    exit_of(libc::SIGKILL, over_memory)
}

/// Reaps all that have ended; the status of the main process when it is among them.
pub(crate) fn reap(main: i32) -> Option<i32> {
    let mut of_main = None;
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a live value.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return of_main;
        }
        if pid == main {
            of_main = Some(status);
        }
    }
}

pub(crate) fn exit_of(status: i32, out_of_memory: bool) -> Exit {
    Exit {
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        out_of_memory,
        ended_at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs()),
    }
}

/// `memory.events` (v2) and `memory.oom_control` (v1) both have a line `oom_kill N`.
fn oom_killed(events: &OwnedFd) -> bool {
    let mut text = [0; 512];
    let length = rustix::io::pread(events, &mut text, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..length]);
    text.lines()
        .filter_map(|line| line.strip_prefix("oom_kill "))
        .any(|count| count.trim() != "0")
}

fn die_with_parent() -> Result<(), Failed> {
    // SAFETY: a plain system call.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()).step(|| "bind to the parent".to_owned()),
    }
}

fn set_hostname(name: &str) -> Result<(), Failed> {
    rustix::system::sethostname(name.as_bytes()).step(|| "set the host name".to_owned())
}
