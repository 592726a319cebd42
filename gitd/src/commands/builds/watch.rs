//! `builds:attach` and `builds:cancel`: deploys that are queued or run.

use std::time::Duration;

use clap::Args;
use release::{AppName, BuildStatus};
use tokio::time::timeout;

use super::{Env, Shown, Told, find, print_log};
use crate::{
    deploy::{Deploy, Why},
    errors::Failure,
    output,
};

/// A cancelled deploy ends sooner.
const CANCELLED_WITHIN: Duration = Duration::from_secs(10);
const FAILED: u8 = 1;

/// Watch a build from its start to its end; the exit status is the build's
#[derive(Args)]
#[command(after_help = "Example:\n  builds:attach shop")]
pub(in crate::commands) struct Attach {
    pub(in crate::commands) app: AppName,
    /// The build's number; when absent, the one that runs, or else the last one
    build: Option<u64>,
    /// Print a JSON object per line, and in the end one about the build
    #[arg(long)]
    json: bool,
}

/// Cancel a build that is queued or runs
#[derive(Args)]
#[command(after_help = "Example:\n  builds:cancel shop 7")]
pub(in crate::commands) struct Cancel {
    pub(in crate::commands) app: AppName,
    /// The build's number; when absent, the one that runs
    build: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Attach {
    /// Going away ends only the watching.
    pub(in crate::commands) async fn run(self, env: &mut Env<'_>) -> Result<u8, Failure> {
        let app = env.ctx.apps.ledger().app(&self.app)?;
        let Some(deploy) = env.ctx.queue.find(app.id, self.build) else {
            let (app, build) = find(env, &self.app, self.build)?;
            print_log(env, &app, &build, self.json).await?;
            let (number, reason) = (build.number, build.reason.as_deref());
            return Ok(status(env, number, build.status, reason).await);
        };
        watch(env, &self.app, &deploy, self.json).await
    }
}

/// From the start to the end, or until the client goes. The exit status is the build's.
pub(in crate::commands) async fn watch(
    env: &mut Env<'_>,
    app: &AppName,
    deploy: &Deploy,
    json: bool,
) -> Result<u8, Failure> {
    let mut told = Told::new(env, json);
    let mut transcript = deploy.transcript.read();
    loop {
        let piece = tokio::select! {
            () = &mut env.io.gone => return Ok(FAILED),
            piece = transcript.next() => piece,
        };
        let Some(piece) = piece else { break };
        if !told.piece(env, &piece).await {
            return Ok(FAILED);
        }
    }
    let outcome = deploy.outcome().await;
    // By then the app may have another name, or be gone: only a program hears of it by its record.
    let build = match json {
        true => Some(find(env, app, Some(deploy.build))?.1),
        false => None,
    };
    told.end(env, build.as_ref()).await?;
    let reason = outcome.reason.as_deref();
    Ok(status(env, deploy.build, outcome.status, reason).await)
}

impl Cancel {
    pub(in crate::commands) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let app = env.ctx.apps.ledger().app(&self.app)?;
        let Some(deploy) = env.ctx.queue.find(app.id, self.build) else {
            return Err(self.nothing_to_cancel(env));
        };
        deploy.cancel.set(Why::By(env.caller.user.clone()));
        let build = deploy.build;
        let said = match timeout(CANCELLED_WITHIN, deploy.outcome()).await {
            Err(_) => format!("Build {build} of `{}` is being cancelled.", self.app),
            Ok(outcome) if outcome.status == BuildStatus::Cancelled => {
                format!("Cancelled build {build} of `{}`.", self.app)
            }
            Ok(outcome) => return Err(ended(&self.app, build, outcome.status)),
        };
        env.narrate(&said).await;
        if self.json {
            let (_, build) = find(env, &self.app, Some(build))?;
            return env.print_json(&Shown::new(&build)).await;
        }
        Ok(())
    }

    fn nothing_to_cancel(&self, env: &Env<'_>) -> Failure {
        let Some(number) = self.build else {
            return Failure::new(format!("nothing of `{}` is being deployed", self.app));
        };
        match find(env, &self.app, Some(number)) {
            Ok((_, build)) => ended(&self.app, number, build.status),
            Err(failure) => failure,
        }
    }
}

fn ended(app: &AppName, build: u64, status: BuildStatus) -> Failure {
    let status = status.as_str();
    Failure::new(format!("build {build} of `{app}` has ended: {status}"))
}

/// The exit status of a build that has ended, and why there is no release of it, as git tells it who pushes.
async fn status(env: &mut Env<'_>, build: u64, status: BuildStatus, reason: Option<&str>) -> u8 {
    let succeeded = status == BuildStatus::Succeeded;
    if let Some(reason) = reason {
        let line = format!("Build {build}: {reason}");
        let line = match succeeded {
            true => output::detail(&line),
            false => output::error(&line),
        };
        env.narrate(&line).await;
    }
    u8::from(!succeeded)
}
