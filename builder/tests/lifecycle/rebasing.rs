//! Another run image below an app.

use crate::{
    Case,
    world::{APP, RUN, World},
};

pub(crate) const CASES: &[Case] = &[
    (
        "the run image's layers are changed and nothing else",
        rebase,
    ),
    ("what does not suit is refused, unless it is forced", force),
    ("labels of the base follow it, and no others", labels),
];

fn prepare(world: &World) {
    world.buildpack(
        "0.10",
        "a",
        "",
        "exit 0",
        "mkdir $1/x; echo x > $1/x/file; printf '[types]\\nlaunch = true\\n' > $1/x.toml",
    );
    world.order("a");
    world.write(
        "run.toml",
        "[[images]]\nimage='registry.example/run:1'\nmirrors=['registry.example/mirror:1']\n",
    );
    world.all();
}

fn rebase(world: &World) {
    prepare(world);
    let old = world.image(APP);
    // The same name, with another layer in it.
    world.run_image(RUN, "12", "newer");
    world.ok("rebaser", &[APP]);
    let new = world.image(APP);
    let base = world.image(RUN);
    assert_eq!(new.diff_ids()[0], base.diff_ids()[0]);
    assert_ne!(new.diff_ids()[0], old.diff_ids()[0]);
    assert_eq!(new.diff_ids()[1..], old.diff_ids()[1..]);
    assert_eq!(new.history()[0], "newer");
    assert_eq!(new.history()[1..], old.history()[1..]);
    assert!(new.names("Layer: 'x'").last().unwrap().ends_with("/file"));
    let label = new.json("io.buildpacks.lifecycle.metadata");
    assert_eq!(label["runImage"]["topLayer"], base.diff_ids()[0].as_str());
    assert_eq!(label["runImage"]["image"], "registry.example/run:1");
    assert_eq!(
        label["buildpacks"],
        old.json("io.buildpacks.lifecycle.metadata")["buildpacks"]
    );
    assert_eq!(
        new.label("kept"),
        "base",
        "only what says something of the base"
    );
    assert_eq!(new.config["config"]["Env"], old.config["config"]["Env"]);
    // To another name, and by a mirror.
    world.run_image("registry.example/mirror:1", "12", "mirrored");
    world.ok(
        "rebaser",
        &[
            "-run-image",
            "registry.example/mirror:1",
            "-previous-image",
            APP,
            "registry.example/app:2",
        ],
    );
    assert_eq!(
        world.image("registry.example/app:2").history()[0],
        "mirrored"
    );
    assert_eq!(world.image(APP).history()[0], "newer");
    assert!(world.read("layers/report.toml").contains("app/2"));
}

fn force(world: &World) {
    prepare(world);
    let refused = |args: &[&str], expected: &str| {
        let before = world.image(APP).config;
        world.run("rebaser", args).failed(72, expected);
        assert_eq!(world.image(APP).config, before);
    };
    world.run_image("registry.example/other:1", "12", "other");
    refused(
        &["-run-image", "registry.example/other:1", APP],
        "does not name `registry.example/other:1`",
    );
    world.run_image("registry.example/next:1", "13", "next");
    refused(&["-run-image", "registry.example/next:1", APP], "debian 13");
    refused(
        &["-run-image", "registry.example/none:1", APP],
        "there is no image `registry.example/none:1`",
    );
    refused(&["registry.example/run:1"], "was not made by buildpacks");
    let text = world.ok(
        "rebaser",
        &["-force", "-run-image", "registry.example/next:1", APP],
    );
    assert!(text.contains("Warning: "), "{text}");
    let label = world.image(APP).json("io.buildpacks.lifecycle.metadata");
    assert_eq!(label["runImage"]["image"], "registry.example/next:1");
    assert_eq!(
        label["stack"]["runImage"]["image"],
        "registry.example/next:1"
    );
    assert_eq!(
        world.image(APP).label("io.buildpacks.base.distro.version"),
        "13"
    );
}

fn labels(world: &World) {
    prepare(world);
    world.run_image_with(RUN, "newer", |config| {
        let labels = config["config"]["Labels"].as_object_mut().unwrap();
        labels.insert("io.buildpacks.stack.more".to_owned(), "more".into());
        labels.insert("io.buildpacks.base.homepage".to_owned(), "there".into());
        labels.insert("io.buildpacks.other".to_owned(), "not for the app".into());
        labels.remove("io.buildpacks.stack.id");
    });
    world.ok("rebaser", &[APP]);
    let labels = world.image(APP).config["config"]["Labels"].clone();
    for (name, expected) in [
        ("io.buildpacks.stack.more", Some("more")),
        ("io.buildpacks.base.homepage", Some("there")),
        ("io.buildpacks.base.distro.name", Some("debian")),
        ("io.buildpacks.stack.id", None),
        ("io.buildpacks.other", None),
        ("kept", Some("base")),
    ] {
        assert_eq!(
            labels.get(name).and_then(|value| value.as_str()),
            expected,
            "{name}"
        );
    }
    // Before there were targets, those of the stack alone.
    let old = World {
        api: "0.11",
        ..World::new()
    };
    old.write(
        "stack.toml",
        "[run-image]\nimage='registry.example/run:1'\n",
    );
    prepare(&old);
    old.run_image_with(RUN, "newer", |config| {
        let labels = config["config"]["Labels"].as_object_mut().unwrap();
        labels.insert("io.buildpacks.stack.more".to_owned(), "more".into());
        labels.insert("io.buildpacks.base.homepage".to_owned(), "there".into());
    });
    old.ok("rebaser", &[APP]);
    let labels = old.image(APP).config["config"]["Labels"].clone();
    assert_eq!(labels["io.buildpacks.stack.more"], "more");
    assert_eq!(labels.get("io.buildpacks.base.homepage"), None);
}
