//! The main process of a sandbox, from the fork in init to its exec.

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
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use crate::{
    Sandbox,
    init::tell,
    limits::Limits,
    log_pump::LogPump,
    program,
    sandbox::{SANDBOX_ID, host_ids},
    seccomp, signals,
    zygote::{Failed, Step, write_id_maps},
};

/// Enough for a busy server; programs that close every possible descriptor do not take long over it.
const FILES_MAX: u64 = 65_536;
const OOM_SCORE_ADJ: &str = "300";

/// In the child: becomes the main process, or says why not and exits.
pub(crate) fn execute(
    sandbox: &Sandbox,
    streams: Streams,
    error: Option<&OwnedFd>,
    root: bool,
) -> ! {
    let Err(failed) = become_command(sandbox, streams, root);
    tell(error, &failed);
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(127) }
}

fn become_command(sandbox: &Sandbox, streams: Streams, root: bool) -> Result<Infallible, Failed> {
    rustix::process::setsid().step(|| "start a session".to_owned())?;
    streams
        .install()
        .step(|| "install the standard streams".to_owned())?;
    if root {
        drop_root()?;
    }
    set_limits(&sandbox.limits);
    rustix::process::chdir(sandbox.cwd.as_str()).step(|| format!("chdir {}", sandbox.cwd))?;
    rustix::thread::set_no_new_privs(true).step(|| "set no_new_privs".to_owned())?;
    seccomp::apply().step(|| "install the seccomp filter".to_owned())?;
    signals::unblock();
    exec(sandbox)
}

/// Takes the reserved host ids, then a user namespace in which they are [`SANDBOX_ID`]. The capabilities that a new
/// namespace brings are lost on exec, because the process is not its root.
fn drop_root() -> Result<(), Failed> {
    let (uid, gid) = host_ids();
    // SAFETY: one thread; plain system calls.
    unsafe {
        if libc::setgroups(0, ptr::null()) != 0
            || libc::setresgid(gid, gid, gid) != 0
            || libc::setresuid(uid, uid, uid) != 0
        {
            return Err(io::Error::last_os_error()).step(|| "drop root".to_owned());
        }
        // Changing ids made /proc/self belong to root; the maps are written there.
        libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        if libc::unshare(libc::CLONE_NEWUSER) != 0 {
            return Err(io::Error::last_os_error()).step(|| "make a user namespace".to_owned());
        }
    }
    write_id_maps("/proc/self", (uid, gid))?;
    debug_assert_eq!(rustix::process::getuid().as_raw(), SANDBOX_ID);
    Ok(())
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

fn exec(sandbox: &Sandbox) -> Result<Infallible, Failed> {
    let command = sandbox.argv.first().map_or("", String::as_str);
    let nul = |text: &str| {
        CString::new(text)
            .map_err(io::Error::from)
            .step(|| format!("exec {command}"))
    };
    let argv: Vec<CString> = sandbox
        .argv
        .iter()
        .map(|word| nul(word))
        .collect::<Result<_, _>>()?;
    let env: Vec<CString> = sandbox
        .env
        .iter()
        .map(|(name, value)| nul(&format!("{name}={value}")))
        .collect::<Result<_, _>>()?;
    let program = program::find(command, &sandbox.env);
    program::check(&program).step(|| format!("exec {command}"))?;
    let program = CString::new(program.as_os_str().as_bytes())
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
            program.as_ptr(),
            pointers(&argv).as_ptr(),
            pointers(&env).as_ptr(),
        );
    }
    Err(io::Error::last_os_error()).step(|| format!("exec {command}"))
}

/// The main process's standard streams.
pub(crate) struct Streams([OwnedFd; 3]);

impl Streams {
    pub(crate) fn new(stdio: Vec<OwnedFd>, pump: Option<&mut LogPump>) -> Result<Self, Failed> {
        let null = || {
            File::options()
                .read(true)
                .write(true)
                .open("/dev/null")
                .map(OwnedFd::from)
        };
        if let Ok(streams) = <[OwnedFd; 3]>::try_from(stdio) {
            return Ok(Self(streams));
        }
        let stdin = null().step(|| "open /dev/null".to_owned())?;
        let Some(pump) = pump else {
            let copy = || stdin.try_clone().step(|| "open /dev/null".to_owned());
            return Ok(Self([copy()?, copy()?, stdin]));
        };
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).step(|| "pipe".to_owned())?;
        let errors = writer.try_clone().step(|| "pipe".to_owned())?;
        pump.read_from(reader)?;
        Ok(Self([stdin, writer, errors]))
    }

    fn install(self) -> io::Result<()> {
        for (target, stream) in self.0.iter().enumerate() {
            // SAFETY: the three standard descriptors belong to nobody in this process.
            if unsafe { libc::dup2(stream.as_raw_fd(), i32::try_from(target).unwrap_or(0)) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}
