//! `teams`: users that are given access together.

use clap::Args;
use release::{Holder, TeamName, UserName};
use serde::Serialize;

use super::Env;
use crate::{errors::Failure, output};

/// List your teams; an administrator sees all
#[derive(Args)]
#[command(after_help = "Example:\n  teams")]
pub(super) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Create a team; give it access with: access:add APP @TEAM ROLE
#[derive(Args)]
#[command(after_help = "Example:\n  teams:create backend")]
pub(super) struct Create {
    team: TeamName,
}

/// Destroy a team, with the access that it gave
#[derive(Args)]
#[command(after_help = "Example:\n  teams:destroy backend")]
pub(super) struct Destroy {
    team: TeamName,
}

/// Add a user to a team
#[derive(Args)]
#[command(after_help = "Example:\n  teams:add backend grace")]
pub(super) struct Add {
    team: TeamName,
    user: UserName,
}

/// Remove a user from a team
#[derive(Args)]
#[command(after_help = "Example:\n  teams:remove backend grace")]
pub(super) struct Remove {
    team: TeamName,
    user: UserName,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    members: Vec<String>,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let caller = env.caller;
        let mine = |members: &[String]| {
            let member = |user: &String| Holder::User(user.clone()) == caller.holder;
            caller.admin || members.iter().any(member)
        };
        let teams = env.ctx.apps.ledger().teams()?.into_iter();
        let shown: Vec<Shown> = teams
            .filter(|team| mine(&team.members))
            .map(|team| Shown {
                name: team.name,
                members: team.members,
            })
            .collect();
        if self.json {
            return env.print_json(&shown).await;
        }
        let rows: Vec<_> = shown
            .into_iter()
            .map(|team| vec![format!("@{}", team.name), team.members.join(", ")])
            .collect();
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Create {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        if !env.ctx.apps.ledger().create_team(&self.team)? {
            return Err(Failure::new(format!(
                "there is a team `{}` already",
                self.team
            )));
        }
        env.narrate(&format!(
            "Created `@{0}`. Add somebody: teams:add {0} USER",
            self.team
        ))
        .await;
        Ok(())
    }
}

impl Destroy {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        env.ctx.apps.ledger().destroy_team(&self.team)?;
        env.narrate(&format!("Destroyed `@{}`.", self.team)).await;
        Ok(())
    }
}

impl Add {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        if !env.ctx.apps.ledger().add_member(&self.team, &self.user)? {
            return Err(Failure::new(format!(
                "`{}` is in `@{}` already",
                self.user, self.team
            )));
        }
        env.narrate(&format!("`{}` is in `@{}`.", self.user, self.team))
            .await;
        Ok(())
    }
}

impl Remove {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        if !env
            .ctx
            .apps
            .ledger()
            .remove_member(&self.team, &self.user)?
        {
            return Err(Failure::new(format!(
                "`{}` is not in `@{}`",
                self.user, self.team
            )));
        }
        env.narrate(&format!(
            "`{}` is no longer in `@{}`.",
            self.user, self.team
        ))
        .await;
        Ok(())
    }
}
