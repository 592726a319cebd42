//! A deploy as it is told, line by line.

use release::Event;

use crate::{
    output::{self, elapsed},
    transcript::Transcript,
};

/// A cheap handle.
#[derive(Clone)]
pub(crate) struct Story(Transcript);

impl Story {
    pub(crate) fn new(transcript: Transcript) -> Self {
        Self(transcript)
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
                self.0.write(&[b"       ", line.as_slice(), b"\n"].concat());
            }
            other => self.detail(&told(other)),
        }
    }

    fn line(&self, text: &str) {
        self.0.write(format!("{text}\n").as_bytes());
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
        self.0.write(&[line, b"\n"].concat());
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
