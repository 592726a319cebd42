//! `--shell-on-failure`: a shell in the failed build, at the step that failed, before all of it goes.

use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
};

use builder::{BuildError, Builder, Look, Output as _};
use container::{Terminal, store::Scratch};

use super::printer::Printer;
use crate::terminal;

/// Of the terminal; the app's build has none of them.
const TERMINAL_VARIABLES: &[&str] = &["TERM", "COLORTERM", "LANG", "LC_ALL", "LC_CTYPE"];
const FAILED: &str = "failed";

/// Where a build that fails is kept until somebody has looked at it.
pub(super) struct Failed {
    dir: PathBuf,
    _scratch: Scratch,
}

/// Before anything is built: nobody waits for a build to hear that there is no terminal.
pub(super) fn check() -> Result<(), &'static str> {
    match terminal::is_there() {
        true => Ok(()),
        false => Err("--shell-on-failure needs a terminal on stdin and stderr; build without it"),
    }
}

impl Failed {
    pub(super) fn new(builder: &Builder) -> Result<Self, Box<dyn Error>> {
        let scratch = builder.store.scratch()?;
        Ok(Self {
            dir: scratch.path().join(FAILED),
            _scratch: scratch,
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Until the shell has ended.
    pub(super) fn enter(
        &self,
        builder: &Builder,
        env: &BTreeMap<String, String>,
        error: &BuildError,
        output: &mut Printer,
    ) -> Result<(), Box<dyn Error>> {
        output.step(&format!("A shell in the failed build: {}", error.reason()));
        if !self.dir.exists() {
            output.line("Nothing of it is kept: it failed outside of its steps, or is very large");
            return Ok(());
        }
        output.line("`exit` ends it, and all of it is removed");
        let variables = TERMINAL_VARIABLES.iter();
        let variables = variables
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
            .collect();
        let look = Look {
            env,
            terminal: variables,
            command: None,
        };
        let (ordered, stdio) = Terminal::order(terminal::size()?)?;
        let (process, _inside) = builder.look_inside(&self.dir, look, stdio)?;
        terminal::lend(ordered, process)?;
        Ok(())
    }
}
