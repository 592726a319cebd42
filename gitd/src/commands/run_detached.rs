//! `run:detached`: a one-off process that nobody waits for.

use clap::Args;
use release::AppName;

use super::{Env, run::Options};
use crate::errors::Failure;

/// Run a one-off process in the background; what it prints goes to the app's log
///
/// It ends with the server at the latest. `ps` lists it.
#[derive(Args)]
#[command(after_help = "Example:\n  run:detached shop --timeout 2h rake report")]
pub(super) struct RunDetached {
    pub(super) app: AppName,
    #[command(flatten)]
    options: Options,
    /// The command and its arguments
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

impl RunDetached {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let options = self.options.read()?;
        let apps = &env.ctx.apps;
        let name = apps.run_detached(&self.app, self.command, options).await?;
        env.narrate(&format!(
            "To see what it prints: logs {0} -t -p {name}\nTo stop it: ps:stop {0} {name}",
            self.app
        ))
        .await;
        env.print(&format!("{name}\n")).await;
        Ok(())
    }
}
