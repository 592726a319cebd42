//! `logs`: the app's log, in Heroku's lines.

use clap::Args;
use release::{AppName, LogLine};

use super::Env;
use crate::errors::Failure;

/// Heroku's default number of lines.
const LINES_DEFAULT: usize = 100;
/// Heroku keeps 1,500; our files hold more, and an answer stays bounded.
const LINES_MAX: usize = 10_000;

/// Show an app's log
#[derive(Args)]
pub(super) struct Logs {
    pub(super) app: AppName,
    /// Number of lines, at most 10000
    #[arg(short = 'n', long, default_value_t = LINES_DEFAULT)]
    num: usize,
    /// Go on with new lines as they come
    #[arg(short, long)]
    tail: bool,
    /// Only of a process type or instance: `web`, `web.1`, `router`, `api`
    #[arg(short, long, visible_alias = "process-type", visible_alias = "dyno")]
    ps: Option<String>,
    /// Only from a source: `app` or `heroku`
    #[arg(short, long)]
    source: Option<String>,
}

impl Logs {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let app = env.ctx.apps.ledger().app(&self.app)?;
        // Followed from before the tail is read: a line may not fall between the two.
        let follow = self.tail.then(|| {
            env.ctx
                .apps
                .log_follow(&app.name, self.ps.clone(), self.source.clone())
        });
        let lines = self.num.min(LINES_MAX);
        let tail =
            env.ctx
                .apps
                .log_tail(&app.name, lines, self.ps.as_deref(), self.source.as_deref())?;
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

fn shown(line: &LogLine) -> String {
    format!(
        "{} {}[{}]: {}\n",
        line.at, line.source, line.process, line.text
    )
}
