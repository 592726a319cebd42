//! The terminal that we were started at, lent to a process that has one of its own.

use std::{
    error::Error,
    fs::File,
    io::{self, IsTerminal as _},
    os::fd::{AsFd as _, OwnedFd},
    thread,
};

use container::{
    Exit, Process,
    terminal::{OrderedTerminal, WindowSize, resize},
};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody can type, and read on stderr: stdout is for data.
pub(crate) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

pub(crate) fn size() -> io::Result<WindowSize> {
    let size = tcgetwinsize(io::stdin())?;
    Ok(WindowSize {
        columns: size.ws_col,
        rows: size.ws_row,
    })
}

/// Until the process has ended. A terminal that goes away, or a SIGTERM, ends it.
pub(crate) fn lend(ordered: OrderedTerminal, process: Process) -> Result<Exit, Box<dyn Error>> {
    let terminal = File::from(OwnedFd::from(ordered.take()?));
    let raw = Raw::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stopped = runtime.block_on(copy(terminal));
    if stopped.is_err() {
        process.kill()?;
    }
    drop(raw);
    stopped?;
    Ok(process.wait()?)
}

async fn copy(terminal: File) -> io::Result<()> {
    let (mut typed, mut shown) = (terminal.try_clone()?, terminal.try_clone()?);
    let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    // It ends with us: nobody can be made to type.
    thread::spawn(move || io::copy(&mut stdin, &mut typed));
    let (ended, mut end) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        // The kernel says EIO when no process has the terminal any more.
        _ = io::copy(&mut shown, &mut stderr);
        _ = ended.send(());
    });
    let mut changed = signal(SignalKind::window_change())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = &mut end => return Ok(()),
            _ = changed.recv() => resize(&terminal, size()?)?,
            _ = terminate.recv() => return Err(io::ErrorKind::Interrupted.into()),
            _ = hangup.recv() => return Err(io::ErrorKind::Interrupted.into()),
        }
    }
}

/// What is typed goes on as it is, until this is dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There may be no terminal any more.
        _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}
