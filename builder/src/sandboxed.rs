//! Runs a phase in its sandbox: what it may see, its output as it happens, and what ends it early.

use std::{
    fs::File,
    io::Read as _,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use container::{Bind, Exit, Mount, Process, Sandbox, Stdio, sandbox::Lifetime};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};

use crate::{
    Builder, Output, api,
    dirs::{APP, BUILDPACKS, HOME, LIFECYCLE, ORDER, PATH, PLATFORM},
    error::{BuildError, Doing as _},
    failure::{Ended, Failure},
    files::Untrusted,
    lines::Lines,
};

/// How soon a cancelled build is noticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const READ_BYTES: usize = 64 * 1024;
/// 1980-01-01T00:00:01Z: tools that honour it leave files that do not differ from build to build.
const SOURCE_DATE_EPOCH: &str = "315532801";
const HOSTNAME: &str = "build";

/// What ends a build before its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch<'a> {
    pub(crate) cancel: &'a AtomicBool,
    pub(crate) started: Instant,
    pub(crate) wall_time_max: Duration,
}

/// A phase to run inside.
pub(crate) struct Phase<'a> {
    /// As messages name it, and under which name the binary runs it.
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    pub(crate) app: &'a Path,
    pub(crate) app_read_only: bool,
    pub(crate) platform: &'a Path,
    /// At `/layers`.
    pub(crate) layers: Mount,
    /// Where what it writes into `/layers` is found afterwards.
    pub(crate) results: &'a Path,
    pub(crate) source_version: Option<&'a str>,
    /// The sandbox's own; must not exist yet.
    pub(crate) scratch: PathBuf,
}

impl Watch<'_> {
    pub(crate) fn check(&self) -> Result<(), BuildError> {
        if self.cancel.load(Ordering::Relaxed) {
            Err(BuildError::Cancelled)
        } else if self.started.elapsed() >= self.wall_time_max {
            Err(BuildError::TimedOut {
                after: self.wall_time_max,
            })
        } else {
            Ok(())
        }
    }
}

impl Phase<'_> {
    pub(crate) fn run(
        self,
        builder: &Builder,
        watch: &Watch<'_>,
        output: &mut dyn Output,
    ) -> Result<(), BuildError> {
        watch.check()?;
        std::fs::create_dir(&self.scratch).doing("make", &self.scratch)?;
        let sandbox = self.sandbox(builder)?;
        let (reader, writer) =
            pipe_with(PipeFlags::CLOEXEC).doing("make a pipe for", &self.scratch)?;
        let stdio = Stdio::Fds {
            stdin: null()?,
            stdout: writer.try_clone().doing("make a pipe for", &self.scratch)?,
            stderr: writer,
        };
        let process = builder.spawner.spawn(&sandbox, stdio)?;
        let mut lines = Lines::default();
        let mut sink = |line: &[u8]| output.raw(line);
        let ended = follow(&process, reader, watch, &mut lines, &mut sink);
        lines.flush(&mut sink);
        if ended.is_err() {
            // Nothing of it may run on when its directories are removed.
            process.kill().doing("kill", &self.scratch)?;
            process.wait().doing("wait for", &self.scratch)?;
        }
        self.judge(builder, &ended?, lines)
    }

    fn sandbox(&self, builder: &Builder) -> Result<Sandbox, BuildError> {
        let stack = &builder.stack;
        let base = builder
            .store
            .layer(&stack.base_layer)
            .ok_or(container::store::StoreError::NoLayer(stack.base_layer))?;
        let bind = |source: &Path, target: &str, read_only| {
            Mount::Bind(Bind {
                source: source.to_owned(),
                target: target.to_owned(),
                read_only,
            })
        };
        let mut mounts = stack.mounts.clone();
        mounts.extend([
            bind(self.app, APP, self.app_read_only),
            bind(self.platform, PLATFORM, true),
            bind(&builder.buildpacks, BUILDPACKS, true),
            bind(&builder.buildpacks.join("order.toml"), ORDER, true),
            bind(&builder.lifecycle, LIFECYCLE, true),
            self.layers.clone(),
        ]);
        Ok(Sandbox {
            lowers: vec![base],
            scratch: self.scratch.clone(),
            mounts,
            argv: vec![format!("{LIFECYCLE}/{}", self.program)],
            env: self.env(builder),
            cwd: APP.to_owned(),
            hostname: HOSTNAME.to_owned(),
            limits: builder.limits,
            lifetime: Lifetime::Bound,
        })
    }

    /// Nothing but this reaches a buildpack from the platform.
    fn env(&self, builder: &Builder) -> Vec<(String, String)> {
        let (stack, target) = (&builder.stack, &builder.stack.target);
        let fixed = [
            ("PATH", PATH),
            ("HOME", HOME),
            ("CNB_PLATFORM_API", api::PLATFORM),
            ("CNB_STACK_ID", &stack.id),
            ("CNB_TARGET_OS", &target.os),
            ("CNB_TARGET_ARCH", &target.arch),
            ("CNB_TARGET_DISTRO_NAME", &target.distro_name),
            ("CNB_TARGET_DISTRO_VERSION", &target.distro_version),
            ("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH),
        ];
        let version = self.source_version.map(|commit| ("SOURCE_VERSION", commit));
        fixed
            .into_iter()
            .chain(version)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain(stack.build_env.iter().cloned())
            .collect()
    }

    fn judge(&self, builder: &Builder, exit: &Exit, lines: Lines) -> Result<(), BuildError> {
        if exit.success() {
            return Ok(());
        }
        if exit.out_of_memory {
            return Err(BuildError::OutOfMemory {
                limit_bytes: builder.limits.memory_bytes,
            });
        }
        let phase = self.name;
        let lost = || BuildError::PhaseLost {
            phase,
            exit: ended(exit),
        };
        let results = Untrusted::open(self.results, crate::dirs::LAYERS)?;
        Err(match Failure::read(&results).ok_or_else(lost)? {
            Failure::NothingDetected { tried } => BuildError::NothingDetected { tried },
            Failure::DetectFailed { tried } => BuildError::DetectFailed { tried },
            Failure::BuildpackFailed { buildpack, exit } => BuildError::BuildpackFailed {
                buildpack,
                exit,
                last_lines: lines.into_last(),
            },
            Failure::BadFile(bad) => bad.into(),
            Failure::Io { action, error } => BuildError::PhaseFailed {
                phase,
                action,
                error,
            },
        })
    }
}

fn ended(exit: &Exit) -> Ended {
    match exit.code {
        Some(code) => Ended::Status(code),
        None => Ended::Signal(exit.signal.unwrap_or(0)),
    }
}

fn null() -> Result<OwnedFd, BuildError> {
    let path = Path::new("/dev/null");
    Ok(File::open(path).doing("open", path)?.into())
}

/// Until the sandbox has ended and all its output has been passed on.
fn follow(
    process: &Process,
    reader: OwnedFd,
    watch: &Watch<'_>,
    lines: &mut Lines,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<Exit, BuildError> {
    let of_pipe = Path::new("the build's output");
    let flags = fcntl_getfl(&reader).doing("read", of_pipe)?;
    fcntl_setfl(&reader, flags | OFlags::NONBLOCK).doing("read", of_pipe)?;
    let mut reader = File::from(reader);
    let mut buffer = vec![0; READ_BYTES];
    let interval = Timespec::try_from(LOOK_INTERVAL).unwrap_or_default();
    let mut output_ended = false;
    loop {
        watch.check()?;
        let mut fds = vec![PollFd::from_borrowed_fd(process.pidfd(), PollFlags::IN)];
        if !output_ended {
            fds.push(PollFd::new(&reader, PollFlags::IN));
        }
        match poll(&mut fds, Some(&interval)) {
            Err(Errno::INTR) => continue,
            result => _ = result.doing("wait for", of_pipe)?,
        }
        // Looked at before the output is read: nothing is written any more once the sandbox has ended.
        let ended = !fds[0].revents().is_empty();
        drop(fds);
        output_ended |= !pass_on(&mut reader, &mut buffer, ended, watch, lines, sink)?;
        if ended {
            return process.wait().doing("wait for", of_pipe);
        }
    }
}

/// Reads once, or all there is left at the `end`; false when the output has ended.
fn pass_on(
    reader: &mut File,
    buffer: &mut [u8],
    end: bool,
    watch: &Watch<'_>,
    lines: &mut Lines,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<bool, BuildError> {
    loop {
        match reader.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => lines.push(&buffer[..length], sink),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).doing("read", Path::new("the build's output")),
        }
        if !end {
            return Ok(true);
        }
        watch.check()?;
    }
}
