//! Image extensions: those that choose a run image work, those that change one are refused by name.

use crate::{
    Case,
    table::each_lifecycle,
    world::{APP, RUN, World, order},
};

pub(crate) const CASES: &[Case] = &[
    ("an extension chooses the run image", choose),
    (
        "a mirror takes the place of what an extension chose",
        mirror,
    ),
    ("an extension that changes an image is refused", change),
    ("bad extensions", bad),
    ("table: which extensions take part", members),
    ("what an extension gets and leaves", generated),
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

/// Where the image itself cannot be had.
fn mirror(_: &World) {
    let (gone, mirror) = ("other.example/run:2", "registry.example/run:2");
    for (api, listed, code) in [("0.15", true, 0), ("0.15", false, 42), ("0.13", true, 42)] {
        let world = World {
            api,
            ..World::new()
        };
        prepare(
            &world,
            &format!("echo 'FROM {gone}' > $CNB_OUTPUT_DIR/run.Dockerfile"),
        );
        if listed {
            let text =
                format!("[[images]]\nimage='{gone}'\nmirrors=['none.example/x', '{mirror}']\n");
            world.write("run.toml", &text);
        }
        world.ok("detector", &[]);
        let ran = world.run("restorer", &[]);
        let named = if code == 0 {
            ""
        } else {
            "there is no image `other.example/run:2`"
        };
        ran.failed(code, named);
        let analyzed = world.toml("layers/analyzed.toml");
        let used = if code == 0 { mirror } else { gone };
        assert_eq!(analyzed["run-image"]["image"].as_str(), Some(used));
        if code == 0 {
            assert_eq!(
                analyzed["run-image"]["target"]["os"].as_str(),
                Some("linux")
            );
            world.ok("builder", &[]);
            world.ok("exporter", &["-launcher", &world.launcher(), APP]);
            let label = world.image(APP).json("io.buildpacks.lifecycle.metadata");
            assert_eq!(label["runImage"]["image"], gone);
            assert_eq!(label["runImage"]["mirrors"][1], mirror);
        }
    }
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

/// Groups of extensions; what the buildpack requires; what takes part, extensions first.
type Members = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
const MEMBERS: &[Members] = &[
    ("curl", "", "a"),
    ("curl", "curl", "curl a"),
    ("curl wget", "curl wget", "curl wget a"),
    ("wget curl", "curl", "curl a"),
    ("wget\ncurl", "curl", "curl a"),
    ("curl\nwget", "curl", "curl a"),
    ("never curl", "curl", "curl a"),
    ("static", "fixed", "static a"),
    ("silent curl", "curl", "curl silent a"),
    ("testing curl", "curl", "curl a"),
    ("never", "", "a"),
];

fn members(_: &World) {
    let mut wrong = String::new();
    for (extensions, requires, expected) in MEMBERS {
        let found = each_lifecycle(|lifecycle| {
            let world = World {
                reference: lifecycle,
                ..World::new()
            };
            let provides = |name: &str| format!("echo '[[provides]]\nname = \"{name}\"' > $2");
            world.extension("curl", &provides("curl"), "");
            world.extension("wget", &provides("wget"), "");
            world.extension("never", "exit 100", "");
            world.extension("silent", "", "");
            world.extension("testing", &provides("curl"), "");
            let testing = "extensions/testing/1/extension.toml";
            let text = world.read(testing).replace("0.10", "0.12") + "exec-env=['test']\n";
            world.write(testing, &text);
            // Without a program: the plan lies there.
            world.extension("static", "", "");
            std::fs::remove_dir_all(world.path("extensions/static/1/bin")).unwrap();
            world.write(
                "extensions/static/1/detect/plan.toml",
                "[[provides]]\nname='fixed'\n",
            );
            let plan = requires
                .split_whitespace()
                .map(|name| format!("[[requires]]\nname = \"{name}\"\n"));
            let plan = plan.collect::<String>();
            world.buildpack("0.10", "a", "", &format!("echo '{plan}' > $2"), "");
            let text = order("a", "order") + &order(extensions, "order-extensions");
            world.write("order.toml", &text);
            world.ok("analyzer", &["-run-image", RUN, APP]);
            world.ok("detector", &[]);
            let group = world.toml("layers/group.toml");
            let ids = ["group-extensions", "group"].map(|name| {
                let list = group.get(name).and_then(toml::Value::as_array);
                let list = list.into_iter().flatten();
                let mut ids: Vec<&str> = list.map(|one| one["id"].as_str().unwrap()).collect();
                ids.sort_unstable();
                ids.join(" ")
            });
            ids.join(" ").trim().to_owned()
        });
        if found.iter().any(|found| found != expected) {
            wrong += &format!("{extensions:?} {requires:?}: {found:?}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    // Extensions alone are nothing.
    for code in each_lifecycle(|lifecycle| {
        let world = World {
            reference: lifecycle,
            ..World::new()
        };
        world.extension("curl", "", "");
        world.buildpack("0.10", "a", "", "exit 100", "");
        let text = order("a?", "order") + &order("curl", "order-extensions");
        world.write("order.toml", &text);
        world.ok("analyzer", &["-run-image", RUN, APP]);
        world.run("detector", &[]).code
    }) {
        assert_eq!(code, 20);
    }
}

fn generated(_: &World) {
    each_lifecycle(|lifecycle| {
        let world = World {
            reference: lifecycle,
            ..World::new()
        };
        world.write("platform/env/MINE", "from the user");
        let print =
            "cat $3 > $1/../../seen-plan; env > $1/../../seen-env; touch $1/extend-config.toml
printf 'ARG base_image\\nFROM ${base_image}\\nRUN true\\n' > $1/build.Dockerfile; echo said";
        let provides = |name: &str| format!("echo '[[provides]]\nname = \"{name}\"' > $2");
        world.extension("acme/curl", &provides("curl"), print);
        std::fs::rename(
            world.path("extensions/acme/curl"),
            world.path("extensions/acme_curl"),
        )
        .unwrap();
        // Without a program: what it would leave lies there.
        world.extension("static", &provides("wget"), "");
        std::fs::remove_file(world.path("extensions/static/1/bin/generate")).unwrap();
        world.write(
            "extensions/static/1/generate/run.Dockerfile",
            "FROM registry.example/run:2\n",
        );
        world.run_image("registry.example/run:2", "12", "second");
        world.buildpack(
            "0.10",
            "a",
            "",
            "printf '[[requires]]\\nname = \"curl\"\\n[[requires]]\\nname = \"wget\"\\n' > $2",
            "",
        );
        let text = order("a", "order") + &order("acme/curl static", "order-extensions");
        world.write("order.toml", &text);
        world.ok("analyzer", &["-run-image", RUN, APP]);
        let text = world.ok("detector", &[]);
        assert!(text.contains("said"), "{text}");
        let plan = world.read("layers/seen-plan");
        assert!(plan.contains("curl") && !plan.contains("wget"), "{plan}");
        let env = world.read("layers/seen-env");
        for wanted in [
            "CNB_OUTPUT_DIR=",
            "CNB_EXTENSION_DIR=",
            "CNB_BP_PLAN_PATH=",
            "CNB_TARGET_OS=linux",
            "MINE=from the user",
        ] {
            assert!(env.contains(wanted), "{wanted}: {env}");
        }
        assert!(!env.contains("CNB_LAYERS_DIR="), "{env}");
        for file in ["build.Dockerfile", "extend-config.toml"] {
            assert!(
                world.path("layers/generated/acme_curl").join(file).exists(),
                "{file}"
            );
        }
        // The reference leaves it where it was.
        let copy = world.path("layers/generated/static/run.Dockerfile");
        assert_eq!(copy.exists(), world.reference.is_none());
        let analyzed = world.toml("layers/analyzed.toml");
        assert_eq!(
            analyzed["run-image"]["image"].as_str(),
            Some("registry.example/run:2")
        );
    });
}
