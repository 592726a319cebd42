//! What a command works with: its caller, its streams, and the answers it gives.

use std::sync::Arc;

use release::{DeployError, Event};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};

use super::near;
use crate::{
    Caller, Context, Io,
    access::{Denied, Pass},
    errors::{Failure, NO_PERMISSION, USAGE, chain},
    output::{self, EVENTS_MAX},
    story::told,
};

/// What a command works with.
pub(super) struct Env<'a> {
    pub(super) ctx: &'a Arc<Context>,
    pub(super) caller: &'a Caller,
    /// What the command was let through for.
    pub(super) pass: Option<Pass>,
    pub(super) io: Io,
    /// The signal that ended the process whose status the command's is.
    pub(super) signal: Option<i32>,
}

impl Env<'_> {
    /// After a wait, and before anything is changed: meanwhile the app may have got another name, that name another app,
    /// and the caller another role.
    pub(super) fn still_may(&self) -> Result<(), Failure> {
        let checked = self.pass.as_ref();
        let checked = checked.map(|pass| self.ctx.check_again(self.caller, pass));
        Ok(checked.transpose().map(|_| ())?)
    }

    /// All that comes on stdin, up to one byte more than `bytes_max`, for a change: with nothing else to wait for, the
    /// caller may be kept out meanwhile.
    pub(super) async fn input(&mut self, bytes_max: u64) -> Result<String, Failure> {
        let mut text = String::new();
        let mut stdin = (&mut self.io.stdin).take(bytes_max + 1);
        tokio::select! {
            biased;
            read = stdin.read_to_string(&mut text) => {
                read.map_err(|_| Failure::new("what came on stdin is not UTF-8 text").status(USAGE))?;
            }
            () = &mut self.io.gone => return Err(Failure::new("interrupted; nothing has changed")),
        }
        self.still_may()?;
        Ok(text)
    }

    /// With the name of an app that may have been meant.
    pub(super) fn refused(&self, denied: Denied) -> Failure {
        let app = match &denied {
            Denied::NoApp(app) | Denied::Nowhere(app) => Some(app.clone()),
            _ => None,
        };
        let failure = Failure::from(denied);
        match app {
            Some(app) => near::explained(self, &app, failure),
            None => failure,
        }
    }

    /// Data, to stdout.
    pub(super) async fn print(&mut self, text: &str) {
        // A client that has gone away is noticed by `gone`; an unread answer is no failure.
        _ = self.io.stdout.write_all(text.as_bytes()).await;
    }

    /// Narration, to stderr, with the newline.
    pub(super) async fn narrate(&mut self, text: &str) {
        _ = self
            .io
            .stderr
            .write_all(format!("{text}\n").as_bytes())
            .await;
    }

    /// Carries a change out and tells of it as it happens. A caller who goes away does not undo it.
    pub(super) async fn follow<T>(
        &mut self,
        change: impl AsyncFnOnce(mpsc::Sender<Event>) -> Result<T, DeployError>,
    ) -> Result<T, Failure> {
        // What was narrated before may have waited for the client.
        self.still_may()?;
        let (events, mut told_of) = mpsc::channel(EVENTS_MAX);
        let tell = async {
            while let Some(event) = told_of.recv().await {
                self.narrate(&output::detail(&told(&event))).await;
            }
        };
        let (result, ()) = tokio::join!(change(events), tell);
        if let Err(error) = &result {
            for line in error.last_lines() {
                self.narrate(&output::detail(line)).await;
            }
        }
        Ok(result?)
    }

    pub(super) async fn print_json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(Failure::ours)?;
        self.print(&format!("{text}\n")).await;
        Ok(())
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let failure = Self::new(chain(&denied)).denied();
        match denied {
            Denied::NoApp(_) => failure.hint("Type `apps` for those that you have access to."),
            // Not a matter of rights.
            Denied::Nowhere(app) => Self::new(Denied::Nowhere(app).to_string()).hint("Type: apps"),
            Denied::Role { app, .. } => failure
                .hint(&format!("Ask one of its owners: access {app}"))
                .status(NO_PERMISSION),
            _ => failure.status(NO_PERMISSION),
        }
    }
}
