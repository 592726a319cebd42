//! `access`: who may do what with an app; and `whoami`.

use clap::Args;
use release::{AppName, Grantee, Holder, Role};
use serde::Serialize;

use super::Env;
use crate::{errors::Failure, output};

/// List who has access to an app; administrators always have
#[derive(Args)]
#[command(after_help = "Example:\n  access shop")]
pub(super) struct List {
    pub(super) app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Give a user or a @team a role: viewer, deployer, operator or owner
#[derive(Args)]
#[command(
    after_help = "Examples:\n  access:add shop grace deployer\n  access:add shop @backend viewer"
)]
pub(super) struct Add {
    pub(super) app: AppName,
    /// A user, or @TEAM
    who: Grantee,
    role: Role,
}

/// Take the role of a user or a @team away
#[derive(Args)]
#[command(after_help = "Example:\n  access:remove shop @backend")]
pub(super) struct Remove {
    pub(super) app: AppName,
    /// A user, or @TEAM
    who: Grantee,
}

/// Show who you are here
#[derive(Args)]
#[command(after_help = "Example:\n  whoami --json")]
pub(super) struct Whoami {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown {
    who: String,
    role: Role,
}

#[derive(Serialize)]
struct Me<'a> {
    user: &'a str,
    admin: bool,
    deploy_key: bool,
    key: &'a str,
    from: String,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let grants = env.ctx.apps.ledger().grants(&self.app)?;
        let shown: Vec<Shown> = grants
            .into_iter()
            .map(|grant| Shown {
                who: grant.to,
                role: grant.role,
            })
            .collect();
        if self.json {
            return env.print_json(&shown).await;
        }
        let rows: Vec<_> = shown
            .into_iter()
            .map(|shown| vec![shown.who, shown.role.to_string()])
            .collect();
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Add {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        env.ctx
            .apps
            .ledger()
            .grant(&self.app, &self.who, self.role)?;
        env.narrate(&format!(
            "`{}` has the role {} on `{}`.",
            self.who, self.role, self.app
        ))
        .await;
        Ok(())
    }
}

impl Remove {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        if !env.ctx.apps.ledger().revoke(&self.app, &self.who)? {
            return Err(
                Failure::new(format!("`{}` has no role on `{}`", self.who, self.app))
                    .hint(&format!("Type: access {}", self.app)),
            );
        }
        env.narrate(&format!(
            "`{}` has no role on `{}` any more.",
            self.who, self.app
        ))
        .await;
        Ok(())
    }
}

impl Whoami {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let caller = env.caller;
        let me = Me {
            user: &caller.user,
            admin: caller.admin,
            deploy_key: matches!(caller.holder, Holder::App { .. }),
            key: &caller.fingerprint,
            from: caller.remote.to_string(),
        };
        if self.json {
            return env.print_json(&me).await;
        }
        let standing = if me.admin {
            "An administrator, with"
        } else {
            "With"
        };
        env.narrate(&format!("{standing} the key {} from {}.", me.key, me.from))
            .await;
        env.print(&format!("{}\n", me.user)).await;
        Ok(())
    }
}
