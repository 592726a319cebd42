//! What a push to the deploy branch leads to: checkout, build, release. The ref moves after that.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use builder::{
    BuildError, Built,
    sources::{NotASource, SourceUri},
};
use container::store::StoreError;
use gix_hash::ObjectId;
use release::{App, Build, BuildStatus, Candidate, DeployError, LedgerError, Release};
use tokio::sync::mpsc;

use crate::{
    Caller, Context, Gone,
    commands::lock_words,
    errors::{chain, one_line},
    git::{Decision, ExportError, Landing, RefUpdate, Repo, Sideband},
    output::{self, EVENTS_MAX, elapsed},
    queue::AppTurn,
    story::Story,
};

const NO_CACHE: &str = "no-cache";
const SHORT_HEX: usize = 8;

/// A push to one app.
pub struct AppLanding {
    pub(crate) ctx: Arc<Context>,
    pub(crate) app: App,
    pub(crate) repo: Repo,
    pub(crate) by: String,
    pub(crate) caller: Caller,
    pub(crate) gone: Gone,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Deploy(#[from] DeployError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Buildpack(#[from] NotASource),
    #[error("the build ended without a result")]
    Lost,
}

impl Landing for AppLanding {
    type Turn = AppTurn;

    fn decide(&self, update: &RefUpdate) -> Decision {
        let branches = self.ctx.deploy_branches(&self.app);
        let deploys = update
            .name
            .strip_prefix("refs/heads/")
            .is_some_and(|branch| branches.contains(&branch));
        match (deploys, update.new) {
            (true, Some(_)) => match &self.app.lock {
                Some(lock) => Decision::Refuse(one_line(&format!(
                    "`{}` is locked {}; when it may change again: apps:unlock {0}",
                    self.app.name,
                    lock_words(lock)
                ))),
                None => Decision::Deploy,
            },
            (true, None) if self.app.current.is_some() => Decision::Refuse(format!(
                "this branch is what runs; to take the app away: apps:destroy {0} --confirm {0}",
                self.app.name
            )),
            (_, None) => Decision::Store { hint: None },
            (false, Some(_)) => {
                let branch = branches.first().unwrap_or(&"main");
                let name = &update.name;
                let hint = format!(
                    "{name} is stored and not deployed. To deploy it, push it as {branch}: git push <remote> HEAD:{branch}"
                );
                Decision::Store { hint: Some(hint) }
            }
        }
    }

    async fn turn(&self, out: &Sideband) -> AppTurn {
        if let Some(turn) = self.ctx.queue.app_turn_now(self.app.id) {
            return turn;
        }
        out.line(&output::step(&format!(
            "Another push to {} is being deployed; waiting for it to end",
            self.app.name
        )));
        self.ctx.queue.app_turn(self.app.id).await
    }

    async fn deploy(
        &self,
        commit: ObjectId,
        git_ref: &str,
        options: &[String],
        out: &Sideband,
    ) -> Result<(), String> {
        if let Some(option) = options.iter().find(|option| *option != NO_CACHE) {
            return Err(one_line(&format!(
                "push option `{option}` is not known; there is `{NO_CACHE}`"
            )));
        }
        let allowed = self.ctx.may_still_push(&self.caller, &self.app);
        allowed.map_err(|denied| one_line(&chain(&denied)))?;
        let started = Instant::now();
        let build =
            self.ctx
                .apps
                .ledger()
                .build_started(&self.app.name, &commit.to_string(), &self.by);
        let build = build.map_err(|error| one_line(&chain(&error)))?;
        let story = Story::begin(out.clone(), self.ctx.build_log(self.app.id, build.number));
        let clear_cache = options.iter().any(|option| option == NO_CACHE);
        let result = self
            .story(commit, git_ref, &build, clear_cache, &story)
            .await;
        self.close(&build, &result, &story, started);
        result.map(|_| ()).map_err(|failure| failure.reason())
    }

    async fn settled(&self, _git_ref: &str, _commit: ObjectId) {
        if let Err(error) = self.ctx.apps.ledger().ref_settled(&self.app.name) {
            // The next start settles it.
            tracing::error!(app = %self.app.name, error = chain(&error), "cannot record that the branch has moved");
        }
        if let Err(error) = self.ctx.write_app_refs(&self.app, &self.repo) {
            // The next fetch or start writes it.
            tracing::error!(app = %self.app.name, error = chain(&error), "cannot write the ref of the release");
        }
    }
}

impl AppLanding {
    async fn story(
        &self,
        commit: ObjectId,
        git_ref: &str,
        build: &Build,
        clear_cache: bool,
        story: &Story,
    ) -> Result<Release, Failure> {
        let short = commit.to_hex_with_len(SHORT_HEX).to_string();
        // What the build makes or finds stays until the release is on record.
        let _hold = self.ctx.builder.store.hold();
        story.step(&format!("Building {} from {short}", self.app.name));
        let _slot = self.build_slot(story).await;
        let source = self.checkout(commit).await?;
        let built = self
            .build(source, commit, build.number, clear_cache, story)
            .await?;
        drop(_slot);
        story.detail(&timings(&built));
        let candidate = Candidate {
            image: built.image,
            description: format!("Deploy {short}"),
            build: Some(build.number),
            commit: Some(commit.to_string()),
            git_ref: Some(git_ref.to_owned()),
        };
        self.release(candidate, story).await
    }

    async fn build_slot(&self, story: &Story) -> Option<tokio::sync::OwnedSemaphorePermit> {
        if let Some(slot) = self.ctx.queue.build_slot_now() {
            return Some(slot);
        }
        story.detail("Other apps are being built; waiting for one of them to end");
        self.ctx.queue.build_slot().await
    }

    /// The commit's tree as files, on the store's file system.
    async fn checkout(&self, commit: ObjectId) -> Result<PathBuf, Failure> {
        let (repo, store) = (self.repo.clone(), self.ctx.builder.store.clone());
        blocking(move || {
            let scratch = store.scratch()?;
            repo.export(commit, scratch.path())?;
            Ok(scratch.keep())
        })
        .await
    }

    async fn build(
        &self,
        source: PathBuf,
        commit: ObjectId,
        number: u64,
        clear_cache: bool,
        story: &Story,
    ) -> Result<Built, Failure> {
        let ledger = self.ctx.apps.ledger();
        let config = ledger.config(&self.app.name)?;
        let env: BTreeMap<String, String> = config
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_str().to_owned()))
            .collect();
        let previous = ledger
            .current(&self.app.name)?
            .and_then(|release| release.image);
        let buildpacks = ledger.buildpacks(&self.app.name)?;
        let buildpacks = buildpacks.iter().map(|text| SourceUri::parse(text, None));
        let buildpacks: Vec<SourceUri> = buildpacks.collect::<Result<_, _>>()?;
        let cache = self.ctx.cache_dir(self.app.id);
        let failed = self.ctx.failed_builds.place(self.app.id, number);
        let (builder, sources) = (self.ctx.builder.clone(), self.ctx.sources.clone());
        let (cancel, mut story) = (self.gone.flag(), story.clone());
        blocking(move || {
            let request = builder::Request {
                source,
                cache: &cache,
                previous,
                env: &env,
                source_version: Some(commit.to_string()),
                clear_cache,
                failed: Some(&failed),
                cancel,
            };
            Ok(builder.build_described(request, &sources, &buildpacks, &mut story)?)
        })
        .await
    }

    async fn release(&self, candidate: Candidate, story: &Story) -> Result<Release, Failure> {
        story.step("Releasing");
        let (events, mut told) = mpsc::channel(EVENTS_MAX);
        let tell = async {
            while let Some(event) = told.recv().await {
                story.event(&event);
            }
        };
        let deploy = async {
            tokio::select! {
                result = self.ctx.apps.deploy(&self.app.name, candidate, &self.by, events) => result,
                () = self.gone.wait() => Err(DeployError::Cancelled),
            }
        };
        let (result, ()) = tokio::join!(deploy, tell);
        Ok(result?)
    }

    /// The last words, and the record.
    fn close(
        &self,
        build: &Build,
        result: &Result<Release, Failure>,
        story: &Story,
        started: Instant,
    ) {
        let (status, release, reason) = match result {
            Ok(release) => {
                let took = elapsed(started.elapsed());
                story.result(&format!(
                    "{} {} is live, after {took}",
                    self.app.name, release.number
                ));
                story.detail(&self.ctx.app_url(&self.app.name));
                (BuildStatus::Succeeded, Some(release.number), None)
            }
            Err(failure) => {
                failure.explain(story);
                self.offer_a_look(build, story);
                (failure.status(), None, Some(failure.reason()))
            }
        };
        if matches!(result, Ok(_) | Err(Failure::Deploy(_))) {
            self.ctx.failed_builds.forget(self.app.id);
        }
        let ledger = self.ctx.apps.ledger();
        if let Err(error) = ledger.build_ended(
            &self.app.name,
            build.number,
            status,
            release,
            reason.as_deref(),
        ) {
            tracing::error!(app = %self.app.name, build = build.number, error = chain(&error), "cannot record the build's end");
        }
    }
}

impl AppLanding {
    fn offer_a_look(&self, build: &Build, story: &Story) {
        if (self.ctx.failed_builds).keep_only(self.app.id, build.number) {
            let line = format!("builds:debug {}", self.app.name);
            let line = self.ctx.ssh_line(&line);
            story.error(&format!("To look around in it: {line}"));
        }
    }
}

impl Failure {
    fn reason(&self) -> String {
        match self {
            Self::Build(error) => one_line(&error.reason()),
            other => one_line(&other.to_string()),
        }
    }

    fn status(&self) -> BuildStatus {
        match self {
            Self::Build(BuildError::Cancelled) | Self::Deploy(DeployError::Cancelled) => {
                BuildStatus::Cancelled
            }
            _ => BuildStatus::Failed,
        }
    }

    /// What the failing program said last, then what we say.
    fn explain(&self, story: &Story) {
        if let Self::Deploy(error) = self {
            for line in error.last_lines() {
                story.detail(line);
            }
        }
        story.error(&chain(self));
        match self {
            Self::Deploy(_) => {
                story.error("The release before it, if there is one, is still serving.")
            }
            _ => story.error("Nothing has changed; push again when it is mended."),
        }
    }
}

fn timings(built: &Built) -> String {
    let laps: Vec<String> = built
        .timings
        .iter()
        .map(|(phase, time)| format!("{phase} {}", seconds(*time)))
        .collect();
    format!("Built in {}", laps.join(", "))
}

fn seconds(time: Duration) -> String {
    format!("{:.2}s", time.as_secs_f64())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(Failure::Lost))
}
