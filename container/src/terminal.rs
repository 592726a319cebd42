//! A terminal of a sandbox's own: a pty of the devpts that only it sees. Made by init, inside; our side of it comes out
//! over a socket that went in as the only standard stream.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{CWD, Gid, Mode, OFlags, Uid, fchown, openat},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt},
    termios::{InputModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize},
};
use serde::{Deserialize, Serialize};

use crate::{
    Stdio, message,
    sandbox::host_ids,
    zygote::{Failed, Step},
};

const PTMX: &str = "/dev/pts/ptmx";

/// In characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    pub columns: u16,
    pub rows: u16,
}

/// Our side of a sandbox's terminal. When it is dropped, the sandbox's side hangs up: SIGHUP to its session.
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
}

/// A terminal that is there as soon as the process for which it was ordered has been started.
#[derive(Debug)]
pub struct OrderedTerminal {
    socket: OwnedFd,
}

impl Terminal {
    /// The streams to start a process with, and where its terminal is then taken from.
    pub fn order(size: WindowSize) -> io::Result<(OrderedTerminal, Stdio)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        message::send(ours.as_fd(), &message::encode(&size)?, &[])?;
        Ok((
            OrderedTerminal { socket: ours },
            Stdio::Terminal { handover: theirs },
        ))
    }
}

impl OrderedTerminal {
    pub fn take(self) -> io::Result<Terminal> {
        let handed = message::receive::<()>(self.socket.as_fd())?;
        match handed.and_then(|((), mut fds)| fds.pop()) {
            Some(master) => Ok(Terminal { master }),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl From<Terminal> for OwnedFd {
    fn from(terminal: Terminal) -> Self {
        terminal.master
    }
}

/// The process group in the foreground hears of it (SIGWINCH).
pub fn resize(terminal: impl AsFd, size: WindowSize) -> io::Result<()> {
    Ok(tcsetwinsize(terminal, size.into())?)
}

impl From<WindowSize> for Winsize {
    fn from(size: WindowSize) -> Self {
        Self {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        }
    }
}

/// Inside, in the sandbox's world: makes the terminal, hands our side out, and gives the process's side.
pub(crate) fn make(handover: &OwnedFd, root: bool) -> Result<OwnedFd, Failed> {
    let step = || "make a terminal".to_owned();
    let ordered = message::receive::<WindowSize>(handover.as_fd()).step(step)?;
    let (size, _) = ordered.ok_or(Errno::PIPE).step(step)?;
    // Another file of that name could only stand here where devpts could not be mounted.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let master = openat(CWD, PTMX, flags, Mode::empty()).step(step)?;
    unlockpt(&master).step(step)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    // By descriptor, not by path: it is the other side of this one whatever is mounted where.
    let terminal = ioctl_tiocgptpeer(&master, flags).step(step)?;
    if root {
        let (uid, gid) = host_ids();
        fchown(
            &terminal,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
        )
        .step(step)?;
    }
    prepare(&terminal, size).step(step)?;
    let empty = message::encode(&()).step(step)?;
    message::send(handover.as_fd(), &empty, &[master.as_fd()]).step(step)?;
    Ok(terminal)
}

/// Erasing takes a whole character: what is typed today is UTF-8.
fn prepare(terminal: &OwnedFd, size: WindowSize) -> io::Result<()> {
    tcsetwinsize(terminal, size.into())?;
    let mut modes = tcgetattr(terminal)?;
    modes.input_modes |= InputModes::IUTF8;
    Ok(tcsetattr(terminal, OptionalActions::Now, &modes)?)
}
