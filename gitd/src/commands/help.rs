//! `help`: the topics, the commands of one topic, or all about one command.

use std::fmt::Write as _;

use clap::{Args, CommandFactory};

use super::{Env, line::Line};
use crate::errors::{Failure, USAGE};

/// Show the commands, or those of one topic
#[derive(Args, Default)]
#[command(after_help = "Examples:\n  help ps\n  help ps:scale")]
pub(super) struct Help {
    /// A topic such as `apps`, or a command such as `ps:scale`
    topic: Option<String>,
    #[arg(skip)]
    text: Option<String>,
}

/// How far apart two names may be to be taken for each other.
const NEAR: usize = 2;

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
        let this = topic_of(command.get_name());
        if this != topic {
            topic = this.to_owned();
            text.push('\n');
        }
        line_of(&mut text, &command);
    }
    text.push_str(
        "\nName the app first, or with -a APP. Lists take --json. `help TOPIC` and `COMMAND --help` tell more;\n\
         `completion bash` prints a function for your own shell.\n",
    );
    text
}

fn topic_of(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}

/// A command with a colon, or an alias, is shown whole; a topic as the list of its commands with an example of each.
fn of_topic(topic: &str) -> Result<String, Failure> {
    let all = commands();
    let whole = |command: &&clap::Command| {
        let is_it = command.get_name() == topic || command.get_all_aliases().any(|a| a == topic);
        is_it && (topic.contains(':') || topic_of(command.get_name()) != topic)
    };
    if let Some(command) = all.iter().find(whole) {
        return Ok(shown_whole(command));
    }
    let prefix = format!("{topic}:");
    let mut of_topic: Vec<&clap::Command> = all
        .iter()
        .filter(|command| {
            topic_of(command.get_name()) == topic
                || command.get_all_aliases().any(|a| a.starts_with(&prefix))
        })
        .collect();
    match of_topic[..] {
        [] => Err(unknown(topic, &all)),
        [only] => Ok(shown_whole(only)),
        _ => {
            let mut text = String::new();
            of_topic
                .iter()
                .for_each(|command| line_of(&mut text, command));
            text.push_str("\nExamples:\n");
            for command in of_topic.drain(..) {
                examples_of(&mut text, command);
            }
            Ok(text)
        }
    }
}

fn shown_whole(command: &clap::Command) -> String {
    let text = command.clone().render_long_help().to_string();
    // There is no program's name before a command.
    text.replace("Usage:  ", "Usage: ")
}

fn examples_of(text: &mut String, command: &clap::Command) {
    let after = command.get_after_help().map(ToString::to_string);
    let lines = after.as_deref().unwrap_or_default().lines().skip(1);
    for line in lines {
        _ = writeln!(text, "  {}", line.trim_start());
    }
}

fn unknown(topic: &str, all: &[clap::Command]) -> Failure {
    let names = all.iter().map(clap::Command::get_name);
    let names = names.flat_map(|name| [topic_of(name), name]);
    let near = names
        .map(|name| (strsim::damerau_levenshtein(name, topic), name))
        .filter(|(distance, _)| *distance <= NEAR)
        .min();
    let hint = match near {
        Some((_, name)) => format!("Did you mean: help {name}"),
        None => "Type `help` for all commands.".to_owned(),
    };
    Failure::new(format!("there is no topic `{topic}`"))
        .hint(&hint)
        .status(USAGE)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_finds_topics_commands_and_aliases() {
        let check = |topic: &str, words: &str| {
            let text = of_topic(topic).map_err(|f| f.to_string()).unwrap();
            assert!(text.contains(words), "{topic}: {text}");
        };
        check("ps", "  ps:scale APP");
        check("ps", "  ps:scale shop web=2 worker+1\n");
        check("ps:scale", "Usage: ps:scale");
        check("scale", "Usage: ps:scale");
        check("doctor", "Usage: doctor");
    }

    #[test]
    fn commands_have_an_example() {
        let topics = "apps config domains maintenance ps limits checks logs run releases rollback completion help";
        for command in commands() {
            let name = command.get_name();
            if topics.split(' ').any(|topic| topic == topic_of(name)) {
                let mut text = String::new();
                examples_of(&mut text, &command);
                assert!(text.contains(name), "{name}: {text}");
            }
        }
    }

    #[test]
    fn what_is_nearly_a_topic_is_offered() {
        let check = |topic: &str, words: &str| {
            let text = of_topic(topic).unwrap_err().to_string();
            assert!(text.contains(words), "{topic}: {text}");
        };
        check("domain", "Did you mean: help domains");
        check("ps:scael", "Did you mean: help ps:scale");
        check("nonsense", "Type `help`");
    }
}
