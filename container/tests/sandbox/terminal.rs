//! Terminals: what programs find, what is typed at them, and what ends with them.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use container::{Process, Terminal, WindowSize, terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::World;

const PATIENCE: Duration = Duration::from_secs(30);
const SIZE: WindowSize = WindowSize {
    columns: 121,
    rows: 33,
};

/// Somebody at a terminal.
pub(crate) struct Typist {
    terminal: OwnedFd,
    pub(crate) screen: String,
}

impl Typist {
    pub(crate) fn new(terminal: Terminal) -> Self {
        Self {
            terminal: terminal.into(),
            screen: String::new(),
        }
    }

    pub(crate) fn type_in(&self, text: &str) {
        let written = rustix::io::write(&self.terminal, text.as_bytes()).unwrap();
        assert_eq!(written, text.len());
    }

    /// Reads until the text has come, behind what was waited for before.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.screen.find(text) {
                self.screen.drain(..at + text.len());
                return;
            }
            assert!(Instant::now() < end, "no {text:?} in {:?}", self.screen);
            assert!(self.read(), "ended without {text:?}: {:?}", self.screen);
        }
    }

    /// To the end of all processes that hold the terminal.
    pub(crate) fn rest(mut self) -> String {
        while self.read() {}
        self.screen
    }

    fn read(&mut self) -> bool {
        let soon = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&self.terminal, PollFlags::IN)];
        if poll(&mut fds, Some(&soon)).unwrap() == 0 {
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

fn start(world: &World, script: &str) -> (Process, Typist) {
    let (ordered, stdio) = Terminal::order(SIZE).unwrap();
    let process = world.spawner.spawn(&world.sandbox(script), stdio).unwrap();
    (process, Typist::new(ordered.take().unwrap()))
}

pub(crate) fn is_real(world: &World) {
    let (process, typist) = start(
        world,
        "tty; stty size; ls -l /dev/pts/0 | cut -d' ' -f3; stty -a | grep -o ' iutf8'; echo seen > /dev/tty; \
         echo $(ps -o tpgid= -p $$) $$; exit 3",
    );
    let screen = typist.rest();
    let lines: Vec<&str> = screen.lines().collect();
    assert_eq!(
        lines[..5],
        ["/dev/pts/0", "33 121", "app", " iutf8", "seen"],
        "{screen:?}"
    );
    let groups: Vec<&str> = lines[5].split(' ').collect();
    assert_eq!(groups[0], groups[1], "its own group is in the foreground");
    assert_eq!(process.wait().unwrap().code, Some(3));
}

pub(crate) fn resizes(world: &World) {
    let (process, mut typist) = start(
        world,
        "trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.05; done",
    );
    typist.wait_for("ready");
    let size = WindowSize {
        columns: 90,
        rows: 20,
    };
    terminal::resize(&typist.terminal, size).unwrap();
    typist.wait_for("20 90");
    assert_eq!(process.wait().unwrap().code, Some(4));
}

pub(crate) fn controls_jobs(world: &World) {
    let (process, mut typist) = start(world, "PS1='$ ' exec bash --norc -i");
    typist.wait_for("$ ");
    // Bash itself stays when what it runs is interrupted.
    typist.type_in("yes\r");
    typist.wait_for("y\r\ny\r\n");
    typist.type_in("\x03");
    typist.wait_for("$ ");
    typist.type_in("echo status $?\r");
    typist.wait_for("status 130");
    // The word as it is printed, not as it is typed: only then the job is in the foreground.
    typist.type_in("bash -c 'echo be''gun; exec sleep 1000'\r");
    typist.wait_for("begun");
    typist.type_in("\x1a");
    typist.wait_for("Stopped");
    typist.type_in("bg; jobs\r");
    typist.wait_for("Running");
    typist.type_in("kill %1; wait; fg\r");
    typist.wait_for("no such job");
    typist.wait_for("$ ");
    typist.type_in("\x04");
    typist.wait_for("exit");
    assert_eq!(process.wait().unwrap().code, Some(1));
}

pub(crate) fn hangs_up(world: &World) {
    let (process, mut typist) = start(
        world,
        "trap 'echo hung up > /tmp/said; exit 5' HUP; echo ready; sleep 1000 & wait",
    );
    typist.wait_for("ready");
    drop(typist);
    assert_eq!(process.wait().unwrap().code, Some(5));
}
