//! The changes of an app, one at a time: make a release, run its release phase, have it rolled out, note the outcome.
//! What changes no release is in `instances` and `settings`.

mod instances;
mod settings;

use std::{
    convert::Infallible,
    future::{self, Future},
    sync::{Arc, PoisonError},
};

use container::{Digest, Store};
use tokio::{
    sync::{Mutex, MutexGuard, mpsc, oneshot, watch},
    task::spawn_blocking,
};

use crate::{
    App, AppName, Candidate, ConfigChanges, DeployError, Event, InstanceStatus, Release,
    ReleaseNumber, ReleaseStatus,
    config_vars::{changed, description},
    entered::Live,
    ledger::NewRelease,
    one_off::release_phase,
    rollout::{Ask, Change, Done, View, World},
    runs::Runs,
    wanted::Wanted,
};

/// What leads to an app's task.
#[derive(Debug, Clone)]
pub(crate) struct AppHandle {
    /// As it was when it got its name; what else may change is asked of the ledger.
    pub(crate) app: App,
    pub(crate) view: View,
    pub(crate) runs: Runs,
    changes: mpsc::Sender<Change>,
    /// Changes queue here, in the order in which they came.
    turn: Arc<Mutex<()>>,
    /// Told when the app goes: its one-off processes go, too.
    here: watch::Sender<()>,
}

/// Resolves when whoever asked has gone.
type Gone = oneshot::Receiver<Infallible>;

/// What a change needs of the world.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) world: Arc<World>,
    pub(crate) store: Store,
    pub(crate) handle: Arc<AppHandle>,
}

/// Whether new config is there for what runs, or only for what starts later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    Now,
    Later,
}

/// `Deploy 1a2b3c4d (retry of v7)`
const RETRY: &str = " (retry of ";

/// `Err`: there is nothing to change, and this is the release that stays.
type Made = Result<NewRelease, Release>;

impl Changes {
    pub(crate) async fn deploy(
        self,
        candidate: Candidate,
        by: String,
        events: mpsc::Sender<Event>,
        cancelled: impl Future<Output = ()>,
    ) -> Result<Release, DeployError> {
        let make = move |world: &World, app: &App| {
            Ok(Ok(NewRelease {
                image: Some(candidate.image),
                config: world.ledger.config(&app.name)?,
                description: candidate.description,
                by,
                commit: candidate.commit,
                git_ref: candidate.git_ref,
                quiet: false,
            }))
        };
        detached_until(cancelled, |gone| self.release(make, events, gone)).await
    }

    pub(crate) async fn set_config(
        self,
        changes: ConfigChanges,
        restart: Restart,
        by: String,
        events: mpsc::Sender<Event>,
    ) -> Result<Release, DeployError> {
        let make = move |world: &World, app: &App| {
            let current = world.ledger.current(&app.name)?;
            let before = current.as_ref().map(|release| release.config.clone());
            let config = changed(&before.clone().unwrap_or_default(), &changes)?;
            let description = description(&changes);
            match current {
                Some(current) if current.config == config => Ok(Err(current)),
                None if config.is_empty() => Err(DeployError::NotDeployed(app.name.clone())),
                current => Ok(Ok(NewRelease {
                    image: current.as_ref().and_then(|release| release.image),
                    commit: current.and_then(|release| release.commit),
                    config,
                    description,
                    by,
                    git_ref: None,
                    quiet: restart == Restart::Later,
                })),
            }
        };
        detached(|gone| self.release(make, events, gone)).await
    }

    /// The first release of an app that is made after another: image and config are that one's.
    pub(crate) async fn copy(
        self,
        of: AppName,
        then: Release,
        by: String,
        events: mpsc::Sender<Event>,
    ) -> Result<Release, DeployError> {
        let make = move |_: &World, _: &App| {
            Ok(Ok(NewRelease {
                description: format!("Clone of {of} {}", then.number),
                image: then.image,
                config: then.config,
                commit: then.commit,
                by,
                git_ref: None,
                quiet: false,
            }))
        };
        detached(|gone| self.release(make, events, gone)).await
    }

    /// The newest release once more, which has failed.
    pub(crate) async fn retry(
        self,
        by: String,
        events: mpsc::Sender<Event>,
    ) -> Result<Release, DeployError> {
        let make = move |world: &World, app: &App| {
            let newest = world.ledger.releases(&app.name, 1)?.pop();
            let failed = newest.filter(|release| release.status == ReleaseStatus::Failed);
            let failed = failed.ok_or_else(|| DeployError::NothingFailed(app.name.clone()))?;
            let what = failed.description.split(RETRY).next().unwrap_or_default();
            Ok(Ok(NewRelease {
                description: format!("{what}{RETRY}{})", failed.number),
                image: failed.image,
                config: failed.config,
                commit: failed.commit,
                by,
                git_ref: None,
                quiet: false,
            }))
        };
        detached(|gone| self.release(make, events, gone)).await
    }

    pub(crate) async fn rollback(
        self,
        to: Option<ReleaseNumber>,
        by: String,
        events: mpsc::Sender<Event>,
    ) -> Result<Release, DeployError> {
        let store = self.store.clone();
        let make = move |world: &World, app: &App| {
            let app = world.ledger.app(&app.name)?;
            let then = match to {
                Some(number) => world.ledger.release(&app.name, number)?,
                None => (world.ledger.before_current(&app.name)?)
                    .ok_or_else(|| DeployError::NothingBefore(app.name.clone()))?,
            };
            let is_kept = |image: &Digest| store.has_image(image);
            if let Some(why) = not_a_target(&then, app.current, is_kept) {
                let release = then.number;
                return Err(DeployError::RollbackRefused { release, why });
            }
            Ok(Ok(NewRelease {
                description: format!("Rollback to {}", then.number),
                image: then.image,
                config: then.config,
                commit: then.commit,
                by,
                git_ref: None,
                quiet: false,
            }))
        };
        detached(|gone| self.release(make, events, gone)).await
    }

    /// Create the release, take it live, note how that went.
    async fn release(
        self,
        make: impl FnOnce(&World, &App) -> Result<Made, DeployError> + Send + 'static,
        events: mpsc::Sender<Event>,
        mut gone: Gone,
    ) -> Result<Release, DeployError> {
        let _turn = tokio::select! {
            turn = self.handle.turn() => turn,
            _ = &mut gone => return Err(DeployError::Cancelled),
        };
        let (world, _, app) = self.parts();
        let created = blocking(move || {
            refuse_if_locked(&world, &app)?;
            Ok(match make(&world, &app)? {
                Ok(new) => Ok(world.ledger.create_release(&app.name, new)?),
                Err(current) => Err(current),
            })
        });
        let release = match created.await? {
            Ok(release) => release,
            Err(current) => return Ok(current),
        };
        self.note(&format!("{} by user {}", release.description, release.by));
        self.note(&format!(
            "Release {} created by user {}",
            release.number, release.by
        ));
        _ = events.try_send(Event::Created {
            release: release.number,
        });
        let result = self.go_live(&release, events, gone).await;
        self.conclude(&release, result).await
    }

    async fn go_live(
        &self,
        release: &Release,
        events: mpsc::Sender<Event>,
        mut gone: Gone,
    ) -> Result<(), DeployError> {
        let (world, store, app) = self.parts();
        let of = release.clone();
        let wanted = blocking(move || {
            let wanted = Wanted::of(&app, &of, &world.ledger, &store)?;
            if wanted.is_none() || of.quiet {
                world.ledger.release_succeeded(app.id, of.number, &[])?;
            }
            Ok(wanted)
        });
        let Some(wanted) = wanted.await? else {
            return Ok(());
        };
        if release.quiet {
            return self.refresh().await;
        }
        tokio::select! {
            phase = release_phase(&self.world, &wanted.launch, &events) => phase?,
            _ = &mut gone => return Err(DeployError::Cancelled),
        }
        self.ask(|ask| Change::RollOut { wanted, ask }, events, gone)
            .await
    }

    async fn conclude(
        &self,
        release: &Release,
        result: Result<(), DeployError>,
    ) -> Result<Release, DeployError> {
        let (world, _, app) = self.parts();
        let number = release.number;
        let Err(error) = result else {
            return blocking(move || Ok(world.ledger.release(&app.name, number)?)).await;
        };
        self.note(&format!("Release {number} failed: {error}"));
        let reason = error.to_string();
        let noted = blocking(move || Ok(world.ledger.release_failed(app.id, number, &reason)?));
        if let Err(error) = noted.await {
            // Still pending, and marked at the next start.
            tracing::error!(app = %self.handle.app.name, %error, "cannot note that a release has failed");
        }
        Err(error)
    }

    /// Waits for the answer of the app's task, and takes the question back when nobody waits for us any more.
    async fn ask(
        &self,
        change: impl FnOnce(Ask) -> Change,
        events: mpsc::Sender<Event>,
        gone: Gone,
    ) -> Result<(), DeployError> {
        let (done, mut answer) = oneshot::channel();
        self.handle.send(change(Ask { events, done })).await?;
        let answered = tokio::select! {
            answered = &mut answer => answered,
            _ = gone => {
                self.handle.send(Change::Cancel).await?;
                answer.await
            }
        };
        answered.unwrap_or(Err(DeployError::ShuttingDown))
    }

    /// The app's task does it at once.
    async fn tell(&self, change: impl FnOnce(Done) -> Change) -> Result<(), DeployError> {
        let (done, answer) = oneshot::channel();
        self.handle.send(change(done)).await?;
        answer.await.map_err(|_| DeployError::ShuttingDown)
    }

    fn note(&self, text: &str) {
        self.world.logs.api(self.handle.app.id, text);
    }

    fn parts(&self) -> (Arc<World>, Store, App) {
        let (world, store) = (Arc::clone(&self.world), self.store.clone());
        (world, store, self.handle.app.clone())
    }
}

impl AppHandle {
    pub(crate) fn instances(&self) -> Vec<InstanceStatus> {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.rows.clone()
    }

    /// Those that can be entered.
    pub(crate) fn live(&self) -> Vec<Live> {
        let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        view.live.clone()
    }

    pub(crate) fn new(app: App, changes: mpsc::Sender<Change>, view: View) -> Self {
        Self {
            app,
            view,
            changes,
            turn: Arc::default(),
            runs: Runs::default(),
            here: watch::Sender::new(()),
        }
    }

    /// The same app by another name.
    pub(crate) fn renamed(&self, app: App) -> Self {
        Self {
            app,
            ..self.clone()
        }
    }

    pub(crate) fn here(&self) -> watch::Receiver<()> {
        self.here.subscribe()
    }

    /// The name is free again when nothing of the app runs any more. Killed in between, the app is there again.
    pub(crate) async fn destroy(&self, world: &Arc<World>) -> Result<(), DeployError> {
        let _turn = self.turn().await;
        let (nobody, gone) = oneshot::channel();
        self.send(Change::Destroy(nobody)).await?;
        _ = gone.await;
        self.here.send_replace(());
        let (world, id) = (Arc::clone(world), self.app.id);
        blocking(move || {
            world.ledger.destroy_app(id)?;
            world.logs.remove(id);
            Ok(())
        })
        .await
    }

    async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    async fn send(&self, change: Change) -> Result<(), DeployError> {
        let sent = self.changes.send(change).await;
        sent.map_err(|_| DeployError::ShuttingDown)
    }
}

/// Runs as a task of its own, so that it is never cut off in the middle; it is told when its caller goes away.
async fn detached<T, F>(change: impl FnOnce(Gone) -> F) -> Result<T, DeployError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, DeployError>> + Send + 'static,
{
    detached_until(future::pending(), change).await
}

/// The same; a caller who stays may take it back, and still hears how it ended: it may have been too late.
async fn detached_until<T, F>(
    cancelled: impl Future<Output = ()>,
    change: impl FnOnce(Gone) -> F,
) -> Result<T, DeployError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, DeployError>> + Send + 'static,
{
    let (here, gone) = oneshot::channel();
    let mut task = tokio::spawn(change(gone));
    let ended = tokio::select! {
        ended = &mut task => ended,
        () = cancelled => {
            drop(here);
            task.await
        }
    };
    ended.unwrap_or(Err(DeployError::ShuttingDown))
}

/// The ledger syncs to the disk, the store reads from it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DeployError> + Send + 'static,
) -> Result<T, DeployError> {
    spawn_blocking(work)
        .await
        .unwrap_or(Err(DeployError::ShuttingDown))
}

fn not_a_target(
    then: &Release,
    current: Option<ReleaseNumber>,
    is_kept: impl FnOnce(&Digest) -> bool,
) -> Option<&'static str> {
    if current == Some(then.number) {
        return Some("it is the current release");
    }
    match (then.status, then.image) {
        (ReleaseStatus::Failed, _) => Some("it failed"),
        (ReleaseStatus::Pending, _) => Some("it never went live"),
        (ReleaseStatus::Succeeded, None) => Some("it has no image, only config"),
        (ReleaseStatus::Succeeded, Some(image)) if !is_kept(&image) => {
            Some("its image is no longer kept; push its commit again")
        }
        (ReleaseStatus::Succeeded, Some(_)) => None,
    }
}

fn refuse_if_locked(world: &World, app: &App) -> Result<(), DeployError> {
    match world.ledger.app(&app.name)?.lock {
        Some(lock) => Err(DeployError::Locked {
            app: app.name.clone(),
            by: lock.by,
            reason: lock.reason,
        }),
        None => Ok(()),
    }
}
