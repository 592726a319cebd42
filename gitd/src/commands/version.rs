//! `version`: of the server.

use clap::Args;

use super::Env;
use crate::errors::Failure;

/// Show the server's version
#[derive(Args)]
#[command(after_help = "Example:\n  version")]
pub(super) struct Version {}

impl Version {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        env.print(concat!("slipway ", env!("CARGO_PKG_VERSION"), "\n"))
            .await;
        Ok(())
    }
}
