//! `run:list`: one-off processes that run now.

use clap::Args;
use release::AppName;

use super::{Env, ps};
use crate::errors::Failure;

/// List an app's one-off processes, attached ones too
#[derive(Args)]
#[command(after_help = "Example:\n  run:list shop")]
pub(super) struct RunList {
    pub(super) app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl RunList {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let mut runs = env.ctx.apps.instances(&self.app)?;
        runs.retain(|instance| ps::is_run(&instance.name));
        if self.json {
            return env.print_json(&runs).await;
        }
        let text: String = runs.iter().map(ps::run_line).collect();
        env.print(&text).await;
        Ok(())
    }
}
