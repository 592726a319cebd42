//! `apps:lock`: no new release until it is unlocked.

use clap::Args;
use release::AppName;

use super::Env;
use crate::{
    errors::{Failure, USAGE},
    output::ago,
};

const REASON_CHARS_MAX: usize = 200;

/// Refuse deploys, config changes and rollbacks until the app is unlocked
#[derive(Args)]
#[command(after_help = "Example:\n  apps:lock shop --message 'the sale is on until Monday'")]
pub(super) struct Lock {
    pub(super) app: AppName,
    /// Why, for those who are refused
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
}

/// Let an app have new releases again
#[derive(Args)]
#[command(after_help = "Example:\n  apps:unlock shop")]
pub(super) struct Unlock {
    pub(super) app: AppName,
}

impl Lock {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let reason = self.message.as_deref().map(str::trim);
        if reason.is_some_and(|text| {
            text.chars().count() > REASON_CHARS_MAX || text.chars().any(char::is_control)
        }) {
            let rule = format!("the message is one line of at most {REASON_CHARS_MAX} characters");
            return Err(Failure::new(rule).status(USAGE));
        }
        let by = &env.caller.user;
        let ledger = env.ctx.apps.ledger();
        ledger.lock_app(&self.app, by, reason.filter(|text| !text.is_empty()))?;
        env.ctx.apps.note(&self.app, &format!("Lock by user {by}"));
        env.narrate(&format!(
            "Locked `{0}`. To let releases through again: apps:unlock {0}",
            self.app
        ))
        .await;
        Ok(())
    }
}

impl Unlock {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let was = env.ctx.apps.ledger().app(&self.app)?.lock;
        env.ctx.apps.ledger().unlock_app(&self.app)?;
        match was {
            Some(lock) => {
                let by = &env.caller.user;
                let text = format!("Unlock by user {by}");
                env.ctx.apps.note(&self.app, &text);
                let was = words(&lock);
                env.narrate(&format!("Unlocked `{}`. It was locked {was}.", self.app))
                    .await;
            }
            None => {
                env.narrate(&format!("`{}` was not locked.", self.app))
                    .await
            }
        }
        Ok(())
    }
}

/// `by ada, 3m ago: the sale`
pub(crate) fn words(lock: &release::Lock) -> String {
    let when = format!("by {}, {}", lock.by, ago(lock.at));
    match &lock.reason {
        Some(reason) => format!("{when}: {reason}"),
        None => when,
    }
}
