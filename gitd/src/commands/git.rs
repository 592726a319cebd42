//! `git`: how an app's repository behaves.

use clap::{Args, ValueEnum};
use release::AppName;
use serde::Serialize;

use super::Env;
use crate::{
    errors::{Failure, USAGE},
    output,
};

/// Show an app's Git URL and the branch that deploys
#[derive(Args)]
#[command(after_help = "Example:\n  git shop")]
pub(super) struct Info {
    pub(super) app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Set what an app's repository does: `git:set APP deploy-branch NAME`
#[derive(Args)]
#[command(
    after_help = "Examples:\n  git:set shop deploy-branch live\n  git:set shop deploy-branch"
)]
pub(super) struct Set {
    pub(super) app: AppName,
    setting: Setting,
    /// The platform's default when absent
    value: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Setting {
    /// The branch whose pushes deploy
    DeployBranch,
}

#[derive(Serialize)]
struct Shown {
    git_url: String,
    deploy_branches: Vec<String>,
}

impl Info {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let app = env.ctx.apps.ledger().app(&self.app)?;
        let branches = env.ctx.deploy_branches(&app);
        let shown = Shown {
            git_url: env.ctx.git_url(&app.name),
            deploy_branches: branches.into_iter().map(str::to_owned).collect(),
        };
        if self.json {
            return env.print_json(&shown).await;
        }
        env.print(&output::columns(&[
            vec!["Git URL:".into(), shown.git_url],
            vec!["Deploy branch:".into(), shown.deploy_branches.join(" or ")],
        ]))
        .await;
        Ok(())
    }
}

impl Set {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let Setting::DeployBranch = self.setting;
        let branch = self.value.as_deref();
        if let Some(branch) = branch
            && !is_branch(branch)
        {
            let problem = format!("`{}` is not a branch name", branch.escape_debug());
            return Err(Failure::new(problem).status(USAGE));
        }
        let app = env.ctx.apps.ledger().app(&self.app)?;
        // Behind the deploys that are under way: they were decided by the branch as it was.
        let closed = env.ctx.queue.close(app.id).await;
        closed.empty().await;
        env.still_may()?;
        env.ctx.apps.ledger().set_deploy_branch(&self.app, branch)?;
        let app = env.ctx.apps.ledger().app(&self.app)?;
        let repo = env.ctx.repo_of(&app).map_err(Failure::new)?;
        let reset = env.ctx.show_live_on_deploy_branches(&app, &repo);
        for name in reset.map_err(Failure::ours)? {
            env.narrate(&format!(
                "`{name}` held something else than what is live; it names what is live now. Push it again to deploy it."
            ))
            .await;
        }
        env.ctx.write_app_refs(&app, &repo).map_err(Failure::ours)?;
        let branches = env.ctx.deploy_branches(&app).join("` or `");
        env.narrate(&format!("A push to `{branches}` deploys {}.", self.app))
            .await;
        Ok(())
    }
}

fn is_branch(name: &str) -> bool {
    let full = format!("refs/heads/{name}");
    !name.starts_with('-')
        && !name.starts_with("refs/")
        && gix_validate::reference::branch_name(full.as_str().into()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branch_names() {
        for good in ["main", "production", "release/2026", "ü"] {
            assert!(is_branch(good), "{good}");
        }
        for bad in [
            "",
            "-x",
            "refs/heads/main",
            "a..b",
            "a b",
            "x.lock",
            "a\x1b",
        ] {
            assert!(!is_branch(bad), "{bad}");
        }
    }
}
