//! The task of one app: start new, wait until they answer, switch, drain old, stop old. It brings what runs to what is
//! wanted, again and again, woken by what happens and by time; a deploy, a new config, a rollback, a restart, a scaling,
//! a crash, and the start of the platform take the same way.

mod instance;
mod steps;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use router::{Backend, Route, Table};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::{JoinSet, spawn_blocking},
    time::sleep_until,
};

pub(crate) use self::watch::ended;
use self::{instance::Instance, watch::Happened};
use crate::{
    App, DeployError, Event, InstanceStatus, Ledger, ProcessType, ReleaseNumber,
    backoff::Crashes,
    entered::Live,
    formation::{Formation, Slot, slots},
    launch::Launch,
    logs::Logs,
    plan::{self, Cohort, Desired, Seen, Serial, State, Step, Timing},
    runtime::{self, Found, Runtime},
};

/// The plan is made anew at least as often, whatever happened; apps take turns.
const RECHECK: Duration = Duration::from_secs(30);
/// One change at a time is carried out per app; the others queue before they are sent.
pub(crate) const CHANGES_MAX: usize = 4;
/// Things that happened to instances and are not dealt with yet; whoever tells of more waits.
const HAPPENED_MAX: usize = 256;
/// Every pass over the plan brings instances further along their life, so far fewer are needed.
const PASSES_MAX: usize = 32;

/// What all apps share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) runtime: Runtime,
    pub(crate) logs: Logs,
    pub(crate) routes: Table,
    pub(crate) domain: String,
    pub(crate) timing: Timing,
    pub(crate) drain_max: Duration,
    /// Instances that may boot at the same time, so that a hundred apps do not slow each other down.
    pub(crate) boots: Arc<Semaphore>,
}

/// What an app's task is asked for. The answer comes when it is done, or cannot be.
#[derive(Debug)]
pub(crate) enum Change {
    /// Make this release the current one.
    RollOut {
        launch: Arc<Launch>,
        formation: Formation,
        ask: Ask,
    },
    Scale {
        formation: Formation,
        ask: Ask,
    },
    /// New instances in place of these: all, `web`, or `web.1`.
    Restart {
        which: Option<String>,
        ask: Ask,
    },
    /// Whoever asked has gone.
    Cancel,
    /// Stop everything. The sender is dropped when nothing runs any more, and the task ends.
    Destroy(oneshot::Sender<()>),
}

#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) done: oneshot::Sender<Result<(), DeployError>>,
}

/// What there is of an app's instances, kept up to date by the task.
pub(crate) type View = Arc<Mutex<Shown>>;

#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// As `ps` lists them.
    pub(crate) rows: Vec<InstanceStatus>,
    /// Those that run, the oldest first.
    pub(crate) live: Vec<Live>,
}

pub(crate) struct Rollout {
    world: Arc<World>,
    app: App,
    desired: Desired,
    instances: BTreeMap<Serial, Instance>,
    crashes: BTreeMap<Slot, Crashes>,
    current: Option<Arc<Launch>>,
    candidate: Option<Arc<Launch>>,
    ask: Option<Ask>,
    next_serial: Serial,
    route: Option<Backend>,
    view: View,
    again_at: Option<Duration>,
    destroyed: Option<oneshot::Sender<()>>,
    epoch: Instant,
    tell: mpsc::Sender<Happened>,
    happened: mpsc::Receiver<Happened>,
    /// Whatever watches an instance; ends with this.
    watchers: JoinSet<()>,
}

impl Rollout {
    /// Takes over what was found running; its routes are set when this returns.
    pub(crate) fn new(
        world: Arc<World>,
        app: App,
        current: Option<Arc<Launch>>,
        formation: &Formation,
        found: Vec<Found>,
    ) -> Self {
        let (tell, happened) = mpsc::channel(HAPPENED_MAX);
        let newest = found.iter().map(|found| found.record.serial).max();
        let mut rollout = Self {
            desired: Desired {
                current: current.as_ref().map(|launch| cohort(launch, formation, 0)),
                candidate: None,
            },
            // Log files are named after it, and may be older than any instance.
            next_serial: runtime::now_ms().max(newest.map_or(0, |newest| newest + 1)),
            world,
            app,
            instances: BTreeMap::new(),
            crashes: BTreeMap::new(),
            current,
            candidate: None,
            ask: None,
            route: None,
            view: View::default(),
            again_at: None,
            destroyed: None,
            epoch: Instant::now(),
            tell,
            happened,
            watchers: JoinSet::new(),
        };
        found.into_iter().for_each(|found| rollout.adopt(found));
        rollout.point_route();
        rollout.show();
        rollout
    }

    pub(crate) fn view(&self) -> View {
        Arc::clone(&self.view)
    }

    /// Until the app is destroyed. Cut off anywhere before, it leaves the instances to the next start.
    pub(crate) async fn run(mut self, mut changes: mpsc::Receiver<Change>) {
        // Not all apps at the same moment.
        let turn = Duration::from_secs(self.app.id.unsigned_abs() % 10);
        loop {
            self.reconcile().await;
            if self.destroyed.is_some() && self.instances.is_empty() {
                // Their directories are still being removed.
                while self.watchers.join_next().await.is_some() {}
                return;
            }
            let recheck_at = self.now() + RECHECK + turn;
            let wake_at = self.again_at.map_or(recheck_at, |at| at.min(recheck_at));
            tokio::select! {
                Some(change) = changes.recv() => self.accept(change),
                Some(happened) = self.happened.recv() => self.note(happened),
                Some(_) = self.watchers.join_next() => {}
                () = sleep_until((self.epoch + wake_at).into()) => {}
            }
        }
    }

    async fn reconcile(&mut self) {
        for _ in 0..PASSES_MAX {
            self.point_route();
            let seen = self.seen();
            let plan = plan::plan(
                &self.desired,
                &seen,
                &self.crashes,
                self.now(),
                self.world.timing,
            );
            self.again_at = plan.again_at;
            if plan.settled {
                self.answer(Ok(()));
            }
            if plan.steps.is_empty() {
                break;
            }
            for step in plan.steps {
                if self.take(step).await {
                    break;
                }
            }
        }
        self.show();
    }

    /// Whether other things are wanted now than when the plan was made.
    async fn take(&mut self, step: Step) -> bool {
        match step {
            Step::Start { slot, release } => self.start(slot, release),
            Step::Up(serial) => self.up(serial, None),
            Step::Switch => {
                self.switch().await;
                return true;
            }
            Step::GiveUp(serial) => {
                self.give_up(serial);
                return true;
            }
            Step::BootTimeout(serial) => self.time_out(serial),
            Step::Drain(serial) => self.drain(serial),
            Step::Stop(serial) => self.stop(serial),
            Step::Kill(serial) => self.kill(serial),
            Step::Forget(serial) => self.forget(serial),
        }
        false
    }

    fn accept(&mut self, change: Change) {
        match change {
            Change::RollOut {
                launch,
                formation,
                ask,
            } => {
                self.desired.candidate = Some(cohort(&launch, &formation, self.next_serial));
                self.candidate = Some(launch);
                self.ask = Some(ask);
            }
            Change::Scale { formation, ask } => {
                self.scale(&formation);
                self.ask = Some(ask);
            }
            Change::Restart { which, ask } => {
                self.ask = Some(ask);
                self.restart(which.as_deref());
            }
            Change::Cancel => self.fail(DeployError::Cancelled),
            Change::Destroy(gone) => {
                self.fail(DeployError::Destroyed(self.app.name.clone()));
                self.desired = Desired::default();
                self.world.routes.remove(&self.world.host(&self.app));
                self.destroyed = Some(gone);
            }
        }
    }

    fn note(&mut self, happened: Happened) {
        match happened {
            Happened::Spawned(serial, result, turn) => self.spawned(serial, result, turn),
            Happened::Answered(serial, address) => self.up(serial, Some(address)),
            Happened::Drained(serial) => self.drained(serial),
            Happened::Exited(serial, exit) => self.exited(serial, exit),
        }
    }

    fn scale(&mut self, formation: &Formation) {
        // Whoever scales does not wait for a back-off.
        self.crashes.clear();
        if let (Some(cohort), Some(launch)) = (&mut self.desired.current, &self.current) {
            let wanted = slots(launch.kept_running(), formation);
            let old = std::mem::take(&mut cohort.slots);
            let since = |slot: &Slot| old.get(slot).copied().unwrap_or(0);
            cohort.slots = wanted
                .into_iter()
                .map(|slot| (slot.clone(), since(&slot)))
                .collect();
        }
    }

    fn restart(&mut self, which: Option<&str>) {
        let Some(current) = &self.desired.current else {
            return self.answer(Err(DeployError::NotDeployed(self.app.name.clone())));
        };
        let chosen = |slot: &&Slot| which.is_none_or(|which| slot.is_called(which));
        let slots: BTreeMap<Slot, Serial> = current
            .slots
            .keys()
            .filter(chosen)
            .map(|slot| (slot.clone(), self.next_serial))
            .collect();
        if slots.is_empty() && which.is_some() {
            return self.answer(Err(DeployError::NoInstance {
                app: self.app.name.clone(),
                which: which.unwrap_or_default().to_owned(),
            }));
        }
        self.desired.candidate = Some(Cohort {
            release: current.release,
            slots,
        });
        self.candidate.clone_from(&self.current);
    }

    /// First in the ledger, then in the routes: killed in between, the next start ends the same way.
    async fn switch(&mut self) {
        let (Some(cohort), Some(launch)) = (self.desired.candidate.take(), self.candidate.take())
        else {
            return;
        };
        let release = cohort.release;
        let is_new = self.desired.current.as_ref().map(|current| current.release) != Some(release);
        if is_new && let Err(error) = self.note_success(&launch).await {
            return self.answer(Err(error));
        }
        for slot in cohort.slots.keys() {
            self.crashes.remove(slot);
        }
        self.desired.current = Some(match self.desired.current.take() {
            Some(current) => current.switched(cohort),
            None => cohort,
        });
        self.current = Some(launch);
        self.point_route();
        self.tell_event(Event::Switched { release });
        self.answer(Ok(()));
    }

    async fn note_success(&self, launch: &Launch) -> Result<(), DeployError> {
        let types: Vec<ProcessType> = launch.kept_running().cloned().collect();
        let (world, id, release) = (Arc::clone(&self.world), self.app.id, launch.release);
        let noted =
            spawn_blocking(move || world.ledger.release_succeeded(id, release, &types)).await;
        noted
            .map_err(|_| DeployError::ShuttingDown)?
            .map_err(Into::into)
    }

    fn give_up(&mut self, serial: Serial) {
        if let Some(error) = self.failure_of(serial) {
            self.fail(error);
        }
    }

    /// The candidate is no longer wanted; its instances go, and what was current stays.
    fn fail(&mut self, error: DeployError) {
        self.desired.candidate = None;
        self.candidate = None;
        self.answer(Err(error));
    }

    fn point_route(&mut self) {
        if self.destroyed.is_some() {
            return;
        }
        let backend = match plan::targets(&self.desired, &self.seen(), &self.crashes) {
            Ok(serials) => {
                let endpoints = serials
                    .iter()
                    .filter_map(|serial| self.instances.get(serial));
                Backend::Endpoints(endpoints.filter_map(Instance::endpoint).collect())
            }
            Err(why) => Backend::Unavailable(why),
        };
        if self.route.as_ref() != Some(&backend) {
            self.route = Some(backend.clone());
            let route = Route {
                app: self.app.name.to_string(),
                backend,
            };
            self.world.routes.set(&self.world.host(&self.app), route);
        }
    }

    fn answer(&mut self, result: Result<(), DeployError>) {
        if let Some(ask) = self.ask.take() {
            // Nobody may be waiting any more.
            _ = ask.done.send(result);
        }
    }

    fn tell_event(&self, event: Event) {
        if let Some(ask) = &self.ask {
            _ = ask.events.try_send(event);
        }
    }

    fn seen(&self) -> Vec<Seen> {
        self.instances.values().map(Instance::seen).collect()
    }

    fn show(&self) {
        let mut rows: Vec<InstanceStatus> = self
            .instances
            .values()
            .filter(|instance| instance.state != State::Exited)
            .map(|instance| instance.status(self.launch(instance.record.release)))
            .collect();
        let running: BTreeSet<String> = rows.iter().map(|row| row.name.clone()).collect();
        if let (Some(current), Some(launch)) = (&self.desired.current, &self.current) {
            let empty = current
                .slots
                .keys()
                .filter(|slot| !running.contains(&slot.to_string()));
            rows.extend(empty.map(|slot| {
                let crashed = self.crashes.get(slot);
                let ago = crashed.map_or(Duration::ZERO, |crashes| {
                    self.now().saturating_sub(crashes.last_at())
                });
                InstanceStatus {
                    name: slot.to_string(),
                    release: current.release.get(),
                    state: crashed.map_or("starting", |_| "crashed").to_owned(),
                    since: runtime::now().saturating_sub(ago.as_secs()),
                    command: launch.command(&slot.process_type).to_owned(),
                }
            }));
        }
        rows.sort_by(|a, b| (&a.name, a.since).cmp(&(&b.name, b.since)));
        let live = self.instances.values().filter_map(Instance::live).collect();
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Shown { rows, live };
    }

    fn launch(&self, release: ReleaseNumber) -> Option<&Arc<Launch>> {
        let launches = [&self.current, &self.candidate].into_iter().flatten();
        launches
            .into_iter()
            .find(|launch| launch.release == release)
    }

    fn state_line(&self, slot: &Slot, text: &str) {
        self.world.logs.state(self.app.id, &slot.to_string(), text);
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}

impl World {
    pub(crate) fn host(&self, app: &App) -> String {
        format!("{}.{}", app.name, self.domain)
    }
}

fn cohort(launch: &Launch, formation: &Formation, since: Serial) -> Cohort {
    let slots = slots(launch.kept_running(), formation);
    Cohort {
        release: launch.release,
        slots: slots.into_iter().map(|slot| (slot, since)).collect(),
    }
}
