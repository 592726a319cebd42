//! `help`: all commands by topic, or those of one topic.

use std::fmt::Write as _;

use clap::{Args, CommandFactory};

use super::{Env, Line};
use crate::errors::{Failure, USAGE};

/// Show the commands, or those of one topic
#[derive(Args, Default)]
pub(super) struct Help {
    /// A topic such as `apps`, or a command such as `ps:scale`
    topic: Option<String>,
    #[arg(skip)]
    text: Option<String>,
}

impl Help {
    /// Text that clap has already made for `--help`.
    pub(super) fn text(text: String) -> Self {
        Self {
            topic: None,
            text: Some(text),
        }
    }

    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let text = match (self.text, self.topic) {
            (Some(text), _) => text,
            (None, Some(topic)) => of_topic(&topic)?,
            (None, None) => overview(&env.caller.user),
        };
        env.print(&text).await;
        Ok(())
    }
}

pub(super) fn commands() -> Vec<clap::Command> {
    let mut line = Line::command();
    line.build();
    line.get_subcommands().cloned().collect()
}

fn overview(user: &str) -> String {
    let mut text = format!("Hello {user}, this is Slipway: git push, and the app is live.\n");
    let mut topic = String::new();
    for command in commands() {
        let name = command.get_name();
        let this = name.split(':').next().unwrap_or(name);
        if this != topic {
            topic = this.to_owned();
            text.push('\n');
        }
        line_of(&mut text, &command);
    }
    text.push_str(
        "\nName the app first, or with -a APP. Lists take --json; each command takes --help.\n",
    );
    text
}

fn of_topic(topic: &str) -> Result<String, Failure> {
    if let Some(mut command) = commands()
        .into_iter()
        .find(|c| c.get_name() == topic && topic.contains(':'))
    {
        return Ok(command.render_help().to_string());
    }
    let prefix = format!("{topic}:");
    let mut text = String::new();
    for command in commands() {
        let name = command.get_name();
        if name == topic
            || name.starts_with(&prefix)
            || command.get_all_aliases().any(|a| a.starts_with(&prefix))
        {
            line_of(&mut text, &command);
        }
    }
    if text.is_empty() {
        return Err(Failure::new(format!("there is no topic `{topic}`"))
            .hint("Type `help` for all commands.")
            .status(USAGE));
    }
    Ok(text)
}

fn line_of(text: &mut String, command: &clap::Command) {
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let arguments: Vec<String> = command
        .get_positionals()
        .map(|arg| {
            let name = arg.get_id().as_str().to_uppercase().replace('_', "-");
            if arg.is_required_set() {
                name
            } else {
                format!("[{name}]")
            }
        })
        .collect();
    let usage = format!("{} {}", command.get_name(), arguments.join(" "));
    // Writing to a String cannot fail.
    _ = writeln!(text, "  {usage:<36}{about}");
}
