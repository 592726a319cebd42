//! Exit statuses, a row each: ours, and where it is installed the reference lifecycle's.

use serde_json::{Value, json};

use crate::{
    Case,
    beside::reference,
    registry::Remote,
    server::Registry,
    world::{APP, RUN, World},
};

pub(crate) const CASES: &[Case] = &[
    ("table: what a phase is told", phases),
    ("table: what a rebase may change", rebases),
    (
        "table: the same in a registry, beside the reference",
        rebases_beside,
    ),
];

/// Prepares a world; whatever it changes is undone before the next row.
type Prepare = &'static dyn Fn(&World);

struct Phase {
    what: &'static str,
    prepare: Prepare,
    phase: &'static str,
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    code: i32,
    /// Of the reference, where it differs; both are of the same range in the specification, or ours says why.
    theirs: i32,
}

impl Phase {
    const fn theirs(mut self, code: i32) -> Self {
        self.theirs = code;
        self
    }
}

const fn row(
    what: &'static str,
    prepare: Prepare,
    phase: &'static str,
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    code: i32,
) -> Phase {
    Phase {
        what,
        prepare,
        phase,
        args,
        env,
        code,
        theirs: code,
    }
}

const NOTHING: Prepare = &|_| {};
const BUILT: Prepare = &|world| {
    world.ok("analyzer", &["-run-image", RUN, APP]);
    world.ok("detector", &[]);
    world.ok("builder", &[]);
};
const DETECTED: Prepare = &|world| {
    world.ok("analyzer", &["-run-image", RUN, APP]);
    world.ok("detector", &[]);
};

#[rustfmt::skip]
const PHASES: &[Phase] = &[
    row("no Platform API", NOTHING, "analyzer", &[APP], &[("CNB_PLATFORM_API", "")], 11),
    row("an old Platform API", NOTHING, "analyzer", &[APP], &[("CNB_PLATFORM_API", "0.6")], 11),
    row("a Platform API of the future", NOTHING, "detector", &[], &[("CNB_PLATFORM_API", "0.99")], 11),
    row("a Platform API that is none", NOTHING, "restorer", &[], &[("CNB_PLATFORM_API", "new")], 11),
    row("an old Platform API", NOTHING, "builder", &[], &[("CNB_PLATFORM_API", "0.5")], 11),
    row("an old Platform API", NOTHING, "exporter", &[APP], &[("CNB_PLATFORM_API", "0.5")], 11),
    row("an old Platform API", NOTHING, "rebaser", &[APP], &[("CNB_PLATFORM_API", "0.5")], 11),
    row("an old Platform API", NOTHING, "creator", &[APP], &[("CNB_PLATFORM_API", "0.5")], 11),

    row("an unknown flag", NOTHING, "analyzer", &["-nonsense", APP], &[], 3).theirs(2),
    row("a flag of another phase", NOTHING, "detector", &["-cache-dir", "/x"], &[], 3).theirs(2),
    row("a flag without its value", NOTHING, "restorer", &["-layers"], &[], 3).theirs(2),
    row("a flag of a later platform", NOTHING, "restorer", &["-run", "/x"], &[("CNB_PLATFORM_API", "0.13")], 3).theirs(2),
    row("a flag of an earlier platform", NOTHING, "analyzer", &["-stack", "/x", APP], &[], 3).theirs(2),
    row("no such log level", NOTHING, "detector", &["-log-level", "loud"], &[], 3).theirs(1),
    row("a user that is no number", NOTHING, "analyzer", &["-uid", "me", APP], &[], 3).theirs(2),
    row("no image", NOTHING, "analyzer", &["-run-image", RUN], &[], 3),
    row("two images", NOTHING, "analyzer", &["-run-image", RUN, APP, APP], &[], 3),
    row("two registries", NOTHING, "analyzer", &["-run-image", RUN, "-tag", "other.example/app", APP], &[], 3),
    row("a name that is none", NOTHING, "analyzer", &["-run-image", RUN, "No Name"], &[], 3),
    row("no run image anywhere", NOTHING, "analyzer", &[APP], &[], 3),
    row("a run image that is not there", NOTHING, "analyzer", &["-run-image", "registry.example/none", APP], &[], 32).theirs(0),
    row("run.toml that is no TOML", &|world| world.write("run.toml", "[["), "analyzer", &[APP], &[], 3),
    row("run.toml of another place", &|world| world.write("mine.toml", "[[images]]\nimage='registry.example/run:1'"),
        "analyzer", &["-run", "mine.toml", APP], &[], 0),
    row("layers in another place", NOTHING, "analyzer", &["-layers", "other", "-run-image", RUN, APP], &[], 0),
    row("the previous image is not there", NOTHING, "analyzer",
        &["-previous-image", "registry.example/none", "-run-image", RUN, APP], &[], 0),
    row("OCI layouts are an experiment", NOTHING, "analyzer", &["-run-image", RUN, APP], &[("CNB_EXPERIMENTAL_MODE", "error")], 3).theirs(1),
    row("the same, with a warning", NOTHING, "analyzer", &["-run-image", RUN, APP], &[("CNB_EXPERIMENTAL_MODE", "warn")], 0),

    row("an argument too many", NOTHING, "detector", &["x"], &[], 3),
    row("no order", &|world| std::fs::remove_file(world.path("order.toml")).unwrap(), "detector", &[], &[], 1),
    row("an order of nothing", &|world| world.write("order.toml", ""), "detector", &[], &[], 20),
    row("group and plan elsewhere", &|world| drop(world.ok("analyzer", &["-run-image", RUN, APP])),
        "detector", &["-group", "g.toml", "-plan", "p.toml"], &[], 0),

    row("an argument too many", NOTHING, "restorer", &["x"], &[], 3),
    row("no group", NOTHING, "restorer", &[], &[], 1),
    row("no cache", DETECTED, "restorer", &[], &[], 0),
    row("a cache that is not there", DETECTED, "restorer", &["-cache-dir", "/none"], &[], 42).theirs(1),
    row("analyzed.toml that is no TOML", &|world| { DETECTED(world); world.write("layers/analyzed.toml", "[[") }, "restorer", &[], &[], 1).theirs(0),
    row("a buildpack of the future in the group",
        &|world| { DETECTED(world); world.write("layers/group.toml", "[[group]]\nid='a'\nversion='1'\napi='0.99'") }, "restorer", &[], &[], 12),

    row("an argument too many", NOTHING, "builder", &["x"], &[], 3),
    row("no group", NOTHING, "builder", &[], &[], 1),
    row("no plan", &|world| { DETECTED(world); std::fs::remove_file(world.path("layers/plan.toml")).unwrap() }, "builder", &[], &[], 1),
    row("a group that is no TOML", &|world| { DETECTED(world); world.write("layers/group.toml", "[[") }, "builder", &[], &[], 1),
    row("a plan that is no TOML", &|world| { DETECTED(world); world.write("layers/plan.toml", "[[") }, "builder", &[], &[], 1),
    row("a buildpack that is not there",
        &|world| { DETECTED(world); world.write("layers/group.toml", "[[group]]\nid='b'\nversion='1'\napi='0.10'") }, "builder", &[], &[], 52),
    row("a buildpack of the future in the group",
        &|world| { DETECTED(world); world.write("layers/group.toml", "[[group]]\nid='a'\nversion='1'\napi='0.99'") }, "builder", &[], &[], 12),
    row("an empty group", &|world| { DETECTED(world); world.write("layers/group.toml", "") }, "builder", &[], &[], 0),

    row("no image", BUILT, "exporter", &[], &[], 3),
    row("two registries", BUILT, "exporter", &[APP, "other.example/app"], &[], 3),
    row("no group", NOTHING, "exporter", &[APP], &[], 1).theirs(2),
    row("no such process type", BUILT, "exporter", &["-process-type", "none", "-launcher", "order.toml", APP], &[], 62),
    row("a launcher that is not there", BUILT, "exporter", &["-launcher", "/none", APP], &[], 62),
    row("no app", &|world| { BUILT(world); std::fs::remove_dir_all(world.path("app")).unwrap() },
        "exporter", &["-launcher", "order.toml", APP], &[], 62),
    row("no launch metadata", &|world| { BUILT(world); std::fs::remove_file(world.path("layers/config/metadata.toml")).unwrap() },
        "exporter", &["-launcher", "order.toml", APP], &[], 62),
    row("analyzed.toml that is no TOML", &|world| { BUILT(world); world.write("layers/analyzed.toml", "[[") },
        "exporter", &["-launcher", "order.toml", APP], &[], 1).theirs(3),
    row("project metadata that is no TOML", &|world| { BUILT(world); world.write("layers/project-metadata.toml", "[[") },
        "exporter", &["-launcher", "order.toml", APP], &[], 1),
    row("a cache that is not there", BUILT, "exporter", &["-cache-dir", "/none", "-launcher", "order.toml", APP], &[], 62).theirs(1),

    row("no image", NOTHING, "creator", &["-run-image", RUN], &[], 3),
    row("two images", NOTHING, "creator", &["-run-image", RUN, APP, APP], &[], 3),
    row("nothing applies", &|world| { world.buildpack("0.10", "a", "", "exit 100", ""); world.order("a") },
        "creator", &["-run-image", RUN, "-launcher", "order.toml", APP], &[], 20),
    row("a build that fails", &|world| { world.buildpack("0.10", "a", "", "", "exit 3"); world.order("a") },
        "creator", &["-run-image", RUN, "-launcher", "order.toml", APP], &[], 51),
    row("without the previous image's layers", NOTHING, "creator", &["-skip-restore", "-run-image", RUN, "-launcher", "order.toml", APP], &[], 0),

    row("no image", NOTHING, "rebaser", &[], &[], 3),
    row("an image that is not there", NOTHING, "rebaser", &["-run-image", RUN, "registry.example/none"], &[], 72),
    row("an image of no buildpacks", NOTHING, "rebaser", &["-run-image", RUN, RUN], &[], 72),
];

fn phases(_: &World) {
    let mut wrong = String::new();
    for row in PHASES {
        let codes = each_lifecycle(|lifecycle| {
            let world = world();
            (row.prepare)(&world);
            let world = World {
                reference: lifecycle,
                ..world
            };
            let ran = world.run_with(row.phase, row.args, row.env);
            (ran.code, ran.text)
        });
        let wanted = [("ours", row.code), ("the reference", row.theirs)];
        for ((who, wanted), (code, text)) in wanted.iter().zip(codes) {
            if code != *wanted {
                let (what, phase) = (row.what, row.phase);
                wrong += &format!("{phase}, {what}: {who} {code}, not {wanted}: {text}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Ours, and the reference if there is one.
pub(crate) fn each_lifecycle<T>(run: impl Fn(Option<std::path::PathBuf>) -> T) -> Vec<T> {
    let both = [Some(None), reference().map(Some)];
    both.into_iter().flatten().map(run).collect()
}

fn world() -> World {
    let world = World::new();
    world.buildpack(
        "0.10",
        "a",
        "",
        "exit 0",
        "printf '[[processes]]\\ntype=\"web\"\\ncommand=[\"x\"]\\n' > $1/launch.toml",
    );
    world.order("a");
    world
}

/// Labels and fields of the run image that the app was built on and of the next one, the platform's API then and now.
struct Rebase {
    what: &'static str,
    old: &'static [(&'static str, &'static str)],
    new: &'static [(&'static str, &'static str)],
    built: &'static str,
    now: &'static str,
    forced: bool,
    code: i32,
}

const fn rebase(
    what: &'static str,
    old: &'static [(&'static str, &'static str)],
    new: &'static [(&'static str, &'static str)],
    built: &'static str,
    now: &'static str,
    forced: bool,
    code: i32,
) -> Rebase {
    Rebase {
        what,
        old,
        new,
        built,
        now,
        forced,
        code,
    }
}

const NAME: &str = "io.buildpacks.base.distro.name";
const VERSION: &str = "io.buildpacks.base.distro.version";
const STACK: &str = "io.buildpacks.stack.id";
const MIXINS: &str = "io.buildpacks.stack.mixins";
const REBASABLE: &str = "io.buildpacks.rebasable";

#[rustfmt::skip]
const REBASES: &[Rebase] = &[
    rebase("the same", &[], &[], "0.12", "0.12", false, 0),
    rebase("another architecture", &[], &[("architecture", "arm64")], "0.12", "0.12", false, 72),
    rebase("another architecture", &[], &[("architecture", "arm64")], "0.12", "0.12", true, 0),
    rebase("another variant", &[("variant", "v7")], &[("variant", "v6")], "0.12", "0.12", false, 72),
    rebase("a variant more", &[], &[("variant", "v6")], "0.12", "0.12", false, 0),
    rebase("a variant less", &[("variant", "v6")], &[], "0.12", "0.12", false, 0),
    rebase("another distribution", &[], &[(NAME, "ubuntu")], "0.12", "0.12", false, 72),
    rebase("another distribution", &[], &[(NAME, "ubuntu")], "0.12", "0.12", true, 0),
    rebase("another version of it", &[], &[(VERSION, "13")], "0.15", "0.15", false, 72),
    rebase("no distribution any more", &[], &[(NAME, ""), (VERSION, "")], "0.12", "0.12", false, 0),
    rebase("a distribution now", &[(NAME, ""), (VERSION, "")], &[], "0.12", "0.12", false, 72),
    rebase("another stack", &[], &[(STACK, "other")], "0.12", "0.12", false, 0),
    rebase("no stack any more", &[], &[(STACK, "")], "0.12", "0.12", false, 0),
    rebase("mixins less", &[(MIXINS, "[\"a\"]")], &[], "0.12", "0.12", false, 0),
    rebase("not to be rebased", &[(REBASABLE, "false")], &[], "0.12", "0.12", false, 72),
    rebase("not to be rebased", &[(REBASABLE, "false")], &[], "0.12", "0.12", true, 0),
    rebase("to be rebased", &[(REBASABLE, "true")], &[], "0.12", "0.12", false, 0),
    rebase("whatever that means", &[(REBASABLE, "x")], &[], "0.12", "0.12", false, 0),

    rebase("old: the same", &[], &[], "0.11", "0.12", false, 0),
    rebase("old: another stack", &[], &[(STACK, "other")], "0.11", "0.12", false, 72),
    rebase("old: another stack, by force", &[], &[(STACK, "other")], "0.11", "0.12", true, 72),
    rebase("old: no stack any more", &[], &[(STACK, "")], "0.11", "0.12", false, 72),
    rebase("old: a stack now", &[(STACK, "")], &[], "0.11", "0.12", false, 72),
    rebase("old: not to be rebased", &[(REBASABLE, "false")], &[], "0.11", "0.12", false, 0),
    rebase("old: another distribution", &[], &[(NAME, "ubuntu")], "0.11", "0.12", false, 0),
    rebase("old: another variant", &[("variant", "v7")], &[("variant", "v6")], "0.11", "0.12", false, 0),
    rebase("old: the same mixins", &[(MIXINS, "[\"a\"]")], &[(MIXINS, "[\"a\"]")], "0.11", "0.11", false, 0),
    rebase("old: mixins more", &[], &[(MIXINS, "[\"a\"]")], "0.11", "0.11", false, 0),
    rebase("old: mixins less", &[(MIXINS, "[\"a\", \"b\"]")], &[(MIXINS, "[\"b\"]")], "0.11", "0.11", false, 72),
    rebase("old: of the run image now", &[(MIXINS, "[\"a\"]")], &[(MIXINS, "[\"run:a\"]")], "0.11", "0.11", false, 0),
    rebase("old: of the run image once", &[(MIXINS, "[\"run:a\"]")], &[(MIXINS, "[\"a\"]")], "0.11", "0.11", false, 0),
    rebase("old: mixins that are none", &[(MIXINS, "a")], &[], "0.11", "0.11", false, 72),
];

/// In layouts, which the reference does not rebase.
fn rebases(_: &World) {
    let mut wrong = String::new();
    for row in REBASES {
        let mut world = world();
        world.write("run.toml", "[[images]]\nimage='registry.example/run:1'\n");
        world.write(
            "stack.toml",
            "[run-image]\nimage='registry.example/run:1'\n",
        );
        built_on_old(&mut world, row);
        let args: &[&str] = if row.forced { &["-force", APP] } else { &[APP] };
        let ran = world.run("rebaser", args);
        let is_rebased = world.image(APP).diff_ids()[0] == world.image(RUN).diff_ids()[0];
        if ran.code != row.code || is_rebased != (ran.code == 0) {
            let (what, forced) = (row.what, row.forced);
            wrong += &format!("{what}, forced {forced}: {}: {}\n", ran.code, ran.text);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// An app on the old run image, and the new one under its name.
fn built_on_old(world: &mut World, row: &Rebase) {
    world.run_image_with(RUN, "base", |config| edit(config, row.old));
    world.api = row.built;
    let launcher = world.launcher();
    BUILT(world);
    world.ok("exporter", &["-launcher", &launcher, APP]);
    world.run_image_with(RUN, "next", |config| edit(config, row.new));
    world.api = row.now;
}

/// The same rows, and the same images by both where it is allowed.
fn rebases_beside(_: &World) {
    let Some(reference) = reference() else { return };
    let mut registry = Registry::start();
    let mut wrong = String::new();
    for row in REBASES {
        let mut world = world();
        let run = format!("127.0.0.1:{}/run:1", registry.port);
        world.write("run.toml", &format!("[[images]]\nimage='{run}'\n"));
        world.write("stack.toml", &format!("[run-image]\nimage='{run}'\n"));
        built_on_old(&mut world, row);
        let mut ran = Vec::new();
        for lifecycle in [None, Some(reference.clone())] {
            world.reference = lifecycle;
            let remote = Remote::at(&world, registry);
            remote.push(RUN, "run:1");
            remote.push(APP, "app:1");
            let app = remote.name("app:1");
            let args: &[&str] = if row.forced {
                &["-force", &app]
            } else {
                &[&app]
            };
            let rebased = remote.run("rebaser", args);
            let mut config = remote.config("app:1");
            // The reference loses the one, and leaves the other as it was, which the specification does not.
            config["history"] = Value::Null;
            config["variant"] = Value::Null;
            ran.push((rebased, config));
            registry = remote.registry;
        }
        let ((ours, our_image), (theirs, their_image)) = (&ran[0], &ran[1]);
        if (ours.code, ours.code == 0) != (row.code, theirs.code == 0) || our_image != their_image {
            wrong += &format!(
                "{}, forced {}: {} {}: {} {}\n{our_image}\n{their_image}\n",
                row.what, row.forced, ours.code, theirs.code, ours.text, theirs.text
            );
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Of an image's configuration: a label where the name has dots; empty is absent.
pub(crate) type Fields = &'static [(&'static str, &'static str)];

pub(crate) fn edit(config: &mut Value, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        let (holder, value) = match name.contains('.') {
            true => (&mut config["config"]["Labels"], json!(value)),
            false => (&mut *config, json!(value)),
        };
        let holder = holder.as_object_mut().unwrap();
        match value == "" {
            true => _ = holder.remove(*name),
            false => _ = holder.insert((*name).to_owned(), value),
        }
    }
}
