//! What an image is made of.

use std::fs;

use serde_json::Value;

use crate::{
    Case,
    shapes::fixture,
    world::{APP, RUN, World},
};

pub(crate) const CASES: &[Case] = &[
    (
        "labels and launch metadata as the reference writes them",
        golden,
    ),
    ("slices become layers of their own", slices),
    ("what has not changed is taken over", reuse),
    ("the creator makes the same image", creator),
    ("the default process type can be chosen", process_type),
    ("the time of an image can be chosen", epoch),
    ("what fails leaves the image as it was", failure),
];

/// What the reference lifecycle makes of the fixture, without digests, paths and its own version; [`crate::beside`] checks
/// that it does.
pub(crate) const GOLDEN: &str = include_str!("golden.txt");

fn golden(world: &World) {
    fixture(world);
    let metadata = world.read("project-metadata.toml");
    world.write("layers/project-metadata.toml", &metadata);
    world.all();
    let summary = summary(world);
    if std::env::var_os("SLIPWAY_GOLDEN").is_some() {
        println!("{summary}");
    }
    assert_eq!(summary, GOLDEN);
}

/// Everything of an image that does not depend on where it was made.
pub(crate) fn summary(world: &World) -> String {
    let image = world.image(APP);
    let mut text = format!("{}\n", world.read("layers/config/metadata.toml"));
    let root = world.root.path().display().to_string();
    for (at, created_by) in image.history().iter().enumerate() {
        text.push_str(&format!("layer {created_by}\n"));
        // The run image's is not of our making; the launcher's sizes are ours.
        for line in image.listing(at, &root).iter().filter(|_| at > 0) {
            text.push_str(&format!("{line}\n"));
        }
    }
    for field in ["Env", "Entrypoint", "Cmd", "User"] {
        text.push_str(&format!("{field} {}\n", image.config["config"][field]));
    }
    for name in [
        "io.buildpacks.lifecycle.metadata",
        "io.buildpacks.build.metadata",
        "io.buildpacks.project.metadata",
        "org.acme",
        "kept",
        "io.buildpacks.exec-env",
    ] {
        text.push_str(&format!("{name} {}\n", image.label(name)));
    }
    let mut text = text.replace(&world.root.path().display().to_string(), "ROOT");
    while let Some(at) = text.find("sha256:") {
        text.replace_range(at..at + 71, "SHA");
    }
    let start = text.find("\"launcher\":{\"version\":\"").unwrap() + 23;
    let end = start + text[start..].find('"').unwrap();
    text.replace_range(start..end, "VERSION");
    text
}

const LAYER: &str = "mkdir -p $1/x; [ -f $1/x/file ] || echo content > $1/x/file; printf '[types]\\nlaunch = true\\n' > $1/x.toml";

fn slices(world: &World) {
    world.write("app/static/a.css", "");
    world.write("app/b.css", "");
    world.buildpack(
        "0.10",
        "a",
        "",
        "exit 0",
        "echo '[[slices]]
paths = [\"static\"]
[[slices]]
paths = [\"*.css\", \"none/*\"]' > $1/launch.toml",
    );
    world.order("a");
    world.all();
    let image = world.image(APP);
    let app = world.path("app").display().to_string();
    let at = |names: Vec<String>| -> Vec<String> {
        let below = names
            .iter()
            .filter_map(|name| Some(name.strip_prefix(&app)?.to_owned()));
        below.collect()
    };
    assert_eq!(
        at(image.names("Slice: 1")),
        ["", "/static", "/static/a.css"]
    );
    assert_eq!(at(image.names("Slice: 2")), ["", "/b.css"]);
    assert_eq!(at(image.names("Slice: 3")), ["", "/app.txt"]);
    assert_eq!(
        image.json("io.buildpacks.lifecycle.metadata")["app"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

fn reuse(world: &World) {
    world.buildpack("0.10", "a", "", "exit 0", LAYER);
    world.order("a");
    world.all();
    let first = world.image(APP).diff_ids();
    // The buildpack sees that its layer would be the same, and does not make it.
    world.buildpack(
        "0.10",
        "a",
        "",
        "exit 0",
        "[ -f $1/x.toml ]; [ ! -d $1/x ]; printf '[types]\\nlaunch = true\\n' > $1/x.toml",
    );
    world.reset();
    let text = world.all();
    assert!(
        text.contains("Restoring metadata for \"a:x\" from app image"),
        "{text}"
    );
    assert!(text.contains("Reusing layer 'a:x'"), "{text}");
    assert!(
        text.contains("Reusing layer 'buildpacksio/lifecycle:launcher'"),
        "{text}"
    );
    let image = world.image(APP);
    assert_eq!(image.diff_ids(), first);
    assert_eq!(
        image.names("Layer: 'x'").last().unwrap().rsplit('/').next(),
        Some("file")
    );
    // And makes it anew when the app has changed.
    world.reset();
    world.write("app/app.txt", "changed");
    world.all();
    assert_eq!(
        world
            .image(APP)
            .diff_ids()
            .iter()
            .zip(&first)
            .filter(|(a, b)| a != b)
            .count(),
        1
    );
}

fn creator(world: &World) {
    world.buildpack("0.10", "a", "", "exit 0", LAYER);
    world.order("a");
    world.all();
    let phases = world.image(APP).config;
    world.reset();
    fs::remove_dir_all(world.path("oci/registry.example/app")).unwrap();
    let args = ["-run-image", RUN, "-tag", "registry.example/app:2", APP];
    let ran = world.create(&args, &[]);
    assert_eq!(ran.code, 0, "{}", ran.text);
    let text = ran.text;
    for phase in [
        "ANALYZING",
        "DETECTING",
        "RESTORING",
        "BUILDING",
        "EXPORTING",
    ] {
        assert!(text.contains(&format!("===> {phase}\n")), "{text}");
    }
    assert_eq!(world.image(APP).config, phases);
    assert_eq!(world.image("registry.example/app:2").config, phases);
    let report = world.toml("layers/report.toml");
    assert_eq!(report["image"]["tags"].as_array().unwrap().len(), 2);
    assert!(report["image"]["manifest-size"].as_integer().unwrap() > 100);
}

fn process_type(world: &World) {
    world.buildpack(
        "0.10",
        "a",
        "",
        "exit 0",
        "echo '[[processes]]
type = \"web\"
command = [\"x\"]
default = true
[[processes]]
type = \"other\"
command = [\"y\"]' > $1/launch.toml",
    );
    world.order("a");
    world.all();
    let entrypoint = || {
        world.image(APP).config["config"]["Entrypoint"][0]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(entrypoint(), "/cnb/process/web");
    let launcher = world.launcher();
    world.ok(
        "exporter",
        &["-launcher", &launcher, "-process-type", "other", APP],
    );
    assert_eq!(entrypoint(), "/cnb/process/other");
    let ran = world.run(
        "exporter",
        &["-launcher", &launcher, "-process-type", "none", APP],
    );
    ran.failed(62, "there is no process type `none`; there are: other, web");
    let image = world.image(APP);
    let links = image.names("Process Types");
    assert_eq!(
        links,
        [
            "/cnb",
            "/cnb/process",
            "/cnb/process/other",
            "/cnb/process/web"
        ]
    );
    assert_eq!(image.config["config"]["Cmd"], Value::Null);
    // Without -launcher the image gets ours.
    world.ok("exporter", &[APP]);
    assert_eq!(
        world.image(APP).names("Launcher")[2],
        "/cnb/lifecycle/launcher"
    );
}

fn epoch(world: &World) {
    world.buildpack("0.10", "a", "", "exit 0", "");
    world.order("a");
    world.all();
    assert_eq!(world.image(APP).config["created"], "1980-01-01T00:00:01Z");
    let launcher = world.launcher();
    let args = ["-launcher", launcher.as_str(), APP];
    for (epoch, expected) in [
        ("1700000000", "2023-11-14T22:13:20Z"),
        ("soon", "1980-01-01T00:00:01Z"),
    ] {
        assert_eq!(
            world
                .run_with("exporter", &args, &[("SOURCE_DATE_EPOCH", epoch)])
                .code,
            0
        );
        let config = world.image(APP).config;
        assert_eq!(config["created"], expected);
        assert_eq!(config["history"][0]["created"], expected);
    }
}

fn failure(world: &World) {
    world.buildpack("0.10", "a", "", "exit 0", LAYER);
    world.order("a");
    world.all();
    let before = world.image(APP).config;
    let reference = world.read("oci/registry.example/app/1/index.json");
    for (script, code, expected) in [
        (
            "printf '[types]\\nlaunch = true\\ncache = true\\n' > $1/new.toml",
            62,
            "new.toml: the layer has neither",
        ),
        (
            "mkdir $1/new; printf '[types]\\nlaunch = true\\n' > $1/new.toml; printf '\\n[metadata' > $1/store.toml",
            62,
            "store.toml, line 2: ",
        ),
        ("rm -rf $1/../config; touch $1/../config", 52, "config"),
        (
            "printf '\\nlaunch = true\\n' > $1/new.toml",
            52,
            "belong under `[types]`",
        ),
        (
            "printf '[[unmet]]\\nname = \"z\"\\n' > $1/build.toml",
            52,
            "`z` is unmet",
        ),
    ] {
        world.reset();
        world.buildpack("0.10", "a", "", "exit 0", script);
        world.ok("analyzer", &["-run-image", RUN, APP]);
        world.ok("detector", &[]);
        world.ok("restorer", &[]);
        let mut ran = world.run("builder", &[]);
        if ran.code == 0 {
            ran = world.run("exporter", &["-launcher", &world.launcher(), APP]);
        }
        ran.failed(code, expected);
        assert_eq!(
            world.read("oci/registry.example/app/1/index.json"),
            reference
        );
    }
    assert_eq!(world.image(APP).config, before);
    assert_eq!(world.names("oci"), ["registry.example"]);
    assert_eq!(world.names("oci/registry.example/app"), ["1"]);
}
