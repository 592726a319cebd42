//! What the server works with, and how its door sees it: keys, repositories, commands.

use std::{
    collections::HashMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use builder::Builder;
use release::{App, AppName, Apps, LedgerError};

use crate::{
    Caller, Gone, Io, Platform, RepoPath, Status, commands,
    deploy::AppLanding,
    errors::chain,
    failed_builds::FailedBuilds,
    git::{Limits, Repo},
    queue::Queue,
};

/// What an operator sets.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Holds `repos/`, `builds/`, `cache/`, `failed/`.
    pub data: PathBuf,
    /// Apps are served as `http://<app>.<domain>:<http_port>`.
    pub domain: String,
    pub http_port: u16,
    pub ssh_port: u16,
    /// A push to an app that does not exist creates it.
    pub create_on_push: bool,
    /// Branches that deploy; the first is the one that hints name.
    pub deploy_branches: Vec<String>,
}

/// Everything that a push or a command needs.
pub struct Context {
    pub settings: Settings,
    pub apps: Arc<Apps>,
    pub builder: Arc<Builder>,
    pub(crate) queue: Queue,
    pub(crate) failed_builds: FailedBuilds,
    limits: Limits,
    /// Names by fingerprint: asked for each key that anybody offers.
    users: RwLock<HashMap<String, String>>,
}

impl Context {
    pub fn new(
        settings: Settings,
        apps: Arc<Apps>,
        builder: Arc<Builder>,
    ) -> Result<Self, LedgerError> {
        let context = Self {
            failed_builds: FailedBuilds::new(settings.data.join("failed"), Arc::clone(&builder)),
            settings,
            apps,
            builder,
            queue: Queue::new(),
            limits: Limits::default(),
            users: RwLock::default(),
        };
        context.reload_keys()?;
        Ok(context)
    }

    /// After a change of the keys: the server ends what a removed key has open.
    pub(crate) fn reload_keys(&self) -> Result<(), LedgerError> {
        let keys = self.apps.ledger().keys()?;
        let users = keys
            .into_iter()
            .map(|key| (key.fingerprint, key.name))
            .collect();
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = users;
        Ok(())
    }

    /// Finishes what a crash left between a release that is live and its branch, and removes pushes cut off.
    pub fn settle(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        for app in self.apps.ledger().apps()? {
            if let Ok(repo) = Repo::open(self.repo_dir(app.id)) {
                repo.clean();
            }
        }
        self.failed_builds.settle();
        for (app, git_ref, commit) in self.apps.ledger().unsettled_refs()? {
            let repo = Repo::open(self.repo_dir(app.id))?;
            let commit = gix_hash::ObjectId::from_hex(commit.as_bytes())?;
            let old = repo.read_ref(&git_ref)?;
            repo.set_ref(&git_ref, Some(commit), old)?;
            self.apps.ledger().ref_settled(&app.name)?;
        }
        Ok(())
    }

    pub(crate) fn app_url(&self, app: &AppName) -> String {
        match self.settings.http_port {
            80 => format!("http://{app}.{}", self.settings.domain),
            port => format!("http://{app}.{}:{port}", self.settings.domain),
        }
    }

    /// What to type on one's own machine.
    pub(crate) fn ssh_line(&self, command: &str) -> String {
        match self.settings.ssh_port {
            22 => format!("ssh -t git@{} {command}", self.settings.domain),
            port => format!("ssh -t -p {port} git@{} {command}", self.settings.domain),
        }
    }

    pub(crate) fn git_url(&self, app: &AppName) -> String {
        format!(
            "ssh://git@{}:{}/{app}",
            self.settings.domain, self.settings.ssh_port
        )
    }

    /// Now and then: what was kept long enough.
    pub fn remove_old_failed_builds(&self) {
        self.failed_builds.remove_old();
    }

    fn repo_dir(&self, app: i64) -> PathBuf {
        self.settings.data.join("repos").join(format!("{app}.git"))
    }

    pub(crate) fn build_log(&self, app: i64, number: u64) -> PathBuf {
        self.settings
            .data
            .join("builds")
            .join(app.to_string())
            .join(format!("{number}.log"))
    }

    /// Layers that builds of the app keep from one to the next.
    pub(crate) fn cache_dir(&self, app: i64) -> PathBuf {
        self.settings.data.join("cache").join(app.to_string())
    }

    /// Repository, build logs, failed build and cache of an app that is gone.
    pub(crate) fn remove_files_of(&self, app: &App) -> io::Result<()> {
        self.failed_builds.forget(app.id);
        let builds = self.settings.data.join("builds").join(app.id.to_string());
        for dir in [self.repo_dir(app.id), builds, self.cache_dir(app.id)] {
            match fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The app that is pushed to, made when it is new and that is allowed.
    fn app_to_push_to(&self, caller: &Caller, path: &RepoPath) -> Result<App, String> {
        let name: AppName = path
            .0
            .parse()
            .map_err(|error: release::NotAName| error.to_string())?;
        match self.apps.ledger().app(&name) {
            Ok(app) => Ok(app),
            Err(LedgerError::NoApp(_)) if self.settings.create_on_push => self
                .apps
                .create(&name, &caller.user)
                .map_err(|error| chain(&error)),
            Err(LedgerError::NoApp(_)) => Err(format!(
                "there is no app `{name}`; create it first: apps:create {name}"
            )),
            Err(error) => Err(chain(&error)),
        }
    }

    fn repo_of(&self, app: &App) -> Result<Repo, String> {
        let dir = self.repo_dir(app.id);
        let branch = self
            .settings
            .deploy_branches
            .first()
            .map_or("main", String::as_str);
        let repo = if dir.exists() {
            Repo::open(dir)
        } else {
            Repo::init(dir, branch)
        };
        repo.map_err(|error| chain(&error))
    }
}

impl Platform for Arc<Context> {
    type Landing = AppLanding;

    fn user(&self, fingerprint: &str) -> Option<String> {
        self.users
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(fingerprint)
            .cloned()
    }

    async fn open(
        &self,
        caller: &Caller,
        path: &RepoPath,
        gone: &Gone,
    ) -> Result<(Repo, AppLanding), String> {
        let app = self.app_to_push_to(caller, path)?;
        let repo = self.repo_of(&app)?;
        let landing = AppLanding {
            ctx: self.clone(),
            app,
            repo: repo.clone(),
            by: caller.user.clone(),
            gone: gone.clone(),
        };
        Ok((repo, landing))
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn run(&self, caller: &Caller, words: Vec<String>, io: Io) -> Status {
        commands::run(self, caller, &words, io).await
    }
}
