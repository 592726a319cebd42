//! Somebody at a terminal: a pty with `ssh` or another program on it, what is typed, and what has come on the screen.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{ioctl_tiocsctty, setsid},
    pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Typist {
    terminal: OwnedFd,
    pub(crate) program: Child,
    screen: String,
}

impl Typist {
    /// `ssh -tt slipway LINE`.
    pub(crate) fn ssh(server: &Server, line: &str) -> Self {
        let mut command = server.user_command();
        command
            .args(["TERM=xterm-256color", "ssh", "-F"])
            .arg(server.home().join(".ssh/config"))
            .args(["-tt", "slipway", line]);
        Self::at(command)
    }

    /// At a terminal of 33 rows and 121 columns.
    pub(crate) fn at(mut command: Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = openpt(flags).expect("a terminal");
        unlockpt(&terminal).expect("a terminal");
        let theirs = ioctl_tiocgptpeer(&terminal, flags).expect("its other side");
        resize(&terminal, 33, 121);
        let stream = || Stdio::from(theirs.try_clone().expect("a copy"));
        command.stdin(stream()).stdout(stream()).stderr(stream());
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                Ok(ioctl_tiocsctty(io::stdin())?)
            })
        };
        let program = command.spawn().expect("the program starts");
        Self {
            terminal,
            program,
            screen: String::new(),
        }
    }

    pub(crate) fn type_in(&self, text: &str) {
        let written = rustix::io::write(&self.terminal, text.as_bytes()).expect("typed");
        assert_eq!(written, text.len());
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        resize(&self.terminal, rows, columns);
    }

    /// Until the text has come, behind what was waited for before.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.screen.contains(text) {
            assert!(Instant::now() < end, "no {text:?} in {:?}", self.screen);
            assert!(self.read(), "ended without {text:?}: {:?}", self.screen);
        }
        let at = self.screen.find(text).unwrap_or(0);
        self.screen.drain(..at + text.len());
    }

    /// To the end of the program: what came still, and its exit status.
    pub(crate) fn rest(mut self) -> (String, Option<i32>) {
        let end = Instant::now() + PATIENCE;
        while self.read() {
            assert!(Instant::now() < end, "it still runs: {:?}", self.screen);
        }
        let status = self.program.wait().expect("it ends");
        (std::mem::take(&mut self.screen), status.code())
    }

    fn read(&mut self) -> bool {
        let soon = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&self.terminal, PollFlags::IN)];
        if poll(&mut fds, Some(&soon)).expect("poll") == 0 {
            return true;
        }
        let mut bytes = [0; 4096];
        match rustix::io::read(&self.terminal, &mut bytes) {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                self.screen += &String::from_utf8_lossy(&bytes[..length]);
                true
            }
        }
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        _ = self.program.kill();
        _ = self.program.wait();
    }
}

fn resize(terminal: &OwnedFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("resized");
}
