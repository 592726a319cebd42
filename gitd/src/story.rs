//! A deploy as it is told: to the pusher as it happens, and to the build's log.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use release::Event;

use crate::{
    git::Sideband,
    output::{self, elapsed},
};

/// Of one build; what comes after is shown to the pusher and not kept.
const LOG_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A cheap handle.
#[derive(Clone)]
pub(crate) struct Story {
    out: Sideband,
    log: Arc<Mutex<Log>>,
}

struct Log {
    file: Option<File>,
    room: usize,
}

impl Story {
    pub(crate) fn begin(out: Sideband, log: PathBuf) -> Self {
        let made = log
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| File::create(&log));
        if let Err(error) = &made {
            // A deploy does not fail for its log.
            tracing::error!(log = %log.display(), %error, "cannot keep the build's log");
        }
        let log = Log {
            file: made.ok(),
            room: LOG_BYTES_MAX,
        };
        Self {
            out,
            log: Arc::new(Mutex::new(log)),
        }
    }

    pub(crate) fn step(&self, text: &str) {
        self.line(&output::step(text));
    }

    pub(crate) fn detail(&self, text: &str) {
        self.line(&output::detail(text));
    }

    pub(crate) fn result(&self, text: &str) {
        self.line(&output::result(text));
    }

    pub(crate) fn error(&self, text: &str) {
        self.line(&output::error(text));
    }

    pub(crate) fn event(&self, event: &Event) {
        match event {
            Event::ReleasePhaseOutput { line } => {
                self.bytes(&[b"       ", line.as_slice(), b"\n"].concat())
            }
            other => self.detail(&told(other)),
        }
    }

    fn line(&self, text: &str) {
        self.bytes(format!("{text}\n").as_bytes());
    }

    fn bytes(&self, bytes: &[u8]) {
        self.out.write(bytes);
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = log.room.checked_sub(bytes.len()) {
            log.room = room;
            // A full disk costs the log, not the deploy.
            _ = log.file.as_mut().map(|file| file.write_all(bytes));
        }
    }
}

impl builder::Output for Story {
    fn step(&mut self, text: &str) {
        Self::step(self, text);
    }

    fn detail(&mut self, text: &str) {
        Self::detail(self, text);
    }

    fn raw(&mut self, line: &[u8]) {
        self.bytes(&[line, b"\n"].concat());
    }
}

/// An event in words, the same for a push and a command.
pub(crate) fn told(event: &Event) -> String {
    match event {
        Event::Created { release } => format!("Created {release}"),
        Event::ReleasePhaseStarted { command } => format!("Running the release command: {command}"),
        Event::ReleasePhaseOutput { line } => String::from_utf8_lossy(line).into_owned(),
        Event::Starting { instance } => format!("Starting {instance}"),
        Event::Up { instance, after } => format!("{instance} is up after {}", elapsed(*after)),
        Event::Switched { release } => format!("Requests go to {release}"),
    }
}
