//! `config`: the app's environment. A change of several variables is one release; values are shown to whoever may see
//! them and never logged.

use std::collections::BTreeMap;

use clap::Args;
use release::{AppName, ConfigName};

use super::Env;
use crate::{
    errors::{Failure, USAGE},
    output,
};

/// Show an app's config vars
#[derive(Args)]
pub(super) struct List {
    pub(super) app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print NAME='value' lines that a shell can read
    #[arg(short, long)]
    shell: bool,
}

/// Print one config var's value
#[derive(Args)]
pub(super) struct Get {
    pub(super) app: AppName,
    name: ConfigName,
}

/// Set config vars; all of them make one release
#[derive(Args)]
pub(super) struct Set {
    pub(super) app: AppName,
    /// NAME=value
    #[arg(required = true, value_name = "NAME=VALUE")]
    vars: Vec<String>,
}

/// Unset config vars; all of them make one release
#[derive(Args)]
pub(super) struct Unset {
    pub(super) app: AppName,
    #[arg(required = true)]
    names: Vec<ConfigName>,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let config = env.ctx.apps.ledger().config(&self.app)?;
        if self.json {
            let shown: BTreeMap<String, &str> = config
                .iter()
                .map(|(name, value)| (name.to_string(), value.as_str()))
                .collect();
            return env.print_json(&shown).await;
        }
        if self.shell {
            let lines: String = config
                .iter()
                .map(|(name, value)| format!("{name}={}\n", output::shell_quoted(value)))
                .collect();
            env.print(&lines).await;
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

impl Get {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let config = env.ctx.apps.ledger().config(&self.app)?;
        let Some(value) = config.get(&self.name) else {
            return Err(Failure::new(format!(
                "`{}` is not set on `{}`",
                self.name, self.app
            )));
        };
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
        change(env, &self.app, "Setting", changes).await
    }
}

impl Unset {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let changes = self.names.into_iter().map(|name| (name, None)).collect();
        change(env, &self.app, "Unsetting", changes).await
    }
}

async fn change(
    env: &mut Env<'_>,
    app: &AppName,
    verb: &str,
    changes: BTreeMap<ConfigName, Option<String>>,
) -> Result<(), Failure> {
    let names: Vec<String> = changes.keys().map(ToString::to_string).collect();
    env.narrate(&format!("-----> {verb} {} on {app}", names.join(", ")))
        .await;
    let (apps, by) = (env.ctx.apps.clone(), env.caller.user.clone());
    let release = env
        .follow(async move |events| apps.set_config(app, changes, &by, events).await)
        .await?;
    env.narrate(&format!("=====> {app} {}", release.number))
        .await;
    Ok(())
}

/// The error names the variable but never what might be its value.
fn assignment(var: &str) -> Result<(ConfigName, String), Failure> {
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
