//! A process of a sandbox, from the fork in init (or in the attendant of one that comes later) to its exec.

use std::{
    convert::Infallible,
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    ptr,
};

use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Resource, Rlimit, Signal, getrlimit, setrlimit},
};

use crate::{
    Sandbox,
    init::tell,
    limits::Limits,
    log_pump::LogPump,
    program,
    sandbox::{SANDBOX_ID, host_ids},
    seccomp, signals, terminal,
    zygote::{Failed, Step, write_id_maps},
};

/// Enough for a busy server; programs that close every possible descriptor do not take long over it.
const FILES_MAX: u64 = 65_536;
const OOM_SCORE_ADJ: &str = "300";

/// What to execute.
pub(crate) struct Program<'a> {
    pub(crate) argv: &'a [String],
    pub(crate) env: &'a [(String, String)],
    pub(crate) cwd: &'a str,
    pub(crate) limits: &'a Limits,
    /// Killed when whoever forked it ends. The rest of a sandbox is ended by the end of its init.
    pub(crate) dies_with_parent: bool,
}

/// How the process gets to the user that it has inside.
pub(crate) enum Identity {
    /// Its namespaces came with one, as an ordinary user's do.
    AsWeAre,
    /// As root: in a user namespace of its own.
    New,
    /// As root: in this one.
    Join(OwnedFd),
}

impl<'a> From<&'a Sandbox> for Program<'a> {
    fn from(sandbox: &'a Sandbox) -> Self {
        Self {
            argv: &sandbox.argv,
            env: &sandbox.env,
            cwd: &sandbox.cwd,
            limits: &sandbox.limits,
            dies_with_parent: false,
        }
    }
}

/// In the child: becomes the process, or says why not and exits.
pub(crate) fn execute(
    program: &Program<'_>,
    streams: Streams,
    error: Option<&OwnedFd>,
    identity: Identity,
) -> ! {
    let Err(failed) = become_command(program, streams, identity);
    tell(error, &failed);
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(127) }
}

fn become_command(
    program: &Program<'_>,
    streams: Streams,
    identity: Identity,
) -> Result<Infallible, Failed> {
    rustix::process::setsid().step(|| "start a session".to_owned())?;
    streams
        .install()
        .step(|| "install the standard streams".to_owned())?;
    identity.take_on()?;
    if program.dies_with_parent {
        // After the change of user, which resets it.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .step(|| "bind to the parent".to_owned())?;
    }
    set_limits(program.limits);
    rustix::process::chdir(program.cwd).step(|| format!("chdir {}", program.cwd))?;
    rustix::thread::set_no_new_privs(true).step(|| "set no_new_privs".to_owned())?;
    seccomp::apply().step(|| "install the seccomp filter".to_owned())?;
    signals::unblock();
    exec(program)
}

impl Identity {
    fn take_on(self) -> Result<(), Failed> {
        match self {
            Self::AsWeAre => Ok(()),
            Self::New => {
                take_host_ids()?;
                new_user_namespace()
            }
            // The reserved user owns it, and so may enter.
            Self::Join(namespace) => {
                take_host_ids()?;
                join(&namespace)
            }
        }
    }
}

fn take_host_ids() -> Result<(), Failed> {
    let (uid, gid) = host_ids();
    // SAFETY: one thread; plain system calls.
    unsafe {
        if libc::setgroups(0, ptr::null()) != 0
            || libc::setresgid(gid, gid, gid) != 0
            || libc::setresuid(uid, uid, uid) != 0
        {
            return Err(io::Error::last_os_error()).step(|| "drop root".to_owned());
        }
    }
    Ok(())
}

/// In which the reserved host ids are [`SANDBOX_ID`]. The capabilities that a new namespace brings are lost on exec,
/// because the process is not its root.
fn new_user_namespace() -> Result<(), Failed> {
    let reserved = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    // SAFETY: plain system calls.
    unsafe {
        // Changing ids made /proc/self belong to root; the maps are written there.
        libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        if libc::unshare(libc::CLONE_NEWUSER) != 0 {
            return Err(io::Error::last_os_error()).step(|| "make a user namespace".to_owned());
        }
    }
    write_id_maps("/proc/self", reserved)?;
    debug_assert_eq!(rustix::process::getuid().as_raw(), SANDBOX_ID);
    Ok(())
}

fn join(user_namespace: &OwnedFd) -> Result<(), Failed> {
    // SAFETY: a plain system call on an open descriptor.
    match unsafe { libc::setns(user_namespace.as_raw_fd(), libc::CLONE_NEWUSER) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()).step(|| "enter the user namespace".to_owned()),
    }
}

/// Best effort: a limit that may not be set here is not worth failing for; the strict ones are control groups.
fn set_limits(limits: &Limits) {
    let set = |resource, most: u64| {
        let most = getrlimit(resource)
            .maximum
            .map_or(most, |now| now.min(most));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        _ = setrlimit(resource, limit);
    };
    set(Resource::Core, 0);
    set(Resource::Nofile, FILES_MAX);
    if let Some(processes) = limits.processes {
        // Counted per user namespace, so only the sandbox's own processes.
        set(Resource::Nproc, u64::from(processes));
    }
    // Chosen before the platform itself when the machine runs out of memory.
    _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
}

fn exec(program: &Program<'_>) -> Result<Infallible, Failed> {
    let command = program.argv.first().map_or("", String::as_str);
    let nul = |text: &str| {
        CString::new(text)
            .map_err(io::Error::from)
            .step(|| format!("exec {command}"))
    };
    let argv: Vec<CString> = program
        .argv
        .iter()
        .map(|word| nul(word))
        .collect::<Result<_, _>>()?;
    let env: Vec<CString> = program
        .env
        .iter()
        .map(|(name, value)| nul(&format!("{name}={value}")))
        .collect::<Result<_, _>>()?;
    let file = program::find(command, program.env);
    program::check(&file).step(|| format!("exec {command}"))?;
    let file = CString::new(file.as_os_str().as_bytes())
        .map_err(io::Error::from)
        .step(|| "exec".to_owned())?;
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter()
            .map(|text| text.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    // SAFETY: close_range touches only descriptors above the standard ones, to be closed on exec; execve gets
    // null-terminated arrays of live strings.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
        libc::execve(
            file.as_ptr(),
            pointers(&argv).as_ptr(),
            pointers(&env).as_ptr(),
        );
    }
    Err(io::Error::last_os_error()).step(|| format!("exec {command}"))
}

/// The process's standard streams.
pub(crate) struct Streams {
    fds: [OwnedFd; 3],
    /// They are a terminal, which is to control the session.
    terminal: bool,
}

impl Streams {
    /// Of a terminal's handover, of the three streams, or of nothing.
    pub(crate) fn new(
        stdio: Vec<OwnedFd>,
        pump: Option<&mut LogPump>,
        root: bool,
    ) -> Result<Self, Failed> {
        match <[OwnedFd; 3]>::try_from(stdio) {
            Ok(fds) => Ok(Self {
                fds,
                terminal: false,
            }),
            Err(stdio) => match stdio.first() {
                Some(handover) => Self::of_terminal(terminal::make(handover, root)?),
                None => Self::of_log(pump),
            },
        }
    }

    fn of_terminal(terminal: OwnedFd) -> Result<Self, Failed> {
        let copy = || terminal.try_clone().step(|| "make a terminal".to_owned());
        Ok(Self {
            fds: [copy()?, copy()?, terminal],
            terminal: true,
        })
    }

    fn of_log(pump: Option<&mut LogPump>) -> Result<Self, Failed> {
        let null = File::options().read(true).write(true).open("/dev/null");
        let stdin: OwnedFd = null.step(|| "open /dev/null".to_owned())?.into();
        let fds = if let Some(pump) = pump {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).step(|| "pipe".to_owned())?;
            let errors = writer.try_clone().step(|| "pipe".to_owned())?;
            pump.read_from(reader)?;
            [stdin, writer, errors]
        } else {
            let copy = || stdin.try_clone().step(|| "open /dev/null".to_owned());
            [copy()?, copy()?, stdin]
        };
        Ok(Self {
            fds,
            terminal: false,
        })
    }

    /// In a session that has no terminal yet.
    fn install(self) -> io::Result<()> {
        for (target, stream) in self.fds.iter().enumerate() {
            // SAFETY: the three standard descriptors belong to nobody in this process.
            if unsafe { libc::dup2(stream.as_raw_fd(), i32::try_from(target).unwrap_or(0)) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        if self.terminal {
            rustix::process::ioctl_tiocsctty(&self.fds[0])?;
        }
        Ok(())
    }
}
