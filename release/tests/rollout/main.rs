//! Real rollouts: real sandboxes, real sockets, the real router in front.
//!
//! Without the test harness, because this binary is also the spawner.

#![expect(
    clippy::unwrap_used,
    reason = "without the harness clippy does not see that this is a test"
)]

mod deploys;
mod failures;
mod restarts;
mod runs;
mod settings;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};

use self::world::World;

type Case = (&'static str, fn(World));

const THREADS: usize = 3;

const CASES: &[Case] = &[
    ("a deploy is live when it returns", deploys::live),
    (
        "the next one replaces it and leaves nothing",
        deploys::replaced,
    ),
    (
        "twenty deploys under load fail no request",
        deploys::under_load,
    ),
    (
        "config, rollback and their releases",
        deploys::config_and_rollback,
    ),
    (
        "workers, scaling up and down, and restarts",
        deploys::formation,
    ),
    ("an app without web", deploys::without_web),
    ("one-off processes", deploys::one_off),
    ("a cancelled deploy changes nothing", deploys::cancelled),
    (
        "a cancelled_late deploy changes nothing",
        deploys::cancelled_late,
    ),
    ("a destroyed app leaves nothing", deploys::destroyed),
    (
        "the router's lines are in the app's log",
        deploys::router_log,
    ),
    ("a renamed app goes on", settings::renamed),
    ("a clone has everything but the name", settings::cloned),
    ("a clone that fails is not there", settings::clone_fails),
    ("a locked app gets no release", settings::locked),
    ("config without a restart", settings::quiet_config),
    ("what is stopped stays so", settings::stopped),
    ("domains are routed at once", settings::domains),
    ("maintenance", settings::maintenance),
    ("limits replace what they change", settings::limits),
    ("limits that kill are taken back", settings::limits_too_low),
    ("a health check comes before requests", settings::checks),
    ("a release is tried again", settings::retried),
    ("the log of one release", settings::log_of_release),
    ("a detached one-off process", runs::detached),
    ("one-off processes are listed and stopped", runs::stopped),
    ("a one-off process has its time", runs::time_limit),
    ("a crash at boot", failures::crash),
    (
        "what never binds, or binds elsewhere",
        failures::never_binds,
    ),
    ("what is killed for memory", failures::out_of_memory),
    ("what cannot be executed", failures::no_such_command),
    ("a failing release phase", failures::release_phase),
    (
        "a crash later is made good, and a loop is told",
        failures::crash_later,
    ),
    ("what ignores SIGTERM is killed", failures::ignores_sigterm),
    ("after a kill instances are adopted", restarts::adopted),
    (
        "after a kill in the middle of a deploy",
        restarts::interrupted,
    ),
    ("after a kill in the middle of a start", restarts::orphan),
    (
        "after kills at many points of deploys",
        restarts::killed_anywhere,
    ),
    (
        "a second platform on the same data is refused",
        restarts::second,
    ),
    (
        "what ended meanwhile is started again",
        restarts::ended_meanwhile,
    ),
];

fn main() {
    if std::env::args().next().as_deref() == Some(container::spawner::ARGV0) {
        container::spawner::main();
    }
    if std::env::args().nth(1).as_deref() == Some(restarts::DEPLOYER) {
        restarts::deploy_for_ever(&std::env::args().nth(2).unwrap());
    }
    let only = std::env::args().nth(1).unwrap_or_default();
    if only == "--list" {
        return;
    }
    let chosen: Vec<&Case> = CASES
        .iter()
        .filter(|(name, _)| name.contains(&only))
        .collect();
    // Most of the time they wait for an app.
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((name, case)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    case(World::new());
                    println!("test {name} ... ok");
                }
            });
        }
    });
    println!("test result: ok. {} passed; 0 failed", chosen.len());
}
