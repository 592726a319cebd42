//! The world at one moment, as far as it is shown, and as far as the caller may see it.

use std::time::Instant;

use release::{App, AppName, Build, InstanceStatus, ReleaseStatus};

use super::{meter::Meter, state::Tab};
use crate::{Caller, Context, commands::is_run};

/// Apps around the chosen one of which more is known than their instances' states: a window shows fewer.
const NEAR: usize = 100;
/// Releases and builds.
const RECORDS_MAX: usize = 200;

/// What is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) app: Option<AppName>,
    pub(super) tab: Tab,
}

#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) apps: Vec<AppRow>,
    pub(super) detail: Detail,
}

#[derive(Debug, Default)]
pub(super) struct AppRow {
    pub(super) name: String,
    pub(super) state: &'static str,
    pub(super) release: Option<u64>,
    /// Seconds since the Unix epoch.
    pub(super) released_at: Option<u64>,
    pub(super) up_count: usize,
    pub(super) instance_count: usize,
    pub(super) use_of: Use,
}

/// What one or several instances use now.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Use {
    /// Of one processor.
    pub(super) cpu_percent: Option<f64>,
    pub(super) memory_bytes: Option<u64>,
}

/// Of the chosen app, what its tab shows.
#[derive(Debug, Default)]
pub(super) struct Detail {
    pub(super) app: Option<AppName>,
    pub(super) instances: Vec<(InstanceStatus, Use)>,
    pub(super) releases: Vec<ReleaseRow>,
    pub(super) builds: Vec<Build>,
}

/// Without its config.
#[derive(Debug)]
pub(super) struct ReleaseRow {
    pub(super) number: u64,
    pub(super) is_current: bool,
    pub(super) status: &'static str,
    pub(super) created_at: u64,
    pub(super) by: String,
    pub(super) text: String,
}

impl Snapshot {
    pub(super) fn names(&self) -> Vec<AppName> {
        let names = self.apps.iter().filter_map(|app| app.name.parse().ok());
        names.collect()
    }
}

/// Reads the ledger and /proc. What goes away meanwhile is not shown.
pub(super) fn take(ctx: &Context, caller: &Caller, wanted: &Wanted, meter: &mut Meter) -> Snapshot {
    let apps = ctx.visible_apps(caller).unwrap_or_default();
    let at = apps
        .iter()
        .position(|app| Some(&app.name) == wanted.app.as_ref());
    let near = at.unwrap_or(0).saturating_sub(NEAR)..=at.unwrap_or(0) + NEAR;
    let mut snapshot = Snapshot::default();
    for (index, app) in apps.iter().enumerate() {
        let instances = ctx.apps.states(&app.name).unwrap_or_default();
        let mut row = row(app, &instances);
        if near.contains(&index) {
            let uses: Vec<Use> = (instances.iter())
                .map(|instance| use_of(ctx, instance, meter))
                .collect();
            row.use_of = uses.iter().copied().reduce(both).unwrap_or_default();
            look_closer(ctx, app, &mut row);
            if at == Some(index) {
                let instances = instances.into_iter().zip(uses).collect();
                snapshot.detail = detail(ctx, app, wanted.tab, instances);
            }
        }
        snapshot.apps.push(row);
    }
    meter.turn();
    snapshot
}

fn row(app: &App, instances: &[InstanceStatus]) -> AppRow {
    let own: Vec<_> = instances.iter().filter(|one| !is_run(&one.name)).collect();
    AppRow {
        name: app.name.to_string(),
        state: state(app, &own),
        release: app.current.map(|release| release.get()),
        up_count: own.iter().filter(|one| one.state == "up").count(),
        instance_count: own.len(),
        ..AppRow::default()
    }
}

/// The one word for all its instances: the worst, and then what is under way.
fn state(app: &App, instances: &[&InstanceStatus]) -> &'static str {
    let any = |state: &str| instances.iter().any(|one| one.state == state);
    match () {
        () if any("crashed") => "crashed",
        () if app.maintenance.is_some() => "maintenance",
        () if any("starting") => "starting",
        () if any("up") => "up",
        () if any("draining") || any("stopping") => "stopping",
        () if app.current.is_some() => "stopped",
        () => "new",
    }
}

fn look_closer(ctx: &Context, app: &App, row: &mut AppRow) {
    let ledger = ctx.apps.ledger();
    if let Ok(Some(release)) = ledger.current(&app.name) {
        row.released_at = Some(release.created_at);
    }
    let newest = ledger.builds(&app.name, 1).unwrap_or_default().pop();
    if newest.is_some_and(|build| build.ended_at.is_none()) {
        row.state = "building";
    }
}

fn use_of(ctx: &Context, instance: &InstanceStatus, meter: &mut Meter) -> Use {
    let (Some(usage), Some(pid)) = (ctx.apps.usage(instance), instance.pid) else {
        return Use::default();
    };
    Use {
        cpu_percent: meter.read(pid, usage.cpu, Instant::now()),
        memory_bytes: Some(usage.memory_bytes),
    }
}

fn both(a: Use, b: Use) -> Use {
    fn sum<T: std::ops::Add<Output = T>>(a: Option<T>, b: Option<T>) -> Option<T> {
        match (a, b) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        }
    }
    Use {
        cpu_percent: sum(a.cpu_percent, b.cpu_percent),
        memory_bytes: sum(a.memory_bytes, b.memory_bytes),
    }
}

fn detail(ctx: &Context, app: &App, tab: Tab, instances: Vec<(InstanceStatus, Use)>) -> Detail {
    let ledger = ctx.apps.ledger();
    let mut detail = Detail {
        app: Some(app.name.clone()),
        instances,
        ..Detail::default()
    };
    match tab {
        Tab::Instances | Tab::Logs => {}
        Tab::Releases => {
            let releases = ledger.releases(&app.name, RECORDS_MAX).unwrap_or_default();
            detail.releases = (releases.into_iter())
                .map(|release| ReleaseRow {
                    number: release.number.get(),
                    is_current: app.current == Some(release.number),
                    status: word(release.status),
                    created_at: release.created_at,
                    by: release.by,
                    text: match release.reason {
                        Some(reason) => format!("{}: {reason}", release.description),
                        None => release.description,
                    },
                })
                .collect();
        }
        Tab::Builds => detail.builds = ledger.builds(&app.name, RECORDS_MAX).unwrap_or_default(),
    }
    detail
}

fn word(status: ReleaseStatus) -> &'static str {
    match status {
        ReleaseStatus::Pending => "pending",
        ReleaseStatus::Succeeded => "succeeded",
        ReleaseStatus::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_tells_of_all_instances() {
        let app = |current: bool, maintenance: bool| App {
            id: 1,
            name: "shop".parse().unwrap(),
            created_at: 0,
            current: current.then(|| "v1".parse().unwrap()),
            owner: String::new(),
            lock: None,
            maintenance: maintenance.then(String::new),
            deploy_branch: None,
        };
        let instance = |state: &&str| InstanceStatus {
            name: "web.1".to_owned(),
            release: 1,
            state: (*state).to_owned(),
            since: 0,
            command: String::new(),
            memory_bytes: None,
            pid: None,
        };
        let check = |app: &App, states: &[&str], expected: &str| {
            let row = row(app, &states.iter().map(instance).collect::<Vec<_>>());
            assert_eq!(row.state, expected, "{states:?}");
        };
        check(&app(false, false), &[], "new");
        check(&app(true, false), &[], "stopped");
        check(&app(true, false), &["up", "up"], "up");
        check(&app(true, false), &["up", "starting"], "starting");
        check(&app(true, false), &["up", "draining"], "up");
        check(&app(true, true), &["up", "crashed"], "crashed");
        check(&app(true, true), &["up"], "maintenance");
        check(&app(true, false), &["stopping"], "stopping");
    }

    #[test]
    fn what_is_unknown_is_not_zero() {
        let used = |cpu_percent, memory_bytes| Use {
            cpu_percent,
            memory_bytes,
        };
        let sum = both(used(None, Some(1)), used(Some(2.0), Some(3)));
        assert_eq!(sum, used(Some(2.0), Some(4)));
        assert_eq!(both(Use::default(), Use::default()), Use::default());
    }
}
