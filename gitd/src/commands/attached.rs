//! A process with a client attached to it: by a terminal when the client has one, by pipes when not.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use container::{
    Exit, Process, Stdio, Terminal,
    terminal::{OrderedTerminal, WindowSize},
};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, unix::AsyncFd},
    net::unix::pipe,
    sync::watch,
    time::timeout,
};

use super::Env;
use crate::{Io, client_terminal::Raw};

/// From the hangup of a terminal, or SIGTERM, to the end of whatever does not mind.
const HANGUP_GRACE: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 32 * 1024;
/// Ctrl-D.
const END_OF_INPUT: u8 = 0x04;

/// Our ends of the streams of a process that is about to be started.
pub(super) enum Attachment {
    Pipes(Pipes),
    Terminal {
        ordered: OrderedTerminal,
        size: watch::Receiver<WindowSize>,
        raw: Raw,
    },
}

pub(super) struct Pipes {
    stdin: pipe::Sender,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

impl Attachment {
    /// The client's terminal is raw from here on: what is typed is for the process.
    pub(super) fn new(io: &Io, no_terminal: bool) -> io::Result<(Self, Stdio)> {
        let Some(client) = io.terminal.as_ref().filter(|_| !no_terminal) else {
            let (pipes, stdio) = Pipes::new()?;
            return Ok((Self::Pipes(pipes), stdio));
        };
        let mut size = client.size.clone();
        let (ordered, stdio) = Terminal::order(*size.borrow_and_update())?;
        let raw = client.raw();
        Ok((Self::Terminal { ordered, size, raw }, stdio))
    }

    /// Until the process has ended and its output is through. A client who goes away ends the process.
    pub(super) async fn follow(self, env: &mut Env<'_>, process: Process) -> io::Result<Exit> {
        let pidfd = process.pidfd().try_clone_to_owned()?;
        let process = Arc::new(process);
        // Also when nobody waits for this any more.
        let _end = KillOnDrop(Arc::clone(&process));
        // SAFETY: an OwnedFd keeps its descriptor open for as long as it lives, and gives the same one each time.
        let ended = unsafe { AsyncFd::register(pidfd) }?;
        match self {
            Self::Pipes(pipes) => pipes.copy(&mut env.io, &process, &ended).await?,
            Self::Terminal { ordered, size, raw } => {
                let terminal = Attached::new(ordered.take()?)?;
                if terminal.copy(&mut env.io, size, &ended).await? == Left::Client {
                    // The terminal has hung up; most programs end by themselves.
                    if timeout(HANGUP_GRACE, ended.readable()).await.is_err() {
                        process.kill()?;
                    }
                }
                drop(raw);
            }
        }
        let exit = tokio::task::spawn_blocking(move || process.wait());
        let exit = exit.await.map_err(io::Error::other)??;
        env.signal = exit.signal;
        Ok(exit)
    }
}

struct KillOnDrop(Arc<Process>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // It has mostly ended by itself.
        _ = self.0.kill();
    }
}

/// What the terminal of a process adds to its environment. The app's own locale wins.
pub(super) fn terminal_env(io: &Io, no_terminal: bool) -> Vec<(String, String)> {
    let Some(client) = io.terminal.as_ref().filter(|_| !no_terminal) else {
        return vec![];
    };
    let name = ("TERM".to_owned(), client.name.clone());
    client.env.iter().cloned().chain([name]).collect()
}

/// As a shell says it: 128 + n when signal n ended the process.
pub(super) fn status(exit: &Exit) -> u8 {
    let status = exit.code.unwrap_or_else(|| 128 + exit.signal.unwrap_or(9));
    u8::try_from(status).unwrap_or(u8::MAX)
}

/// Who went first.
#[derive(PartialEq, Eq)]
enum Left {
    Process,
    Client,
}

impl Pipes {
    fn new() -> io::Result<(Self, Stdio)> {
        let pair = || -> io::Result<(OwnedFd, OwnedFd)> { Ok(pipe_with(PipeFlags::CLOEXEC)?) };
        let (stdin, stdin_ours) = pair()?;
        let (stdout_ours, stdout) = pair()?;
        let (stderr_ours, stderr) = pair()?;
        let ours = Self {
            stdin: pipe::Sender::from_owned_fd(stdin_ours)?,
            stdout: pipe::Receiver::from_owned_fd(stdout_ours)?,
            stderr: pipe::Receiver::from_owned_fd(stderr_ours)?,
        };
        let theirs = Stdio::Fds {
            stdin,
            stdout,
            stderr,
        };
        Ok((ours, theirs))
    }

    /// A client who goes away, or sends a signal, asks the process to end; one who still listens has its last words.
    async fn copy(
        self,
        io: &mut Io,
        process: &Process,
        ended: &AsyncFd<OwnedFd>,
    ) -> io::Result<()> {
        let mut output = pin!(async {
            tokio::join!(
                copy(self.stdout, &mut io.stdout),
                copy(self.stderr, &mut io.stderr)
            );
            ended.readable().await.map(drop)
        });
        tokio::select! {
            end = &mut output => return end,
            () = &mut io.gone => {}
            // Input never finishes the command; it only closes the process's stdin.
            () = async { copy(&mut io.stdin, self.stdin).await; std::future::pending().await } => {}
        }
        process.terminate()?;
        match timeout(HANGUP_GRACE, output).await {
            Ok(end) => end,
            Err(_) => process.kill(),
        }
    }
}

/// Ends at the end of input or when the other side no longer listens; neither is an error of the command.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    _ = tokio::io::copy(&mut from, &mut to).await;
    _ = to.flush().await;
}

/// Our side of a process's terminal.
struct Attached {
    terminal: AsyncFd<OwnedFd>,
}

impl Attached {
    fn new(terminal: Terminal) -> io::Result<Self> {
        let terminal = OwnedFd::from(terminal);
        rustix::io::ioctl_fionbio(&terminal, true)?;
        // SAFETY: as in `follow`.
        let terminal = unsafe { AsyncFd::register(terminal) }?;
        Ok(Self { terminal })
    }

    /// Hangs up at the end.
    async fn copy(
        self,
        io: &mut Io,
        size: watch::Receiver<WindowSize>,
        ended: &AsyncFd<OwnedFd>,
    ) -> io::Result<Left> {
        let output = async {
            self.copy_output(&mut io.stdout).await;
            ended.readable().await.map(|_| Left::Process)
        };
        let input = async {
            // Neither their end nor their failure ends the process.
            tokio::join!(self.copy_input(&mut io.stdin), self.copy_sizes(size));
            std::future::pending().await
        };
        tokio::select! {
            left = output => left,
            () = &mut io.gone => Ok(Left::Client),
            () = input => Ok(Left::Client),
        }
    }

    /// Until no process holds the terminal any more (the kernel then says EIO), or the client does not listen.
    async fn copy_output(&self, client: &mut (impl AsyncWrite + Unpin)) {
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(length) = self.read(&mut buffer).await {
            if length == 0 || client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
            _ = client.flush().await;
        }
    }

    /// The end of input is typed, as at any terminal: twice when it stands behind half a line.
    async fn copy_input(&self, client: &mut (impl AsyncRead + Unpin)) {
        let mut buffer = vec![0; READ_BYTES];
        let mut last = b'\n';
        while let Ok(length) = client.read(&mut buffer).await {
            let Some(end) = buffer[..length].last() else {
                let ends: &[u8] = if last == b'\n' {
                    &[END_OF_INPUT]
                } else {
                    &[END_OF_INPUT, END_OF_INPUT]
                };
                _ = self.write_all(ends).await;
                return;
            };
            last = *end;
            if self.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }

    async fn copy_sizes(&self, mut size: watch::Receiver<WindowSize>) {
        while size.changed().await.is_ok() {
            let now = *size.borrow_and_update();
            // It fails when the process has ended.
            _ = container::terminal::resize(self.terminal.get_ref().as_fd(), now);
        }
    }

    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = |terminal: &OwnedFd| Ok(rustix::io::read(terminal, &mut *buffer)?);
        self.terminal.async_io(Interest::READABLE, read).await
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let write = |terminal: &OwnedFd| Ok(rustix::io::write(terminal, bytes)?);
            let written = self.terminal.async_io(Interest::WRITABLE, write).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }
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
