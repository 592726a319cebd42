//! Which buildpacks take part, and what is said when none does.

use builder::{BuildError, Ended};

use crate::{
    Case,
    world::{With, World},
};

pub(crate) const CASES: &[Case] = &[
    ("the first group that passes builds", first_group),
    ("an optional buildpack may fail", optional),
    ("a plan joins provider and requirer", plan),
    ("what is unmet goes to the next provider", unmet),
    ("unmet without a requirer is an error", unmet_unknown),
    ("nothing detected: every buildpack says why", nothing),
    ("a buildpack that cannot tell is named", cannot_tell),
    ("a composite buildpack stands for its groups", composite),
    ("detection cannot change the app", read_only),
];

fn first_group(world: &World) {
    world.buildpack("acme/a", "echo of a; exit 100", "");
    world.buildpack("acme/b", "echo of b; [ -f app.txt ]", "echo building b");
    world.buildpack("acme/c", "exit 0", "echo building c");
    world.orders(&[&["acme/a", "acme/c"], &["acme/b"], &["acme/c"]]);
    let (_, text) = world.built(With::default());
    assert!(
        text.contains("# Buildpacks that take part\n- acme/b 1\n"),
        "{text}"
    );
    assert!(
        text.contains("building b") && !text.contains("building c"),
        "{text}"
    );
    assert!(!text.contains("of b") && !text.contains("of a"), "{text}");
}

fn optional(world: &World) {
    world.buildpack("acme/a", "exit 3", "echo building a");
    world.buildpack("acme/b", "exit 0", "echo building b");
    world.order(&["acme/a?", "acme/b"]);
    let (_, text) = world.built(With::default());
    assert!(
        !text.contains("building a") && text.contains("building b"),
        "{text}"
    );
}

fn plan(world: &World) {
    world.buildpack(
        "acme/node",
        "echo '[[provides]]
name = \"node\"' > $2",
        "cat $3; cat $CNB_BP_PLAN_PATH",
    );
    world.buildpack(
        "acme/app",
        "echo '[[requires]]
name = \"node\"
[requires.metadata]
version = \">= 20\"' > $CNB_BUILD_PLAN_PATH",
        "echo \"mine: $(cat $3)\"",
    );
    world.order(&["acme/node", "acme/app"]);
    let (_, text) = world.built(With::default());
    assert_eq!(text.matches("version = \">= 20\"").count(), 2, "{text}");
    assert!(text.contains("mine: entries = []"), "{text}");
}

fn unmet(world: &World) {
    let provides = "echo 'provides = [{ name = \"x\" }, { name = \"y\" }]' > $2";
    world.buildpack(
        "acme/a",
        provides,
        "echo '[[unmet]]
name = \"y\"' > $1/build.toml",
    );
    world.buildpack("acme/b", provides, "grep name $3 | sed 's/^/asked of b: /'");
    world.buildpack(
        "acme/c",
        "echo 'requires = [{ name = \"x\" }, { name = \"y\" }]' > $2",
        "",
    );
    world.order(&["acme/a", "acme/b", "acme/c"]);
    let (_, text) = world.built(With::default());
    assert!(text.contains("asked of b: name = \"y\""), "{text}");
    assert!(!text.contains("asked of b: name = \"x\""), "{text}");
}

fn unmet_unknown(world: &World) {
    world.only(
        "echo '[[unmet]]
name = \"z\"' > $1/build.toml",
    );
    let (error, _) = world.failed(With::default());
    assert_eq!(
        error.to_string(),
        "/layers/acme_a/build.toml: `z` is unmet, but nobody asks for it"
    );
}

fn nothing(world: &World) {
    let slipway = "[metadata.slipway]\ndetects = ['a.json', 'a.lock']";
    world.buildpack_of("0.10", "acme/a", slipway, "exit 100", "");
    world.buildpack("acme/b", "echo looked around; exit 100", "");
    world.buildpack("acme/c", "echo 'requires = [{ name = \"x\" }]' > $2", "");
    world.orders(&[&["acme/a"], &["acme/b"], &["acme/c"]]);
    let (error, text) = world.failed(With::default());
    let expected = "looked around
# No buildpack applies to this app
- acme/a  found no a.json or a.lock
- acme/b  bin/detect exited 100
- acme/c  requires `x`, which none provides
";
    assert_eq!(text, expected);
    assert_eq!(error.reason(), "no buildpack applies to this app");
    let BuildError::NothingDetected { tried } = error else {
        panic!("{error:?}");
    };
    assert_eq!(tried.len(), 3);
}

fn cannot_tell(world: &World) {
    world.buildpack("acme/a", "echo broken >&2; exit 7", "");
    world.buildpack("acme/b", "kill -KILL $$", "");
    world.orders(&[&["acme/a"], &["acme/b"]]);
    let (error, text) = world.failed(With::default());
    assert!(text.starts_with("broken\n"), "{text}");
    assert_eq!(
        error.reason(),
        "no buildpack applies to this app, and acme/a (exit status 7), acme/b (signal 9) could not tell"
    );
    let BuildError::DetectFailed { tried } = error else {
        panic!("{error:?}");
    };
    assert_eq!(tried[1].exit, Ended::Signal(9));
}

fn composite(world: &World) {
    let order = "[[order]]
[[order.group]]
id = 'acme/no'
version = '1'
[[order]]
[[order.group]]
id = 'acme/yes'
version = '1'
";
    world.buildpack_of("0.10", "acme/all", order, "", "");
    world.buildpack("acme/no", "exit 100", "");
    world.buildpack("acme/yes", "exit 0", "echo building yes");
    world.buildpack("acme/last", "exit 0", "echo building last");
    world.order(&["acme/all", "acme/last"]);
    let (_, text) = world.built(With::default());
    assert!(text.contains("building yes\nbuilding last"), "{text}");
    let itself = "[[order]]\n[[order.group]]\nid = 'acme/all'\nversion = '1'\n";
    world.buildpack_of("0.10", "acme/all", itself, "", "");
    let (error, _) = world.failed(With::default());
    assert_eq!(
        error.to_string(),
        "composite buildpacks stand more than 32 deep in one another; does one contain itself?"
    );
}

fn read_only(world: &World) {
    world.buildpack("acme/a", "if touch new; then exit 1; fi", "touch new");
    world.order(&["acme/a"]);
    let (built, _) = world.built(With::default());
    assert!(world.read(&built, "/workspace/new").is_some());
}
