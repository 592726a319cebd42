//! A line of words to a command.

use clap::Parser;

use super::{Command, elsewhere, help, near};
use crate::errors::{Failure, USAGE};

/// Characters of what was meant for a command.
const COMMAND_SHOWN: usize = 60;

#[derive(Parser)]
#[command(multicall = true, disable_help_subcommand = true)]
pub(super) struct Line {
    #[command(subcommand)]
    command: Command,
}

/// Words to command. `--help` is a success that carries the text; it is printed like an answer.
pub(super) fn parse(words: &[String]) -> Result<Command, Failure> {
    match words.first() {
        None => return Ok(Command::Help(help::Help::default())),
        // For clap it would be the server's own name.
        Some(word) if word.is_empty() => return Err(unknown(word).status(USAGE)),
        Some(_) => {}
    }
    match Line::try_parse_from(app_first(words)) {
        Ok(line) => Ok(line.command),
        Err(error) if !error.use_stderr() => Ok(Command::Help(help::Help::text(error.to_string()))),
        Err(error) => Err(misunderstood(words, &error).status(USAGE)),
    }
}

fn misunderstood(words: &[String], error: &clap::Error) -> Failure {
    let is_unknown = error.kind() == clap::error::ErrorKind::InvalidSubcommand;
    match words.first().filter(|_| is_unknown) {
        Some(command) => unknown(command),
        None => Failure::new(usage_text(error)),
    }
}

fn unknown(command: &str) -> Failure {
    let shown: String = command.chars().take(COMMAND_SHOWN).collect();
    Failure::new(format!("there is no command `{shown}`")).hint(&advice(command))
}

fn advice(command: &str) -> String {
    if let Some(advice) = elsewhere::advice(command) {
        return advice.to_owned();
    }
    let commands = help::commands();
    let names = || {
        commands.iter().flat_map(|known| {
            let aliases = known.get_all_aliases();
            aliases.chain([known.get_name()])
        })
    };
    if let Some(name) = near::nearest(command, names()) {
        return format!("Did you mean `{name}`? Type `help` for all commands.");
    }
    let topic = command.split(':').next().filter(|topic| *topic != command);
    match names().find(|name| Some(*name) == topic) {
        Some(topic) => format!("Type `help {topic}` for those that there are."),
        None => "Type `help` for all commands.".to_owned(),
    }
}

/// clap's error without its `error: ` and `For more information` frame, in the platform's form.
fn usage_text(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let text = text.replace(
        "For more information, try '--help'.",
        "Type `help` for all commands, or a command with `--help`.",
    );
    text.trim_end().to_owned()
}

/// Heroku's users write `-a APP` anywhere, Dokku's write the app first: both become the app first. After a `--` the words
/// belong to somebody else. For `keys` an app is an option like any other.
fn app_first(words: &[String]) -> Vec<String> {
    let mut rest = Vec::with_capacity(words.len());
    let mut app = None;
    let mut words = words.iter();
    let verb = words.next().cloned().unwrap_or_default();
    if verb.starts_with("keys") || verb.starts_with("ssh-keys") {
        return [verb].into_iter().chain(words.cloned()).collect();
    }
    while let Some(word) = words.next() {
        if app.is_none() && (word == "-a" || word == "--app") {
            app = words.next().cloned();
            // Without a name it is for clap to complain about.
            rest.extend(app.is_none().then(|| word.clone()));
        } else if let (None, Some(name)) = (&app, word.strip_prefix("--app=")) {
            app = Some(name.to_owned());
        } else {
            rest.push(word.clone());
            if word == "--" {
                break;
            }
        }
    }
    rest.extend(words.cloned());
    [verb].into_iter().chain(app).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_app_comes_first_whichever_way_it_is_named() {
        let check = |line, expected| assert_eq!(app_first(&words(line)), words(expected), "{line}");
        check("config:set shop A=1", "config:set shop A=1");
        check("config:set A=1 -a shop", "config:set shop A=1");
        check("config:set --app=shop A=1", "config:set shop A=1");
        check("ps --app shop --json", "ps shop --json");
        check("ps --json -a", "ps --json -a");
        check(
            "run -e A=1 -a shop -- ls -a x",
            "run shop -e A=1 -- ls -a x",
        );
        check("run shop -- ls --app y", "run shop -- ls --app y");
    }

    #[test]
    fn a_misspelled_command_is_answered_with_the_right_one() {
        let check = |line: &str, advice: &str| {
            let failure = parse(&words(line)).err().unwrap().to_string();
            assert!(
                failure.starts_with(" !     there is no command `"),
                "{failure}"
            );
            assert!(failure.contains(advice), "{failure}");
        };
        check("app:create shop", "Did you mean `apps:create`?");
        check("app", "Did you mean `apps`?");
        check("ps-scale shop", "Did you mean `ps:scale`?");
        check("nonsense", "Type `help`");
        check("apps:favorites", "Type `help apps`");
        check("", "Type `help`");
        check(&"x".repeat(60_000), "Type `help`");
        check("certs:add", "TLS");
    }

    #[test]
    fn every_command_has_a_line_of_help() {
        for command in help::commands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
