//! `run`: a one-off process of the current release, with the caller's terminal or streams, and its exit status.

use clap::Args;
use release::AppName;

use super::{
    Env,
    attached::{Attachment, status, terminal_env},
};
use crate::errors::Failure;

/// Run a one-off process, such as a migration or a console
#[derive(Args)]
pub(super) struct Run {
    app: AppName,
    /// No terminal for the process, also when the client has one
    #[arg(long)]
    no_tty: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

impl Run {
    /// The exit status is the command's own; 128 + n when signal n ended it, as a shell says it.
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<u8, Failure> {
        let (attachment, stdio) = Attachment::new(&env.io, self.no_tty).map_err(Failure::ours)?;
        let command = release::Command {
            words: self.command,
            env: terminal_env(&env.io, self.no_tty),
            stdio,
        };
        let (name, process) = env.ctx.apps.run(&self.app, command).await?;
        tracing::debug!(app = %self.app, %name, user = %env.caller.user, "one-off process started");
        let exit = attachment
            .follow(env, process)
            .await
            .map_err(Failure::ours)?;
        if exit.out_of_memory {
            env.narrate(" !     The process was killed: it went over its memory limit.")
                .await;
        }
        Ok(status(&exit))
    }
}
