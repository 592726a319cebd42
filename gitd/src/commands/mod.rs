//! The operator's commands: `ssh git@host TOPIC[:VERB] [APP] ...`.
//!
//! A line becomes one variant of [`Command`]; each noun has a file with its arguments, help text and actions together.
//! Data goes to stdout, narration to stderr, so that a pipe gets only data.

mod apps;
mod backup;
mod buildpacks;
mod builds;
mod checks;
mod completion;
mod config;
mod doctor;
mod domains;
mod elsewhere;
mod gc;
mod git;
mod help;
mod keys;
mod limits;
mod lock;
mod logs;
mod logs_failed;
mod maintenance;
mod near;
mod ps;
mod releases;
mod run;
mod run_detached;
mod run_list;
mod version;

mod access;
mod audit;
mod ca;
mod public_key;
mod teams;
mod users;

use std::sync::Arc;

use clap::{Parser, Subcommand};
use release::{AppName, DeployError, Event, Outcome, Role};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{Duration, sleep},
};

pub(crate) use lock::words as lock_words;
pub use public_key::PublicKeyLine;

use crate::{
    Caller, Context, Gone, Io,
    access::{Denied, Need, Pass},
    errors::{Failure, NO_PERMISSION, USAGE, chain},
    output::{self, EVENTS_MAX},
    story::told,
};

/// A command that runs ends that long after the caller's role was taken away.
const ACCESS_CHECK: Duration = Duration::from_secs(3);
/// For it to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Parser)]
#[command(multicall = true, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// Every command, in the order that `help` shows.
#[derive(Subcommand)]
enum Command {
    #[command(name = "apps", visible_alias = "apps:list")]
    Apps(apps::List),
    #[command(name = "apps:create", visible_alias = "create")]
    AppsCreate(apps::Create),
    #[command(name = "apps:info", visible_alias = "info")]
    AppsInfo(apps::Info),
    #[command(name = "apps:exists")]
    AppsExists(apps::Exists),
    #[command(name = "apps:destroy")]
    AppsDestroy(apps::Destroy),
    #[command(name = "apps:rename", visible_alias = "rename")]
    AppsRename(apps::Rename),
    #[command(name = "apps:clone", visible_alias = "clone")]
    AppsClone(apps::CloneApp),
    #[command(name = "apps:transfer")]
    AppsTransfer(apps::Transfer),
    #[command(name = "apps:lock", visible_alias = "lock")]
    AppsLock(lock::Lock),
    #[command(name = "apps:unlock", visible_alias = "unlock")]
    AppsUnlock(lock::Unlock),
    #[command(name = "config", visible_alias = "config:list", alias = "config:show")]
    Config(config::List),
    #[command(name = "config:keys")]
    ConfigKeys(config::Keys),
    #[command(name = "config:get")]
    ConfigGet(config::Get),
    #[command(name = "config:set")]
    ConfigSet(config::Set),
    #[command(name = "config:unset")]
    ConfigUnset(config::Unset),
    #[command(name = "config:export")]
    ConfigExport(config::Export),
    #[command(name = "config:import")]
    ConfigImport(config::Import),
    #[command(name = "config:edit")]
    ConfigEdit(config::Edit),
    #[command(name = "domains", visible_alias = "domains:list")]
    Domains(domains::List),
    #[command(name = "domains:add")]
    DomainsAdd(domains::Add),
    #[command(name = "domains:remove")]
    DomainsRemove(domains::Remove),
    #[command(name = "domains:clear")]
    DomainsClear(domains::Clear),
    #[command(name = "maintenance")]
    Maintenance(maintenance::Show),
    #[command(name = "maintenance:on")]
    MaintenanceOn(maintenance::On),
    #[command(name = "maintenance:off")]
    MaintenanceOff(maintenance::Off),
    #[command(name = "ps", visible_alias = "ps:list")]
    Ps(ps::List),
    #[command(name = "ps:scale", visible_alias = "scale")]
    PsScale(ps::Scale),
    #[command(name = "ps:restart", visible_alias = "restart")]
    PsRestart(ps::Restart),
    #[command(name = "ps:stop", visible_alias = "stop", alias = "ps:kill")]
    PsStop(ps::Stop),
    #[command(name = "ps:start", visible_alias = "start")]
    PsStart(ps::Start),
    #[command(name = "limits", alias = "limits:list")]
    Limits(limits::List),
    #[command(name = "limits:set")]
    LimitsSet(limits::Set),
    #[command(name = "checks", alias = "checks:list")]
    Checks(checks::List),
    #[command(name = "checks:set")]
    ChecksSet(checks::Set),
    #[command(name = "logs")]
    Logs(logs::Logs),
    #[command(name = "logs:failed")]
    LogsFailed(logs_failed::LogsFailed),
    #[command(name = "run")]
    Run(run::Run),
    #[command(name = "run:detached")]
    RunDetached(run_detached::RunDetached),
    #[command(name = "run:list")]
    RunList(run_list::RunList),
    #[command(name = "releases", visible_alias = "releases:list")]
    Releases(releases::List),
    #[command(name = "releases:info")]
    ReleasesInfo(releases::Info),
    #[command(name = "releases:output")]
    ReleasesOutput(releases::Output),
    #[command(name = "releases:retry")]
    ReleasesRetry(releases::Retry),
    #[command(name = "rollback", visible_alias = "releases:rollback")]
    Rollback(releases::Rollback),
    #[command(name = "buildpacks", alias = "buildpacks:list")]
    Buildpacks(buildpacks::List),
    #[command(name = "buildpacks:set")]
    BuildpacksSet(buildpacks::Set),
    #[command(name = "buildpacks:add")]
    BuildpacksAdd(buildpacks::Add),
    #[command(name = "buildpacks:remove")]
    BuildpacksRemove(buildpacks::Remove),
    #[command(name = "buildpacks:clear")]
    BuildpacksClear(buildpacks::Clear),
    #[command(name = "builds", visible_alias = "builds:list")]
    Builds(builds::List),
    #[command(name = "builds:output")]
    BuildsOutput(builds::Output),
    #[command(name = "git", visible_alias = "git:info", alias = "git:report")]
    Git(git::Info),
    #[command(name = "git:set")]
    GitSet(git::Set),
    #[command(name = "keys", visible_alias = "keys:list", alias = "ssh-keys:list")]
    Keys(keys::List),
    #[command(name = "keys:add", alias = "ssh-keys:add")]
    KeysAdd(keys::Add),
    #[command(name = "keys:remove", alias = "ssh-keys:remove")]
    KeysRemove(keys::Remove),
    #[command(name = "users", visible_alias = "users:list")]
    Users(users::List),
    #[command(name = "users:add")]
    UsersAdd(users::Add),
    #[command(name = "users:remove")]
    UsersRemove(users::Remove),
    #[command(name = "users:promote")]
    UsersPromote(users::Promote),
    #[command(name = "users:demote")]
    UsersDemote(users::Demote),
    #[command(name = "access", visible_alias = "access:list", alias = "sharing")]
    Access(access::List),
    #[command(
        name = "access:add",
        visible_alias = "access:update",
        alias = "sharing:add"
    )]
    AccessAdd(access::Add),
    #[command(name = "access:remove", alias = "sharing:remove")]
    AccessRemove(access::Remove),
    #[command(name = "teams", visible_alias = "teams:list")]
    Teams(teams::List),
    #[command(name = "teams:create")]
    TeamsCreate(teams::Create),
    #[command(name = "teams:destroy")]
    TeamsDestroy(teams::Destroy),
    #[command(name = "teams:add", alias = "members:add")]
    TeamsAdd(teams::Add),
    #[command(name = "teams:remove", alias = "members:remove")]
    TeamsRemove(teams::Remove),
    #[command(name = "ca", visible_alias = "ca:list")]
    Ca(ca::List),
    #[command(name = "ca:add")]
    CaAdd(ca::Add),
    #[command(name = "ca:remove")]
    CaRemove(ca::Remove),
    #[command(name = "ca:revoke")]
    CaRevoke(ca::Revoke),
    #[command(name = "ca:unrevoke")]
    CaUnrevoke(ca::Unrevoke),
    #[command(name = "audit")]
    Audit(audit::Audit),
    #[command(name = "whoami", visible_alias = "auth:whoami")]
    Whoami(access::Whoami),
    #[command(name = "doctor")]
    Doctor(doctor::Doctor),
    #[command(name = "gc")]
    Gc(gc::Gc),
    #[command(name = "backup")]
    Backup(backup::Backup),
    #[command(name = "version")]
    Version(version::Version),
    #[command(name = "completion")]
    Completion(completion::Completion),
    #[command(name = "help")]
    Help(help::Help),
}

/// What a command takes, and whether it leaves something changed, which is written to the audit log.
struct Rule {
    need: Need,
    changes: bool,
}

impl Rule {
    fn read(need: Need) -> Self {
        Self {
            need,
            changes: false,
        }
    }

    fn change(need: Need) -> Self {
        Self {
            need,
            changes: true,
        }
    }
}

/// What a command works with.
struct Env<'a> {
    ctx: &'a Arc<Context>,
    caller: &'a Caller,
    /// What the command was let through for.
    pass: Option<Pass>,
    io: Io,
}

/// Runs one command line and returns its exit status. No words: a greeting and the list of commands.
pub(crate) async fn run(ctx: &Arc<Context>, caller: &Caller, words: &[String], io: Io) -> u8 {
    let mut env = Env {
        ctx,
        caller,
        pass: None,
        io,
    };
    let result = match parse(words) {
        Ok(command) => command.admitted(&mut env, words).await,
        Err(failure) => Err(failure),
    };
    let status = match result {
        Ok(status) => status,
        Err(failure) => {
            env.narrate(&failure.to_string()).await;
            failure.status
        }
    };
    // The client may be gone; there is nobody left to tell.
    _ = env.io.stdout.flush().await;
    _ = env.io.stderr.flush().await;
    status
}

impl Command {
    /// Deny by default: a new command does not compile before it says here what it takes.
    fn needs(&self) -> Rule {
        use Role::{Deployer, Operator, Owner, Viewer};
        let app = |app: &AppName, role| Need::App(app.clone(), role);
        match self {
            Self::Help(_) | Self::Completion(_) | Self::Whoami(_) => Rule::read(Need::Anyone),
            Self::Version(_) => Rule::read(Need::Anyone),
            Self::Apps(_) | Self::Teams(_) => Rule::read(Need::Anyone),
            Self::AppsCreate(_) => Rule::change(Need::User),
            Self::AppsInfo(args) => Rule::read(app(&args.app, Viewer)),
            Self::AppsExists(args) => Rule::read(app(&args.app, Viewer)),
            Self::AppsDestroy(args) => Rule::change(app(&args.app, Owner)),
            Self::AppsRename(args) => Rule::change(app(&args.app, Owner)),
            // The copy has the config vars of the original.
            Self::AppsClone(args) => Rule::change(app(&args.app, Operator)),
            Self::AppsTransfer(args) => Rule::change(app(&args.app, Owner)),
            Self::AppsLock(args) => Rule::change(app(&args.app, Operator)),
            Self::AppsUnlock(args) => Rule::change(app(&args.app, Operator)),
            Self::Config(args) => Rule::read(app(&args.app, Operator)),
            Self::ConfigKeys(args) => Rule::read(app(&args.app, Operator)),
            Self::ConfigGet(args) => Rule::read(app(&args.app, Operator)),
            Self::ConfigSet(args) => Rule::change(app(&args.app, Operator)),
            Self::ConfigUnset(args) => Rule::change(app(&args.app, Operator)),
            Self::ConfigExport(args) => Rule::read(app(&args.app, Operator)),
            Self::ConfigImport(args) => Rule::change(app(&args.app, Operator)),
            Self::ConfigEdit(args) => Rule::change(app(&args.app, Operator)),
            Self::Domains(args) => Rule::read(app(&args.app, Viewer)),
            Self::DomainsAdd(args) => Rule::change(app(&args.app, Operator)),
            Self::DomainsRemove(args) => Rule::change(app(&args.app, Operator)),
            Self::DomainsClear(args) => Rule::change(app(&args.app, Operator)),
            Self::Maintenance(args) => Rule::read(app(&args.app, Viewer)),
            Self::MaintenanceOn(args) => Rule::change(app(&args.app, Operator)),
            Self::MaintenanceOff(args) => Rule::change(app(&args.app, Operator)),
            Self::Ps(args) => Rule::read(app(&args.app, Viewer)),
            Self::PsScale(args) if args.only_shows() => Rule::read(app(&args.app, Viewer)),
            Self::PsScale(args) => Rule::change(app(&args.app, Operator)),
            Self::PsRestart(args) => Rule::change(app(&args.app, Operator)),
            Self::PsStop(args) => Rule::change(app(&args.app, Operator)),
            Self::PsStart(args) => Rule::change(app(&args.app, Operator)),
            Self::Limits(args) => Rule::read(app(&args.app, Viewer)),
            Self::LimitsSet(args) => Rule::change(app(&args.app, Operator)),
            Self::Checks(args) => Rule::read(app(&args.app, Viewer)),
            Self::ChecksSet(args) => Rule::change(app(&args.app, Operator)),
            Self::Buildpacks(args) => Rule::read(app(&args.app, Viewer)),
            Self::BuildpacksSet(args) => Rule::change(app(&args.app, Operator)),
            Self::BuildpacksAdd(args) => Rule::change(app(&args.app, Operator)),
            Self::BuildpacksRemove(args) => Rule::change(app(&args.app, Operator)),
            Self::BuildpacksClear(args) => Rule::change(app(&args.app, Operator)),
            Self::Git(args) => Rule::read(app(&args.app, Viewer)),
            Self::GitSet(args) => Rule::change(app(&args.app, Operator)),
            Self::LogsFailed(args) => Rule::read(app(&args.app, Viewer)),
            Self::Logs(args) => Rule::read(app(&args.app, Viewer)),
            Self::Run(args) => Rule::change(app(&args.app, Operator)),
            Self::RunDetached(args) => Rule::change(app(&args.app, Operator)),
            Self::RunList(args) => Rule::read(app(&args.app, Viewer)),
            Self::Releases(args) => Rule::read(app(&args.app, Viewer)),
            Self::ReleasesInfo(args) => Rule::read(app(&args.app, Viewer)),
            Self::ReleasesOutput(args) => Rule::read(app(&args.app, Viewer)),
            Self::ReleasesRetry(args) => Rule::change(app(&args.app, Deployer)),
            Self::Rollback(args) => Rule::change(app(&args.app, Deployer)),
            Self::Builds(args) => Rule::read(app(&args.app, Viewer)),
            Self::BuildsOutput(args) => Rule::read(app(&args.app, Viewer)),
            Self::Keys(args) => Rule::read(args.need()),
            Self::KeysAdd(args) => Rule::change(args.need()),
            Self::KeysRemove(args) => Rule::change(args.need()),
            Self::Access(args) => Rule::read(app(&args.app, Viewer)),
            Self::AccessAdd(args) => Rule::change(app(&args.app, Owner)),
            Self::AccessRemove(args) => Rule::change(app(&args.app, Owner)),
            Self::Audit(args) => Rule::read(match &args.app {
                Some(name) => Need::Past(name.clone()),
                None => Need::Admin,
            }),
            Self::Users(_) | Self::Ca(_) | Self::Doctor(_) => Rule::read(Need::Admin),
            // Whoever has it has everything, so it is put on record.
            Self::Backup(_) => Rule::change(Need::Admin),
            Self::UsersAdd(_) | Self::UsersRemove(_) | Self::Gc(_) => Rule::change(Need::Admin),
            Self::UsersPromote(_) | Self::UsersDemote(_) => Rule::change(Need::Admin),
            Self::TeamsCreate(_) | Self::TeamsDestroy(_) => Rule::change(Need::Admin),
            Self::TeamsAdd(_) | Self::TeamsRemove(_) => Rule::change(Need::Admin),
            Self::CaAdd(_) | Self::CaRemove(_) => Rule::change(Need::Admin),
            Self::CaRevoke(_) | Self::CaUnrevoke(_) => Rule::change(Need::Admin),
        }
    }

    /// For the audit log.
    fn app(&self, need: &Need) -> Option<AppName> {
        match (self, need) {
            (Self::AppsCreate(args), _) => Some(args.name.clone()),
            _ => need.app().cloned(),
        }
    }

    /// Runs it if the caller may, and writes down what it changed.
    async fn admitted(self, env: &mut Env<'_>, words: &[String]) -> Result<u8, Failure> {
        let Rule { need, changes } = self.needs();
        let record = match changes {
            true => {
                let app = self.app(&need);
                Some(
                    env.ctx
                        .audit_begin(env.caller, app.as_ref(), &audit::told(words))?,
                )
            }
            false => None,
        };
        let result = match env.ctx.check(env.caller, &need) {
            Ok(pass) => self.run_while_allowed(env, pass).await,
            Err(denied) => Err(env.refused(denied)),
        };
        if let Some(record) = record {
            env.ctx.audit_end(record, &outcome(&result));
        }
        result
    }

    /// When the caller's role is taken away, it is for the command as if the caller had gone. One that does not hear of it
    /// is dropped.
    async fn run_while_allowed(self, env: &mut Env<'_>, pass: Pass) -> Result<u8, Failure> {
        env.pass = Some(pass.clone());
        let lost = Gone::default();
        let (ctx, caller, noted) = (env.ctx.clone(), env.caller.clone(), lost.clone());
        let denied = async move {
            while ctx.holds(&caller, &pass) {
                sleep(ACCESS_CHECK).await;
            }
            noted.set();
            sleep(LAST_WORDS).await;
        };
        let gone = std::mem::replace(&mut env.io.gone, Box::pin(std::future::pending()));
        let noticed = lost.clone();
        env.io.gone = Box::pin(async move {
            tokio::select! {
                () = gone => {}
                () = noticed.wait() => {}
            }
        });
        let result = tokio::select! {
            result = self.run(env) => Some(result),
            () = denied => None,
        };
        match result {
            Some(result) if !lost.is_set() => result,
            _ => Err(Failure::new("your access was taken away").status(NO_PERMISSION)),
        }
    }

    async fn run(self, env: &mut Env<'_>) -> Result<u8, Failure> {
        match self {
            Self::Apps(args) => args.run(env).await,
            Self::AppsCreate(args) => args.run(env).await,
            Self::AppsInfo(args) => args.run(env).await,
            Self::AppsExists(args) => args.run(env).await,
            Self::AppsDestroy(args) => args.run(env).await,
            Self::AppsRename(args) => args.run(env).await,
            Self::AppsClone(args) => args.run(env).await,
            Self::AppsTransfer(args) => args.run(env).await,
            Self::AppsLock(args) => args.run(env).await,
            Self::AppsUnlock(args) => args.run(env).await,
            Self::Config(args) => args.run(env).await,
            Self::ConfigKeys(args) => args.run(env).await,
            Self::ConfigGet(args) => args.run(env).await,
            Self::ConfigSet(args) => args.run(env).await,
            Self::ConfigUnset(args) => args.run(env).await,
            Self::ConfigExport(args) => args.run(env).await,
            Self::ConfigImport(args) => args.run(env).await,
            Self::ConfigEdit(args) => args.run(env).await,
            Self::Domains(args) => args.run(env).await,
            Self::DomainsAdd(args) => args.run(env).await,
            Self::DomainsRemove(args) => args.run(env).await,
            Self::DomainsClear(args) => args.run(env).await,
            Self::Maintenance(args) => args.run(env).await,
            Self::MaintenanceOn(args) => args.run(env).await,
            Self::MaintenanceOff(args) => args.run(env).await,
            Self::Ps(args) => args.run(env).await,
            Self::PsScale(args) => args.run(env).await,
            Self::PsRestart(args) => args.run(env).await,
            Self::PsStop(args) => args.run(env).await,
            Self::PsStart(args) => args.run(env).await,
            Self::Limits(args) => args.run(env).await,
            Self::LimitsSet(args) => args.run(env).await,
            Self::Checks(args) => args.run(env).await,
            Self::ChecksSet(args) => args.run(env).await,
            Self::Logs(args) => args.run(env).await,
            Self::LogsFailed(args) => args.run(env).await,
            Self::Run(args) => return args.run(env).await,
            Self::RunDetached(args) => args.run(env).await,
            Self::RunList(args) => args.run(env).await,
            Self::Releases(args) => args.run(env).await,
            Self::ReleasesInfo(args) => args.run(env).await,
            Self::ReleasesOutput(args) => args.run(env).await,
            Self::ReleasesRetry(args) => args.run(env).await,
            Self::Rollback(args) => args.run(env).await,
            Self::Buildpacks(args) => args.run(env).await,
            Self::BuildpacksSet(args) => args.run(env).await,
            Self::BuildpacksAdd(args) => args.run(env).await,
            Self::BuildpacksRemove(args) => args.run(env).await,
            Self::BuildpacksClear(args) => args.run(env).await,
            Self::Builds(args) => args.run(env).await,
            Self::BuildsOutput(args) => args.run(env).await,
            Self::Git(args) => args.run(env).await,
            Self::GitSet(args) => args.run(env).await,
            Self::Keys(args) => args.run(env).await,
            Self::KeysAdd(args) => args.run(env).await,
            Self::KeysRemove(args) => args.run(env).await,
            Self::Users(args) => args.run(env).await,
            Self::UsersAdd(args) => args.run(env).await,
            Self::UsersRemove(args) => args.run(env).await,
            Self::UsersPromote(args) => args.run(env).await,
            Self::UsersDemote(args) => args.run(env).await,
            Self::Access(args) => args.run(env).await,
            Self::AccessAdd(args) => args.run(env).await,
            Self::AccessRemove(args) => args.run(env).await,
            Self::Teams(args) => args.run(env).await,
            Self::TeamsCreate(args) => args.run(env).await,
            Self::TeamsDestroy(args) => args.run(env).await,
            Self::TeamsAdd(args) => args.run(env).await,
            Self::TeamsRemove(args) => args.run(env).await,
            Self::Ca(args) => args.run(env).await,
            Self::CaAdd(args) => args.run(env).await,
            Self::CaRemove(args) => args.run(env).await,
            Self::CaRevoke(args) => args.run(env).await,
            Self::CaUnrevoke(args) => args.run(env).await,
            Self::Audit(args) => args.run(env).await,
            Self::Whoami(args) => args.run(env).await,
            Self::Doctor(args) => return args.run(env).await,
            Self::Gc(args) => args.run(env).await,
            Self::Backup(args) => args.run(env).await,
            Self::Version(args) => args.run(env).await,
            Self::Completion(args) => args.run(env).await,
            Self::Help(args) => args.run(env).await,
        }
        .map(|()| 0)
    }
}

fn outcome(result: &Result<u8, Failure>) -> Outcome {
    match result {
        Ok(0) => Outcome::Done,
        Ok(status) => Outcome::Failed(format!("exit status {status}")),
        Err(failure) if failure.denied => Outcome::Refused,
        // Its words may be those of somebody's program.
        Err(_) => Outcome::Failed("failed".to_owned()),
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let failure = Self::new(chain(&denied)).denied();
        match denied {
            Denied::NoApp(_) => failure.hint("Type `apps` for those that you have access to."),
            // Not a matter of rights.
            Denied::Nowhere(app) => Self::new(Denied::Nowhere(app).to_string()).hint("Type: apps"),
            Denied::Role { app, .. } => failure
                .hint(&format!("Ask one of its owners: access {app}"))
                .status(NO_PERMISSION),
            _ => failure.status(NO_PERMISSION),
        }
    }
}

/// Words to command. `--help` is a success that carries the text; it is printed like an answer.
fn parse(words: &[String]) -> Result<Command, Failure> {
    if words.is_empty() {
        return Ok(Command::Help(help::Help::default()));
    }
    match Line::try_parse_from(app_first(words)) {
        Ok(line) => Ok(line.command),
        Err(error) if !error.use_stderr() => Ok(Command::Help(help::Help::text(error.to_string()))),
        Err(error) => Err(misunderstood(words, &error).status(USAGE)),
    }
}

fn misunderstood(words: &[String], error: &clap::Error) -> Failure {
    let is_unknown = error.kind() == clap::error::ErrorKind::InvalidSubcommand;
    let command = words.first().filter(|_| is_unknown);
    match command.and_then(|command| Some((command, elsewhere::advice(command)?))) {
        Some((command, advice)) => {
            Failure::new(format!("there is no command `{command}`")).hint(advice)
        }
        None => Failure::new(usage_text(error)),
    }
}

/// clap's error without its `error: ` and `For more information` frame, in the platform's form.
fn usage_text(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let text = text.replace(
        "For more information, try '--help'.",
        "Type `help` for all commands, or a command with `--help`.",
    );
    text.replace("unrecognized subcommand", "there is no command")
        .replace("a similar subcommand exists", "did you mean")
        .trim_end()
        .to_owned()
}

/// Heroku's users write `-a APP` anywhere, Dokku's write the app first: both become the app first. After a `--` the words
/// belong to somebody else. For `keys` an app is an option like any other.
fn app_first(words: &[String]) -> Vec<String> {
    let mut rest = Vec::with_capacity(words.len());
    let mut app = None;
    let mut words = words.iter();
    let verb = words.next().cloned().unwrap_or_default();
    if verb.starts_with("keys") || verb.starts_with("ssh-keys") {
        return [verb].into_iter().chain(words.cloned()).collect();
    }
    while let Some(word) = words.next() {
        if app.is_none() && (word == "-a" || word == "--app") {
            app = words.next().cloned();
            // Without a name it is for clap to complain about.
            rest.extend(app.is_none().then(|| word.clone()));
        } else if let (None, Some(name)) = (&app, word.strip_prefix("--app=")) {
            app = Some(name.to_owned());
        } else {
            rest.push(word.clone());
            if word == "--" {
                break;
            }
        }
    }
    rest.extend(words.cloned());
    [verb].into_iter().chain(app).chain(rest).collect()
}

impl Env<'_> {
    /// After a wait, and before anything is changed: meanwhile the app may have got another name, that name another app,
    /// and the caller another role.
    fn still_may(&self) -> Result<(), Failure> {
        let checked = self.pass.as_ref();
        let checked = checked.map(|pass| self.ctx.check_again(self.caller, pass));
        Ok(checked.transpose().map(|_| ())?)
    }

    /// All that comes on stdin, up to one byte more than `bytes_max`, for a change: with nothing else to wait for, the
    /// caller may be kept out meanwhile.
    async fn input(&mut self, bytes_max: u64) -> Result<String, Failure> {
        let mut text = String::new();
        let mut stdin = (&mut self.io.stdin).take(bytes_max + 1);
        tokio::select! {
            biased;
            read = stdin.read_to_string(&mut text) => {
                read.map_err(|_| Failure::new("what came on stdin is not UTF-8 text").status(USAGE))?;
            }
            () = &mut self.io.gone => return Err(Failure::new("interrupted; nothing has changed")),
        }
        self.still_may()?;
        Ok(text)
    }

    /// With the name of an app that may have been meant.
    fn refused(&self, denied: Denied) -> Failure {
        let app = match &denied {
            Denied::NoApp(app) | Denied::Nowhere(app) => Some(app.clone()),
            _ => None,
        };
        let failure = Failure::from(denied);
        match app {
            Some(app) => near::explained(self, &app, failure),
            None => failure,
        }
    }

    /// Data, to stdout.
    async fn print(&mut self, text: &str) {
        // A client that has gone away is noticed by `gone`; an unread answer is no failure.
        _ = self.io.stdout.write_all(text.as_bytes()).await;
    }

    /// Narration, to stderr, with the newline.
    async fn narrate(&mut self, text: &str) {
        _ = self
            .io
            .stderr
            .write_all(format!("{text}\n").as_bytes())
            .await;
    }

    /// Carries a change out and tells of it as it happens. A caller who goes away does not undo it.
    async fn follow<T>(
        &mut self,
        change: impl AsyncFnOnce(mpsc::Sender<Event>) -> Result<T, DeployError>,
    ) -> Result<T, Failure> {
        // What was narrated before may have waited for the client.
        self.still_may()?;
        let (events, mut told_of) = mpsc::channel(EVENTS_MAX);
        let tell = async {
            while let Some(event) = told_of.recv().await {
                self.narrate(&output::detail(&told(&event))).await;
            }
        };
        let (result, ()) = tokio::join!(change(events), tell);
        if let Err(error) = &result {
            for line in error.last_lines() {
                self.narrate(&output::detail(line)).await;
            }
        }
        Ok(result?)
    }

    async fn print_json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(Failure::ours)?;
        self.print(&format!("{text}\n")).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_app_comes_first_whichever_way_it_is_named() {
        let check = |line, expected| assert_eq!(app_first(&words(line)), words(expected), "{line}");
        check("config:set shop A=1", "config:set shop A=1");
        check("config:set A=1 -a shop", "config:set shop A=1");
        check("config:set --app=shop A=1", "config:set shop A=1");
        check("ps --app shop --json", "ps shop --json");
        check("ps --json -a", "ps --json -a");
        check(
            "run -e A=1 -a shop -- ls -a x",
            "run shop -e A=1 -- ls -a x",
        );
        check("run shop -- ls --app y", "run shop -- ls --app y");
    }

    #[test]
    fn a_misspelled_command_is_answered_with_the_right_one() {
        let failure = parse(&words("app:create shop"))
            .err()
            .map(|f| f.to_string())
            .unwrap();
        assert!(
            failure.contains("there is no command 'app:create'"),
            "{failure}"
        );
        assert!(failure.contains("apps:create"), "{failure}");
    }

    #[test]
    fn every_command_has_a_line_of_help() {
        for command in help::commands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
