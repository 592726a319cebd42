//! The spawner process: waits for requests, clones each sandbox's init, and tidies up after those that have ended.
//!
//! It is single-threaded, so what runs after the clone is ordinary Rust. It allocates little, because each init keeps a
//! copy-on-write image of it for as long as it lives.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _},
    mem,
    os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};

use crate::{
    Sandbox,
    cgroup::{Cgroups, Group},
    init::{self, Fds},
    message::{self, Reply, Request},
    sandbox::{SANDBOX_ID, host_ids},
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
    let status = match serve(socket) {
        Ok(()) => 0,
        Err(_) => 1,
    };
    std::process::exit(status)
}

struct Zygote {
    cgroups: Cgroups,
    /// Groups of the inits that still run, by pid.
    groups: HashMap<i32, Group>,
    /// As root, mounts come first and the user namespace last.
    root: bool,
}

fn serve(socket: BorrowedFd<'_>) -> io::Result<()> {
    let children = init::block_signals(&[libc::SIGCHLD])?;
    crate::seccomp::prepare();
    let mut zygote = Zygote {
        cgroups: Cgroups::probe(),
        groups: HashMap::new(),
        root: rustix::process::geteuid().is_root(),
    };
    loop {
        let mut fds = [
            PollFd::new(&socket, PollFlags::IN),
            PollFd::new(&children, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            result => _ = result?,
        }
        let (asked, ended) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        if ended {
            init::drain_signals(children.as_fd());
            zygote.reap();
        }
        if asked {
            let Some((request, fds)) = message::receive(socket)? else {
                return Ok(());
            };
            zygote.answer(socket, request, fds)?;
        }
    }
}

impl Zygote {
    fn answer(
        &mut self,
        socket: BorrowedFd<'_>,
        request: Request,
        fds: Vec<OwnedFd>,
    ) -> io::Result<()> {
        match request {
            Request::Probe => message::send(
                socket,
                &Reply::Capabilities(self.cgroups.capabilities()),
                &[],
            ),
            Request::Spawn(sandbox) => match self.spawn(&sandbox, fds) {
                Ok((pid, pidfd, exit)) => {
                    let reply = Reply::Spawned {
                        pid: pid.unsigned_abs(),
                    };
                    message::send(socket, &reply, &[pidfd.as_fd(), exit.as_fd()])
                }
                Err(Failed { step, errno }) => {
                    let forbidden = !self.root && step == NAMESPACES && errno == libc::EPERM;
                    message::send(
                        socket,
                        &Reply::Failed {
                            step,
                            errno,
                            forbidden,
                        },
                        &[],
                    )
                }
            },
        }
    }

    fn spawn(
        &mut self,
        sandbox: &Sandbox,
        stdio: Vec<OwnedFd>,
    ) -> Result<(i32, OwnedFd, OwnedFd), Failed> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).step(|| "pipe".to_owned());
        let (go_reader, go_writer) = pipe()?;
        let (error_reader, error_writer) = pipe()?;
        let (exit_reader, exit_writer) = pipe()?;
        let group = self.cgroups.create(&sandbox.limits)?;
        let oom_events = group.as_ref().and_then(Group::out_of_memory_events);
        let (pid, pidfd) = match clone(self.root).step(|| NAMESPACES.to_owned())? {
            Cloned::Child => {
                drop((go_writer, error_reader, exit_reader));
                let fds = Fds {
                    go: Some(go_reader),
                    error: Some(error_writer),
                    exit: Some(exit_writer),
                    oom_events,
                    stdio,
                };
                init::main(sandbox, fds, self.root, group.is_none());
            }
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop((go_reader, error_writer, exit_writer, stdio));
        let admitted = self.admit(pid, group.as_ref());
        if admitted.is_ok() {
            // A child that cannot read it has died, and says so in the error pipe.
            _ = rustix::io::write(&go_writer, &[1]);
        }
        drop(go_writer);
        let result = admitted.and_then(|()| read_error(error_reader));
        if let Some(group) = group {
            self.groups.insert(pid, group);
        }
        if let Err(failed) = result {
            _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
            // Its end is awaited: nothing may be left when the failure is reported.
            wait_for(pid);
            self.forget(pid);
            return Err(failed);
        }
        Ok((pid, pidfd, exit_reader))
    }

    /// What only the parent can do: identity maps of an ordinary user's namespace, and control groups.
    fn admit(&self, pid: i32, group: Option<&Group>) -> Result<(), Failed> {
        if !self.root {
            write_id_maps(&format!("/proc/{pid}"), host_ids())?;
        }
        group.map_or(Ok(()), |group| group.add(pid))
    }

    fn reap(&mut self) {
        while let Some(pid) = wait_any() {
            self.forget(pid);
        }
    }

    fn forget(&mut self, pid: i32) {
        if let Some(group) = self.groups.remove(&pid) {
            group.remove();
        }
    }
}

const NAMESPACES: &str = "make namespaces";

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

enum Cloned {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// clone3(2) as a fork into new namespaces, with a pidfd.
fn clone(root: bool) -> io::Result<Cloned> {
    let mut flags = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_PIDFD;
    if !root {
        flags |= libc::CLONE_NEWUSER;
    }
    let mut pidfd: RawFd = -1;
    // SAFETY: all zero is a valid clone_args.
    let mut args: libc::clone_args = unsafe { mem::zeroed() };
    args.flags = u64::from(flags.unsigned_abs());
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
    fs::File::from(pipe)
        .read_to_string(&mut text)
        .step(|| "read the sandbox's answer".to_owned())?;
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
