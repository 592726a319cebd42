//! Narration on stderr, with the markers of a push.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use builder::Output;
use container::Digest;

pub(super) struct Printer;

impl Printer {
    pub(super) fn line(&mut self, text: &str) {
        eprintln!("       {text}");
    }

    pub(super) fn result(&mut self, text: &str) {
        eprintln!("=====> {text}");
    }

    pub(super) fn timings(&mut self, timings: &[(&'static str, Duration)]) {
        for (phase, time) in timings {
            self.line(&format!("{phase:8} {:7.2}s", time.as_secs_f64()));
        }
    }

    pub(super) fn layers(&mut self, layers: &[(Digest, String)]) {
        self.step("Layers, from the bottom up");
        for (diff_id, by) in layers {
            self.line(&format!("{}  {by}", &diff_id.hex()[..12]));
        }
    }
}

impl Output for Printer {
    fn step(&mut self, text: &str) {
        eprintln!("-----> {text}");
    }

    fn detail(&mut self, text: &str) {
        self.line(text);
    }

    fn raw(&mut self, line: &[u8]) {
        let mut stderr = io::stderr().lock();
        // Nobody reads on: the build goes on all the same.
        _ = stderr
            .write_all(line)
            .and_then(|()| stderr.write_all(b"\n"));
    }
}
