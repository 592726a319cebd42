//! `domains`: hosts of an app's own, besides the one that every app has.

use clap::Args;
use release::{AppName, DeployError, Domain, LedgerError};
use serde::Serialize;

use super::Env;
use crate::{errors::Failure, output};

/// List the hosts that lead to an app
#[derive(Args)]
#[command(after_help = "Example:\n  domains shop")]
pub(super) struct List {
    pub(super) app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lead a host of your own to an app, at once
///
/// `*.example.com` is every host below it that has no app of its own. Where its name points is for you to set in the DNS.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  domains:add shop www.example.com\n  domains:add shop '*.example.com'"
)]
pub(super) struct Add {
    pub(super) app: AppName,
    domain: Domain,
}

/// Take a host away from an app, at once
#[derive(Args)]
#[command(after_help = "Example:\n  domains:remove shop www.example.com")]
pub(super) struct Remove {
    pub(super) app: AppName,
    domain: Domain,
}

/// Take all hosts of its own away from an app, at once
#[derive(Args)]
#[command(after_help = "Example:\n  domains:clear shop")]
pub(super) struct Clear {
    pub(super) app: AppName,
}

#[derive(Serialize)]
struct Shown {
    hostname: String,
    kind: &'static str,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let domains = env.ctx.apps.ledger().domains(&self.app)?;
        let own = format!("{}.{}", self.app, env.ctx.settings.domain);
        let mut shown = vec![Shown {
            hostname: own,
            kind: "slipway",
        }];
        shown.extend(domains.iter().map(|domain| Shown {
            hostname: domain.to_string(),
            kind: "custom",
        }));
        if self.json {
            return env.print_json(&shown).await;
        }
        let rows: Vec<_> = shown
            .into_iter()
            .map(|domain| vec![domain.hostname, domain.kind.to_owned()])
            .collect();
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Add {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let by = &env.caller.user;
        let added = env.ctx.apps.add_domain(&self.app, &self.domain, by).await;
        match added {
            Err(DeployError::Ledger(LedgerError::DomainTaken(domain))) => {
                let ours = env.ctx.apps.ledger().domains(&self.app)?;
                let whose = if ours.contains(&domain) { "this" } else { "an" };
                return Err(Failure::new(format!(
                    "`{domain}` leads to {whose} app already"
                )));
            }
            added => added?,
        }
        env.narrate(&format!("`{}` leads to `{}`.", self.domain, self.app))
            .await;
        Ok(())
    }
}

impl Remove {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let by = &env.caller.user;
        let removed = env
            .ctx
            .apps
            .remove_domain(&self.app, &self.domain, by)
            .await;
        removed.map_err(|error| match error {
            DeployError::NoDomain { .. } => {
                Failure::from(error).hint(&format!("Type: domains {}", self.app))
            }
            error => error.into(),
        })?;
        env.narrate(&format!("`{}` leads nowhere now.", self.domain))
            .await;
        Ok(())
    }
}

impl Clear {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let domains = env.ctx.apps.ledger().domains(&self.app)?;
        for domain in domains {
            env.still_may()?;
            Remove {
                app: self.app.clone(),
                domain,
            }
            .run(env)
            .await?;
        }
        Ok(())
    }
}
