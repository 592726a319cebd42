//! Builds that are stopped.

use std::time::Duration;

use builder::BuildError;
use container::Limits;

use crate::{
    Case,
    world::{With, World},
};

pub(crate) const CASES: &[Case] = &[
    ("a flood of output is cut and does not fill memory", flood),
    ("out of memory says so", memory),
    ("a cancelled build is killed", cancelled),
    ("a build that takes too long is killed", timed_out),
    ("a flooding build can be cancelled too", flood_cancelled),
    (
        "a build that was cancelled before it started does nothing",
        cancelled_before,
    ),
    ("what is left running ends with the build", left_running),
];

fn flood(world: &World) {
    world.only("yes | head -c 40000000; echo end");
    let (built, shown) = world.build(With::default());
    built.unwrap();
    assert!(shown.bytes < 33 << 20, "{}", shown.bytes);
    assert!(
        shown.text.contains("# Image of"),
        "the build itself went on"
    );
    world.only("head -c 3000000 /dev/zero | tr '\\0' x");
    let (built, shown) = world.build(With::default());
    built.unwrap();
    assert_eq!(shown.bytes, 3_000_000);
}

fn memory(world: &World) {
    world.only("python3 -c 'x = bytearray(1 << 30)\nprint(len(x))'");
    let mut small = World {
        dir: world.dir.clone(),
        builder: world.builder.clone(),
        cache: world.cache.clone(),
    };
    small.builder.limits = Limits {
        memory_bytes: Some(128 << 20),
        ..world.builder.limits
    };
    let (error, text) = small.failed(With::default());
    assert_eq!(
        error.reason(),
        "out of memory: the build used more than 128 MiB",
        "{text}"
    );
}

fn cancelled(world: &World) {
    world.only("echo started; sleep 1000");
    let (error, _) = world.failed(With {
        cancel_at: Some("started"),
        ..With::default()
    });
    assert!(matches!(error, BuildError::Cancelled), "{error}");
}

fn timed_out(world: &World) {
    world.only("trap '' TERM; sleep 1000");
    let mut short = World {
        dir: world.dir.clone(),
        builder: world.builder.clone(),
        cache: world.cache.clone(),
    };
    short.builder.wall_time_max = Duration::from_secs(1);
    let (error, _) = short.failed(With::default());
    assert_eq!(error.reason(), "timed out after 1 s");
}

fn flood_cancelled(world: &World) {
    world.only("yes started");
    let (error, _) = world.failed(With {
        cancel_at: Some("started"),
        ..With::default()
    });
    assert!(matches!(error, BuildError::Cancelled), "{error}");
}

fn cancelled_before(world: &World) {
    world.buildpack("acme/a", "echo started >&2; exit 3", "");
    world.buildpack("acme/b", "exit 0", "echo never; exit 1");
    world.order(&["acme/a?", "acme/b"]);
    let mut none = World {
        dir: world.dir.clone(),
        builder: world.builder.clone(),
        cache: world.cache.clone(),
    };
    none.builder.wall_time_max = Duration::ZERO;
    let (error, text) = none.failed(With::default());
    assert!(matches!(error, BuildError::TimedOut { .. }), "{error}");
    assert_eq!(text, "");
}

fn left_running(world: &World) {
    world.only("(trap '' HUP TERM; sleep 1000; touch /workspace/late) & echo gone");
    let (_, text) = world.built(With::default());
    assert!(text.contains("gone"), "{text}");
}
