//! `users`: who may log in, and who of them administers.

use clap::Args;
use release::{Holder, LedgerError, UserName};
use serde::Serialize;

use super::Env;
use crate::{
    errors::Failure,
    output::{self, timestamp},
};

/// List the users
#[derive(Args)]
#[command(after_help = "Example:\n  users --json")]
pub(super) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Add a user, who may create apps and has no access to any yet
#[derive(Args)]
#[command(after_help = "Examples:\n  users:add grace\n  users:add root@desk --admin")]
pub(super) struct Add {
    name: UserName,
    /// May do everything
    #[arg(long)]
    admin: bool,
}

/// Remove a user, with keys and access; what they have open ends
#[derive(Args)]
#[command(after_help = "Example:\n  users:remove grace")]
pub(super) struct Remove {
    name: UserName,
}

/// Make a user an administrator
#[derive(Args)]
#[command(after_help = "Example:\n  users:promote grace")]
pub(super) struct Promote {
    name: UserName,
}

/// Make an administrator an ordinary user
#[derive(Args)]
#[command(after_help = "Example:\n  users:demote grace")]
pub(super) struct Demote {
    name: UserName,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    admin: bool,
    keys: usize,
    created_at: String,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let ledger = env.ctx.apps.ledger();
        let keys = ledger.keys()?;
        let shown: Vec<Shown> = ledger
            .users()?
            .into_iter()
            .map(|user| {
                let holder = Holder::User(user.name.clone());
                Shown {
                    keys: keys.iter().filter(|key| key.holder == holder).count(),
                    name: user.name,
                    admin: user.admin,
                    created_at: timestamp(user.created_at),
                }
            })
            .collect();
        if self.json {
            return env.print_json(&shown).await;
        }
        let rows: Vec<_> = shown.into_iter().map(Shown::row).collect();
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Add {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        if !env.ctx.apps.ledger().add_user(&self.name, self.admin)? {
            return Err(Failure::new(format!(
                "there is a user `{}` already",
                self.name
            )));
        }
        env.narrate(&format!(
            "Added `{0}`. Give them a key: keys:add --user {0} < key.pub",
            self.name
        ))
        .await;
        Ok(())
    }
}

impl Remove {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        env.ctx
            .apps
            .ledger()
            .remove_user(&self.name)
            .map_err(last_admin)?;
        env.narrate(&format!("Removed `{}`.", self.name)).await;
        Ok(())
    }
}

impl Promote {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        env.ctx.apps.ledger().set_admin(&self.name, true)?;
        env.narrate(&format!("`{}` is an administrator.", self.name))
            .await;
        Ok(())
    }
}

impl Demote {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        env.ctx
            .apps
            .ledger()
            .set_admin(&self.name, false)
            .map_err(last_admin)?;
        env.narrate(&format!("`{}` is an ordinary user.", self.name))
            .await;
        Ok(())
    }
}

fn last_admin(error: LedgerError) -> Failure {
    match error {
        LedgerError::LastAdmin => Failure::from(error).hint("Type first: users:promote NAME"),
        error => error.into(),
    }
}

impl Shown {
    fn row(self) -> Vec<String> {
        let keys = match self.keys {
            1 => "1 key".to_owned(),
            n => format!("{n} keys"),
        };
        let standing = if self.admin { "administrator" } else { "user" };
        vec![self.name, standing.to_owned(), keys, self.created_at]
    }
}
