//! Whole builds by real bash buildpacks in real sandboxes. Run as root, and once more as an ordinary user.
//!
//! Without the test harness, because this binary is also the spawner, the phases and the launcher.

#![expect(
    clippy::unwrap_used,
    reason = "without the harness clippy does not see that this is a test"
)]

#[path = "build/bad_input.rs"]
mod bad_input;
#[path = "build/cache.rs"]
mod cache;
#[path = "build/detect.rs"]
mod detect;
#[path = "build/failed.rs"]
mod failed;
#[path = "build/hostile.rs"]
mod hostile;
#[path = "build/image.rs"]
mod image;
#[path = "build/launch.rs"]
mod launch;
#[path = "build/limits.rs"]
mod limits;
#[path = "build/reach.rs"]
mod reach;
#[path = "build/sources.rs"]
mod sources;
#[path = "build/world.rs"]
mod world;

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::{Command, ExitCode},
};

use world::{Machine, World};

const NOBODY: u32 = 65_534;
type Case = (&'static str, fn(&World));

fn main() -> ExitCode {
    let argv0 = std::env::args().next().unwrap_or_default();
    if argv0 == container::spawner::ARGV0 {
        container::spawner::main();
    }
    if let Some(code) = builder::main_by_name(&argv0) {
        return code;
    }
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let only = std::env::args().nth(1).filter(|arg| !arg.starts_with('-'));
    let cases = [
        detect::CASES,
        image::CASES,
        launch::CASES,
        cache::CASES,
        hostile::CASES,
        limits::CASES,
        failed::CASES,
        sources::CASES,
        reach::CASES,
        bad_input::CASES,
    ]
    .concat();
    let machine = Machine::new();
    for (name, case) in &cases {
        if only.as_ref().is_none_or(|only| name.contains(only)) {
            let world = World::on(&machine);
            case(&world);
            world.assert_nothing_left();
            println!("test {name} ... ok");
        }
    }
    drop(machine);
    if rustix::process::geteuid().is_root() {
        as_ordinary_user(only);
    }
    println!("test result: ok. {} passed; 0 failed", cases.len());
    ExitCode::SUCCESS
}

/// The same cases, by a copy that nobody may execute.
fn as_ordinary_user(only: Option<String>) {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let exe = dir.path().join("build-test");
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
