//! `apps`: list, create, show and destroy.

use clap::Args;
use release::{App, AppName};
use serde::Serialize;

use super::Env;
use crate::{
    errors::{Failure, USAGE},
    output::{self, ago, timestamp},
};

/// List the apps
#[derive(Args)]
pub(super) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Create an app
#[derive(Args)]
pub(super) struct Create {
    /// Lower-case letters, digits and dashes, at most 30
    name: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show where an app is and what it runs
#[derive(Args)]
pub(super) struct Info {
    app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Destroy an app, with its releases, config, logs and repository
#[derive(Args)]
pub(super) struct Destroy {
    app: AppName,
    /// The app's name once more
    #[arg(long, value_name = "APP")]
    confirm: Option<AppName>,
    /// Do not ask for the name
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    url: String,
    release: Option<u64>,
    created_at: String,
    git_url: String,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let apps = env.ctx.apps.ledger().apps()?;
        if self.json {
            let shown: Vec<Shown> = apps.iter().map(|app| Shown::new(env, app)).collect();
            return env.print_json(&shown).await;
        }
        if apps.is_empty() {
            env.narrate("There are no apps yet. Push one, or create one with `apps:create NAME`.")
                .await;
        }
        let names: String = apps.iter().map(|app| format!("{}\n", app.name)).collect();
        env.print(&names).await;
        Ok(())
    }
}

impl Create {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let app = env.ctx.apps.create(&self.name, &env.caller.user)?;
        let shown = Shown::new(env, &app);
        if self.json {
            return env.print_json(&shown).await;
        }
        env.narrate(&format!(
            "Created `{}`. Deploy it with: git push {} main",
            shown.name, shown.git_url
        ))
        .await;
        env.print(&format!("{}\n", shown.url)).await;
        Ok(())
    }
}

impl Info {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let app = env.ctx.apps.ledger().app(&self.app)?;
        let shown = Shown::new(env, &app);
        if self.json {
            return env.print_json(&shown).await;
        }
        let release = app
            .current
            .map_or_else(|| "none yet".to_owned(), |number| number.to_string());
        let processes = output::formation(&env.ctx.apps.ledger().formation(&self.app)?);
        env.print(&output::columns(&[
            vec!["Web URL:".into(), shown.url],
            vec!["Git URL:".into(), shown.git_url],
            vec!["Release:".into(), release],
            vec!["Processes:".into(), processes],
            vec![
                "Created:".into(),
                format!("{} ({})", timestamp(app.created_at), ago(app.created_at)),
            ],
        ]))
        .await;
        Ok(())
    }
}

impl Destroy {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let app = env.ctx.apps.ledger().app(&self.app)?;
        if !self.force && self.confirm.as_ref() != Some(&self.app) {
            return Err(Failure::new(format!(
                "destroying `{0}` cannot be undone, so its name is needed once more",
                self.app
            ))
            .hint(&format!("Type: apps:destroy {0} --confirm {0}", self.app))
            .status(USAGE));
        }
        // Nothing is deployed from a repository that goes away.
        let _closed = env.ctx.queue.close(app.id, &env.caller.user).await;
        env.ctx.apps.destroy(&self.app, &env.caller.user).await?;
        env.ctx.remove_files_of(&app).map_err(Failure::ours)?;
        env.narrate(&format!("Destroyed `{}`.", self.app)).await;
        Ok(())
    }
}

impl Shown {
    fn new(env: &Env<'_>, app: &App) -> Self {
        Self {
            name: app.name.to_string(),
            url: env.ctx.app_url(&app.name),
            release: app.current.map(|number| number.get()),
            created_at: timestamp(app.created_at),
            git_url: env.ctx.git_url(&app.name),
        }
    }
}
