//! Several pushes to one app wait for each other, share a build, and take each other's place.

use crate::world::World;

#[test]
fn a_push_waits_for_its_turn_and_says_behind_what() {
    let world = World::new();
    world.gate.app(&world.server, "shop", "build");
    world.further("second", "two", "build");
    world.further("third", "three", "");
    let first = world.push("shop", "", "first");
    let held = world.gate.wait("build one");
    let second = world.push_as_bob("second", "", "second");
    world.told(
        "second",
        "-----> Waiting for build 1 of shop, pushed by ada *$",
    );
    let third = world.push("third", "", "third");
    world.told(
        "third",
        "-----> Waiting for build 1 of shop, pushed by ada, and 1 more *$",
    );
    let builds = world.builds();
    let states: Vec<&str> = builds
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(states, ["queued", "queued", "running"], "{builds}");

    held.open();
    first.wait().ok();
    let held = world.gate.wait("build two");
    // Ctrl-C while it waits: it leaves the queue, and nothing else changes.
    third.interrupt();
    assert_ne!(third.wait().status, 0);
    world
        .server
        .sh("eventually bash -c 'ssh slipway builds:info shop 3 | grep cancelled'")
        .ok();
    held.open();
    let said = second.wait().ok();
    assert!(said.contains("v2 is live"), "{said}");
    world.serves("two");
}

#[test]
fn the_same_commit_shares_its_build() {
    let world = World::new();
    world.gate.app(&world.server, "shop", "build");
    let ada = world.push("shop", "", "ada");
    let held = world.gate.wait("build one");
    let bob = world.push_as_bob("shop", "", "bob");
    world.told(
        "bob",
        "Build 1 of shop, pushed by ada, is of the same commit: sharing it",
    );
    world.told("bob", "building one");
    let watcher = world
        .server
        .sh_beside("ssh slipway builds:attach shop 2>&1 | tee watcher.txt");
    world.told("watcher", "building one");
    // Who watches a build without having pushed it, does not end it by leaving; nor does one of two who have.
    let other = world
        .server
        .sh_beside("ssh slipway builds:attach shop 1 2>&1 | tee other.txt");
    world.told("other", "building one");
    other.interrupt();
    ada.interrupt();
    assert_ne!(ada.wait().status, 0);
    _ = other.wait();
    held.open();
    let bob = bob.wait().ok();
    let watcher = watcher.wait().ok();
    let story = |said: &str| -> Vec<String> {
        let lines = said
            .lines()
            .map(|line| line.trim_start_matches("remote: ").trim_end());
        let from = lines.skip_while(|line| !line.contains("Building shop from"));
        from.take_while(|line| !line.starts_with("To "))
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(story(&bob), story(&watcher), "the same story");
    assert!(
        story(&bob).iter().any(|line| line.contains("v1 is live")),
        "{bob}"
    );
    assert_eq!(world.builds().lines().count(), 1, "{}", world.builds());
    world.serves("one");

    // One that has failed is told to both, with the same reason.
    world.server.sh("touch shop/broken").ok();
    world.gate.commit(&world.server, "shop", "two", "build");
    let ada = world.push("shop", "", "ada-two");
    let held = world.gate.wait("build two");
    let bob = world.push_as_bob("shop", "", "bob-two");
    world.told("bob-two", "sharing it");
    held.open();
    for said in [ada.wait().fails(1), bob.wait().fails(1)] {
        assert!(
            said.contains("! [remote rejected] main -> main (") && said.contains("test/gate"),
            "{said}"
        );
    }
    world.server.ssh("builds:attach shop 2").fails(1);
    world.serves("one");
}

#[test]
fn superseding_ends_a_deploy_in_any_stage() {
    let world = World::new();
    world.gate.app(&world.server, "shop", "");
    world.push("shop", "", "first").wait().ok();
    world.serves("one");
    for (n, stage) in ["detect", "build", "release", "boot"]
        .into_iter()
        .enumerate()
    {
        let (old, new) = (format!("old-{stage}"), format!("new-{stage}"));
        world.gate.commit(&world.server, "shop", &old, stage);
        world.server.sh(&format!("rm -rf {new}")).ok();
        world.further(&new, &new, "");
        let ada = world.push("shop", "", "ada");
        let held = world.gate.wait(&format!("{stage} {old}"));
        let bob = world.push_as_bob(&new, "-o supersede", "bob").wait().ok();
        held.must_be_cut();
        let build = 2 * (n + 1) + 1;
        let ada = ada.wait().fails(1);
        let reason = format!(
            "! [remote rejected] main -> main (superseded by build {build}, pushed by bob)"
        );
        assert!(ada.contains(&reason), "{stage}: {ada}");
        assert!(
            ada.contains(&format!(
                " !     Superseded by build {build}, pushed by bob"
            )),
            "{stage}: {ada}"
        );
        let superseding = format!(
            "-----> Superseding build {} of shop, pushed by ada",
            build - 1
        );
        assert!(
            bob.contains(&superseding) && bob.contains("is live"),
            "{stage}: {bob}"
        );
        world.serves(&new);
        let builds = world.builds();
        assert!(builds.contains("superseded"), "{stage}: {builds}");
        world
            .server
            .sh(&format!("git -C shop pull -q ../{new} main"))
            .ok();
    }
    let releases = world.server.ssh("releases shop").ok();
    assert!(!releases.contains("pending"), "{releases}");
}

#[test]
fn twenty_pushes_at_once_to_one_app() {
    let world = World::new();
    world.gate.app(&world.server, "shop", "build");
    let first = world.push("shop", "", "first");
    let held = world.gate.wait("build one");
    let script = r#"
        for n in $(seq 20); do
            cp -r shop copy$n; echo copy$n > copy$n/version; git -C copy$n commit -qam copy$n
            (git -C copy$n push slipway main > copy$n.txt 2>&1; echo $? >> copy$n.txt) &
        done
        wait"#;
    let twenty = world.server.sh_beside(script);
    world
        .server
        .sh("eventually bash -c '[ $(grep -l \"Waiting for build\" copy*.txt | wc -l) = 20 ]'")
        .ok();
    let full = world.server.sh("cp -r shop late && git -C late commit -q --allow-empty -m late && git -C late push slipway main").fails(1);
    assert!(
        full.contains(
            "(20 deploys of `shop` wait already; push again later, or with -o supersede)"
        ),
        "{full}"
    );
    // Their copies are one commit further than this one, and stop at the gate.
    held.open();
    first.wait().ok();
    let held = world.gate.wait_any();
    held.open();
    twenty.wait().ok();
    let won = world
        .server
        .sh("tail -qn 1 copy*.txt | sort | uniq -c | tr -s ' '")
        .ok();
    assert_eq!(won, " 1 0\n 19 1\n");
    let moved = world
        .server
        .sh("grep -l 'has moved to' copy*.txt | wc -l")
        .ok();
    assert_eq!(moved, "19\n");
    assert!(!world.builds().contains("running") && !world.builds().contains("queued"));
}

/// More than the builds that run at a time: the others wait for one of them to end, and say so.
#[test]
fn twenty_pushes_at_once_to_as_many_apps() {
    let world = World::new();
    let script = r#"
        cp -r "$FIXTURES/gated" shop && echo 0 > shop/gate && app shop
        for n in $(seq 20); do
            (git -C shop push slipway:app$n main > app$n.txt 2>&1; echo $? >> app$n.txt) &
        done
        wait
        tail -qn 1 app*.txt | sort | uniq -c | tr -s ' '
        for n in $(seq 20); do get app$n /version; done | sort | uniq -c | tr -s ' '
        grep -l 'waiting for one of them to end' app*.txt | wc -l"#;
    let said = world.server.sh(script).ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], [" 20 0", " 20 one"], "{said}");
    assert!(
        lines[2].parse().is_ok_and(|waited: u32| waited > 0),
        "{said}"
    );
}
