//! `releases` and `rollback`.

use clap::Args;
use release::{AppName, Release, ReleaseNumber, ReleaseStatus};
use serde::Serialize;

use super::Env;
use crate::{
    errors::Failure,
    output::{self, ago, timestamp},
};

/// Heroku's default number of releases.
const RELEASES_DEFAULT: usize = 15;

/// List an app's releases, newest first
#[derive(Args)]
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
pub(super) struct Rollback {
    pub(super) app: AppName,
    /// For example v3; the one before the current when absent
    release: Option<ReleaseNumber>,
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
        }
    }
}
