//! Several pushes to one app: they wait, share, supersede and are cancelled; and what the records say of them.

use crate::{gate::Gate, server::Server};

/// Another user's key, known to the server: `GIT_SSH_COMMAND="$BOB" git ...`.
const BOB: &str = r#"BOB="ssh -F $HOME/.ssh/bob""#;

struct World {
    server: Server,
    gate: Gate,
}

impl World {
    fn new() -> Self {
        let server = Server::start();
        let gate = Gate::new(&server);
        server
            .sh("ssh-keygen -q -t ed25519 -N '' -C bob -f ~/.ssh/id_bob && ssh slipway keys:add bob < ~/.ssh/id_bob.pub && \
                 sed 's/id_ed25519/id_bob/' ~/.ssh/config > ~/.ssh/bob")
            .ok();
        Self { server, gate }
    }

    /// A push by ada in the background, which says what it is told into `FILE.txt`.
    fn push(&self, folder: &str, options: &str, file: &str) -> crate::server::Started {
        self.server.sh_beside(&format!(
            "git -C {folder} push {options} slipway main 2>&1 | tee {file}.txt"
        ))
    }

    fn push_as_bob(&self, folder: &str, options: &str, file: &str) -> crate::server::Started {
        self.server.sh_beside(&format!(
            "{BOB}; GIT_SSH_COMMAND=$BOB git -C {folder} push {options} slipway main 2>&1 | tee {file}.txt"
        ))
    }

    /// Waits until a push in the background has been told this.
    fn told(&self, file: &str, words: &str) {
        self.server
            .sh(&format!("eventually grep -- '{words}' {file}.txt"))
            .ok();
    }

    fn builds(&self) -> String {
        self.server.ssh("builds shop").ok()
    }

    fn serves(&self, version: &str) {
        assert_eq!(self.server.get("shop", "/version").body.trim_end(), version);
    }

    /// A clone of ./shop beside it, one commit further.
    fn further(&self, folder: &str, version: &str, stages: &str) {
        self.server.sh(&format!("cp -r shop {folder}")).ok();
        self.gate.commit(&self.server, folder, version, stages);
    }
}

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
        "Build 1 of shop, pushed by ada, is under way; waiting for it to end",
    );
    let third = world.push("third", "", "third");
    world.told(
        "third",
        "waiting for it to end; 1 more comes before this one",
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
        "Build 1 of shop, pushed by ada, is of the same commit; watching it",
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
    let ada = world.push("shop", "", "ada");
    let held = world.gate.wait("build two");
    let bob = world.push_as_bob("shop", "", "bob");
    world.told("bob", "watching it");
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
        assert!(bob.contains("is live"), "{stage}: {bob}");
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
    world.told("second", "waiting for it to end");
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
        .sh("eventually bash -c '[ $(grep -l \"waiting for it to end\" copy*.txt | wc -l) = 20 ]'")
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

#[test]
fn a_server_that_ends_leaves_no_build_under_way() {
    let world = World::new();
    world.gate.app(&world.server, "shop", "build");
    world.further("second", "two", "");
    let first = world.push("shop", "", "first");
    let _held = world.gate.wait("build one");
    let second = world.push("second", "", "second");
    world.told("second", "waiting for it to end");
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

#[test]
fn builds_are_shown_and_forgotten() {
    let world = World::new();
    world.gate.app(&world.server, "shop", "");
    for version in ["two", "three", "four"] {
        world
            .push("shop", "-o message='Release it'", "push")
            .wait()
            .ok();
        world.gate.commit(&world.server, "shop", version, "");
    }
    let releases = world.server.ssh("releases shop").ok();
    assert_eq!(releases.matches("Release it").count(), 3, "{releases}");
    let json = world.server.sh("ssh slipway builds:info shop --json | python3 -c 'import json, sys; b = json.load(sys.stdin); print(b[\"number\"], b[\"status\"], b[\"release\"], b[\"reason\"])'").ok();
    assert_eq!(json, "3 succeeded 3 None\n");
    let said = world.server.ssh("builds:prune shop --keep 1").ok();
    assert!(said.contains("Forgot 2 builds of `shop`."), "{said}");
    assert_eq!(world.builds().lines().count(), 1);
    world.server.ssh("builds:output shop 3").ok();
    let gone = world.server.ssh("builds:output shop 1").fails(1);
    assert!(gone.contains("`shop` has no build 1"), "{gone}");
    assert_eq!(world.server.ssh("builds:prune shop --json").ok(), "[]\n");
    world.push("shop", "", "push").wait().ok();
    assert!(
        world
            .server
            .ssh("builds:info shop")
            .ok()
            .contains("Build:    4"),
        "numbers go on"
    );
}
