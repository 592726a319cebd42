//! What a push to the deploy branch leads to: checkout, build, release, and then the ref moves.
//!
//! A deploy is a task of its own. It takes its turn in the [`crate::queue`], tells its story to a transcript that
//! connections watch, and ends with an outcome; whoever pushed it may go, stay, or come back.

mod cancel;
mod failure;
mod under_way;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use builder::{Built, sources::SourceUri};
use gix_hash::ObjectId;
use release::{BuildStatus, Candidate, Release};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

pub(crate) use cancel::Why;
pub(crate) use under_way::{Deploy, Hold, Order, Outcome};

use self::failure::Failure;
use crate::{
    Caller, Context,
    errors::chain,
    git::RefUpdate,
    output::{EVENTS_MAX, elapsed},
    plan,
    queue::Seat,
    story::Story,
};

const SHORT_HEX: usize = 8;
const PLAN_ONLY: &str = "plan only: nothing was deployed";

/// A deploy, and what it works with.
struct Running {
    ctx: Arc<Context>,
    deploy: Arc<Deploy>,
    story: Story,
}

/// What came of a deploy that did not fail.
enum Done {
    Live(Release),
    Planned,
}

/// Starts the task. It ends when the deploy has, and gives up its seat.
pub(crate) fn start(ctx: Arc<Context>, seat: Seat) {
    let deploy = Arc::clone(seat.deploy());
    let running = Running {
        ctx: Arc::clone(&ctx),
        story: Story::new(deploy.transcript.clone()),
        deploy: Arc::clone(&deploy),
    };
    tokio::spawn(async move {
        // A task inside: also a bug in it comes to an end that is known and noted.
        let ended = tokio::spawn(async move { running.run().await }).await;
        conclude(&ctx, &deploy, ended.unwrap_or_else(|_| Outcome::lost()));
        drop(seat);
    });
}

/// First the record, then those who wait for it.
fn conclude(ctx: &Context, deploy: &Deploy, outcome: Outcome) {
    let (app, build) = (&deploy.order.app.name, deploy.build);
    let noted = ctx.apps.ledger().build_ended(
        app,
        build,
        outcome.status,
        outcome.release,
        outcome.reason.as_deref(),
    );
    if let Err(error) = noted {
        tracing::error!(%app, build, error = chain(&error), "cannot record the build's end");
    }
    deploy.end(outcome);
    remove_ref(deploy);
}

/// Of those who have detached: the branch says what is live, and nothing else is kept.
pub(crate) fn remove_ref(deploy: &Deploy) {
    let (repo, name) = (&deploy.order.repo, deploy.git_ref());
    if let Ok(Some(commit)) = repo.read_ref(&name)
        && let Err(error) = repo.set_ref(&name, None, Some(commit))
    {
        tracing::warn!(
            name,
            error = chain(&error),
            "cannot remove the ref of a build"
        );
    }
}

impl Running {
    async fn run(&self) -> Outcome {
        let result = self.deploy().await;
        if matches!(result, Ok(_) | Err(Failure::Deploy(_))) {
            self.ctx.failed_builds.forget(self.deploy.order.app.id);
        }
        let why = self.deploy.cancel.why();
        let (release, reason) = match result {
            Err(failure) => {
                failure.explain(why, &self.story);
                self.offer_a_look();
                return failure.outcome(why);
            }
            Ok(Done::Live(release)) => (Some(release.number), None),
            Ok(Done::Planned) => (None, Some(PLAN_ONLY.to_owned())),
        };
        Outcome {
            status: BuildStatus::Succeeded,
            release,
            reason,
        }
    }

    async fn deploy(&self) -> Result<Done, Failure> {
        let order = &self.deploy.order;
        self.turn().await?;
        self.pusher()?;
        let started = Instant::now();
        let updates = self.updates_as_they_are_now()?;
        let short = order.commit.to_hex_with_len(SHORT_HEX).to_string();
        // What the build makes or finds stays until the release is on record.
        let _hold = self.ctx.builder.store.hold();
        self.story
            .step(&format!("Building {} from {short}", order.app.name));
        let built = self.build().await?;
        self.story.detail(&timings(&built));
        if order.options.plan {
            self.plan(built).await?;
            return Ok(Done::Planned);
        }
        let release = self.release(&built, &short).await?;
        self.move_refs(&updates, &release)?;
        let took = elapsed(started.elapsed());
        self.story.result(&format!(
            "{} {} is live, after {took}",
            order.app.name, release.number
        ));
        self.story.detail(&self.ctx.app_url(&order.app.name));
        Ok(Done::Live(release))
    }

    async fn turn(&self) -> Result<(), Failure> {
        tokio::select! {
            () = self.deploy.first.notified() => {}
            () = self.deploy.cancel.wait() => return Err(Failure::Cancelled),
        }
        let (app, build) = (&self.deploy.order.app.name, self.deploy.build);
        Ok(self.ctx.apps.ledger().build_running(app, build)?)
    }

    /// The first of those who want this deploy that may push to the app now. While it waited or was built, roles may have
    /// been taken away.
    fn pusher(&self) -> Result<Arc<Caller>, Failure> {
        let mut first_denied = None;
        for caller in self.deploy.pushers() {
            match self.ctx.may_still_push(&caller, &self.deploy.order.app) {
                Ok(()) => return Ok(caller),
                Err(denied) => _ = first_denied.get_or_insert(denied),
            }
        }
        Err(first_denied.map_or(Failure::Cancelled, Failure::Denied))
    }

    /// While this push waited, another one may have deployed.
    fn updates_as_they_are_now(&self) -> Result<Vec<RefUpdate>, Failure> {
        let order = &self.deploy.order;
        if order.updates.is_empty() {
            self.must_be_live(order.commit)?;
        }
        let now = |update| order.repo.brought_up_to_date(update);
        Ok(order.updates.iter().map(now).collect::<Result<_, _>>()?)
    }

    fn must_be_live(&self, commit: ObjectId) -> Result<(), Failure> {
        let live = (self.ctx.apps.ledger()).current(&self.deploy.order.app.name)?;
        let live = live.and_then(|release| ObjectId::from_hex(release.commit?.as_bytes()).ok());
        match live == Some(commit) {
            true => Ok(()),
            false => Err(Failure::NotLive),
        }
    }

    async fn build(&self) -> Result<Built, Failure> {
        let _slot = self.build_slot().await?;
        let source = self.checkout().await?;
        self.build_source(source).await
    }

    async fn build_slot(&self) -> Result<Option<OwnedSemaphorePermit>, Failure> {
        if let Some(slot) = self.ctx.queue.build_slot_now() {
            return Ok(Some(slot));
        }
        self.story
            .detail("Other apps are being built; waiting for one of them to end");
        tokio::select! {
            slot = self.ctx.queue.build_slot() => Ok(slot),
            () = self.deploy.cancel.wait() => Err(Failure::Cancelled),
        }
    }

    /// The commit's tree as files, on the store's file system.
    async fn checkout(&self) -> Result<PathBuf, Failure> {
        let (repo, commit) = (self.deploy.order.repo.clone(), self.deploy.order.commit);
        let (ctx, cancel) = (Arc::clone(&self.ctx), self.deploy.cancel.flag());
        blocking(move || {
            ctx.failed_builds.make_room();
            let scratch = ctx.builder.store.scratch()?;
            repo.export(commit, scratch.path(), &cancel)?;
            Ok(scratch.keep())
        })
        .await
    }

    async fn build_source(&self, source: PathBuf) -> Result<Built, Failure> {
        let (app, commit) = (&self.deploy.order.app, self.deploy.order.commit);
        let ledger = self.ctx.apps.ledger();
        let config = ledger.config(&app.name)?;
        let env: BTreeMap<String, String> = config
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_str().to_owned()))
            .collect();
        let previous = ledger.current(&app.name)?.and_then(|release| release.image);
        let buildpacks = ledger.buildpacks(&app.name)?;
        let buildpacks = buildpacks.iter().map(|text| SourceUri::parse(text, None));
        let buildpacks: Vec<SourceUri> = buildpacks.collect::<Result<_, _>>()?;
        let cache = self.ctx.files.cache(app.id);
        let failed = self.ctx.failed_builds.place(app.id, self.deploy.build);
        let options = self.deploy.order.options.clone();
        let cancel = self.deploy.cancel.flag();
        let (builder, sources) = (self.ctx.builder.clone(), self.ctx.sources.clone());
        let mut story = self.story.clone();
        blocking(move || {
            let request = builder::Request {
                source,
                cache: &cache,
                previous,
                env: &env,
                source_version: Some(commit.to_string()),
                clear_cache: options.no_cache,
                keep_image: !options.plan,
                failed: Some(&failed),
                cancel,
            };
            Ok(builder.build_described(request, &sources, &buildpacks, &mut story)?)
        })
        .await
    }

    fn offer_a_look(&self) {
        let app = &self.deploy.order.app;
        if (self.ctx.failed_builds).keep_only(app.id, self.deploy.build) {
            let line = self.ctx.ssh_line(&format!("builds:debug {}", app.name));
            self.story.error(&format!("To look around in it: {line}"));
        }
    }

    /// What the image would change, which is not kept.
    async fn plan(&self, built: Built) -> Result<(), Failure> {
        let app = self.deploy.order.app.name.clone();
        let (ctx, story) = (Arc::clone(&self.ctx), self.story.clone());
        blocking(move || {
            let current = ctx.apps.ledger().current(&app)?;
            let store = &ctx.builder.store;
            let before = current.as_ref().and_then(|release| release.image);
            let before = before.and_then(|image| store.image(&image).ok());
            let before = before.map(|image| builder::describe(store, &image.config));
            let after = builder::describe(store, &built.config);
            plan::tell(&story, &app, current.as_ref(), before.as_ref(), &after);
            Ok(())
        })
        .await
    }

    async fn release(&self, built: &Built, short: &str) -> Result<Release, Failure> {
        let order = &self.deploy.order;
        let by = self.pusher()?;
        let message = order.options.message.clone();
        let candidate = Candidate {
            image: built.image,
            description: message.unwrap_or_else(|| format!("Deploy {short}")),
            build: Some(self.deploy.build),
            commit: Some(order.commit.to_string()),
            git_ref: order.updates.first().map(|update| update.name.clone()),
        };
        self.story.step("Releasing");
        let (events, mut told) = mpsc::channel(EVENTS_MAX);
        let tell = async {
            while let Some(event) = told.recv().await {
                self.story.event(&event);
            }
        };
        let cancelled = self.deploy.cancel.wait();
        let (apps, app, by) = (&self.ctx.apps, &order.app.name, &by.user);
        let live = apps.deploy_until(app, candidate, by, events, cancelled);
        let (result, ()) = tokio::join!(live, tell);
        Ok(result?)
    }

    /// The app is live now: whatever else happens, the branch has to say so.
    fn move_refs(&self, updates: &[RefUpdate], release: &Release) -> Result<(), Failure> {
        let order = &self.deploy.order;
        let moved = order.repo.move_refs(&updates.iter().collect::<Vec<_>>());
        moved.map_err(|source| Failure::Unmoved {
            release: release.number,
            source,
        })?;
        if let Err(error) = self.ctx.apps.ledger().ref_settled(&order.app.name) {
            // The next start settles it.
            tracing::error!(app = %order.app.name, error = chain(&error), "cannot record that the branch has moved");
        }
        if let Err(error) = self.ctx.write_app_refs(&order.app, &order.repo) {
            // The next fetch or start writes it.
            tracing::error!(app = %order.app.name, error = chain(&error), "cannot write the ref of the release");
        }
        Ok(())
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
