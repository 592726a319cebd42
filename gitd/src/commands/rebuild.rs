//! `ps:rebuild`: the commit that is live, built and released once more.

use std::sync::Arc;

use clap::Args;
use gix_hash::ObjectId;
use release::{App, AppName, Release};
use tokio::task::spawn_blocking;

use super::{Env, builds, lock};
use crate::{
    deploy::{Deploy, Hold, Order},
    errors::Failure,
    landing,
    push_options::PushOptions,
};

const SHORT_HEX: usize = 8;

/// Build the commit that is live once more, and release it
///
/// For other buildpacks, another stack, or config vars that the build reads; nothing has to be pushed, and no branch moves. It
/// waits for its turn as a push does, and leaving cancels it. The exit status is the build's.
#[derive(Args)]
#[command(after_help = "Example:\n  ps:rebuild shop --no-cache")]
pub(super) struct Rebuild {
    pub(super) app: AppName,
    /// Without what earlier builds have kept
    #[arg(long)]
    no_cache: bool,
    /// Print a JSON object per line of the build's output, and in the end one about the build
    #[arg(long)]
    json: bool,
}

impl Rebuild {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<u8, Failure> {
        let (deploy, _hold) = self.enter(env).await?;
        builds::watch(env, &self.app, &deploy, self.json).await
    }

    async fn enter(&self, env: &mut Env<'_>) -> Result<(Arc<Deploy>, Hold), Failure> {
        let ledger = env.ctx.apps.ledger();
        let app = ledger.app(&self.app)?;
        if let Some(lock) = &app.lock {
            let locked = format!("`{}` is locked {}", self.app, lock::words(lock));
            let hint = format!("When it may change again: apps:unlock {}", self.app);
            return Err(Failure::new(locked).hint(&hint));
        }
        let live = ledger.current(&self.app)?;
        let order = self.order(env, app, live)?;
        let ctx = Arc::clone(env.ctx);
        let entering = spawn_blocking(move || landing::enter(&ctx, order)).await;
        let entered = entering.map_err(Failure::ours)?;
        let (deploy, hold, aside) = entered.map_err(|refused| Failure::new(refused.to_string()))?;
        if let Some(aside) = aside {
            env.narrate(&aside).await;
        }
        Ok((deploy, hold))
    }

    fn order(&self, env: &Env<'_>, app: App, live: Option<Release>) -> Result<Order, Failure> {
        let push = format!(
            "To deploy it, push: git push {} main",
            env.ctx.git_url(&self.app)
        );
        let commit = live.and_then(|live| live.commit);
        let Some(commit) = commit.and_then(|hex| ObjectId::from_hex(hex.as_bytes()).ok()) else {
            let text = format!("`{}` has no release yet that was pushed", self.app);
            return Err(Failure::new(text).hint(&push));
        };
        let repo = env.ctx.repo_of(&app).map_err(Failure::new)?;
        // The release of a cloned app names a commit of another repository.
        if !repo.contains(commit) {
            let text = format!(
                "the commit of what runs is not in the repository of `{}`",
                self.app
            );
            return Err(Failure::new(text).hint(&push));
        }
        let options = PushOptions {
            no_cache: self.no_cache,
            message: Some(format!("Rebuild {}", commit.to_hex_with_len(SHORT_HEX))),
            ..PushOptions::default()
        };
        Ok(Order {
            app,
            repo,
            commit,
            updates: Vec::new(),
            by: env.caller.user.clone(),
            caller: env.caller.clone(),
            options,
        })
    }
}
