//! `apps`: list, create, show, rename, clone, hand over and destroy.

use clap::Args;
use release::{App, AppName, UserName};
use serde::Serialize;

use super::{Env, lock};
use crate::{
    access::Need,
    deploy::Why,
    errors::{Failure, USAGE},
    output::{self, ago, timestamp},
};

/// List the apps
#[derive(Args)]
#[command(after_help = "Example:\n  apps --json")]
pub(super) struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Create an app
#[derive(Args)]
#[command(after_help = "Example:\n  apps:create shop")]
pub(super) struct Create {
    /// Lower-case letters, digits and dashes, at most 30
    pub(super) name: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show where an app is and what it runs
#[derive(Args)]
#[command(after_help = "Example:\n  apps:info shop")]
pub(super) struct Info {
    pub(super) app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Destroy an app, with its releases, config, logs and repository
#[derive(Args)]
#[command(after_help = "Example:\n  apps:destroy shop --confirm shop")]
pub(super) struct Destroy {
    pub(super) app: AppName,
    /// The app's name once more
    #[arg(long, value_name = "APP")]
    confirm: Option<AppName>,
    /// Do not ask for the name
    #[arg(long)]
    force: bool,
}

/// Give an app another name; it goes on running
///
/// Its address and its git URL change with it. The old name is free at once.
#[derive(Args)]
#[command(after_help = "Example:\n  apps:rename shop store")]
pub(super) struct Rename {
    pub(super) app: AppName,
    /// The new name
    name: AppName,
}

/// Make a new app that runs what another one runs
///
/// Image, config vars, scale, limits and checks are copied; domains and git history are not. Config vars that name a
/// database name the same one for both.
#[derive(Args)]
#[command(after_help = "Example:\n  apps:clone shop shop-staging")]
pub(super) struct CloneApp {
    pub(super) app: AppName,
    /// The new app's name
    name: AppName,
}

/// Make another user the owner of an app
#[derive(Args)]
#[command(after_help = "Example:\n  apps:transfer shop grace")]
pub(super) struct Transfer {
    pub(super) app: AppName,
    user: UserName,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    url: String,
    release: Option<u64>,
    created_at: String,
    git_url: String,
    owner: String,
    locked: bool,
    maintenance: bool,
    domains: Vec<String>,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let apps = env.ctx.visible_apps(env.caller)?;
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
        let mut rows = vec![
            vec!["Web URL:".into(), shown.url],
            vec!["Git URL:".into(), shown.git_url],
            vec!["Release:".into(), release],
            vec!["Processes:".into(), processes],
            vec![
                "Created:".into(),
                format!("{} ({})", timestamp(app.created_at), ago(app.created_at)),
            ],
            vec!["Owner:".into(), app.owner.clone()],
        ];
        if !shown.domains.is_empty() {
            rows.push(vec!["Domains:".into(), shown.domains.join(" ")]);
        }
        if let Some(lock) = &app.lock {
            rows.push(vec!["Locked:".into(), lock::words(lock)]);
        }
        if app.maintenance.is_some() {
            rows.push(vec!["Maintenance:".into(), "on".into()]);
        }
        env.print(&output::columns(&rows)).await;
        Ok(())
    }
}

impl Rename {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let app = env.ctx.apps.ledger().app(&self.app)?;
        // Behind the deploys that are under way: they know the app by its name.
        let closed = env.ctx.queue.close(app.id).await;
        closed.empty().await;
        env.still_may()?;
        env.ctx
            .apps
            .rename(&self.app, &self.name, &env.caller.user)
            .await?;
        env.narrate(&format!(
            "Renamed `{}` to `{}`. Where it is a git remote:",
            self.app, self.name
        ))
        .await;
        let git_url = env.ctx.git_url(&self.name);
        env.narrate(&output::detail(&format!(
            "git remote set-url <remote> {git_url}"
        )))
        .await;
        let url = env.ctx.app_url(&self.name);
        env.print(&format!("{url}\n")).await;
        Ok(())
    }
}

impl CloneApp {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        // A deploy key with the role on the original creates nothing.
        env.ctx.check(env.caller, &Need::User)?;
        env.narrate(&output::step(&format!(
            "Cloning {} to {}",
            self.app, self.name
        )))
        .await;
        let (apps, by) = (env.ctx.apps.clone(), env.caller.user.clone());
        let (app, name) = (self.app, self.name.clone());
        let release = env
            .follow(async move |events| apps.clone_app(&app, &name, &by, events).await)
            .await?;
        env.narrate(&output::result(&format!(
            "{} {} is live",
            self.name, release.number
        )))
        .await;
        let url = env.ctx.app_url(&self.name);
        env.print(&format!("{url}\n")).await;
        Ok(())
    }
}

impl Transfer {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let ledger = env.ctx.apps.ledger();
        if let Err(error) = ledger.set_owner(&self.app, &self.user) {
            return Err(Failure::from(error).hint("Type: users"));
        }
        let text = format!("Transfer to {} by user {}", self.user, env.caller.user);
        env.ctx.apps.note(&self.app, &text);
        env.narrate(&format!("`{}` belongs to `{}` now.", self.app, self.user))
            .await;
        Ok(())
    }
}

/// None of an app that has just gone.
fn domains(env: &Env<'_>, app: &AppName) -> Vec<String> {
    let domains = env.ctx.apps.ledger().domains(app).unwrap_or_default();
    domains.iter().map(ToString::to_string).collect()
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
        let closed = env.ctx.queue.close(app.id).await;
        closed.cancel(&Why::Destroyed(env.caller.user.clone()));
        closed.empty().await;
        env.still_may()?;
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
            owner: app.owner.clone(),
            locked: app.lock.is_some(),
            maintenance: app.maintenance.is_some(),
            domains: domains(env, &app.name),
        }
    }
}

/// Tell by the exit status whether there is an app: 0, or 1
#[derive(Args)]
#[command(after_help = "Example:\n  apps:exists shop || apps:create shop")]
pub(super) struct Exists {
    pub(super) app: AppName,
}

impl Exists {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        env.ctx.apps.ledger().app(&self.app)?;
        env.print(&format!("{}\n", self.app)).await;
        Ok(())
    }
}
