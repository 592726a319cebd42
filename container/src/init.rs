//! Init: pid 1 of a sandbox. Makes the world the sandbox may see, starts the main process in it, and stays: reaps, passes
//! SIGTERM on, keeps the log of a detached sandbox, watches memory where no control group does, and writes the exit
//! record. When it ends, the kernel kills whatever is left of the sandbox.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Write as _},
    mem,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};

use crate::{
    Exit, Sandbox,
    limits::Limits,
    log_pump::LogPump,
    mounts,
    sandbox::{Lifetime, SANDBOX_ID, host_ids},
    seccomp,
    zygote::{Failed, Step, write_id_maps},
};

/// Without a memory control group, init adds up what its processes use: often while a sandbox is young or near its
/// limit, seldom otherwise, so that a hundred idle ones cost nothing that could be noticed.
const WATCH_OFTEN: Duration = Duration::from_millis(200);
const WATCH_SELDOM: Duration = Duration::from_secs(4);
const YOUNG: Duration = Duration::from_secs(20);

/// What init inherits from the spawner.
pub(crate) struct Fds {
    /// A byte comes when identity maps and control groups are set.
    pub(crate) go: Option<OwnedFd>,
    /// Takes `errno step`; closed when the command has been executed: the spawner waits for that.
    pub(crate) error: Option<OwnedFd>,
    /// Takes the exit record of a bound sandbox.
    pub(crate) exit: Option<OwnedFd>,
    /// The control group's count of out-of-memory kills.
    pub(crate) oom_events: Option<OwnedFd>,
    /// Standard streams of a bound sandbox.
    pub(crate) stdio: Vec<OwnedFd>,
}

pub(crate) fn main(sandbox: &Sandbox, mut fds: Fds, root: bool, watch_memory: bool) -> ! {
    let status = match supervise(sandbox, &mut fds, root, watch_memory) {
        Ok(()) => 0,
        Err(failed) => {
            tell(fds.error.as_ref(), &failed);
            1
        }
    };
    // No destructors: they belong to the spawner, whose image this is.
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(status) }
}

fn supervise(
    sandbox: &Sandbox,
    fds: &mut Fds,
    root: bool,
    watch_memory: bool,
) -> Result<(), Failed> {
    if matches!(sandbox.lifetime, Lifetime::Bound) {
        die_with_parent()?;
    }
    await_go(fds.go.take())?;
    // The log and the record lie outside of what the sandbox sees.
    let record = match &sandbox.lifetime {
        Lifetime::Bound => fds.exit.take().map(File::from),
        Lifetime::Detached { exit_record, .. } => {
            Some(File::create(exit_record).step(|| format!("create {}", exit_record.display()))?)
        }
    };
    let mut pump = LogPump::open(&sandbox.lifetime)?;
    mounts::enter(sandbox, root)?;
    set_hostname(&sandbox.hostname)?;
    let signals = block_signals(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
        .step(|| "block signals".to_owned())?;
    let streams = Streams::new(mem::take(&mut fds.stdio), pump.as_mut())?;
    // SAFETY: one thread; the child executes or exits.
    let main = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()).step(|| "fork".to_owned()),
        0 => execute(sandbox, streams, fds.error.as_ref(), root),
        pid => pid,
    };
    drop((streams, fds.error.take()));
    close_streams();
    let watch = (watch_memory && sandbox.limits.memory_bytes.is_some())
        .then(|| MemoryWatch::new(&sandbox.limits));
    let exit = keep(
        main,
        &signals,
        pump.as_mut(),
        watch,
        fds.oom_events.as_ref(),
    );
    if let Some(pump) = &mut pump {
        pump.drain();
    }
    let text = serde_json::to_vec(&exit)
        .map_err(io::Error::from)
        .step(|| "write the exit record".to_owned())?;
    record
        .map_or(Ok(()), |mut record| record.write_all(&text))
        .step(|| "write the exit record".to_owned())
}

/// The spawner is the only reader; if it is gone there is nobody to tell.
fn tell(error: Option<&OwnedFd>, failed: &Failed) {
    if let Some(error) = error {
        _ = rustix::io::write(
            error,
            format!("{} {}", failed.errno, failed.step).as_bytes(),
        );
    }
}

fn await_go(go: Option<OwnedFd>) -> Result<(), Failed> {
    let mut byte = [0];
    match go.map(|go| rustix::io::read(&go, &mut byte)) {
        Some(Ok(1)) => Ok(()),
        _ => Err(Failed {
            step: "be let into its control groups".to_owned(),
            errno: libc::EPERM,
        }),
    }
}

/// The main process's standard streams.
struct Streams([OwnedFd; 3]);

impl Streams {
    fn new(stdio: Vec<OwnedFd>, pump: Option<&mut LogPump>) -> Result<Self, Failed> {
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

/// Init itself keeps none: the caller waits for the end of the main process's output, and the spawner's socket is there.
fn close_streams() {
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        for target in 0..3 {
            // SAFETY: as in `install`.
            unsafe { libc::dup2(null.as_raw_fd(), target) };
        }
    }
}

/// In the child: becomes the main process, or says why not and exits.
fn execute(sandbox: &Sandbox, streams: Streams, error: Option<&OwnedFd>, root: bool) -> ! {
    let Err(failed) = become_command(sandbox, streams, root);
    tell(error, &failed);
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(127) }
}

fn become_command(
    sandbox: &Sandbox,
    streams: Streams,
    root: bool,
) -> Result<std::convert::Infallible, Failed> {
    rustix::process::setsid().step(|| "start a session".to_owned())?;
    streams
        .install()
        .step(|| "install the standard streams".to_owned())?;
    if root {
        drop_root()?;
    }
    set_limits(&sandbox.limits);
    rustix::process::chdir(sandbox.cwd.as_str()).step(|| format!("chdir {}", sandbox.cwd))?;
    // SAFETY: plain system calls without pointers.
    unsafe {
        libc::umask(0o022);
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error()).step(|| "set no_new_privs".to_owned());
        }
    }
    seccomp::apply().step(|| "install the seccomp filter".to_owned())?;
    reset_signals();
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
    let set = |resource, value: u64| {
        let limit = libc::rlimit {
            rlim_cur: value,
            rlim_max: value,
        };
        // SAFETY: the pointer is to a live value.
        unsafe { libc::setrlimit(resource, &raw const limit) };
    };
    set(libc::RLIMIT_CORE, 0);
    if let Some(processes) = limits.processes {
        // Counted per user namespace, so only the sandbox's own processes.
        set(libc::RLIMIT_NPROC, u64::from(processes));
    }
    // Chosen before the platform itself when the machine runs out of memory.
    _ = fs::write("/proc/self/oom_score_adj", "300");
}

fn reset_signals() {
    // SAFETY: the set lives on the stack; unblocking everything and default dispositions are what exec should inherit.
    unsafe {
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

fn exec(sandbox: &Sandbox) -> Result<std::convert::Infallible, Failed> {
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
    let program = find_program(command, &sandbox.env);
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

/// A command without a slash is looked for in the sandbox's own PATH.
fn find_program(command: &str, env: &[(String, String)]) -> std::path::PathBuf {
    if command.contains('/') {
        return command.into();
    }
    let path = env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or("/usr/bin:/bin", |(_, value)| value);
    let found = path
        .split(':')
        .map(|dir| Path::new(dir).join(command))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| command.into())
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
            for signal in read_signals(signals.as_fd()) {
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
fn reap(main: i32) -> Option<i32> {
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

fn exit_of(status: i32, out_of_memory: bool) -> Exit {
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

struct MemoryWatch {
    bytes_max: u64,
    started: Instant,
    seen: u64,
    looked: Instant,
}

impl MemoryWatch {
    fn new(limits: &Limits) -> Self {
        let now = Instant::now();
        Self {
            bytes_max: limits.memory_bytes.unwrap_or(u64::MAX),
            started: now,
            seen: 0,
            looked: now,
        }
    }

    fn next(&self) -> Duration {
        let calm = self.started.elapsed() > YOUNG && self.seen < self.bytes_max / 2;
        let interval = if calm { WATCH_SELDOM } else { WATCH_OFTEN };
        interval.saturating_sub(self.looked.elapsed())
    }

    fn is_over(&mut self) -> bool {
        if !self.next().is_zero() {
            return false;
        }
        self.looked = Instant::now();
        self.seen = resident_bytes();
        self.seen > self.bytes_max
    }
}

/// Anonymous memory of all processes in the sandbox but init: what they would not share with anybody.
fn resident_bytes() -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else {
        return 0;
    };
    let pids = processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pages: u64 = pids
        .filter(|pid| *pid != 1)
        .filter_map(|pid| {
            // size resident shared ...: resident less the file-backed part.
            let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
            let mut fields = statm
                .split(' ')
                .skip(1)
                .map_while(|field| field.parse::<u64>().ok());
            Some(fields.next()?.saturating_sub(fields.next()?))
        })
        .sum();
    pages * rustix::param::page_size() as u64
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

/// Blocks the signals and gives a signalfd for them.
pub(crate) fn block_signals(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: the set lives on the stack; the descriptor is new and ours.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        let fd: RawFd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }
}

pub(crate) fn drain_signals(signals: BorrowedFd<'_>) {
    _ = read_signals(signals);
}

fn read_signals(signals: BorrowedFd<'_>) -> Vec<i32> {
    const SIZE: usize = mem::size_of::<libc::signalfd_siginfo>();
    let mut seen = Vec::new();
    let mut info = [0u8; SIZE];
    while let Ok(SIZE) = rustix::io::read(signals, &mut info) {
        // ssi_signo is the first field.
        let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        seen.extend(i32::try_from(number));
    }
    seen
}
