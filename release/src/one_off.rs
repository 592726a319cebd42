//! Processes that run once: the release phase, and operators' commands.

use std::{
    fs::File,
    future::pending,
    os::fd::OwnedFd,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use container::{Exit, Process, Stdio};
use rustix::{
    pipe::{PipeFlags, pipe_with},
    process::{Signal, pidfd_send_signal},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    net::unix::pipe,
    sync::mpsc,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use crate::{
    DeployError, Event, ProcessType, RunOptions,
    error::{StartError, how},
    launch::{self, Launch},
    logs::ReleaseOutput,
    rollout::{World, ended},
    runs::RunTurn,
    runtime::OneOff,
};

/// A migration may take long; one that hangs must not hold the app's changes up for ever.
const RELEASE_PHASE_MAX: Duration = Duration::from_hours(1);
pub(crate) const LINE_BYTES_MAX: u64 = 10_000;
const LAST_LINES: usize = 20;

/// Runs the process type `release`, if there is one, before any instance of the release is started.
pub(crate) async fn release_phase(
    world: &Arc<World>,
    launch: &Arc<Launch>,
    events: &mpsc::Sender<Event>,
) -> Result<(), DeployError> {
    let Some((process_type, command)) = launch
        .processes
        .iter()
        .find(|(process_type, _)| process_type.as_str() == ProcessType::RELEASE)
    else {
        return Ok(());
    };
    let started = Event::ReleasePhaseStarted {
        command: command.clone(),
    };
    _ = events.send(started).await;
    let name = name("release");
    let failed = |source| DeployError::Start {
        instance: name.clone(),
        source,
    };
    let (output, stdio) = output_pipe().map_err(|source| failed(StartError::Output(source)))?;
    world.logs.state(
        launch.app_id,
        &name,
        &format!("Starting process with command `{command}`"),
    );
    let argv = launch::of_process_type(process_type);
    let options = RunOptions::default();
    let one_off = start(world, launch, name.clone(), argv, &options, stdio)
        .await
        .map_err(failed)?;
    // However this ends, also when the deploy is cancelled.
    let running = KillOnDrop(one_off);
    let mut phase = Phase {
        world,
        launch,
        name: &name,
        events,
        last_lines: Vec::new(),
        kept: world
            .logs
            .keep_release_output(launch.app_id, launch.release),
    };
    let exit = timeout(RELEASE_PHASE_MAX, phase.follow(output, &running)).await;
    let last_lines = phase.last_lines;
    match exit {
        Ok(Ok(exit)) if exit.success() => Ok(()),
        Ok(Ok(exit)) => Err(DeployError::ReleasePhase { exit, last_lines }),
        Ok(Err(source)) => Err(failed(StartError::Output(source))),
        Err(_) => Err(DeployError::ReleasePhaseTimeout {
            after: RELEASE_PHASE_MAX,
            last_lines,
        }),
    }
}

struct Phase<'a> {
    world: &'a World,
    launch: &'a Launch,
    name: &'a str,
    events: &'a mpsc::Sender<Event>,
    last_lines: Vec<String>,
    kept: ReleaseOutput,
}

impl Phase<'_> {
    /// To the end of its output and of the process. A slow reader slows the process down; one that is gone does not.
    async fn follow(
        &mut self,
        output: pipe::Receiver,
        running: &KillOnDrop,
    ) -> std::io::Result<Exit> {
        let mut output = BufReader::new(output);
        loop {
            let mut line = Vec::new();
            let mut limited = (&mut output).take(LINE_BYTES_MAX);
            if limited.read_until(b'\n', &mut line).await? == 0 {
                break;
            }
            let end = line.strip_suffix(b"\n").map_or(line.len(), <[u8]>::len);
            line.truncate(end);
            self.tell(line).await;
        }
        let process = &running.0.process;
        ended(process.pidfd().try_clone_to_owned()?).await?;
        let exit = process.wait()?;
        self.world.logs.state(
            self.launch.app_id,
            self.name,
            &format!("Process {}", how(&exit)),
        );
        Ok(exit)
    }

    async fn tell(&mut self, line: Vec<u8>) {
        self.kept.line(&line);
        let text = String::from_utf8_lossy(&line).into_owned();
        self.world.logs.output(self.launch.app_id, self.name, &text);
        if self.last_lines.len() == LAST_LINES {
            self.last_lines.remove(0);
        }
        self.last_lines.push(text);
        _ = self.events.send(Event::ReleasePhaseOutput { line }).await;
    }
}

struct KillOnDrop(OneOff);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // It has mostly ended by itself.
        _ = self.0.process.kill();
    }
}

/// Starts somebody's command; its writable layer goes when it has ended.
pub(crate) async fn run(
    world: &Arc<World>,
    launch: &Arc<Launch>,
    words: Vec<String>,
    options: &RunOptions,
    stdio: Stdio,
    turn: RunTurn,
) -> Result<(String, Process), DeployError> {
    let name = turn.name.clone();
    let text = format!("Starting process with command `{}`", words.join(" "));
    world.logs.run_state(launch.app_id, &name, &text);
    let failed = |source| DeployError::Start {
        instance: name.clone(),
        source,
    };
    let argv = launch::of_command(words);
    let OneOff {
        process,
        scratch,
        hold,
    } = start(world, launch, name.clone(), argv, options, stdio)
        .await
        .map_err(failed)?;
    turn.started(process.pid());
    let pidfd = process.pidfd().try_clone_to_owned();
    let pidfd = pidfd.map_err(|source| failed(StartError::Output(source)))?;
    let (world, app, time_max) = (Arc::clone(world), launch.app_id, options.time_max);
    tokio::spawn(async move {
        if let Err(error) = see_through(&world, app, pidfd, turn, time_max).await {
            tracing::error!(%error, "cannot watch a one-off process");
        }
        drop((scratch, hold));
    });
    Ok((name, process))
}

/// Until it has ended: by itself, with its app, because somebody stopped it, or because its time is up.
pub(crate) async fn see_through(
    world: &World,
    app: i64,
    pidfd: OwnedFd,
    mut turn: RunTurn,
    time_max: Option<Duration>,
) -> std::io::Result<()> {
    let to_signal = pidfd.try_clone()?;
    let mut ended = pin!(ended(pidfd));
    let time_is_up = async {
        match time_max {
            Some(time) => sleep(time).await,
            None => pending().await,
        }
    };
    let why = tokio::select! {
        result = &mut ended => return result,
        _ = turn.app_here.changed() => None,
        () = turn.stop.notified() => Some("Stopping all processes with SIGTERM".to_owned()),
        () = time_is_up => Some(format!(
            "Stopping all processes with SIGTERM: the time limit of {} s is over",
            time_max.unwrap_or_default().as_secs()
        )),
    };
    // Each signal fails only when it has just ended.
    if let Some(why) = why {
        world.logs.run_state(app, &turn.name, &why);
        _ = pidfd_send_signal(&to_signal, Signal::TERM);
        if let Ok(result) = timeout(world.timing.stop_grace, &mut ended).await {
            return result;
        }
    }
    _ = pidfd_send_signal(&to_signal, Signal::KILL);
    ended.await
}

async fn start(
    world: &Arc<World>,
    launch: &Arc<Launch>,
    name: String,
    argv: Vec<String>,
    options: &RunOptions,
    stdio: Stdio,
) -> Result<OneOff, StartError> {
    let (world, launch, options) = (Arc::clone(world), Arc::clone(launch), options.clone());
    let start = move || world.runtime.one_off(&launch, &name, argv, &options, stdio);
    let started = spawn_blocking(start).await;
    started.unwrap_or_else(|error| Err(StartError::Output(std::io::Error::other(error))))
}

/// `run.1234`, as Heroku counts: four digits, no promise but that few are equal.
pub(crate) fn name(kind: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT
        .fetch_add(1, Ordering::Relaxed)
        .wrapping_add(std::process::id());
    format!("{kind}.{}", 1000 + number % 9000)
}

/// One pipe for stdout and stderr, so that their lines keep their order.
pub(crate) fn output_pipe() -> std::io::Result<(pipe::Receiver, Stdio)> {
    let (reader, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let stderr = stdout.try_clone()?;
    let stdin = OwnedFd::from(File::open("/dev/null")?);
    let stdio = Stdio::Fds {
        stdin,
        stdout,
        stderr,
    };
    Ok((pipe::Receiver::from_owned_fd(reader)?, stdio))
}
