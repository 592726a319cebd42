//! `logs`: the app's log, in Heroku's lines.

use clap::{Args, ValueEnum};
use release::{AppName, LogFilter, LogLine, LogSource, ReleaseNumber};
use serde::Serialize;

use super::Env;
use crate::errors::Failure;

/// Heroku's default number of lines.
const LINES_DEFAULT: usize = 100;
/// Heroku keeps 1,500; our files hold more, and an answer stays bounded.
const LINES_MAX: usize = 10_000;

/// Show an app's log
///
/// Lines of crashed and replaced instances are there, too. With --tail it goes on across restarts and deploys; a reader
/// that is too slow is told how many lines were skipped.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  logs shop -t\n  logs shop -n 500 -p worker.1 -s app\n  logs shop --release v41"
)]
pub(super) struct Logs {
    pub(super) app: AppName,
    /// Number of lines, at most 10000
    #[arg(short = 'n', long, default_value_t = LINES_DEFAULT)]
    num: usize,
    /// Go on with new lines as they come
    #[arg(short, long)]
    tail: bool,
    /// Only of a process type or instance: `web`, `web.1`, `run.1234`, `router`, `api`
    #[arg(short, long, visible_alias = "process-type", visible_alias = "dyno")]
    ps: Option<String>,
    /// Only what this wrote
    #[arg(short, long)]
    source: Option<Source>,
    /// Only what instances of this release print
    #[arg(long, value_name = "RELEASE")]
    release: Option<ReleaseNumber>,
    /// Print a JSON object per line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Source {
    /// The app's processes, and what users do to it
    App,
    /// The platform
    Slipway,
    /// Requests
    Router,
    /// The platform and requests
    Heroku,
}

#[derive(Serialize)]
struct Shown<'a> {
    at: &'a str,
    source: &'a str,
    process: &'a str,
    text: &'a str,
}

impl Logs {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let app = env.ctx.apps.ledger().app(&self.app)?;
        let filter = LogFilter {
            process: self.ps,
            source: self.source.map(LogSource::from),
            release: self.release,
        };
        // Followed from before the tail is read: a line may not fall between the two.
        let follow = (self.tail).then(|| env.ctx.apps.log_follow(&app.name, filter.clone()));
        let lines = self.num.min(LINES_MAX);
        let tail = env.ctx.apps.log_tail(&app.name, lines, &filter)?;
        let shown = if self.json { json } else { plain };
        let text: String = tail.iter().map(shown).collect();
        env.print(&text).await;
        let Some(mut follow) = follow else {
            return Ok(());
        };
        loop {
            tokio::select! {
                () = &mut env.io.gone => return Ok(()),
                line = follow.recv() => match line {
                    Some(line) => env.print(&shown(&line)).await,
                    None => return Ok(()),
                },
            }
        }
    }
}

impl From<Source> for LogSource {
    fn from(source: Source) -> Self {
        match source {
            Source::App => Self::App,
            Source::Slipway => Self::Slipway,
            Source::Router => Self::Router,
            Source::Heroku => Self::Platform,
        }
    }
}

fn plain(line: &LogLine) -> String {
    format!(
        "{} {}[{}]: {}\n",
        line.at, line.source, line.process, line.text
    )
}

fn json(line: &LogLine) -> String {
    let shown = Shown {
        at: &line.at,
        source: &line.source,
        process: &line.process,
        text: &line.text,
    };
    // Four texts: there is nothing in it that could fail.
    let text = serde_json::to_string(&shown).unwrap_or_default();
    format!("{text}\n")
}
