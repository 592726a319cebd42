//! `releases`: what has run when, what it was made of, and back to it.

use clap::Args;
use release::{AppName, ConfigName, Release, ReleaseNumber, ReleaseStatus};
use serde::Serialize;
use tokio::io::AsyncWriteExt;

use super::Env;
use crate::{
    errors::Failure,
    output::{self, ago, timestamp},
};

/// Heroku's default number of releases.
const RELEASES_DEFAULT: usize = 15;

/// List an app's releases, newest first
#[derive(Args)]
#[command(after_help = "Example:\n  releases shop")]
pub(super) struct List {
    pub(super) app: AppName,
    /// Number of releases
    #[arg(short = 'n', long, default_value_t = RELEASES_DEFAULT)]
    num: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Go back to an earlier release: its image and its config, as a new release
#[derive(Args)]
#[command(after_help = "Example:\n  rollback shop v41")]
pub(super) struct Rollback {
    pub(super) app: AppName,
    /// For example v3; the one before the current when absent
    release: Option<ReleaseNumber>,
}

/// Show what a release is made of
#[derive(Args)]
#[command(after_help = "Example:\n  releases:info shop v41")]
pub(super) struct Info {
    pub(super) app: AppName,
    /// For example v41; the current one when absent
    release: Option<ReleaseNumber>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Print what the release phase of a release printed
#[derive(Args)]
#[command(after_help = "Example:\n  releases:output shop v41")]
pub(super) struct Output {
    pub(super) app: AppName,
    /// For example v41; the newest one when absent
    release: Option<ReleaseNumber>,
}

/// Try the newest release again, which has failed
///
/// Its image and its config become a new release; nothing is built. The branch does not move: to have it say what runs,
/// push the commit again.
#[derive(Args)]
#[command(after_help = "Example:\n  releases:retry shop")]
pub(super) struct Retry {
    pub(super) app: AppName,
}

#[derive(Serialize)]
struct Shown<'a> {
    version: u64,
    status: ReleaseStatus,
    current: bool,
    description: &'a str,
    user: &'a str,
    created_at: String,
    commit: Option<&'a str>,
    image: Option<String>,
    reason: Option<&'a str>,
    config: Vec<&'a str>,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let app = env.ctx.apps.ledger().app(&self.app)?;
        let releases = env.ctx.apps.ledger().releases(&self.app, self.num)?;
        if self.json {
            let shown: Vec<_> = releases
                .iter()
                .map(|release| Shown::new(release, app.current))
                .collect();
            return env.print_json(&shown).await;
        }
        let rows: Vec<_> = releases
            .iter()
            .map(|release| row(release, app.current))
            .collect();
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Rollback {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let to = self.release.map_or_else(
            || "the release before".to_owned(),
            |number| number.to_string(),
        );
        env.narrate(&format!("-----> Rolling {} back to {to}", self.app))
            .await;
        let (apps, by, app) = (
            env.ctx.apps.clone(),
            env.caller.user.clone(),
            self.app.clone(),
        );
        let release = env
            .follow(async move |events| apps.rollback(&app, self.release, &by, events).await)
            .await?;
        env.narrate(&format!(
            "=====> {} {} is live: {}",
            self.app, release.number, release.description
        ))
        .await;
        Ok(())
    }
}

impl Info {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let ledger = env.ctx.apps.ledger();
        let app = ledger.app(&self.app)?;
        let number = (self.release.or(app.current)).ok_or_else(|| none_yet(&self.app))?;
        let release = ledger.release(&self.app, number)?;
        let shown = Shown::new(&release, app.current);
        if self.json {
            return env.print_json(&shown).await;
        }
        let optional = |name: &str, value: Option<&str>| {
            value.map(|value| vec![format!("{name}:"), value.to_owned()])
        };
        let status = match release.status {
            ReleaseStatus::Pending => "pending",
            ReleaseStatus::Failed => "failed",
            ReleaseStatus::Succeeded if shown.current => "current",
            ReleaseStatus::Succeeded => "succeeded",
        };
        let created = format!("{} (~ {})", shown.created_at, ago(release.created_at));
        let config = shown.config.join(", ");
        let rows = [
            optional("Release", Some(&number.to_string())),
            optional("Status", Some(status)),
            optional("Reason", shown.reason),
            optional("Change", Some(shown.description)),
            optional("By", Some(shown.user)),
            optional("When", Some(&created)),
            optional("Commit", shown.commit),
            optional("Image", shown.image.as_deref()),
            optional(
                "Config",
                Some(config.as_str()).filter(|names| !names.is_empty()),
            ),
        ];
        let rows: Vec<_> = rows.into_iter().flatten().collect();
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Output {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let ledger = env.ctx.apps.ledger();
        let app = ledger.app(&self.app)?;
        let release = match self.release {
            Some(number) => ledger.release(&self.app, number)?,
            None => (ledger.releases(&self.app, 1)?.pop()).ok_or_else(|| none_yet(&self.app))?,
        };
        let Some(output) = env.ctx.apps.release_output(&app, release.number) else {
            let text = format!(
                "nothing is kept of a release phase of {} of `{}`",
                release.number, self.app
            );
            return Err(Failure::new(text)
                .hint("A `release` line in the Procfile is run before a release serves."));
        };
        // The client may be gone; there is nobody left to tell.
        _ = env.io.stdout.write_all(&output).await;
        Ok(())
    }
}

impl Retry {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        env.narrate(&output::step(&format!(
            "Trying the newest release of {} again",
            self.app
        )))
        .await;
        let (apps, by) = (env.ctx.apps.clone(), env.caller.user.clone());
        let app = self.app.clone();
        let release = env
            .follow(async move |events| apps.retry(&app, &by, events).await)
            .await?;
        env.narrate(&output::result(&format!(
            "{} {} is live: {}",
            self.app, release.number, release.description
        )))
        .await;
        Ok(())
    }
}

fn none_yet(app: &AppName) -> Failure {
    Failure::new(format!("`{app}` has no release yet")).hint("Push it, and it has one.")
}

fn row(release: &Release, current: Option<ReleaseNumber>) -> Vec<String> {
    let state = match release.status {
        ReleaseStatus::Pending => "  (pending)",
        ReleaseStatus::Failed => "  (failed)",
        ReleaseStatus::Succeeded if current == Some(release.number) => "  (current)",
        ReleaseStatus::Succeeded => "",
    };
    vec![
        release.number.to_string(),
        format!("{}{state}", release.description),
        release.by.clone(),
        format!(
            "{} (~ {})",
            timestamp(release.created_at),
            ago(release.created_at)
        ),
    ]
}

impl<'a> Shown<'a> {
    fn new(release: &'a Release, current: Option<ReleaseNumber>) -> Self {
        Self {
            version: release.number.get(),
            status: release.status,
            current: current == Some(release.number),
            description: &release.description,
            user: &release.by,
            created_at: timestamp(release.created_at),
            commit: release.commit.as_deref(),
            image: release.image.as_ref().map(ToString::to_string),
            reason: release.reason.as_deref(),
            // Names alone: a release is shown to those who may not see its config.
            config: release.config.keys().map(ConfigName::as_str).collect(),
        }
    }
}
