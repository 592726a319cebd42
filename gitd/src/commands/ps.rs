//! `ps`: what runs, how many, and new ones in their place.

use std::{collections::BTreeMap, fmt::Write as _};

use clap::Args;
use release::{AppName, InstanceStatus, ProcessType};

use super::Env;
use crate::{
    errors::{Failure, USAGE},
    output::{self, ago, timestamp},
    quantity::show_bytes,
};

/// Most instances of one process type; a typing error should not start a thousand.
const QUANTITY_MAX: u32 = 100;

/// List an app's instances
#[derive(Args)]
#[command(after_help = "Example:\n  ps shop")]
pub(super) struct List {
    pub(super) app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Scale process types, or show the scale in a form that can be fed back
#[derive(Args)]
#[command(after_help = "Example:\n  ps:scale shop web=2 worker+1")]
pub(super) struct Scale {
    pub(super) app: AppName,
    /// `web=2`, `worker+1`, `worker-1`
    #[arg(value_name = "TYPE=QUANTITY", allow_hyphen_values = true)]
    changes: Vec<String>,
}

/// Replace instances by new ones, without a failed request
#[derive(Args)]
#[command(after_help = "Example:\n  ps:restart shop web.1")]
pub(super) struct Restart {
    pub(super) app: AppName,
    /// A process type such as `web`, or one instance such as `web.1`
    which: Option<String>,
}

/// Stop instances, or a one-off process; the scale stays
///
/// What is stopped stays so, deploys or not, until `ps:start`, `ps:restart` or `ps:scale` names it.
#[derive(Args)]
#[command(after_help = "Examples:\n  ps:stop shop\n  ps:stop shop worker\n  ps:stop shop run.1234")]
pub(super) struct Stop {
    pub(super) app: AppName,
    /// A process type, one instance such as `web.1`, or a one-off process such as `run.1234`
    which: Option<String>,
}

/// Start instances that were stopped
#[derive(Args)]
#[command(after_help = "Example:\n  ps:start shop worker")]
pub(super) struct Start {
    pub(super) app: AppName,
    /// A process type such as `web`, or one instance such as `web.1`
    which: Option<String>,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let instances = env.ctx.apps.instances(&self.app)?;
        if self.json {
            return env.print_json(&instances).await;
        }
        let formation = env.ctx.apps.ledger().formation(&self.app)?;
        let mut text = String::new();
        for (kind, quantity) in &formation {
            let of_kind: Vec<_> = instances
                .iter()
                .filter(|i| output::process_type(&i.name) == kind.as_str())
                .collect();
            if of_kind.is_empty() && *quantity == 0 {
                continue;
            }
            let command = of_kind
                .first()
                .map_or("", |instance| instance.command.as_str());
            // Writing to a String cannot fail.
            _ = writeln!(text, "=== {kind}: {command} ({quantity})\n");
            for instance in of_kind {
                text.push_str(&line(instance));
            }
            text.push('\n');
        }
        let runs: Vec<_> = instances.iter().filter(|i| is_run(&i.name)).collect();
        if !runs.is_empty() {
            _ = writeln!(text, "=== run: one-off processes ({})\n", runs.len());
            text.extend(runs.into_iter().map(run_line));
        }
        if text.is_empty() {
            env.narrate(&format!(
                "Nothing of `{}` runs: it has not been deployed yet.",
                self.app
            ))
            .await;
        }
        env.print(&text).await;
        Ok(())
    }
}

/// `web.1: up v3 2026-11-24T09:00:00Z (~ 5m ago) 23.5 MiB`
fn line(instance: &InstanceStatus) -> String {
    let (since, ago) = (timestamp(instance.since), ago(instance.since));
    let memory = instance.memory_bytes.map(show_bytes);
    format!(
        "{}: {} v{} {since} (~ {ago}) {}",
        instance.name,
        instance.state,
        instance.release,
        memory.unwrap_or_default()
    )
    .trim_end()
    .to_owned()
        + "\n"
}

pub(super) fn run_line(run: &InstanceStatus) -> String {
    format!("{}: {}\n", line(run).trim_end(), run.command)
}

/// One that somebody has started: `run.1234`.
pub(crate) fn is_run(name: &str) -> bool {
    ["run.", "exec."]
        .iter()
        .filter_map(|kind| name.strip_prefix(kind))
        .any(|number| number.len() >= 4)
}

impl Scale {
    pub(super) fn only_shows(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let formation = env.ctx.apps.ledger().formation(&self.app)?;
        if self.only_shows() {
            env.print(&format!("{}\n", output::formation(&formation)))
                .await;
            return Ok(());
        }
        let quantities = quantities(&formation, &self.changes)?;
        let said = output::formation(&quantities);
        env.narrate(&format!("-----> Scaling {} to {said}", self.app))
            .await;
        let (apps, by, app) = (env.ctx.apps.clone(), env.caller.user.clone(), self.app);
        env.follow(async move |events| apps.scale(&app, quantities, &by, events).await)
            .await?;
        env.narrate("=====> Done").await;
        Ok(())
    }
}

impl Restart {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let what = self.which.as_deref().unwrap_or("all instances");
        env.narrate(&format!("-----> Restarting {what} of {}", self.app))
            .await;
        let (apps, by) = (env.ctx.apps.clone(), env.caller.user.clone());
        env.follow(async move |events| {
            apps.restart(&self.app, self.which.as_deref(), &by, events)
                .await
        })
        .await?;
        env.narrate("=====> Done").await;
        Ok(())
    }
}

impl Stop {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let (apps, by) = (&env.ctx.apps, &env.caller.user);
        match self.which.as_deref() {
            Some(name) if is_run(name) => apps.stop_run(&self.app, name)?,
            which => apps.stop(&self.app, which, by).await?,
        }
        let what = self.which.as_deref().unwrap_or("all instances");
        env.narrate(&format!("Stopping {what} of `{}`.", self.app))
            .await;
        Ok(())
    }
}

impl Start {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let what = self.which.as_deref().unwrap_or("all instances");
        env.narrate(&format!("-----> Starting {what} of {}", self.app))
            .await;
        let (apps, by) = (env.ctx.apps.clone(), env.caller.user.clone());
        env.follow(async move |events| {
            apps.start_stopped(&self.app, self.which.as_deref(), &by, events)
                .await
        })
        .await?;
        env.narrate("=====> Done").await;
        Ok(())
    }
}

/// `web=2`, `worker+1`, `worker-1` on top of what is.
fn quantities(
    formation: &BTreeMap<ProcessType, u32>,
    changes: &[String],
) -> Result<BTreeMap<ProcessType, u32>, Failure> {
    let mut wanted = BTreeMap::new();
    for change in changes {
        let wrong = || {
            Failure::new(format!("`{change}` is no scale"))
                .hint(&format!(
                    "Write web=2, worker+1 or worker-1; 0 to {QUANTITY_MAX}."
                ))
                .status(USAGE)
        };
        let at = change.rfind(['=', '+', '-']).ok_or_else(wrong)?;
        let (kind, rest) = change.split_at(at);
        let kind: ProcessType = kind.parse().map_err(|_| wrong())?;
        let number: u32 = rest[1..].parse().map_err(|_| wrong())?;
        let now = formation.get(&kind).copied().unwrap_or(0);
        let quantity = match rest.as_bytes()[0] {
            b'=' => Some(number),
            b'+' => now.checked_add(number),
            _ => Some(now.saturating_sub(number)),
        };
        let quantity = quantity
            .filter(|quantity| *quantity <= QUANTITY_MAX)
            .ok_or_else(wrong)?;
        wanted.insert(kind, quantity);
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_set_raised_and_lowered() {
        let formation = BTreeMap::from([("web".parse().unwrap(), 2)]);
        let check = |line: &str, expected: Option<&str>| {
            let changes: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let seen = quantities(&formation, &changes)
                .ok()
                .map(|q| output::formation(&q));
            assert_eq!(seen.as_deref(), expected, "{line}");
        };
        check("web=3", Some("web=3"));
        check("web+1 worker=1", Some("web=3 worker=1"));
        check("web-1", Some("web=1"));
        check("web-9", Some("web=0"));
        check("my-worker=2", Some("my-worker=2"));
        check("web", None);
        check("web=", None);
        check("web=x", None);
        check("=1", None);
        check("web=101", None);
        check("web+4294967295", None);
    }
}
