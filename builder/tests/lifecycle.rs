//! The phases as programs, with images in OCI layouts; and beside the reference lifecycle, where `SLIPWAY_LIFECYCLE` names
//! the folder with its programs.
//!
//! Without the test harness, because this binary is the phases too, and because buildpacks are not run as root.

#![expect(
    clippy::unwrap_used,
    reason = "without the harness clippy does not see that this is a test"
)]

#[path = "lifecycle/analyzing.rs"]
mod analyzing;
#[path = "lifecycle/as_root.rs"]
mod as_root;
#[path = "lifecycle/beside.rs"]
mod beside;
#[path = "lifecycle/building.rs"]
mod building;
#[path = "lifecycle/choices.rs"]
mod choices;
#[path = "lifecycle/detection.rs"]
mod detection;
#[path = "lifecycle/exporting.rs"]
mod exporting;
#[path = "lifecycle/extensions.rs"]
mod extensions;
#[path = "lifecycle/launching.rs"]
mod launching;
#[path = "lifecycle/malformed.rs"]
mod malformed;
#[path = "lifecycle/rebasing.rs"]
mod rebasing;
#[path = "lifecycle/registry.rs"]
mod registry;
#[path = "lifecycle/restoring.rs"]
mod restoring;
/// That of the registry client's own tests.
#[path = "../../container/tests/registry/server.rs"]
mod server;
#[path = "lifecycle/shapes.rs"]
mod shapes;
#[path = "lifecycle/stand_in.rs"]
mod stand_in;
#[path = "lifecycle/table.rs"]
mod table;
#[path = "lifecycle/targets.rs"]
mod targets;
#[path = "lifecycle/unchanged.rs"]
mod unchanged;
#[path = "lifecycle/world.rs"]
mod world;

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, ExitCode},
};

use world::World;

const NOBODY: u32 = 65_534;
pub(crate) type Case = (&'static str, fn(&World));

fn main() -> ExitCode {
    let argv0 = std::env::args().next().unwrap_or_default();
    if let Some(code) = builder::main_by_name(&argv0) {
        return code;
    }
    // Whatever else starts us means one of the programs that we are not.
    assert!(argv0.contains("lifecycle"), "{argv0} is no phase");
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    // What is in the layers has the modes that their makers give it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let only = std::env::args().nth(1).filter(|arg| !arg.starts_with('-'));
    if rustix::process::geteuid().is_root() {
        run(&[as_root::CASES, stand_in::CASES].concat(), only.as_deref());
        as_ordinary_user(only);
        return ExitCode::SUCCESS;
    }
    let cases = [
        analyzing::CASES,
        detection::CASES,
        targets::CASES,
        building::CASES,
        exporting::CASES,
        choices::CASES,
        restoring::CASES,
        unchanged::CASES,
        rebasing::CASES,
        registry::CASES,
        extensions::CASES,
        launching::CASES,
        table::CASES,
        malformed::CASES,
        beside::CASES,
    ]
    .concat();
    let ran = run(&cases, only.as_deref());
    println!("test result: ok. {ran} passed; 0 failed");
    ExitCode::SUCCESS
}

/// Those whose name has `only` in it.
fn run(cases: &[Case], only: Option<&str>) -> usize {
    let chosen = cases
        .iter()
        .filter(|(name, _)| only.is_none_or(|only| name.contains(only)));
    chosen
        .map(|(name, case)| {
            case(&World::new());
            println!("test {name} ... ok");
        })
        .count()
}

/// By a copy that nobody may execute.
fn as_ordinary_user(only: Option<String>) {
    let dir = world::folder("lifecycle");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let exe = dir.path().join("lifecycle-test");
    fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let status = Command::new(&exe)
        .args(only)
        .env("TMPDIR", dir.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .status()
        .unwrap();
    assert!(status.success(), "as an ordinary user: {status}");
}
