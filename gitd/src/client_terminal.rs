//! The terminal that a client sits at, as it describes it (RFC 4254 6.2, 6.4, 6.7).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use container::WindowSize;
use tokio::sync::watch;

const NAME_MAX: usize = 64;
const DEFAULT_NAME: &str = "dumb";
const DEFAULT_SIZE: WindowSize = WindowSize {
    columns: 80,
    rows: 24,
};
/// Beyond that it is a mistake or an attack, and no screen.
const CELLS_MAX: u16 = 1000;

/// Line by line at first: newlines become new lines, Ctrl-C and Ctrl-D mean what they do in a shell.
#[derive(Debug)]
pub struct ClientTerminal {
    /// As in TERM.
    pub name: String,
    /// NO_COLOR, LANG and the like, which say how to write to it.
    pub env: Vec<(String, String)>,
    pub size: watch::Receiver<WindowSize>,
    pub(crate) raw: RawMode,
}

/// Whether bytes pass through untouched, both ways: somebody else is the terminal's line discipline.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawMode(Arc<AtomicBool>);

/// Raw for as long as this lives.
pub(crate) struct Raw(RawMode);

impl ClientTerminal {
    pub(crate) fn raw(&self) -> Raw {
        self.raw.0.store(true, Ordering::Release);
        Raw(self.raw.clone())
    }
}

impl RawMode {
    pub(crate) fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Release);
    }
}

/// A name that may stand in an environment and be looked up in a terminfo database.
pub(crate) fn name(asked: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let fits = (1..=NAME_MAX).contains(&asked.len()) && !asked.starts_with('.');
    let name = if fits && asked.chars().all(plain) {
        asked
    } else {
        DEFAULT_NAME
    };
    name.to_owned()
}

/// 0 means that the client does not know.
pub(crate) fn size(columns: u32, rows: u32) -> WindowSize {
    let side = |asked: u32, default| match u16::try_from(asked).unwrap_or(CELLS_MAX) {
        0 => default,
        known => known.min(CELLS_MAX),
    };
    WindowSize {
        columns: side(columns, DEFAULT_SIZE.columns),
        rows: side(rows, DEFAULT_SIZE.rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_has_a_name_that_is_one() {
        let check = |asked: &str, expected| assert_eq!(name(asked), expected, "{asked}");
        check("xterm-256color", "xterm-256color");
        check("screen.xterm-256color", "screen.xterm-256color");
        check("", "dumb");
        check("../../etc/passwd", "dumb");
        check("a\nb", "dumb");
        check(&"x".repeat(65), "dumb");
    }

    #[test]
    fn a_size_is_one_that_a_screen_has() {
        let check = |asked: (u32, u32), columns, rows| {
            assert_eq!(
                size(asked.0, asked.1),
                WindowSize { columns, rows },
                "{asked:?}"
            );
        };
        check((120, 40), 120, 40);
        check((0, 0), 80, 24);
        check((u32::MAX, 70_000), 1000, 1000);
    }
}
