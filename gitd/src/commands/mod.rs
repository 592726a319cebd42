//! The operator's commands: `ssh git@host TOPIC[:VERB] [APP] ...`.
//!
//! A line becomes one variant of [`Command`]; each noun has a file with its arguments, help text and actions together.
//! Data goes to stdout, narration to stderr, so that a pipe gets only data.

mod apps;
mod attached;
mod backup;
mod buildpacks;
mod builds;
mod checks;
mod completion;
mod config;
mod debug;
mod doctor;
mod domains;
mod elsewhere;
mod env;
mod exec;
mod gc;
mod git;
mod help;
mod keys;
mod limits;
mod line;
mod lock;
mod logs;
mod logs_failed;
mod maintenance;
mod near;
mod needs;
mod ps;
mod rebuild;
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

use clap::Subcommand;
use release::Outcome;
use tokio::{
    io::AsyncWriteExt,
    time::{Duration, sleep},
};

use self::{env::Env, line::parse, needs::Rule};
pub(crate) use lock::words as lock_words;
pub(crate) use ps::is_run;
pub use public_key::PublicKeyLine;

use crate::{
    Caller, Context, Gone, Io, Status,
    access::Pass,
    dashboard,
    errors::{Failure, NO_PERMISSION},
};

/// A command that runs ends that long after the caller's role was taken away.
const ACCESS_CHECK: Duration = Duration::from_secs(3);
/// For it to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Every command, in the order that `help` shows.
#[derive(Subcommand)]
enum Command {
    #[command(name = "apps", visible_alias = "apps:list")]
    Apps(apps::List),
    #[command(name = "apps:create", visible_alias = "create")]
    AppsCreate(apps::Create),
    #[command(name = "apps:info", visible_alias = "info", alias = "apps:report")]
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
    #[command(
        name = "domains",
        visible_alias = "domains:list",
        alias = "domains:report"
    )]
    Domains(domains::List),
    #[command(name = "domains:add")]
    DomainsAdd(domains::Add),
    #[command(name = "domains:remove")]
    DomainsRemove(domains::Remove),
    #[command(name = "domains:clear")]
    DomainsClear(domains::Clear),
    #[command(name = "maintenance", aliases = ["maintenance:status", "maintenance:report"])]
    Maintenance(maintenance::Show),
    #[command(name = "maintenance:on")]
    MaintenanceOn(maintenance::On),
    #[command(name = "maintenance:off")]
    MaintenanceOff(maintenance::Off),
    #[command(name = "ps", visible_alias = "ps:list", aliases = ["ps:report", "dynos"])]
    Ps(ps::List),
    #[command(name = "ps:scale", visible_alias = "scale", alias = "dyno:scale")]
    PsScale(ps::Scale),
    #[command(name = "ps:restart", visible_alias = "restart", alias = "dyno:restart")]
    PsRestart(ps::Restart),
    #[command(name = "ps:exec", visible_alias = "enter", alias = "exec")]
    PsExec(exec::Exec),
    #[command(name = "ps:stop", visible_alias = "stop", aliases = ["ps:kill", "dyno:stop", "dyno:kill"])]
    PsStop(ps::Stop),
    #[command(name = "ps:start", visible_alias = "start")]
    PsStart(ps::Start),
    #[command(name = "ps:rebuild", visible_alias = "builds:create")]
    PsRebuild(rebuild::Rebuild),
    #[command(name = "limits", aliases = ["limits:list", "resource:report"])]
    Limits(limits::List),
    #[command(name = "limits:set")]
    LimitsSet(limits::Set),
    #[command(name = "checks", aliases = ["checks:list", "checks:report"])]
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
    #[command(name = "buildpacks", aliases = ["buildpacks:list", "buildpacks:report"])]
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
    #[command(name = "builds:info")]
    BuildsInfo(builds::Info),
    #[command(name = "builds:attach")]
    BuildsAttach(builds::Attach),
    #[command(name = "builds:cancel")]
    BuildsCancel(builds::Cancel),
    #[command(name = "builds:prune")]
    BuildsPrune(builds::Prune),
    #[command(name = "builds:debug")]
    BuildsDebug(debug::Debug),
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

/// Runs one command line and returns its exit status. No words: the dashboard at a terminal, else a greeting and the list of
/// commands.
pub(crate) async fn run(ctx: &Arc<Context>, caller: &Caller, words: &[String], io: Io) -> Status {
    let mut env = Env {
        ctx,
        caller,
        pass: None,
        io,
        signal: None,
    };
    let result = match parse(words) {
        _ if words.is_empty() && dashboard::fitting(&env.io).is_some() => {
            let ended = dashboard::run(ctx, caller, &mut env.io).await;
            ended.map(|()| 0).map_err(Failure::ours)
        }
        Ok(command) => command.admitted(&mut env, words).await,
        Err(failure) => Err(failure),
    };
    let code = match result {
        Ok(status) => status,
        Err(failure) => {
            env.narrate(&failure.to_string()).await;
            failure.status
        }
    };
    // The client may be gone; there is nobody left to tell.
    _ = env.io.stdout.flush().await;
    _ = env.io.stderr.flush().await;
    Status {
        code,
        signal: env.signal,
    }
}

impl Command {
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
            Self::PsExec(args) => return args.run(env).await,
            Self::PsStop(args) => args.run(env).await,
            Self::PsStart(args) => args.run(env).await,
            Self::PsRebuild(args) => return args.run(env).await,
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
            Self::BuildsInfo(args) => args.run(env).await,
            Self::BuildsAttach(args) => return args.run(env).await,
            Self::BuildsCancel(args) => args.run(env).await,
            Self::BuildsPrune(args) => args.run(env).await,
            Self::BuildsDebug(args) => return args.run(env).await,
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
