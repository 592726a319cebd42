//! The task of one app: start new, wait until they answer, switch, drain old, stop old. It brings what runs to what is
//! wanted, again and again, woken by what happens and by time; a deploy, a new config, a rollback, a restart, a scaling,
//! a crash, and the start of the platform take the same way.

mod instance;
mod route;
mod steps;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use router::{Backend, Table};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::{JoinSet, spawn_blocking},
    time::sleep_until,
};

use self::{instance::Instance, watch::Happened};
pub(crate) use self::{route::Front, watch::ended};
use crate::{
    App, DeployError, Event, InstanceStatus, Ledger, ProcessType, ReleaseNumber,
    backoff::Crashes,
    entered::Live,
    formation::Slot,
    launch::Launch,
    logs::Logs,
    plan::{self, Cohort, Desired, Seen, Serial, State, Step, Timing},
    runtime::{self, Found, Runtime},
    wanted::Wanted,
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
    RollOut { wanted: Wanted, ask: Ask },
    /// Have instances in these slots of the current release, and no others.
    Scale { slots: BTreeSet<Slot>, ask: Ask },
    /// New instances in these slots, started from what `launch` says now of the current release.
    Restart {
        launch: Arc<Launch>,
        slots: BTreeSet<Slot>,
        ask: Ask,
    },
    /// The same, without waiting for those that stay.
    Stop { slots: BTreeSet<Slot>, done: Done },
    /// What is started from now on is of this release; what runs goes on.
    Refresh { wanted: Wanted, done: Done },
    /// Who may reach it, and by which names.
    Front { app: App, front: Front, done: Done },
    /// Whoever asked has gone.
    Cancel,
    /// Stop everything. The sender is dropped when nothing runs any more, and the task ends.
    Destroy(oneshot::Sender<()>),
}

/// Told as soon as the first steps have been taken.
pub(crate) type Done = oneshot::Sender<()>;

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
    front: Front,
    /// Where the router sends requests, and of which hosts.
    route: Option<Backend>,
    routed: BTreeSet<String>,
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
        current: Option<Wanted>,
        front: Front,
        found: Vec<Found>,
    ) -> Self {
        let (tell, happened) = mpsc::channel(HAPPENED_MAX);
        let newest = found.iter().map(|found| found.record.serial).max();
        let mut rollout = Self {
            desired: Desired {
                current: current.as_ref().map(|wanted| wanted.cohort(0)),
                candidate: None,
            },
            // Log files are named after it, and may be older than any instance.
            next_serial: runtime::now_ms().max(newest.map_or(0, |newest| newest + 1)),
            world,
            app,
            instances: BTreeMap::new(),
            crashes: BTreeMap::new(),
            current: current.map(|wanted| wanted.launch),
            candidate: None,
            ask: None,
            front,
            route: None,
            routed: BTreeSet::new(),
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
                Some(change) = changes.recv() => {
                    if let Some(done) = self.accept(change) {
                        self.reconcile().await;
                        // Nobody may be waiting any more.
                        _ = done.send(());
                    }
                }
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
                self.timing(),
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

    fn accept(&mut self, change: Change) -> Option<Done> {
        match change {
            Change::RollOut { wanted, ask } => {
                self.desired.candidate = Some(wanted.cohort(self.next_serial));
                self.candidate = Some(wanted.launch);
                self.ask = Some(ask);
            }
            Change::Scale { slots, ask } => {
                self.scale(slots);
                self.ask = Some(ask);
            }
            Change::Restart { launch, slots, ask } => {
                self.ask = Some(ask);
                self.restart(launch, slots);
            }
            Change::Stop { slots, done } => {
                self.keep_slots(slots);
                return Some(done);
            }
            Change::Refresh { wanted, done } => {
                self.refresh(wanted);
                return Some(done);
            }
            Change::Front { app, front, done } => {
                self.app = app;
                self.front = front;
                // The name may be another.
                self.route = None;
                return Some(done);
            }
            Change::Cancel => self.fail(DeployError::Cancelled),
            Change::Destroy(gone) => {
                self.fail(DeployError::Destroyed(self.app.name.clone()));
                self.desired = Desired::default();
                self.remove_routes();
                self.destroyed = Some(gone);
            }
        }
        None
    }

    fn note(&mut self, happened: Happened) {
        match happened {
            Happened::Spawned(serial, result, turn) => self.spawned(serial, result, turn),
            Happened::Answered(serial, address) => self.up(serial, Some(address)),
            Happened::Drained(serial) => self.drained(serial),
            Happened::Exited(serial, exit) => self.exited(serial, exit),
        }
    }

    fn scale(&mut self, slots: BTreeSet<Slot>) {
        // Whoever scales does not wait for a back-off.
        self.crashes.clear();
        self.keep_slots(slots);
    }

    fn keep_slots(&mut self, slots: BTreeSet<Slot>) {
        if let Some(cohort) = &mut self.desired.current {
            let old = std::mem::take(&mut cohort.slots);
            let since = |slot: &Slot| old.get(slot).copied().unwrap_or(0);
            cohort.slots = slots
                .into_iter()
                .map(|slot| (slot.clone(), since(&slot)))
                .collect();
        }
    }

    fn restart(&mut self, launch: Arc<Launch>, slots: BTreeSet<Slot>) {
        let release = launch.release;
        self.desired.candidate = Some(Cohort {
            release,
            releases: BTreeSet::from([release]),
            slots: (slots.into_iter())
                .map(|slot| (slot, self.next_serial))
                .collect(),
        });
        self.candidate = Some(launch);
    }

    fn refresh(&mut self, wanted: Wanted) {
        if let Some(cohort) = &mut self.desired.current {
            cohort.release = wanted.launch.release;
            cohort.releases = wanted.releases;
            self.current = Some(wanted.launch);
        }
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

    /// Whoever is answered may look at once, and sees what the answer tells of.
    fn answer(&mut self, result: Result<(), DeployError>) {
        if let Some(ask) = self.ask.take() {
            self.show();
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
            .map(|instance| instance.status(self.launch_or_current(instance.record.release)))
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
                    memory_bytes: None,
                    pid: None,
                }
            }));
        }
        rows.sort_by(|a, b| (&a.name, a.since).cmp(&(&b.name, b.since)));
        let live = self.instances.values().filter_map(Instance::live).collect();
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Shown { rows, live };
    }

    /// Also of an instance whose release is no longer the current one and was not restarted.
    fn launch_or_current(&self, release: ReleaseNumber) -> Option<&Arc<Launch>> {
        self.launch(release).or(self.current.as_ref())
    }

    fn launch(&self, release: ReleaseNumber) -> Option<&Arc<Launch>> {
        // The candidate first: in a restart both are of one release, and it is the newer.
        let launches = [&self.candidate, &self.current].into_iter().flatten();
        launches
            .into_iter()
            .find(|launch| launch.release == release)
    }

    fn timing(&self) -> Timing {
        let launch = self.candidate.as_ref().or(self.current.as_ref());
        let boot_timeout = launch.and_then(|launch| launch.checks.boot);
        Timing {
            boot_timeout: boot_timeout.unwrap_or(self.world.timing.boot_timeout),
            ..self.world.timing
        }
    }

    fn state_line(&self, slot: &Slot, text: &str) {
        self.world.logs.state(self.app.id, &slot.to_string(), text);
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}
