//! `completion`: a function for the user's own shell that runs commands here, quotes their words so that they arrive as
//! they are, and completes commands and apps.

use clap::{Args, ValueEnum};

use super::{Env, help};
use crate::errors::{Failure, USAGE};

/// Print a shell function that runs these commands, with completion
///
/// Put it into the file that your shell reads at its start.
#[derive(Args)]
#[command(
    after_help = "Example:\n  ssh git@host completion bash >> ~/.bashrc\n  slipway ps:scale shop web=2"
)]
pub(super) struct Completion {
    shell: Shell,
    /// What the function is called
    #[arg(long, default_value = "slipway")]
    name: String,
    /// How ssh is called; the port and host of this server when absent
    #[arg(long, value_name = "COMMAND")]
    ssh: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

const BASH: &str = include_str!("completion.bash");
const ZSH: &str = include_str!("completion.zsh");
const FISH: &str = include_str!("completion.fish");

impl Completion {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if self.name.is_empty() || !self.name.chars().all(is_name) {
            let rule = "the name is one of letters, digits and underscores";
            return Err(Failure::new(rule).status(USAGE));
        }
        if self
            .ssh
            .as_ref()
            .is_some_and(|ssh| ssh.contains(char::is_control))
        {
            return Err(Failure::new("the ssh command is one line").status(USAGE));
        }
        let settings = &env.ctx.settings;
        let ssh = self
            .ssh
            .unwrap_or_else(|| format!("ssh -p {} git@{}", settings.ssh_port, settings.domain));
        let commands: Vec<String> = help::commands()
            .iter()
            .map(|command| command.get_name().to_owned())
            .collect();
        let template = match self.shell {
            Shell::Bash => BASH,
            Shell::Zsh => ZSH,
            Shell::Fish => FISH,
        };
        let script = template
            .replace("@NAME@", &self.name)
            .replace("@COMMANDS@", &commands.join(" "))
            .replace("@SSH@", &ssh);
        env.print(&script).await;
        Ok(())
    }
}
