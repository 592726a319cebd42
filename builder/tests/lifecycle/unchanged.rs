//! Layers that need not be hashed again, and those that look as if.

use std::{
    fs::{self, File},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::{
    Case,
    world::{APP, RUN, World},
};

pub(crate) const CASES: &[Case] = &[
    (
        "a restored layer that has changed since is a new one",
        changed,
    ),
    (
        "directories above a restored layer may have changed",
        parents,
    ),
    ("records of hashes may be lost", lost),
    ("a phase may be killed at any time", killed),
];

const PATIENCE: Duration = Duration::from_secs(60);

/// A layer of some files, made once.
const BUILD: &str = "if [ ! -d $1/c ]; then for dir in a b c d; do mkdir -p $1/c/$dir
    for file in 1 2 3 4 5 6 7 8; do echo $dir$file > $1/c/$dir/$file; done; done; ln -s a/1 $1/c/link; fi
    printf '[types]\\nlaunch = true\\ncache = true\\n' > $1/c.toml";

fn prepare(world: &World) -> Vec<String> {
    world.buildpack("0.10", "a", "", "exit 0", BUILD);
    world.order("a");
    world.all();
    world.image(APP).diff_ids()
}

/// A build up to what the buildpacks have done.
fn restored(world: &World) {
    world.reset();
    world.ok("analyzer", &["-run-image", RUN, APP]);
    world.ok("detector", &[]);
    let text = world.ok("restorer", &["-cache-dir", &cache(world)]);
    assert!(text.contains("Restoring data for \"a:c\""), "{text}");
    world.ok("builder", &[]);
}

fn cache(world: &World) -> String {
    world.path("cache").display().to_string()
}

fn export(world: &World) -> Vec<String> {
    let launcher = world.launcher();
    world.ok(
        "exporter",
        &["-cache-dir", &cache(world), "-launcher", &launcher, APP],
    );
    world.image(APP).diff_ids()
}

/// What an exporter says that has to hash everything.
fn export_hashed(world: &World) -> Vec<String> {
    fs::remove_file(world.path("cache/slipway.records")).unwrap();
    export(world)
}

fn changed(world: &World) {
    let first = prepare(world);
    restored(world);
    assert_eq!(export(world), first);
    let changes: &[fn(&World)] = &[
        |world| {
            let path = world.path("layers/a/c/b/3");
            let modified = path.metadata().unwrap().modified().unwrap();
            fs::write(&path, "xx\n").unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(modified).unwrap();
        },
        |world| {
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(world.path("layers/a/c/a/1"), mode).unwrap();
        },
        |world| {
            fs::remove_file(world.path("layers/a/c/link")).unwrap();
            std::os::unix::fs::symlink("a/2", world.path("layers/a/c/link")).unwrap();
        },
        |world| fs::remove_file(world.path("layers/a/c/d/8")).unwrap(),
        |world| fs::write(world.path("layers/a/c/d/9"), "").unwrap(),
    ];
    let mut last = first;
    for change in changes {
        restored(world);
        change(world);
        let found = export(world);
        assert_ne!(found, last);
        assert_eq!(export_hashed(world), found);
        last = found;
    }
}

fn parents(world: &World) {
    let first = prepare(world);
    restored(world);
    let mode = fs::Permissions::from_mode(0o700);
    fs::set_permissions(world.path("layers/a"), mode).unwrap();
    let found = export(world);
    assert_ne!(found, first);
    assert_eq!(export_hashed(world), found);
}

fn lost(world: &World) {
    let first = prepare(world);
    for content in ["", "{", "sha256:00\n{}"] {
        restored(world);
        fs::write(world.path("cache/slipway.records"), content).unwrap();
        assert_eq!(export(world), first);
    }
    restored(world);
    assert_eq!(export(world), first);
}

fn killed(world: &World) {
    let first = prepare(world);
    for round in 0..12 {
        world.reset();
        let mut child = world
            .creator(&["-run-image", RUN, APP], &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        // At another place each time; which one does not matter.
        thread::sleep(Duration::from_millis(round * 8));
        let group = Pid::from_child(&child);
        // It may have ended.
        _ = kill_process_group(group, Signal::KILL);
        child.wait().unwrap();
        let begun = Instant::now();
        while test_kill_process_group(group).is_ok() {
            assert!(begun.elapsed() < PATIENCE, "a buildpack lives on");
            thread::sleep(Duration::from_millis(5));
        }
        if round % 3 == 2 {
            world.reset();
            let ran = world.create(&["-run-image", RUN, APP], &[]);
            assert_eq!(ran.code, 0, "{}", ran.text);
            assert_eq!(world.image(APP).diff_ids(), first);
        }
    }
}
