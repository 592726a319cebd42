//! `builds`: what was built, what each build printed, and those that are under way.

mod told;
mod watch;

use clap::Args;
use release::{App, AppName, Build};
use serde::Serialize;
use tokio::io::AsyncReadExt as _;

use super::Env;
use crate::{
    errors::Failure,
    output::{self, ago, elapsed, timestamp},
};

use told::Told;
pub(super) use watch::{Attach, Cancel, watch};

const BUILDS_DEFAULT: usize = 15;
const KEEP_DEFAULT: u64 = 20;
const READ_BYTES: usize = 64 * 1024;

/// List an app's builds, newest first
#[derive(Args)]
#[command(after_help = "Example:\n  builds shop")]
pub(super) struct List {
    pub(super) app: AppName,
    /// Number of builds
    #[arg(short = 'n', long, default_value_t = BUILDS_DEFAULT)]
    num: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show how a build went
#[derive(Args)]
#[command(after_help = "Example:\n  builds:info shop 7")]
pub(super) struct Info {
    pub(super) app: AppName,
    /// The build's number; the last one when absent
    build: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Print what a build printed
#[derive(Args)]
#[command(after_help = "Example:\n  builds:output shop 7")]
pub(super) struct Output {
    pub(super) app: AppName,
    /// The build's number; the last one when absent
    build: Option<u64>,
    /// Print a JSON object per line, and in the end one about the build
    #[arg(long)]
    json: bool,
}

/// Forget old builds and what they printed
#[derive(Args)]
#[command(after_help = "Example:\n  builds:prune shop --keep 20")]
pub(super) struct Prune {
    pub(super) app: AppName,
    /// How many of the newest stay
    #[arg(short, long, default_value_t = KEEP_DEFAULT, value_parser = clap::value_parser!(u64).range(1..))]
    keep: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    number: u64,
    status: &'static str,
    commit: &'a str,
    user: &'a str,
    release: Option<u64>,
    reason: Option<&'a str>,
    started_at: String,
    running_at: Option<String>,
    ended_at: Option<String>,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let builds = env.ctx.apps.ledger().builds(&self.app, self.num)?;
        if self.json {
            let shown: Vec<_> = builds.iter().map(Shown::new).collect();
            return env.print_json(&shown).await;
        }
        let rows: Vec<_> = builds.iter().map(row).collect();
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Info {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let (_, build) = find(env, &self.app, self.build)?;
        if self.json {
            return env.print_json(&Shown::new(&build)).await;
        }
        env.print(&output::columns(&info(&build))).await;
        Ok(())
    }
}

impl Output {
    pub(super) fn of(app: AppName, build: u64, json: bool) -> Self {
        Self {
            app,
            build: Some(build),
            json,
        }
    }

    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let (app, build) = find(env, &self.app, self.build)?;
        print_log(env, &app, &build, self.json).await
    }
}

impl Prune {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let ledger = env.ctx.apps.ledger();
        let app = ledger.app(&self.app)?;
        let forgotten = ledger.prune_builds(&self.app, self.keep)?;
        for number in &forgotten {
            // One that is gone already is as good.
            _ = tokio::fs::remove_file(env.ctx.files.build_log(app.id, *number)).await;
            env.ctx.failed_builds.forget_build(app.id, *number);
        }
        if self.json {
            return env.print_json(&forgotten).await;
        }
        env.narrate(&format!(
            "Forgot {} builds of `{}`.",
            forgotten.len(),
            self.app
        ))
        .await;
        Ok(())
    }
}

/// The build of this number, or the newest.
fn find(env: &Env<'_>, name: &AppName, number: Option<u64>) -> Result<(App, Build), Failure> {
    let ledger = env.ctx.apps.ledger();
    let app = ledger.app(name)?;
    let hint = format!("Type: builds {name}");
    match ledger.build(name, number) {
        Ok(Some(build)) => Ok((app, build)),
        Ok(None) => Err(
            Failure::new(format!("`{name}` has no build yet")).hint(&format!(
                "To make one, push: git push {} main",
                env.ctx.git_url(name)
            )),
        ),
        Err(error) => Err(Failure::from(error).hint(&hint)),
    }
}

/// Streamed: a log can be large, and the client may be slow.
async fn print_log(env: &mut Env<'_>, app: &App, build: &Build, json: bool) -> Result<(), Failure> {
    let path = env.ctx.files.build_log(app.id, build.number);
    let mut file = tokio::fs::File::open(&path).await.map_err(|error| {
        Failure::new(format!(
            "the output of build {} is no longer kept: {error}",
            build.number
        ))
    })?;
    let mut told = Told::new(env, json);
    let mut piece = vec![0; READ_BYTES];
    while let Ok(length @ 1..) = file.read(&mut piece).await {
        if !told.piece(env, &piece[..length]).await {
            return Ok(());
        }
    }
    told.end(env, Some(build)).await
}

fn row(build: &Build) -> Vec<String> {
    let outcome = match (build.release, &build.reason) {
        (Some(release), _) => release.to_string(),
        (None, Some(reason)) => reason.clone(),
        (None, None) => String::new(),
    };
    vec![
        build.number.to_string(),
        build.status.as_str().to_owned(),
        short(&build.commit),
        build.by.clone(),
        timestamp(build.started_at),
        outcome,
    ]
}

fn info(build: &Build) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![format!("{name}:"), value];
    let time = |at: u64| format!("{} ({})", timestamp(at), ago(at));
    let mut rows = vec![
        row("Build", build.number.to_string()),
        row("Status", build.status.as_str().to_owned()),
        row("Commit", build.commit.clone()),
        row("User", build.by.clone()),
        row("Pushed", time(build.started_at)),
    ];
    if let Some(at) = build.running_at {
        rows.push(row("Started", time(at)));
    }
    if let Some(at) = build.ended_at {
        let since = build.running_at.unwrap_or(build.started_at);
        let took = std::time::Duration::from_secs(at.saturating_sub(since));
        rows.push(row(
            "Ended",
            format!("{}, after {}", timestamp(at), elapsed(took)),
        ));
    }
    if let Some(release) = build.release {
        rows.push(row("Release", release.to_string()));
    }
    if let Some(reason) = &build.reason {
        rows.push(row("Reason", reason.clone()));
    }
    rows
}

fn short(commit: &str) -> String {
    commit.chars().take(8).collect()
}

impl<'a> Shown<'a> {
    fn new(build: &'a Build) -> Self {
        Self {
            number: build.number,
            status: build.status.as_str(),
            commit: &build.commit,
            user: &build.by,
            release: build.release.map(|number| number.get()),
            reason: build.reason.as_deref(),
            started_at: timestamp(build.started_at),
            running_at: build.running_at.map(timestamp),
            ended_at: build.ended_at.map(timestamp),
        }
    }
}
