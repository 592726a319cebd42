//! `maintenance`: visitors read a page instead of the app, which goes on.

use clap::Args;
use release::AppName;
use serde::Serialize;

use super::Env;
use crate::errors::{Failure, USAGE};

const TEXT_CHARS_MAX: usize = 2000;

/// Show whether an app is in maintenance
#[derive(Args)]
#[command(after_help = "Example:\n  maintenance shop")]
pub(super) struct Show {
    pub(super) app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Answer visitors with a page and status 503; instances go on
#[derive(Args)]
#[command(after_help = "Example:\n  maintenance:on shop --message 'Back at nine.'")]
pub(super) struct On {
    pub(super) app: AppName,
    /// What visitors read
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
}

/// Let visitors reach the app again
#[derive(Args)]
#[command(after_help = "Example:\n  maintenance:off shop")]
pub(super) struct Off {
    pub(super) app: AppName,
}

#[derive(Serialize)]
struct Shown {
    maintenance: bool,
    message: Option<String>,
}

impl Show {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let text = env.ctx.apps.ledger().app(&self.app)?.maintenance;
        let maintenance = text.is_some();
        if self.json {
            let message = text.filter(|text| !text.is_empty());
            let shown = Shown {
                maintenance,
                message,
            };
            return env.print_json(&shown).await;
        }
        env.print(if maintenance { "on\n" } else { "off\n" }).await;
        Ok(())
    }
}

impl On {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let text = self.message.as_deref().unwrap_or_default().trim();
        if text.chars().count() > TEXT_CHARS_MAX || text.contains('\0') {
            let rule = format!("the message has at most {TEXT_CHARS_MAX} characters");
            return Err(Failure::new(rule).status(USAGE));
        }
        let (apps, by) = (&env.ctx.apps, &env.caller.user);
        apps.set_maintenance(&self.app, Some(text), by).await?;
        env.narrate(&format!(
            "`{0}` is in maintenance. To end it: maintenance:off {0}",
            self.app
        ))
        .await;
        Ok(())
    }
}

impl Off {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let (apps, by) = (&env.ctx.apps, &env.caller.user);
        apps.set_maintenance(&self.app, None, by).await?;
        env.narrate(&format!("Requests go to `{}` again.", self.app))
            .await;
        Ok(())
    }
}
