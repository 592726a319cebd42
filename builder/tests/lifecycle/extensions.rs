//! Image extensions: those that choose a run image work, those that change one are refused by name.

use crate::{
    Case,
    world::{APP, RUN, World, order},
};

pub(crate) const CASES: &[Case] = &[
    ("an extension chooses the run image", choose),
    ("an extension that changes an image is refused", change),
    ("bad extensions", bad),
];

fn prepare(world: &World, generate: &str) {
    world.extension(
        "curl",
        "echo '[[provides]]
name = \"curl\"' > $2",
        generate,
    );
    world.extension(
        "unused",
        "echo '[[provides]]
name = \"wget\"' > $2",
        "exit 1",
    );
    world.buildpack(
        "0.10",
        "a",
        "",
        "echo '[[requires]]
name = \"curl\"' > $2",
        "grep -c curl $3 || echo nothing left to provide",
    );
    let text = order("a", "order") + &order("unused curl", "order-extensions");
    world.write("order.toml", &text);
    world.write(
        "run.toml",
        "[[images]]\nimage='registry.example/run:1'\n[[images]]\nimage='registry.example/run:2'\n",
    );
    world.run_image("registry.example/run:2", "12", "second");
    world.ok("analyzer", &["-run-image", RUN, APP]);
}

fn choose(world: &World) {
    prepare(
        world,
        "echo 'FROM registry.example/run:2' > $CNB_OUTPUT_DIR/run.Dockerfile; grep -q curl $CNB_BP_PLAN_PATH; [ -d $CNB_EXTENSION_DIR ]",
    );
    world.ok("detector", &[]);
    let group = world.toml("layers/group.toml");
    assert_eq!(group["group-extensions"][0]["id"].as_str(), Some("curl"));
    assert!(world.path("layers/generated/curl/run.Dockerfile").exists());
    let analyzed = world.toml("layers/analyzed.toml");
    assert_eq!(
        analyzed["run-image"]["image"].as_str(),
        Some("registry.example/run:2")
    );
    assert!(analyzed["run-image"].get("target").is_none());
    world.ok("restorer", &[]);
    assert!(world.ok("builder", &[]).contains("nothing left to provide"));
    world.ok("exporter", &["-launcher", &world.launcher(), APP]);
    let image = world.image(APP);
    assert_eq!(image.history()[0], "second");
    let label = image.json("io.buildpacks.lifecycle.metadata");
    assert_eq!(label["runImage"]["image"], "registry.example/run:2");
    let build = image.json("io.buildpacks.build.metadata");
    assert_eq!(build["extensions"][0]["id"], "curl");
    world
        .run("creator", &["-run-image", RUN, APP])
        .failed(22, "which the creator cannot apply");
}

fn change(world: &World) {
    prepare(
        world,
        "printf 'ARG base_image\\nFROM ${base_image}\\nRUN x\\n' > $CNB_OUTPUT_DIR/run.Dockerfile",
    );
    world.ok("detector", &[]);
    assert_eq!(
        world.toml("layers/analyzed.toml")["run-image"]["extend"].as_bool(),
        Some(true)
    );
    world.run("extender", &["-kind", "run"]).failed(
        102,
        "that change an image by a Dockerfile are not supported",
    );
    world.ok("restorer", &[]);
    world.ok("builder", &[]);
    world
        .run("exporter", &[APP])
        .failed(62, "that change an image by a Dockerfile are not supported");
    assert!(!world.path("oci/registry.example/app").exists());
}

fn bad(world: &World) {
    for (generate, code, expected) in [
        ("exit 3", 91, "curl failed: exit status 3"),
        (
            "echo 'RUN x' > $1/run.Dockerfile",
            92,
            "run.Dockerfile: has no FROM",
        ),
        (
            "echo 'FROM x' > $1/build.Dockerfile",
            92,
            "build.Dockerfile: does not begin with `ARG base_image`",
        ),
        (
            "printf '[[run.args]]\\nname=\"user_id\"\\n' > $1/extend-config.toml",
            92,
            "sets the argument `user_id`",
        ),
        (
            "mkdir $1/context $1/context.run",
            92,
            "has a context for one image beside the one for both",
        ),
    ] {
        world.reset();
        prepare(world, generate);
        world.run("detector", &[]).failed(code, expected);
    }
    world.extension(
        "curl",
        "echo '[[requires]]
name = \"x\"' > $2",
        "",
    );
    // Extensions are optional: without it nobody provides what the buildpack requires.
    world
        .run("detector", &[])
        .failed(20, "an extension may provide, and not require");
}
