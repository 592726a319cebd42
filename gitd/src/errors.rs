//! Where facts become words: what the person at `git push` or at a command reads, whose fault it is, and the exit status.

use std::{error::Error, fmt};

/// A command line that cannot be understood (sysexits EX_USAGE). `run` passes on the command's own status, so usage
/// errors keep away from the small numbers.
pub(crate) const USAGE: u8 = 64;
/// The caller may not (sysexits EX_NOPERM).
pub(crate) const NO_PERMISSION: u8 = 77;
const FAILED: u8 = 1;

/// Why a command did not do what it was asked: what went wrong, and what to type next.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    pub status: u8,
    /// The caller may not.
    pub(crate) denied: bool,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            status: FAILED,
            denied: false,
        }
    }

    /// A fault of ours, not of the caller: all causes, in one line.
    pub fn ours(error: impl Error) -> Self {
        Self::new(chain(&error))
    }

    pub fn hint(mut self, hint: &str) -> Self {
        self.hint = Some(hint.to_owned());
        self
    }

    pub(crate) fn denied(mut self) -> Self {
        self.denied = true;
        self
    }

    pub fn status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.message.lines();
        write!(f, " !     {}", lines.next().unwrap_or_default())?;
        for line in lines.chain(self.hint.as_deref().into_iter().flat_map(str::lines)) {
            write!(f, "\n !     {line}")?;
        }
        Ok(())
    }
}

/// An error and its causes, each once, joined by colons.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

/// git shows a reason as one line in parentheses: no line breaks, no control characters, not too long.
pub(crate) fn one_line(text: &str) -> String {
    const CHARS_MAX: usize = 200;
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("failed");
    line.chars()
        .filter(|c| !c.is_control())
        .take(CHARS_MAX)
        .collect()
}

impl From<release::LedgerError> for Failure {
    fn from(error: release::LedgerError) -> Self {
        Self::new(chain(&error))
    }
}

impl From<release::DeployError> for Failure {
    fn from(error: release::DeployError) -> Self {
        Self::new(chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_marks_each_line() {
        let failure = Failure::new("the key is there\nalready").hint("Type: keys");
        assert_eq!(
            failure.to_string(),
            " !     the key is there\n !     already\n !     Type: keys"
        );
    }

    #[test]
    fn a_reason_is_one_printable_line() {
        assert_eq!(
            one_line("\n  web.1\x1b[2J crashed\nmore"),
            "web.1[2J crashed"
        );
        assert_eq!(one_line(""), "failed");
        assert_eq!(one_line(&"x".repeat(500)).len(), 200);
    }
}
