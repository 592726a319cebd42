//! `run`: a one-off process of the current release, with the caller's terminal or streams, and its exit status.

use std::time::{Duration, Instant};

use clap::Args;
use release::{AppName, RunOptions};

use super::{
    Env,
    attached::{Attachment, status, terminal_env},
    config,
};
use crate::{errors::Failure, quantity};

/// Run a one-off process, such as a migration or a console
///
/// The command is a line for a shell in the app's environment, as with plain ssh. The exit status is its own.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  run shop rake db:migrate\n  run shop 'cat; exit 7' < file\n  run shop --timeout 10m -e LEVEL=debug -- npm run report"
)]
pub(super) struct Run {
    pub(super) app: AppName,
    #[command(flatten)]
    options: Options,
    /// No terminal for the process, also when the client has one
    #[arg(long)]
    no_tty: bool,
    /// The command and its arguments
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

/// Of any one-off process.
#[derive(Args)]
pub(super) struct Options {
    /// Set for this process alone; may be given several times
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Stop it when it runs longer, for example 30s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = time)]
    timeout: Option<Duration>,
}

impl Options {
    pub(super) fn read(self) -> Result<RunOptions, Failure> {
        let env = self.env.iter().map(|var| config::assignment(var));
        Ok(RunOptions {
            env: env.collect::<Result<_, _>>()?,
            time_max: self.timeout,
            terminal: vec![],
        })
    }
}

fn time(text: &str) -> Result<Duration, &'static str> {
    quantity::time(text)
        .filter(|time| !time.is_zero())
        .ok_or("a time is written 30s, 10m or 2h")
}

impl Run {
    /// The exit status is the command's own; 128 + n when signal n ended it, as a shell says it.
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<u8, Failure> {
        let mut options = self.options.read()?;
        let time_max = options.time_max;
        options.terminal = terminal_env(&env.io, self.no_tty);
        let (attachment, stdio) = Attachment::new(&env.io, self.no_tty).map_err(Failure::ours)?;
        let (name, process) = env
            .ctx
            .apps
            .run(&self.app, self.command, options, stdio)
            .await?;
        tracing::debug!(app = %self.app, %name, user = %env.caller.user, "one-off process started");
        let started = Instant::now();
        let exit = attachment
            .follow(env, process)
            .await
            .map_err(Failure::ours)?;
        if exit.out_of_memory {
            env.narrate(" !     The process was killed: it went over its memory limit.")
                .await;
        }
        if time_max.is_some_and(|time| started.elapsed() >= time) {
            env.narrate(" !     The process was ended: its time limit is over.")
                .await;
        }
        Ok(status(&exit))
    }
}
