//! What the server works with, and how its door sees it: keys, repositories, commands.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use builder::{Builder, sources::Sources};
use container::{
    network::Network,
    registry::{Client, Reach},
};
use release::{App, AppName, Apps, AuditEntry, Holder, LedgerError, Outcome, Role};
use tokio::time::timeout;

use crate::{
    Caller, Gone, Io, Platform, Proof, RepoPath, Status,
    access::{self, Denied, Directory, Need, Pass},
    app_files::AppFiles,
    commands,
    errors::{chain, one_line},
    failed_builds::FailedBuilds,
    git::{Limits, Repo},
    landing::AppLanding,
    output,
    queue::Queue,
    unpack_turns::UnpackTurns,
};

/// For deploys to end in when the server stops.
const DEPLOYS_END_MAX: Duration = Duration::from_secs(10);

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
    /// Networks that buildpacks are fetched from besides the public internet.
    pub fetch_from: Vec<Network>,
    /// Of each push.
    pub limits: Limits,
}

/// Everything that a push or a command needs.
pub struct Context {
    pub settings: Settings,
    pub apps: Arc<Apps>,
    pub builder: Arc<Builder>,
    /// Of the buildpacks that apps name: whoever pushes has not been given our credentials.
    pub(crate) sources: Sources,
    pub(crate) queue: Arc<Queue>,
    pub(crate) unpack_turns: UnpackTurns,
    pub(crate) files: AppFiles,
    pub(crate) failed_builds: FailedBuilds,
    directory: RwLock<Directory>,
}

impl Context {
    pub fn new(
        settings: Settings,
        apps: Arc<Apps>,
        builder: Arc<Builder>,
    ) -> Result<Self, LedgerError> {
        let directory = Directory::load(apps.ledger())?;
        let sources = Sources {
            client: Client::for_others(Reach::public_and(settings.fetch_from.clone())),
            installed: builder.buildpacks.clone(),
        };
        let failed = settings.data.join("failed");
        Ok(Self {
            files: AppFiles::new(settings.data.clone()),
            failed_builds: FailedBuilds::new(failed, Arc::clone(&builder)),
            sources,
            settings,
            apps,
            builder,
            queue: Queue::new(),
            unpack_turns: UnpackTurns::default(),
            directory: RwLock::new(directory),
        })
    }

    /// Looks something up in what the ledger knows of people by now.
    fn people<T>(&self, look_up: impl Fn(&Directory) -> T) -> T {
        let ledger = self.apps.ledger();
        let directory = self
            .directory
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if directory.version == ledger.people_version() {
            return look_up(&directory);
        }
        drop(directory);
        // A directory that cannot be read knows nobody.
        let fresh = Directory::load(ledger).unwrap_or_else(|error| {
            tracing::error!(error = chain(&error), "cannot read who may log in");
            Directory::default()
        });
        let answer = look_up(&fresh);
        *self
            .directory
            .write()
            .unwrap_or_else(PoisonError::into_inner) = fresh;
        answer
    }

    /// The one check: at git's door, and for each command. What the caller was when they came in does not count.
    pub(crate) fn check(&self, caller: &Caller, need: &Need) -> Result<Pass, Denied> {
        access::check(self.apps.ledger(), &self.by_now(caller), need)
    }

    /// The same after a wait, before something is changed: the name may be another app's by now.
    pub(crate) fn check_again(&self, caller: &Caller, pass: &Pass) -> Result<(), Denied> {
        let now = self.check(caller, pass.need())?;
        match pass.need().app() {
            Some(name) if now != *pass => Err(Denied::NoApp(name.clone())),
            _ => Ok(()),
        }
    }

    /// Whether a request that has been running for a while may go on. Not when nobody can say.
    pub(crate) fn holds(&self, caller: &Caller, pass: &Pass) -> bool {
        access::holds(self.apps.ledger(), &self.by_now(caller), pass).unwrap_or(false)
    }

    fn by_now(&self, caller: &Caller) -> Caller {
        let admin = self.people(|people| match &caller.holder {
            Holder::User(name) => people.is_admin(name),
            Holder::App { .. } => false,
        });
        Caller {
            admin,
            ..caller.clone()
        }
    }

    /// The apps that the caller may know of.
    pub(crate) fn visible_apps(&self, caller: &Caller) -> Result<Vec<App>, LedgerError> {
        match self.by_now(caller).admin {
            true => self.apps.ledger().apps(),
            false => self.apps.ledger().apps_of(&caller.holder),
        }
    }

    /// Opens a record in the audit log; what has none must not happen.
    pub(crate) fn audit_begin(
        &self,
        caller: &Caller,
        app: Option<&AppName>,
        what: &str,
    ) -> Result<i64, LedgerError> {
        let from = caller.remote.to_string();
        self.apps.ledger().audit_begin(&AuditEntry {
            user: &caller.user,
            key: &caller.fingerprint,
            from: &from,
            app,
            what,
        })
    }

    pub(crate) fn audit_end(&self, record: i64, outcome: &Outcome) {
        if let Err(error) = self.apps.ledger().audit_end(record, outcome) {
            tracing::error!(
                record,
                error = chain(&error),
                "cannot write how a change ended to the audit log"
            );
        }
    }

    /// Finishes what a crash left: a release that is live and its branch, pushes cut off, files of apps that are gone.
    pub fn settle(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let ledger = self.apps.ledger();
        self.files
            .remove_those_of(|app| ledger.is_gone(app).unwrap_or(false));
        for app in self.apps.ledger().apps()? {
            if let Ok(repo) = Repo::open(self.files.repo(app.id)) {
                repo.clean();
                repo.remove_build_refs()?;
            }
        }
        self.failed_builds.settle();
        for (app, git_ref, commit) in self.apps.ledger().unsettled_refs()? {
            let repo = Repo::open(self.files.repo(app.id))?;
            let commit = gix_hash::ObjectId::from_hex(commit.as_bytes())?;
            let old = repo.read_ref(&git_ref)?;
            repo.set_ref(&git_ref, Some(commit), old)?;
            self.apps.ledger().ref_settled(&app.name)?;
        }
        for app in self.apps.ledger().apps()? {
            if let Ok(repo) = Repo::open(self.files.repo(app.id)) {
                self.write_app_refs(&app, &repo)?;
            }
        }
        Ok(())
    }

    /// Cancels what is being deployed; nothing new is taken. For the end of the server.
    pub fn stop_deploys(&self) {
        self.queue.stop();
    }

    /// After [`Context::stop_deploys`]: waits until all of them have ended, also those that nobody watches.
    pub async fn deploys_ended(&self) {
        if timeout(DEPLOYS_END_MAX, self.queue.empty()).await.is_err() {
            tracing::warn!("deploys were still running when the server stopped");
        }
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

    /// Now and then: what was kept long enough, or takes room that is needed.
    pub fn remove_old_failed_builds(&self) {
        self.failed_builds.remove_old();
        self.failed_builds.make_room();
    }

    /// Repository, build logs, failed build and cache of an app that is gone.
    pub(crate) fn remove_files_of(&self, app: &App) -> io::Result<()> {
        self.failed_builds.forget(app.id);
        self.files.remove(app.id)
    }

    /// The app of that name, for a caller who has the role on it.
    pub(crate) fn app_for(
        &self,
        caller: &Caller,
        name: &AppName,
        role: Role,
    ) -> Result<App, Denied> {
        let pass = self.check(caller, &Need::App(name.clone(), role))?;
        match self.apps.ledger().app(name) {
            Ok(app) if pass.is_for(app.id) => Ok(app),
            // Renamed this very moment.
            Ok(_) | Err(LedgerError::NoApp(_)) => Err(Denied::NoApp(name.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// The app that is pushed to, made when it is new and that is allowed.
    fn app_to_push_to(&self, caller: &Caller, path: &RepoPath) -> Result<App, String> {
        let name: AppName = path
            .0
            .parse()
            .map_err(|error: release::NotAName| error.to_string())?;
        match self.app_for(caller, &name, Role::Deployer) {
            Ok(app) => Ok(app),
            // Nobody has a role on an app that there is not; whoever may create one becomes its owner.
            Err(denied @ (Denied::NoApp(_) | Denied::Nowhere(_))) => {
                match self.apps.ledger().app_id(&name) {
                    Ok(None) => self.create_by_push(caller, &name),
                    _ => Err(denied.to_string()),
                }
            }
            Err(denied) => Err(chain(&denied)),
        }
    }

    fn create_by_push(&self, caller: &Caller, name: &AppName) -> Result<App, String> {
        if !self.settings.create_on_push || self.check(caller, &Need::User).is_err() {
            return Err(match caller.admin {
                true => format!("there is no app `{name}`; create it first: apps:create {name}"),
                false => Denied::NoApp(name.clone()).to_string(),
            });
        }
        let record = self.audit_begin(caller, Some(name), "create by push");
        let record = record.map_err(|error| chain(&error))?;
        let created = self.apps.create(name, &caller.user);
        let outcome = match &created {
            Ok(_) => Outcome::Done,
            Err(error) => Outcome::Failed(one_line(&chain(error))),
        };
        self.audit_end(record, &outcome);
        created.map_err(|error| chain(&error))
    }

    /// For a push that has waited for its turn: the name may be another app's by now, or the role gone.
    pub(crate) fn may_still_push(&self, caller: &Caller, app: &App) -> Result<(), Denied> {
        let now = self.app_for(caller, &app.name, Role::Deployer)?;
        match now.id == app.id {
            true => Ok(()),
            false => Err(Denied::NoApp(app.name.clone())),
        }
    }

    fn app_to_fetch_from(&self, caller: &Caller, path: &RepoPath) -> Result<App, String> {
        let name: AppName = path
            .0
            .parse()
            .map_err(|error: release::NotAName| error.to_string())?;
        self.app_for(caller, &name, Role::Viewer)
            .map_err(|denied| chain(&denied))
    }

    pub(crate) fn repo_of(&self, app: &App) -> Result<Repo, String> {
        let dir = self.files.repo(app.id);
        let branch = self.deploy_branches(app).first().copied().unwrap_or("main");
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

    fn caller(&self, proof: &Proof, remote: SocketAddr) -> Option<Caller> {
        self.people(|people| people.caller(proof, remote, output::now()))
    }

    fn takes_certificates(&self) -> bool {
        self.people(Directory::has_authorities)
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
            caller: caller.clone(),
            gone: gone.clone(),
        };
        Ok((repo, landing))
    }

    fn pushed(&self, caller: &Caller, path: &RepoPath, what: &str, result: Result<(), &str>) {
        let outcome = match result {
            Ok(()) => Outcome::Done,
            Err(reason) => Outcome::Failed(one_line(reason)),
        };
        let app = path.0.parse().ok();
        match self.audit_begin(caller, app.as_ref(), &one_line(what)) {
            Ok(record) => self.audit_end(record, &outcome),
            Err(error) => {
                tracing::error!(
                    what,
                    error = chain(&error),
                    "cannot write a push to the audit log"
                );
            }
        }
    }

    async fn open_to_read(&self, caller: &Caller, path: &RepoPath) -> Result<Repo, String> {
        let app = self.app_to_fetch_from(caller, path)?;
        let repo = self.repo_of(&app)?;
        // Config changes and rollbacks make releases too.
        if let Err(error) = self.write_app_refs(&app, &repo) {
            tracing::error!(app = %app.name, error = chain(&error), "cannot write the refs of releases");
        }
        Ok(repo)
    }

    fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    async fn run(&self, caller: &Caller, words: Vec<String>, io: Io) -> Status {
        commands::run(self, caller, &words, io).await
    }
}
