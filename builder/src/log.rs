//! What a phase says besides its result: to the person who reads a build.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Log {
    pub(crate) level: Level,
    pub(crate) color: bool,
}

impl Log {
    pub(crate) fn debug(self, text: impl Display) {
        if self.level <= Level::Debug {
            say(text);
        }
    }

    pub(crate) fn info(self, text: impl Display) {
        if self.level <= Level::Info {
            say(text);
        }
    }

    pub(crate) fn warn(self, text: impl Display) {
        if self.level <= Level::Warn {
            let (on, off) = if self.color {
                ("\u{1b}[33m", "\u{1b}[0m")
            } else {
                ("", "")
            };
            say(format_args!("{on}Warning:{off} {text}"));
        }
    }

    /// The beginning of a phase of several.
    pub(crate) fn phase(self, name: &str) {
        let (on, off) = if self.color {
            ("\u{1b}[36m", "\u{1b}[0m")
        } else {
            ("", "")
        };
        self.info(format_args!("{on}===> {name}{off}"));
    }
}

/// Nothing is lost if nobody reads it.
fn say(text: impl Display) {
    _ = writeln!(io::stdout(), "{text}");
}
