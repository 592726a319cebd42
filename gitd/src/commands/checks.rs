//! `checks`: how an instance shows that it is healthy, before it gets requests.

use std::time::Duration;

use clap::Args;
use release::{
    AppName, Checks,
    checks::{INTERVAL_DEFAULT, TIMEOUT_DEFAULT},
};
use serde::Serialize;

use super::Env;
use crate::{
    errors::{Failure, USAGE},
    output,
    quantity::{self, show_time},
};

/// Show how an app's web instances are checked before they get requests
#[derive(Args)]
#[command(after_help = "Example:\n  checks shop")]
pub(super) struct List {
    pub(super) app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Set how web instances are checked, from their next start on
///
/// With a path, an instance gets requests when a GET of it is answered with a status from 200 to 399; without one, when
/// $PORT is bound.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  checks:set shop path=/healthz\n  checks:set shop timeout=2s interval=1s boot=120s\n  checks:set shop path=default"
)]
pub(super) struct Set {
    pub(super) app: AppName,
    /// `path=/healthz`, `timeout=5s` (of one answer), `interval=500ms` (between two), `boot=60s` (all in all); `default`
    /// takes one back
    #[arg(required = true, value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

#[derive(Serialize)]
struct Shown {
    path: Option<String>,
    timeout_ms: u128,
    interval_ms: u128,
    boot_ms: u128,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let checks = env.ctx.apps.ledger().checks(&self.app)?;
        let timeout = checks.timeout.unwrap_or(TIMEOUT_DEFAULT);
        let interval = checks.interval.unwrap_or(INTERVAL_DEFAULT);
        let boot = (checks.boot).unwrap_or_else(|| env.ctx.apps.default_boot_timeout());
        if self.json {
            let shown = Shown {
                path: checks.path,
                timeout_ms: timeout.as_millis(),
                interval_ms: interval.as_millis(),
                boot_ms: boot.as_millis(),
            };
            return env.print_json(&shown).await;
        }
        let path = checks
            .path
            .unwrap_or_else(|| "none: a bound $PORT is healthy".to_owned());
        let mut rows = vec![
            vec!["path:".to_owned(), path],
            vec!["boot:".to_owned(), show_time(boot)],
        ];
        rows.push(vec!["timeout:".to_owned(), show_time(timeout)]);
        rows.push(vec!["interval:".to_owned(), show_time(interval)]);
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Set {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let mut checks = env.ctx.apps.ledger().checks(&self.app)?;
        for setting in &self.settings {
            apply(&mut checks, setting)?;
        }
        let (apps, by) = (&env.ctx.apps, &env.caller.user);
        apps.set_checks(&self.app, checks, by).await?;
        env.narrate(&format!(
            "Set the checks of `{0}`, for instances that start from now on: ps:restart {0}",
            self.app
        ))
        .await;
        Ok(())
    }
}

fn apply(checks: &mut Checks, setting: &str) -> Result<(), Failure> {
    let wrong = || {
        Failure::new(format!("`{setting}` is no check"))
            .hint("Write: checks:set APP path=/healthz timeout=5s interval=500ms boot=60s")
            .status(USAGE)
    };
    let (name, value) = setting.split_once('=').ok_or_else(wrong)?;
    let time = || -> Result<Option<Duration>, Failure> {
        match value {
            "default" => Ok(None),
            value => quantity::time(value).map(Some).ok_or_else(wrong),
        }
    };
    match name {
        "path" => checks.path = (value != "default").then(|| value.to_owned()),
        "timeout" => checks.timeout = time()?,
        "interval" => checks.interval = time()?,
        "boot" => checks.boot = time()?,
        _ => return Err(wrong()),
    }
    Ok(())
}
