//! Which image is there, and on which the new one will stand. Ours, and where it is installed the reference lifecycle.

use std::fs;

use serde_json::json;

use crate::{
    Case,
    table::each_lifecycle,
    world::{APP, RUN, World},
};

pub(crate) const CASES: &[Case] = &[
    ("table: the run image that is chosen", run_images),
    ("table: what counts as a previous image", previous),
    ("bills of materials of the previous image come back", bills),
];

const RUN_TOML: &str = "[[images]]
image='other.example/run:1'
mirrors=['registry.example/mirror:1']
[[images]]
image='registry.example/run:2'
";
const STACK_TOML: &str = "[run-image]
image='other.example/run:1'
mirrors=['registry.example/mirror:1']
";

/// Platform API, arguments, environment, and the folder of the image that is chosen.
type Choice = (
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
    &'static str,
);

#[rustfmt::skip]
const CHOICES: &[Choice] = &[
    ("0.15", &["-run-image", RUN, APP], &[], "registry.example/run/1"),
    ("0.15", &[APP], &[("CNB_RUN_IMAGE", RUN)], "registry.example/run/1"),
    ("0.15", &["-run-image", RUN, APP], &[("CNB_RUN_IMAGE", "registry.example/run:2")], "registry.example/run/1"),
    ("0.15", &[APP], &[], "registry.example/mirror/1"),
    ("0.15", &["other.example/app"], &[], "other.example/run/1"),
    ("0.15", &["third.example/app"], &[], "other.example/run/1"),
    ("0.12", &[APP], &[], "registry.example/mirror/1"),
    ("0.11", &[APP], &[], "registry.example/mirror/1"),
    ("0.7", &["other.example/app"], &[], "other.example/run/1"),
];

fn run_images(_: &World) {
    for (api, args, env, expected) in CHOICES {
        each_lifecycle(|lifecycle| {
            let world = World {
                api,
                reference: lifecycle,
                ..World::new()
            };
            world.write("run.toml", RUN_TOML);
            world.write("stack.toml", STACK_TOML);
            for name in [
                "other.example/run:1",
                "registry.example/mirror:1",
                "registry.example/run:2",
            ] {
                world.run_image(name, "12", "base");
            }
            let env = [env, &[("CNB_USE_LAYOUT", "true")][..]].concat();
            let ran = world.run_with("analyzer", args, &env);
            assert_eq!(ran.code, 0, "{}", ran.text);
            let analyzed = world.toml("layers/analyzed.toml");
            let reference = analyzed["run-image"]["reference"].as_str().unwrap();
            assert!(
                reference.contains(&format!("{expected}@")),
                "{api} {args:?}: {reference}"
            );
            // Since Platform API 0.12 what it runs on is told, too.
            assert_eq!(
                analyzed["run-image"].get("target").is_some(),
                *api != "0.11" && *api != "0.7"
            );
        });
    }
}

/// The label of an image that is there, and whether it is one to build upon.
const PREVIOUS: &[(Option<&str>, bool)] = &[
    (Some("{\"buildpacks\":[]}"), true),
    (
        Some("{\"runImage\":{\"topLayer\":\"x\",\"reference\":\"y\"},\"unknown\":3}"),
        false,
    ),
    (Some("{"), false),
    (Some("3"), false),
    (Some(""), false),
    (None, false),
];

fn previous(_: &World) {
    for (label, counts) in PREVIOUS {
        let world = World::new();
        world.run_image_with(APP, "app", |config| {
            if let Some(label) = label {
                config["config"]["Labels"]["io.buildpacks.lifecycle.metadata"] = json!(label);
            }
        });
        world.ok("analyzer", &["-run-image", RUN, APP]);
        let analyzed = world.toml("layers/analyzed.toml");
        let reference = analyzed["image"]["reference"].as_str().unwrap_or_default();
        assert_eq!(!reference.is_empty(), *counts, "{label:?}: {reference}");
    }
}

fn bills(world: &World) {
    world.buildpack(
        "0.10",
        "a",
        "sbom-formats=['application/vnd.cyclonedx+json']",
        "exit 0",
        "mkdir $1/x; printf '[types]\\nlaunch = true\\n' > $1/x.toml; echo '{}' > $1/x.sbom.cdx.json",
    );
    world.order("a");
    world.all();
    for (api, args, comes_back) in [
        ("0.15", &[][..], true),
        ("0.8", &[], true),
        ("0.15", &["-skip-layers"], false),
        ("0.7", &[], false),
    ] {
        world.reset();
        let args = [args, &["-run-image", RUN, APP]].concat();
        let ran = world.run_with("analyzer", &args, &[("CNB_PLATFORM_API", api)]);
        assert_eq!(ran.code, 0, "{}", ran.text);
        let bill = world.path("layers/sbom/launch/a/x/sbom.cdx.json");
        assert_eq!(bill.exists(), comes_back, "{api} {args:?}");
    }
    // To another place, if that is wanted.
    world.ok(
        "analyzer",
        &["-analyzed", "elsewhere.toml", "-run-image", RUN, APP],
    );
    assert!(
        fs::read_to_string(world.path("elsewhere.toml"))
            .unwrap()
            .contains("registry.example")
    );
}
