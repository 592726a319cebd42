//! `run`: a one-off process of the current release, with the caller's stdin, stdout, stderr and its exit status.

use std::{io, os::fd::OwnedFd, time::Duration};

use clap::Args;
use container::{Exit, Process, Stdio};
use release::{AppName, RunOptions};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, unix::AsyncFd},
    net::unix::pipe,
};

use super::{Env, config};
use crate::{errors::Failure, quantity};

/// Run a one-off process, such as a migration or a console
///
/// The command is a line for a shell in the app's environment, as with plain ssh. The exit status is its own.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  run shop rake db:migrate\n  run shop 'cat; exit 7' < file\n  run shop --timeout 10m -e LEVEL=debug -- npm run report"
)]
pub(super) struct Run {
    pub(super) app: AppName,
    #[command(flatten)]
    options: Options,
    /// The command and its arguments
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

/// Of any one-off process.
#[derive(Args)]
pub(super) struct Options {
    /// Set for this process alone; may be given several times
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Stop it when it runs longer, for example 30s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
}

impl Options {
    pub(super) fn read(self) -> Result<RunOptions, Failure> {
        let env = self.env.iter().map(|var| config::assignment(var));
        Ok(RunOptions {
            env: env.collect::<Result<_, _>>()?,
            time_max: self.timeout,
        })
    }
}

fn time(text: &str) -> Result<Duration, &'static str> {
    quantity::time(text)
        .filter(|time| !time.is_zero())
        .ok_or("a time is written 30s, 10m or 2h")
}

impl Run {
    /// The exit status is the command's own; 128 + n when signal n ended it, as a shell says it.
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<u8, Failure> {
        let pipes = Pipes::new().map_err(Failure::ours)?;
        let (name, process) = env
            .ctx
            .apps
            .run(&self.app, self.command, self.options.read()?, pipes.theirs)
            .await?;
        tracing::debug!(app = %self.app, %name, user = %env.caller.user, "one-off process started");
        let exit = bridge(env, process, pipes.ours)
            .await
            .map_err(Failure::ours)?;
        if exit.out_of_memory {
            env.narrate(" !     The process was killed: it went over its memory limit.")
                .await;
        }
        Ok(status(&exit))
    }
}

fn status(exit: &Exit) -> u8 {
    let status = exit.code.unwrap_or_else(|| 128 + exit.signal.unwrap_or(9));
    u8::try_from(status).unwrap_or(u8::MAX)
}

struct Ours {
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

struct Pipes {
    theirs: Stdio,
    ours: Ours,
}

impl Pipes {
    fn new() -> io::Result<Self> {
        let pair = || -> io::Result<(OwnedFd, OwnedFd)> { Ok(pipe_with(PipeFlags::CLOEXEC)?) };
        let (stdin, stdin_ours) = pair()?;
        let (stdout_ours, stdout) = pair()?;
        let (stderr_ours, stderr) = pair()?;
        Ok(Self {
            theirs: Stdio::Fds {
                stdin,
                stdout,
                stderr,
            },
            ours: Ours {
                stdin: pipe::Sender::from_owned_fd(stdin_ours)?,
                stdout: pipe::Receiver::from_owned_fd(stdout_ours)?,
                stderr: pipe::Receiver::from_owned_fd(stderr_ours)?,
            },
        })
    }
}

/// Copies until the process has ended and its output is through. A caller who goes away ends the process.
async fn bridge(env: &mut Env<'_>, process: Process, ours: Ours) -> io::Result<Exit> {
    let pidfd = process.pidfd().try_clone_to_owned()?;
    // SAFETY: an OwnedFd keeps its descriptor open for as long as it lives, and gives the same one each time.
    let ended = unsafe { AsyncFd::register(pidfd) }?;
    let io = &mut env.io;
    let output = async {
        tokio::join!(
            copy(ours.stdout, &mut io.stdout),
            copy(ours.stderr, &mut io.stderr)
        );
        ended.readable().await.map(|_| ())
    };
    tokio::select! {
        result = output => result?,
        () = &mut io.gone => process.kill()?,
        // Input never finishes the command; it only closes the process's stdin.
        () = async { copy(&mut io.stdin, ours.stdin).await; std::future::pending().await } => {}
    }
    tokio::task::spawn_blocking(move || process.wait())
        .await
        .map_err(io::Error::other)?
}

/// Ends at the end of input or when the other side no longer listens; neither is an error of the command.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    _ = tokio::io::copy(&mut from, &mut to).await;
    _ = to.flush().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_statuses_are_the_commands_own() {
        let check = |code, signal, expected| {
            let exit = Exit {
                code,
                signal,
                out_of_memory: false,
                ended_at: 0,
            };
            assert_eq!(status(&exit), expected);
        };
        check(Some(0), None, 0);
        check(Some(255), None, 255);
        check(None, Some(15), 143);
        check(None, Some(9), 137);
    }
}
