//! `whoami` and `version`: with whom the server thinks it speaks, and with what the user does.

use clap::Args;

use super::Env;
use crate::errors::Failure;

/// Show who you are here, and by which key
#[derive(Args)]
#[command(after_help = "Example:\n  whoami")]
pub(super) struct Whoami {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show the server's version
#[derive(Args)]
#[command(after_help = "Example:\n  version")]
pub(super) struct Version {}

impl Whoami {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let (user, key) = (&env.caller.user, &env.caller.fingerprint);
        if self.json {
            let shown = serde_json::json!({ "user": user, "key": key });
            return env.print_json(&shown).await;
        }
        let text = format!("{user}\n");
        let key = format!("by {key}");
        env.print(&text).await;
        env.narrate(&key).await;
        Ok(())
    }
}

impl Version {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        env.print(concat!("slipway ", env!("CARGO_PKG_VERSION"), "\n"))
            .await;
        Ok(())
    }
}
