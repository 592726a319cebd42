//! Narration on stderr, with the markers of a push.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use builder::Output;

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

    /// Columns of equal width, the last as long as it is.
    pub(super) fn table<const N: usize>(&mut self, rows: impl Iterator<Item = [String; N]>) {
        let rows: Vec<[String; N]> = rows.collect();
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        for row in &rows {
            let cells = row.iter().enumerate();
            let cells = cells.map(|(column, cell)| format!("{cell:0$}  ", width(column)));
            self.line(cells.collect::<String>().trim_end());
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
