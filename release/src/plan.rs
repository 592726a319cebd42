//! From what is wanted and what is seen to the next steps. Nothing here acts or waits: the same world gives the same
//! plan, and a plan that was carried out only in part is simply made again.
//!
//! An instance *belongs* to the candidate, to the current cohort, or to nobody. What belongs to nobody goes: out of the
//! routes first, then SIGTERM, then SIGKILL. A candidate is complete when each of its slots holds an instance that is
//! up; it is given up as soon as one of them ends or does not answer in time. Old and new instances overlap, workers too.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use router::NoBackend;

use crate::{ReleaseNumber, backoff::Crashes, formation::Slot};

/// Counts the starts of an app's instances: a later one has a higher serial.
pub(crate) type Serial = u64;

/// How long a process that takes no requests has to run before it counts as up. Longer than most need to find that they
/// cannot run, and only deploys of apps with such processes wait for it.
const WORKER_GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Desired {
    pub(crate) current: Option<Cohort>,
    /// To become the current one, or part of it, when all of it is up.
    pub(crate) candidate: Option<Cohort>,
}

/// Instances that are wanted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cohort {
    /// What is started is of this one.
    pub(crate) release: ReleaseNumber,
    /// What runs may be of any of these.
    pub(crate) releases: BTreeSet<ReleaseNumber>,
    /// The lowest serial that will do: an older instance of the release is to be replaced.
    pub(crate) slots: BTreeMap<Slot, Serial>,
}

/// One instance as it is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) serial: Serial,
    pub(crate) release: ReleaseNumber,
    pub(crate) slot: Slot,
    pub(crate) state: State,
    /// When it came into this state, since an epoch of the caller's.
    pub(crate) since: Duration,
}

/// In the order of a life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Being made; no process yet.
    Spawning,
    Starting,
    Up,
    /// Out of the routes; requests in flight are waited for.
    Draining,
    Drained,
    /// SIGTERM was sent.
    Stopping,
    /// SIGKILL was sent.
    Killed,
    Exited,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) boot_timeout: Duration,
    pub(crate) stop_grace: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Start {
        slot: Slot,
        release: ReleaseNumber,
    },
    /// It runs, which is all that can be asked of a process without a port.
    Up(Serial),
    /// The candidate is complete: make it current, then send requests there.
    Switch,
    /// The candidate failed, by this instance.
    GiveUp(Serial),
    /// An instance of the current cohort did not answer in time.
    BootTimeout(Serial),
    Drain(Serial),
    Stop(Serial),
    Kill(Serial),
    /// It has ended: its traces go.
    Forget(Serial),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// When time alone makes a new plan necessary.
    pub(crate) again_at: Option<Duration>,
    /// Everything wanted is up, and the rest is on its way out.
    pub(crate) settled: bool,
}

pub(crate) fn plan(
    desired: &Desired,
    seen: &[Seen],
    crashes: &BTreeMap<Slot, Crashes>,
    now: Duration,
    timing: Timing,
) -> Plan {
    let mut plan = Plan::default();
    let keepers = keepers(desired, seen);
    for instance in seen {
        let keeper = keepers.contains(&instance.serial);
        let candidate = belongs(desired.candidate.as_ref(), instance);
        plan.look_after(instance, keeper, candidate, now, timing);
    }
    let gives_up = plan
        .steps
        .iter()
        .any(|step| matches!(step, Step::GiveUp(_)));
    let of_candidate = |instance: &&Seen| belongs(desired.candidate.as_ref(), instance);
    let mut complete = desired.candidate.is_none();
    if let Some(candidate) = desired.candidate.as_ref().filter(|_| !gives_up) {
        let theirs: Vec<&Seen> = seen.iter().filter(of_candidate).collect();
        let missing = empty_slots(candidate, &theirs);
        plan.steps.extend(missing.map(|slot| candidate.start(slot)));
        if is_up(candidate, &theirs) {
            plan.steps.push(Step::Switch);
        }
    }
    if let Some(current) = &desired.current {
        let theirs: Vec<&Seen> = seen
            .iter()
            .filter(|instance| !of_candidate(instance) && belongs(Some(current), instance))
            .collect();
        for slot in empty_slots(current, &theirs) {
            let restart_at = crashes
                .get(slot)
                .map_or(Duration::ZERO, Crashes::restart_at);
            if restart_at <= now {
                plan.steps.push(current.start(slot));
            } else {
                plan.again(restart_at);
            }
        }
        complete &= is_up(current, &theirs);
    }
    let leaving = |instance: &Seen| instance.state >= State::Draining;
    plan.settled = complete
        && seen
            .iter()
            .all(|instance| keepers.contains(&instance.serial) || leaving(instance));
    plan
}

impl Plan {
    fn look_after(
        &mut self,
        instance: &Seen,
        keeper: bool,
        candidate: bool,
        now: Duration,
        timing: Timing,
    ) {
        let serial = instance.serial;
        let is_web = instance.slot.is_web();
        let step = match instance.state {
            State::Exited if candidate => Step::GiveUp(serial),
            State::Exited => Step::Forget(serial),
            State::Spawning => return,
            State::Starting if keeper => {
                let (wait, then) = match (is_web, candidate) {
                    (false, _) => (WORKER_GRACE, Step::Up(serial)),
                    (true, true) => (timing.boot_timeout, Step::GiveUp(serial)),
                    (true, false) => (timing.boot_timeout, Step::BootTimeout(serial)),
                };
                return self.after(instance.since + wait, now, then);
            }
            State::Up if keeper => return,
            State::Up if is_web => Step::Drain(serial),
            State::Up | State::Starting | State::Drained => Step::Stop(serial),
            State::Draining | State::Killed => return,
            State::Stopping => {
                let at = instance.since + timing.stop_grace;
                return self.after(at, now, Step::Kill(serial));
            }
        };
        self.steps.push(step);
    }

    fn after(&mut self, at: Duration, now: Duration, step: Step) {
        if at <= now {
            self.steps.push(step);
        } else {
            self.again(at);
        }
    }

    fn again(&mut self, at: Duration) {
        self.again_at = Some(self.again_at.map_or(at, |before| before.min(at)));
    }
}

impl Cohort {
    fn start(&self, slot: &Slot) -> Step {
        Step::Start {
            slot: slot.clone(),
            release: self.release,
        }
    }

    /// After a switch to `next`: a new release replaces everything, a restart only what it restarted.
    pub(crate) fn switched(self, next: Self) -> Self {
        if self.release != next.release {
            return next;
        }
        let mut slots = self.slots;
        slots.extend(next.slots);
        Self { slots, ..self }
    }
}

/// Whether the instance could fill a slot of the cohort, leaving aside that it may be on its way out.
pub(crate) fn belongs(cohort: Option<&Cohort>, instance: &Seen) -> bool {
    cohort.is_some_and(|cohort| {
        let wanted = cohort.slots.get(&instance.slot);
        cohort.releases.contains(&instance.release)
            && wanted.is_some_and(|serial| *serial <= instance.serial)
    })
}

/// The instances that stay: at most one per slot and cohort, one that is up rather than one that is not, the newest of
/// those.
fn keepers(desired: &Desired, seen: &[Seen]) -> BTreeSet<Serial> {
    let mut best: BTreeMap<(bool, &Slot), &Seen> = BTreeMap::new();
    for instance in seen.iter().filter(|instance| stays(instance)) {
        let candidate = belongs(desired.candidate.as_ref(), instance);
        if !candidate && !belongs(desired.current.as_ref(), instance) {
            continue;
        }
        let rank = |instance: &Seen| (instance.state == State::Up, instance.serial);
        let place = best.entry((candidate, &instance.slot)).or_insert(instance);
        if rank(instance) > rank(place) {
            *place = instance;
        }
    }
    best.into_values().map(|instance| instance.serial).collect()
}

fn stays(instance: &Seen) -> bool {
    instance.state <= State::Up
}

fn empty_slots<'a>(cohort: &'a Cohort, theirs: &[&Seen]) -> impl Iterator<Item = &'a Slot> {
    let filled: BTreeSet<&Slot> = theirs
        .iter()
        .filter(|instance| stays(instance))
        .map(|instance| &instance.slot)
        .collect();
    let empty: Vec<&Slot> = cohort
        .slots
        .keys()
        .filter(|slot| !filled.contains(slot))
        .collect();
    empty.into_iter()
}

fn is_up(cohort: &Cohort, theirs: &[&Seen]) -> bool {
    let up: BTreeSet<&Slot> = theirs
        .iter()
        .filter(|instance| instance.state == State::Up)
        .map(|instance| &instance.slot)
        .collect();
    cohort.slots.keys().all(|slot| up.contains(slot))
}

/// Where requests go: to these instances, or nowhere, and why.
pub(crate) fn targets(
    desired: &Desired,
    seen: &[Seen],
    crashes: &BTreeMap<Slot, Crashes>,
) -> Result<Vec<Serial>, NoBackend> {
    let current = desired.current.as_ref().ok_or(NoBackend::Blank)?;
    let mut web = current.slots.keys().filter(|slot| slot.is_web()).peekable();
    if web.peek().is_none() {
        return Err(NoBackend::NoWeb);
    }
    // Only what stays: an instance is out of the routes before it is drained.
    let keepers = keepers(desired, seen);
    let ours = |instance: &&Seen| {
        instance.slot.is_web()
            && instance.state == State::Up
            && keepers.contains(&instance.serial)
            && !belongs(desired.candidate.as_ref(), instance)
    };
    let up: Vec<Serial> = seen
        .iter()
        .filter(ours)
        .map(|instance| instance.serial)
        .collect();
    if !up.is_empty() {
        return Ok(up);
    }
    if web.any(|slot| !crashes.contains_key(slot)) {
        return Err(NoBackend::Booting);
    }
    Err(NoBackend::Crashed)
}

#[cfg(test)]
mod tests;
