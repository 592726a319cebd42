//! What is live is built again without a push, and what earlier builds have kept is used, or not.

use crate::world::World;

const COUNT: &str = "builds with this cache: ";

/// How many builds have had the cache that this one had, itself among them.
fn builds_with_cache(said: &str) -> u32 {
    let count = said.split(COUNT).nth(1).and_then(|rest| {
        let digits = rest.split(|char: char| !char.is_ascii_digit()).next()?;
        digits.parse().ok()
    });
    count.unwrap_or_else(|| panic!("no `{COUNT}` in:\n{said}"))
}

#[test]
fn a_build_uses_what_was_kept_unless_it_may_not() {
    let world = World::new();
    world.gate.app(&world.server, "shop", "");
    let deploy = |options: &str| {
        let line = format!(
            "cd shop && touch count && git add -A && git commit -q --allow-empty -m next && git push {options} slipway main"
        );
        builds_with_cache(&world.server.sh(&line).ok())
    };
    let rebuild = |options: &str| {
        let said = world.server.ssh(&format!("ps:rebuild shop {options}"));
        builds_with_cache(&said.ok())
    };
    assert_eq!(deploy(""), 1);
    assert_eq!(deploy(""), 2);
    assert_eq!(deploy("-o no-cache"), 1);
    // What that one left is kept.
    assert_eq!(deploy(""), 2);
    assert_eq!(rebuild(""), 3);
    assert_eq!(rebuild("--no-cache"), 1);
    assert_eq!(rebuild(""), 2);
}

#[test]
fn what_is_live_is_built_again() {
    let world = World::new();
    let server = &world.server;
    world.gate.app(server, "shop", "");
    server.ssh("apps:create shop").ok();
    let nothing = server.ssh("ps:rebuild shop").fails(1);
    assert!(
        nothing.contains("`shop` has no release yet that was pushed"),
        "{nothing}"
    );
    world.push("shop", "", "one").wait().ok();
    world.gate.commit(server, "shop", "two", "");
    world.push("shop", "", "two").wait().ok();
    let refs = || server.sh("git -C shop ls-remote -q slipway main HEAD").ok();
    let before = refs();

    let said = server.ssh("ps:rebuild shop").ok();
    assert!(said.contains("=====> shop v3 is live"), "{said}");
    let releases = server.ssh("releases shop").ok();
    let short = server.sh("git -C shop rev-parse --short=8 HEAD").ok();
    let newest = releases.lines().next().unwrap_or_default();
    assert!(
        newest.contains(&format!("Rebuild {}", short.trim())) && newest.contains("(current)"),
        "{releases}"
    );
    world.serves("two");

    // After a rollback that is another commit than the branch's, which stays where it is.
    server.ssh("rollback shop v1").ok();
    let json = r#"ssh slipway ps:rebuild shop --json 2> /dev/null | python3 -c "
import json, sys
*lines, last = map(json.loads, sys.stdin)
print([l['line'] for l in lines if 'building' in l['line']], last['build']['status'], last['build']['release'])""#;
    assert_eq!(server.sh(json).ok(), "['building one'] succeeded 5\n");
    world.serves("one");
    assert_eq!(refs(), before);

    server.ssh("apps:lock shop -m sale").ok();
    let locked = server.ssh("ps:rebuild shop").fails(1);
    assert!(
        locked.contains("`shop` is locked by ada") && locked.contains(": sale"),
        "{locked}"
    );
}

#[test]
fn a_rebuild_waits_for_its_turn_and_undoes_nothing() {
    let world = World::new();
    let server = &world.server;
    world.gate.app(server, "shop", "");
    world.push("shop", "", "one").wait().ok();
    world.gate.commit(server, "shop", "two", "build");
    let push = world.push("shop", "", "two");
    let held = world.gate.wait("build two");
    let rebuild = |file: &str| {
        server.sh_beside(&format!(
            "ssh slipway ps:rebuild shop 2>&1 | tee {file}.txt"
        ))
    };
    let first = rebuild("first");
    world.told("first", "Waiting for build 2 of shop, pushed by ada");
    // Another of the same shares it.
    let second = rebuild("second");
    world.told(
        "second",
        "Build 3 of shop, pushed by ada, is of the same commit",
    );
    held.open();
    push.wait().ok();
    for rebuild in [first, second] {
        let said = rebuild.wait().fails(1);
        assert!(
            said.contains("another release went live while this waited"),
            "{said}"
        );
    }
    world.serves("two");

    // Whoever leaves cancels it.
    let left = rebuild("left");
    let held = world.gate.wait("build two");
    left.interrupt();
    held.must_be_cut();
    world.becomes(4, "cancelled");
    world.serves("two");
}
