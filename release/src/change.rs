//! The changes of an app, one at a time: make a release, run its release phase, have it rolled out, note the outcome.

use std::{
    convert::Infallible,
    future::{self, Future},
    sync::Arc,
};

use container::Store;
use tokio::{
    sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::spawn_blocking,
};

use crate::{
    App, Candidate, ConfigChanges, DeployError, Event, Release, ReleaseNumber, ReleaseStatus,
    config_vars::{changed, description},
    formation::{Formation, QUANTITY_MAX},
    launch::Launch,
    ledger::NewRelease,
    one_off::release_phase,
    rollout::{Ask, Change, View, World},
};

/// One-off processes of one app at the same time.
const RUNS_MAX: usize = 10;

/// What leads to an app's task.
#[derive(Debug)]
pub(crate) struct AppHandle {
    pub(crate) app: App,
    pub(crate) view: View,
    changes: mpsc::Sender<Change>,
    /// Changes queue here, in the order in which they came.
    turn: Mutex<()>,
    runs: Arc<Semaphore>,
    /// Told when the app goes: its one-off processes go, too.
    here: watch::Sender<()>,
}

/// What a one-off process holds of its app.
#[derive(Debug)]
pub(crate) struct RunTurn {
    pub(crate) app_here: watch::Receiver<()>,
    _turn: OwnedSemaphorePermit,
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
            }))
        };
        detached_until(cancelled, |gone| self.release(make, events, gone)).await
    }

    pub(crate) async fn set_config(
        self,
        changes: ConfigChanges,
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
                })),
            }
        };
        detached(|gone| self.release(make, events, gone)).await
    }

    pub(crate) async fn rollback(
        self,
        to: Option<ReleaseNumber>,
        by: String,
        events: mpsc::Sender<Event>,
    ) -> Result<Release, DeployError> {
        let make = move |world: &World, app: &App| {
            let app = world.ledger.app(&app.name)?;
            let then = match to {
                Some(number) => world.ledger.release(&app.name, number)?,
                None => (world.ledger.before_current(&app.name)?)
                    .ok_or_else(|| DeployError::NothingBefore(app.name.clone()))?,
            };
            if let Some(why) = not_a_target(&then, app.current) {
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
            }))
        };
        detached(|gone| self.release(make, events, gone)).await
    }

    pub(crate) async fn scale(
        self,
        quantities: Formation,
        by: String,
        events: mpsc::Sender<Event>,
    ) -> Result<(), DeployError> {
        detached(|gone| async move {
            let _turn = self.handle.turn().await;
            let shown: Vec<String> = quantities
                .iter()
                .map(|(process_type, quantity)| format!("{process_type}@{quantity}"))
                .collect();
            let (world, store, app) = self.parts();
            let formation =
                blocking(move || set_formation(&world, &store, &app, &quantities)).await?;
            self.note(&format!("Scaled to {} by user {by}", shown.join(" ")));
            let change = |ask| Change::Scale { formation, ask };
            self.ask(change, events, gone).await
        })
        .await
    }

    pub(crate) async fn restart(
        self,
        which: Option<String>,
        by: String,
        events: mpsc::Sender<Event>,
    ) -> Result<(), DeployError> {
        detached(|gone| async move {
            let _turn = self.handle.turn().await;
            let what = which.as_deref().unwrap_or("all instances");
            self.note(&format!("Restart of {what} by user {by}"));
            let change = |ask| Change::Restart { which, ask };
            self.ask(change, events, gone).await
        })
        .await
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
        let wanted = release.clone();
        let prepared = blocking(move || {
            let launch = Launch::of(&app, &wanted, &store)?;
            if launch.is_none() {
                world.ledger.release_succeeded(app.id, wanted.number, &[])?;
            }
            Ok((launch.map(Arc::new), world.ledger.formation(&app.name)?))
        });
        let (Some(launch), formation) = prepared.await? else {
            return Ok(());
        };
        tokio::select! {
            phase = release_phase(&self.world, &launch, &events) => phase?,
            _ = &mut gone => return Err(DeployError::Cancelled),
        }
        let change = |ask| Change::RollOut {
            launch,
            formation,
            ask,
        };
        self.ask(change, events, gone).await
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

    fn note(&self, text: &str) {
        self.world.logs.api(self.handle.app.id, text);
    }

    fn parts(&self) -> (Arc<World>, Store, App) {
        let (world, store) = (Arc::clone(&self.world), self.store.clone());
        (world, store, self.handle.app.clone())
    }
}

impl AppHandle {
    pub(crate) fn new(app: App, changes: mpsc::Sender<Change>, view: View) -> Self {
        Self {
            app,
            view,
            changes,
            turn: Mutex::new(()),
            runs: Arc::new(Semaphore::new(RUNS_MAX)),
            here: watch::Sender::new(()),
        }
    }

    pub(crate) fn run_turn(&self) -> Result<RunTurn, DeployError> {
        let turn = Arc::clone(&self.runs).try_acquire_owned();
        let turn = turn.map_err(|_| DeployError::TooManyRuns(RUNS_MAX, self.app.name.clone()))?;
        Ok(RunTurn {
            app_here: self.here.subscribe(),
            _turn: turn,
        })
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

fn not_a_target(then: &Release, current: Option<ReleaseNumber>) -> Option<&'static str> {
    if current == Some(then.number) {
        return Some("it is the current release");
    }
    match (then.status, then.image) {
        (ReleaseStatus::Failed, _) => Some("it failed"),
        (ReleaseStatus::Pending, _) => Some("it never went live"),
        (ReleaseStatus::Succeeded, None) => Some("it has no image, only config"),
        (ReleaseStatus::Succeeded, Some(_)) => None,
    }
}

/// The whole formation afterwards.
fn set_formation(
    world: &World,
    store: &Store,
    app: &App,
    quantities: &Formation,
) -> Result<Formation, DeployError> {
    let current = world.ledger.current(&app.name)?;
    let launch = current
        .map(|release| Launch::of(app, &release, store))
        .transpose()?
        .flatten();
    let launch = launch.ok_or_else(|| DeployError::NotDeployed(app.name.clone()))?;
    for (process_type, &quantity) in quantities {
        if !launch.has_instances(process_type) {
            return Err(DeployError::NoProcessType {
                app: app.name.clone(),
                process_type: process_type.clone(),
                known: launch.kept_running().cloned().collect(),
            });
        }
        if quantity > QUANTITY_MAX {
            return Err(DeployError::TooMany {
                process_type: process_type.clone(),
                quantity,
            });
        }
    }
    world.ledger.set_formation(app.id, quantities)?;
    Ok(world.ledger.formation(&app.name)?)
}
