//! `builds:attach` and `builds:cancel`: deploys that are queued or run.

use std::time::Duration;

use clap::Args;
use release::{AppName, BuildStatus};
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::{Env, find, print_log, show};
use crate::{deploy::Why, errors::Failure, git::Screen};

/// A cancelled deploy ends sooner.
const CANCELLED_WITHIN: Duration = Duration::from_secs(10);
const FAILED: u8 = 1;

/// Watch a build from its start to its end; the exit status is the build's
#[derive(Args)]
#[command(after_help = "Example:\n  builds:attach shop")]
pub(in crate::commands) struct Attach {
    app: AppName,
    /// The build's number; when absent, the one that runs, or else the last one
    build: Option<u64>,
}

/// Cancel a build that is queued or runs
#[derive(Args)]
#[command(after_help = "Example:\n  builds:cancel shop 7")]
pub(in crate::commands) struct Cancel {
    app: AppName,
    /// The build's number; when absent, the one that runs
    build: Option<u64>,
}

impl Attach {
    /// Going away ends only the watching.
    pub(in crate::commands) async fn run(self, env: &mut Env<'_>) -> Result<u8, Failure> {
        let app = env.ctx.apps.ledger().app(&self.app)?;
        let Some(deploy) = env.ctx.queue.find(app.id, self.build) else {
            let (app, build) = find(env, &self.app, self.build)?;
            print_log(env, &app, &build).await?;
            return Ok(status(env, build.status, build.reason.as_deref()).await);
        };
        let mut screen = Screen::new(env.io.tty);
        let mut transcript = deploy.transcript.read();
        loop {
            let piece = tokio::select! {
                () = &mut env.io.gone => return Ok(FAILED),
                piece = transcript.next() => piece,
            };
            let Some(piece) = piece else { break };
            if !show(env, &mut screen, &piece).await {
                return Ok(FAILED);
            }
        }
        _ = env.io.stdout.flush().await;
        let outcome = deploy.outcome().await;
        Ok(status(env, outcome.status, outcome.reason.as_deref()).await)
    }
}

impl Cancel {
    pub(in crate::commands) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let app = env.ctx.apps.ledger().app(&self.app)?;
        let Some(deploy) = env.ctx.queue.find(app.id, self.build) else {
            return Err(self.nothing_to_cancel(env));
        };
        deploy.cancel.set(Why::By(env.caller.user.clone()));
        let build = deploy.build;
        match timeout(CANCELLED_WITHIN, deploy.outcome()).await {
            Ok(outcome) if outcome.status == BuildStatus::Cancelled => {
                env.narrate(&format!("Cancelled build {build} of `{}`.", self.app))
                    .await;
                Ok(())
            }
            Ok(outcome) => Err(Failure::new(format!(
                "build {build} of `{}` had ended: {}",
                self.app,
                outcome.status.as_str()
            ))),
            Err(_) => {
                env.narrate(&format!(
                    "Build {build} of `{}` is being cancelled.",
                    self.app
                ))
                .await;
                Ok(())
            }
        }
    }

    fn nothing_to_cancel(&self, env: &Env<'_>) -> Failure {
        let Some(number) = self.build else {
            return Failure::new(format!("nothing of `{}` is being deployed", self.app));
        };
        match find(env, &self.app, Some(number)) {
            Ok((_, build)) => Failure::new(format!(
                "build {number} of `{}` has ended: {}",
                self.app,
                build.status.as_str()
            )),
            Err(failure) => failure,
        }
    }
}

/// The exit status of a build that has ended; the reason goes with the narration.
async fn status(env: &mut Env<'_>, status: BuildStatus, reason: Option<&str>) -> u8 {
    if let Some(reason) = reason {
        env.narrate(&format!(" !     {}: {reason}", status.as_str()))
            .await;
    }
    match status {
        BuildStatus::Succeeded => 0,
        _ => FAILED,
    }
}
