//! `config`: the app's environment. A change of several variables is one release; values are shown to whoever may see
//! them and never logged.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Args, ValueEnum};
use release::{AppName, ConfigChanges, ConfigName, ConfigVars, Restart};

use super::Env;
use crate::{
    dotenv::{self, Vars},
    errors::{Failure, USAGE},
    output,
};

/// More than all config vars of an app may take, with room for comments.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Show an app's config vars
#[derive(Args)]
#[command(after_help = "Examples:\n  config shop\n  config shop --json")]
pub(super) struct List {
    pub(super) app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print NAME='value' lines that a shell can read
    #[arg(short, long)]
    shell: bool,
}

/// Show the names of an app's config vars, and no values
#[derive(Args)]
#[command(after_help = "Example:\n  config:keys shop")]
pub(super) struct Keys {
    pub(super) app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Print one config var's value
#[derive(Args)]
#[command(after_help = "Example:\n  config:get shop DATABASE_URL")]
pub(super) struct Get {
    pub(super) app: AppName,
    name: ConfigName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Set config vars; all of them make one release
#[derive(Args)]
#[command(
    after_help = "Examples:\n  config:set shop COLOUR=blue MOTTO='two words'\n  config:set shop --no-restart LEVEL=debug"
)]
pub(super) struct Set {
    pub(super) app: AppName,
    /// NAME=value
    #[arg(required = true, value_name = "NAME=VALUE")]
    vars: Vec<String>,
    #[command(flatten)]
    when: When,
}

/// Unset config vars; all of them make one release
#[derive(Args)]
#[command(after_help = "Example:\n  config:unset shop COLOUR MOTTO")]
pub(super) struct Unset {
    pub(super) app: AppName,
    #[arg(required = true)]
    names: Vec<ConfigName>,
    #[command(flatten)]
    when: When,
}

/// Print all config vars as a file
#[derive(Args)]
#[command(after_help = "Example:\n  config:export shop > .env")]
pub(super) struct Export {
    pub(super) app: AppName,
    #[arg(long, value_enum, default_value_t = Format::Env)]
    format: Format,
}

/// Set config vars from a .env file on stdin; the others stay
///
/// Values may be quoted as in a shell; nothing in them is expanded.
#[derive(Args)]
#[command(after_help = "Example:\n  config:import shop < .env")]
pub(super) struct Import {
    pub(super) app: AppName,
    #[command(flatten)]
    when: When,
}

/// Replace all config vars by a .env file on stdin; what is not in it is unset
#[derive(Args)]
#[command(after_help = "Example:\n  config:export shop > env; $EDITOR env; config:edit shop < env")]
pub(super) struct Edit {
    pub(super) app: AppName,
    #[command(flatten)]
    when: When,
}

#[derive(Args)]
struct When {
    /// For what starts later: what runs goes on as it is
    #[arg(long)]
    no_restart: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// NAME=value, quoted where needed; config:import reads it
    Env,
    Json,
    /// export NAME='value', for a shell to read
    Shell,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let config = env.ctx.apps.ledger().config(&self.app)?;
        if self.json {
            return env.print_json(&plain(&config)).await;
        }
        if self.shell {
            env.print(&shell(&config, "")).await;
            return Ok(());
        }
        let rows: Vec<_> = config
            .iter()
            .map(|(name, value)| vec![format!("{name}:"), value.as_str().to_owned()])
            .collect();
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Keys {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let config = env.ctx.apps.ledger().config(&self.app)?;
        let names: Vec<String> = config.keys().map(ToString::to_string).collect();
        if self.json {
            return env.print_json(&names).await;
        }
        let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
        env.print(&lines).await;
        Ok(())
    }
}

impl Get {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let config = env.ctx.apps.ledger().config(&self.app)?;
        let Some(value) = config.get(&self.name) else {
            return Err(Failure::new(format!(
                "`{}` is not set on `{}`",
                self.name, self.app
            )));
        };
        if self.json {
            return env.print_json(&value.as_str()).await;
        }
        env.print(&format!("{}\n", value.as_str())).await;
        Ok(())
    }
}

impl Set {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let mut changes = BTreeMap::new();
        for var in &self.vars {
            let (name, value) = assignment(var)?;
            changes.insert(name, Some(value));
        }
        change(env, &self.app, "Setting", changes, &self.when).await
    }
}

impl Unset {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let changes = self.names.into_iter().map(|name| (name, None)).collect();
        change(env, &self.app, "Unsetting", changes, &self.when).await
    }
}

impl Export {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let config = env.ctx.apps.ledger().config(&self.app)?;
        let text = match self.format {
            Format::Json => return env.print_json(&plain(&config)).await,
            Format::Env => {
                dotenv::format(config.iter().map(|(name, value)| (name, value.as_str())))
            }
            Format::Shell => shell(&config, "export "),
        };
        env.print(&text).await;
        Ok(())
    }
}

impl Import {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let vars = read(env).await?;
        if vars.is_empty() {
            return Err(nothing_came(&format!("config:import {} < .env", self.app)));
        }
        let changes = vars
            .into_iter()
            .map(|(name, value)| (name, Some(value)))
            .collect();
        change(env, &self.app, "Setting", changes, &self.when).await
    }
}

impl Edit {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let vars = read(env).await?;
        if vars.is_empty() {
            // An editor that failed must not take everything away.
            return Err(nothing_came(&format!("config:edit {} < env", self.app)));
        }
        let before = env.ctx.apps.ledger().config(&self.app)?;
        let changes = replacement(&before, vars);
        if changes.is_empty() {
            env.narrate("Nothing has changed.").await;
            return Ok(());
        }
        change(env, &self.app, "Replacing", changes, &self.when).await
    }
}

/// What makes `before` what the file says.
fn replacement(before: &ConfigVars, vars: Vars) -> ConfigChanges {
    let gone: BTreeSet<_> = before
        .keys()
        .filter(|name| !vars.contains_key(name))
        .collect();
    let gone: Vec<_> = gone.into_iter().map(|name| (name.clone(), None)).collect();
    let is_new = |name: &ConfigName, value: &String| {
        before
            .get(name)
            .is_none_or(|before| before.as_str() != value)
    };
    vars.into_iter()
        .filter(|(name, value)| is_new(name, value))
        .map(|(name, value)| (name, Some(value)))
        .chain(gone)
        .collect()
}

async fn read(env: &mut Env<'_>) -> Result<Vars, Failure> {
    let text = env.input(FILE_BYTES_MAX).await?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::new(format!(
            "the file is larger than {} KiB",
            FILE_BYTES_MAX >> 10
        ))
        .status(USAGE));
    }
    dotenv::parse(&text).map_err(|error| Failure::new(error.to_string()).status(USAGE))
}

fn nothing_came(hint: &str) -> Failure {
    Failure::new("no config vars came on stdin")
        .hint(&format!("Type: {hint}"))
        .status(USAGE)
}

fn plain(config: &ConfigVars) -> BTreeMap<&str, &str> {
    config
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

fn shell(config: &ConfigVars, before: &str) -> String {
    config
        .iter()
        .map(|(name, value)| format!("{before}{name}={}\n", output::shell_quoted(value)))
        .collect()
}

async fn change(
    env: &mut Env<'_>,
    app: &AppName,
    verb: &str,
    changes: ConfigChanges,
    when: &When,
) -> Result<(), Failure> {
    let names: Vec<String> = changes.keys().map(ToString::to_string).collect();
    env.narrate(&format!("-----> {verb} {} on {app}", names.join(", ")))
        .await;
    let (apps, by) = (env.ctx.apps.clone(), env.caller.user.clone());
    let restart = if when.no_restart {
        Restart::Later
    } else {
        Restart::Now
    };
    let release = env
        .follow(async move |events| apps.set_config(app, changes, restart, &by, events).await)
        .await?;
    env.narrate(&format!("=====> {app} {}", release.number))
        .await;
    if when.no_restart {
        env.narrate(&output::detail(&format!(
            "What runs goes on as it is; to start it anew: ps:restart {app}"
        )))
        .await;
    }
    Ok(())
}

/// The error names the variable but never what might be its value.
pub(super) fn assignment(var: &str) -> Result<(ConfigName, String), Failure> {
    let Some((name, value)) = var.split_once('=') else {
        return Err(Failure::new(
            "a config var is written NAME=value, and one of these has no `=`",
        )
        .hint("Quote values with spaces: config:set APP NAME='a value'")
        .status(USAGE));
    };
    let name = name
        .parse::<ConfigName>()
        .map_err(|error| Failure::new(error.to_string()).status(USAGE))?;
    Ok((name, value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_keeps_everything_after_the_first_equals_sign() {
        let (name, value) = assignment("URL=postgres://u:p@h/db?a=b").unwrap();
        assert_eq!(
            (name.to_string().as_str(), value.as_str()),
            ("URL", "postgres://u:p@h/db?a=b")
        );
    }

    #[test]
    fn what_is_no_assignment_is_not_repeated_in_the_error() {
        let failure = assignment("hunter2").err().map(|f| f.to_string()).unwrap();
        assert!(!failure.contains("hunter2"), "{failure}");
    }
}
