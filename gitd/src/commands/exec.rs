//! `ps:exec`: a process, or a shell, inside a live instance.

use clap::Args;
use release::AppName;

use super::{
    Env,
    attached::{Attachment, status, terminal_env},
    run::Options,
};
use crate::errors::Failure;

/// What runs when nothing is named. The best shell that the image has.
const SHELL: &str = "command -v bash >/dev/null && exec bash; exec sh";
const KILLED: i32 = 9;

/// Run a command, or a shell, inside a live instance
///
/// Behind `--` stands a line for a shell, as with `run`; without it, words that are executed as they are.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  ps:exec shop\n  ps:exec shop worker.1 -- 'ls /tmp | wc -l'\n  enter shop web.1 printenv PORT"
)]
pub(super) struct Exec {
    pub(super) app: AppName,
    /// An instance such as `web.1`, the first of `web` when absent; then, or behind `--`, the command
    #[arg(value_name = "TYPE.N")]
    words: Vec<String>,
    #[command(flatten)]
    options: Options,
    /// No terminal for the process, also when the client has one
    #[arg(long)]
    no_tty: bool,
    /// The command and its arguments
    #[arg(last = true)]
    command: Vec<String>,
}

impl Exec {
    /// The exit status is the command's own; 137 when the instance stopped under it.
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<u8, Failure> {
        let mut words = self.words.into_iter();
        let which = words.next();
        let mut command: Vec<String> = words.chain(self.command).collect();
        if command.is_empty() {
            command = ["sh", "-c", SHELL].map(str::to_owned).to_vec();
        }
        let (attachment, stdio) = Attachment::new(&env.io, self.no_tty).map_err(Failure::ours)?;
        let mut options = self.options.read()?;
        options.terminal = terminal_env(&env.io, self.no_tty);
        let by = &env.caller.user;
        let entered = env
            .ctx
            .apps
            .enter(&self.app, which.as_deref(), command, options, stdio, by)
            .await?;
        let exit = attachment
            .follow(env, entered.process)
            .await
            .map_err(Failure::ours)?;
        if exit.signal == Some(KILLED) && entered.around.has_ended().await {
            let text = format!(" !     {} has stopped, and this with it.", entered.instance);
            env.narrate(&text).await;
        }
        Ok(status(&exit))
    }
}
