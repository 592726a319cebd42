//! Deploys that do not come to their end: cancelled, left, or cut off with the server.

use crate::{leaks, processes, world::World};

/// Where a deploy can be cut.
const STAGES: [&str; 4] = ["detect", "build", "release", "boot"];

#[test]
fn a_pusher_who_leaves_ends_the_deploy_in_any_stage() {
    let world = World::new();
    let at_rest = live(&world);
    for (n, stage) in STAGES.into_iter().enumerate() {
        world.gate.commit(&world.server, "shop", stage, stage);
        let push = world.push("shop", "", stage);
        let held = world.gate.wait(&format!("{stage} {stage}"));
        push.interrupt();
        held.must_be_cut();
        assert_ne!(push.wait().status, 0);
        world.becomes(n + 2, "cancelled");
        assert!(
            world
                .build(n + 2)
                .contains("the pusher closed the connection"),
            "{stage}"
        );
        world.serves("one");
    }
    nothing_is_left(&world, at_rest);
}

#[test]
fn a_server_that_is_killed_leaves_the_deploy_failed_in_any_stage() {
    let world = World::new();
    let at_rest = live(&world);
    for (n, stage) in STAGES.into_iter().enumerate() {
        world.gate.commit(&world.server, "shop", stage, stage);
        let push = world.push("shop", "", stage);
        let held = world.gate.wait(&format!("{stage} {stage}"));
        killed(&world, n + 2);
        assert_ne!(push.wait().status, 0, "{stage}");
        held.must_be_cut();
    }
    // Nobody waits for this one.
    world
        .gate
        .commit(&world.server, "shop", "detached", "build");
    world.push("shop", "-o detach", "detached").wait().ok();
    let held = world.gate.wait("build detached");
    killed(&world, STAGES.len() + 2);
    held.must_be_cut();
    nothing_is_left(&world, at_rest);
}

/// Version one, and the processes that it needs.
fn live(world: &World) -> usize {
    world.gate.app(&world.server, "shop", "");
    world.push("shop", "", "live").wait().ok();
    processes::of(world.server.tag()).len()
}

/// In the midst of this build.
fn killed(world: &World, build: usize) {
    world.server.kill_9();
    world.server.restart();
    let info = world.build(build);
    let reason = "interrupted: the server ended while it was under way";
    assert!(info.contains("failed") && info.contains(reason), "{info}");
    world.serves("one");
}

/// Of deploys that were cut: the branch and the records say what is live, and the next push goes through.
fn nothing_is_left(world: &World, at_rest: usize) {
    leaks::none(&world.server, at_rest);
    let refs = world
        .server
        .sh("git -c safe.directory='*' -C $DATA/repos/1.git for-each-ref refs/heads refs/builds --format='%(refname) %(subject)'")
        .ok();
    assert_eq!(refs, "refs/heads/main one\n");
    let fsck = world
        .server
        .sh("git -c safe.directory='*' -C $DATA/repos/1.git fsck --strict --no-dangling 2>&1")
        .ok();
    assert_eq!(fsck, "");
    let releases = world.server.ssh("releases shop").ok();
    assert!(!releases.contains("pending"), "{releases}");
    world.gate.commit(&world.server, "shop", "whole", "");
    world.push("shop", "", "whole").wait().ok();
    world.serves("whole");
}

#[test]
fn a_build_is_cancelled_by_its_number_or_as_the_one_that_runs() {
    let world = World::new();
    let nothing = world
        .server
        .sh("ssh slipway apps:create shop > /dev/null 2>&1; ssh slipway builds:cancel shop")
        .fails(1);
    assert!(
        nothing.contains("nothing of `shop` is being deployed"),
        "{nothing}"
    );
    world.gate.app(&world.server, "shop", "build");
    world.further("second", "two", "");
    let first = world.push("shop", "", "first");
    let held = world.gate.wait("build one");
    let second = world.push_as_bob("second", "", "second");
    world.told("second", "Waiting for build");
    let watcher = world.server.sh_beside("ssh slipway builds:attach shop 2");
    let said = world.server.ssh("builds:cancel shop 2").ok();
    assert!(said.contains("Cancelled build 2 of `shop`."), "{said}");
    let said = second.wait().fails(1);
    assert!(
        said.contains("! [remote rejected] main -> main (cancelled by ada)"),
        "{said}"
    );
    watcher.wait().fails(1);
    world.server.ssh("builds:cancel shop").ok();
    held.must_be_cut();
    let said = first.wait().fails(1);
    assert!(said.contains("(cancelled by ada)"), "{said}");
    let ended = world.server.ssh("builds:cancel shop 1").fails(1);
    assert!(
        ended.contains("build 1 of `shop` has ended: cancelled"),
        "{ended}"
    );
    let unknown = world.server.ssh("builds:cancel shop 9").fails(1);
    assert!(unknown.contains("`shop` has no build 9"), "{unknown}");
}

#[test]
fn destroying_an_app_ends_its_deploys() {
    let world = World::new();
    world.gate.app(&world.server, "shop", "build");
    let push = world.push("shop", "", "push");
    let held = world.gate.wait("build one");
    world.server.ssh("apps:destroy shop --confirm shop").ok();
    held.must_be_cut();
    let said = push.wait().fails(1);
    assert!(said.contains("(the app was destroyed by ada)"), "{said}");
}

#[test]
fn a_server_that_ends_leaves_no_build_under_way() {
    let world = World::new();
    world.gate.app(&world.server, "shop", "build");
    world.further("second", "two", "");
    let first = world.push("shop", "", "first");
    let _held = world.gate.wait("build one");
    let second = world.push("second", "", "second");
    world.told("second", "Waiting for build");
    world.server.kill_9();
    assert_ne!(first.wait().status, 0);
    assert_ne!(second.wait().status, 0);
    world.server.restart();
    for build in [1, 2] {
        let info = world.server.ssh(&format!("builds:info shop {build}")).ok();
        assert!(
            info.contains("failed") && info.contains("interrupted: the server ended"),
            "{info}"
        );
    }
    let push = world.push("shop", "", "again");
    let _held = world.gate.wait("build one");
    world.server.sh("ssh slipway builds:attach shop 1").fails(1);
    assert_eq!(world.server.terminate(), Some(0));
    let said = push.wait().fails(1);
    assert!(
        said.contains("(the server stops; push again when it is back)"),
        "{said}"
    );
    world.server.restart();
    assert!(
        world
            .server
            .ssh("builds:info shop")
            .ok()
            .contains("cancelled")
    );
}
