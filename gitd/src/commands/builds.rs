//! `builds`: what was built, and what each build printed.

use clap::Args;
use release::{AppName, BuildStatus};
use serde::Serialize;
use tokio::io::AsyncWriteExt;

use super::Env;
use crate::{
    errors::Failure,
    output::{self, timestamp},
};

const BUILDS_DEFAULT: usize = 15;

/// List an app's builds, newest first
#[derive(Args)]
pub(super) struct List {
    pub(super) app: AppName,
    /// Number of builds
    #[arg(short = 'n', long, default_value_t = BUILDS_DEFAULT)]
    num: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Print what a build printed
#[derive(Args)]
pub(super) struct Output {
    pub(super) app: AppName,
    /// The build's number; the last one when absent
    build: Option<u64>,
}

#[derive(Serialize)]
struct Shown {
    number: u64,
    status: BuildStatus,
    commit: String,
    user: String,
    release: Option<u64>,
    reason: Option<String>,
    started_at: String,
    ended_at: Option<String>,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let builds = env.ctx.apps.ledger().builds(&self.app, self.num)?;
        let shown: Vec<Shown> = builds
            .into_iter()
            .map(|build| Shown {
                number: build.number,
                status: build.status,
                commit: build.commit,
                user: build.by,
                release: build.release.map(|number| number.get()),
                reason: build.reason,
                started_at: timestamp(build.started_at),
                ended_at: build.ended_at.map(timestamp),
            })
            .collect();
        if self.json {
            return env.print_json(&shown).await;
        }
        let rows: Vec<_> = shown.iter().map(Shown::row).collect();
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Output {
    pub(super) fn of(app: AppName, build: u64) -> Self {
        Self {
            app,
            build: Some(build),
        }
    }

    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let app = env.ctx.apps.ledger().app(&self.app)?;
        let builds = env.ctx.apps.ledger().builds(&self.app, usize::MAX)?;
        let found = match self.build {
            Some(number) => builds.iter().find(|build| build.number == number),
            None => builds.first(),
        };
        let Some(build) = found else {
            let which = self.build.map_or_else(
                || "no build yet".to_owned(),
                |number| format!("no build {number}"),
            );
            return Err(Failure::new(format!("`{}` has {which}", self.app))
                .hint(&format!("Type: builds {}", self.app)));
        };
        let path = env.ctx.build_log(app.id, build.number);
        let mut file = tokio::fs::File::open(&path).await.map_err(|error| {
            Failure::new(format!(
                "the output of build {} is no longer kept: {error}",
                build.number
            ))
        })?;
        // Streamed: a build log can be large, and the client may be slow.
        _ = tokio::io::copy(&mut file, &mut env.io.stdout).await;
        _ = env.io.stdout.flush().await;
        Ok(())
    }
}

impl Shown {
    fn row(&self) -> Vec<String> {
        let status = match self.status {
            BuildStatus::Running => "running",
            BuildStatus::Succeeded => "succeeded",
            BuildStatus::Failed => "failed",
            BuildStatus::Cancelled => "cancelled",
        };
        let outcome = match (self.release, &self.reason) {
            (Some(release), _) => format!("v{release}"),
            (None, Some(reason)) => reason.clone(),
            (None, None) => String::new(),
        };
        vec![
            self.number.to_string(),
            status.to_owned(),
            self.commit.chars().take(8).collect(),
            self.user.clone(),
            self.started_at.clone(),
            outcome,
        ]
    }
}
