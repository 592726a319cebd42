//! `logs:failed`: why the newest deploy that failed did so.

use clap::Args;
use release::{AppName, BuildStatus};

use super::{Env, builds};
use crate::errors::Failure;

/// Print what the newest failed build printed
#[derive(Args)]
#[command(after_help = "Example:\n  logs:failed shop")]
pub(super) struct LogsFailed {
    pub(super) app: AppName,
    /// Print a JSON object per line, and in the end one about the build
    #[arg(long)]
    json: bool,
}

impl LogsFailed {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let builds = env.ctx.apps.ledger().builds(&self.app, usize::MAX)?;
        let failed = builds
            .iter()
            .find(|build| build.status == BuildStatus::Failed);
        let Some(build) = failed else {
            return Err(Failure::new(format!(
                "no build of `{}` has failed",
                self.app
            )));
        };
        builds::Output::of(self.app, build.number, self.json)
            .run(env)
            .await
    }
}
