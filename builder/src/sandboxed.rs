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
    dirs::{APP, BUILD_CONFIG, BUILDPACKS, HOME, LAYERS, LIFECYCLE, ORDER, PATH, PLATFORM},
    error::{BuildError, Doing as _},
    failure::{self, Ended, Failure},
    files::Untrusted,
    lines::Lines,
};

/// How soon a cancelled build is noticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const READ_BYTES: usize = 64 * 1024;
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
    /// The variables that our platform has for every buildpack.
    pub(crate) build_config: &'a Path,
    /// At `/layers`.
    pub(crate) layers: Mount,
    /// Where what it writes into `/layers` is found afterwards.
    pub(crate) results: &'a Path,
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
        &self,
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

    pub(crate) fn sandbox(&self, builder: &Builder) -> Result<Sandbox, BuildError> {
        let stack = &builder.stack;
        let base = builder
            .store
            .layer(&stack.build_layer)
            .ok_or(container::store::StoreError::NoLayer(stack.build_layer))?;
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
            bind(self.build_config, BUILD_CONFIG, true),
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

    /// Of the phase. What a buildpack sees of it the phase decides.
    fn env(&self, builder: &Builder) -> Vec<(String, String)> {
        let variables = [
            (
                "PATH",
                builder
                    .stack
                    .build_variable("PATH")
                    .unwrap_or(PATH)
                    .to_owned(),
            ),
            ("HOME", HOME.to_owned()),
            ("CNB_PLATFORM_API", api::PLATFORM_NEWEST.to_string()),
            ("CNB_STACK_ID", builder.stack.id.clone()),
            ("CNB_LOG_LEVEL", "error".to_owned()),
            (
                failure::FILE_VARIABLE,
                format!("{LAYERS}/{}", failure::FILE),
            ),
            (
                failure::TRIED_VARIABLE,
                format!("{LAYERS}/{}", failure::TRIED_FILE),
            ),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        variables.into_iter().collect()
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
        let results = Untrusted::open(self.results, LAYERS)?;
        Err(match Failure::read(&results).ok_or_else(lost)? {
            Failure::NothingDetected { tried } => BuildError::NothingDetected { tried },
            Failure::DetectFailed { tried } => BuildError::DetectFailed { tried },
            Failure::BuildpackFailed { buildpack, exit } => BuildError::BuildpackFailed {
                buildpack,
                exit,
                last_lines: lines.into_last(),
            },
            Failure::BadFile(bad) | Failure::Input(bad) => bad.into(),
            Failure::BuildpackApi(text) | Failure::Refused(text) => BuildError::Refused(text),
            Failure::Arguments(error) | Failure::PlatformApi(error) => BuildError::PhaseFailed {
                phase,
                action: "begin".to_owned(),
                error,
            },
            failure @ Failure::Privileged => BuildError::Refused(failure.to_string()),
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
