//! What the exporter makes of what it is told, a row each. Ours, and where it is installed the reference lifecycle.

use serde_json::Value;

use crate::{
    Case,
    table::each_lifecycle,
    world::{APP, RUN, World},
};

pub(crate) const CASES: &[Case] = &[
    ("table: the names of the run image in the label", names),
    ("table: slices", slices),
    ("table: where the source comes from", project),
    ("table: the execution environment in the label", exec_env),
    ("table: times", times),
    ("table: what the image starts", entrypoints),
    ("bills of materials of the launcher", launcher_bills),
    ("a previous image of another name", previous_image),
    ("what is the same is said to be", reused),
];

fn built(world: &World, launch_toml: &str) {
    world.write("given.toml", launch_toml);
    let from = world.path("given.toml").display().to_string();
    world.buildpack(
        "0.10",
        "acme/a",
        "",
        "",
        &format!("cp {from} $1/launch.toml"),
    );
    world.order("acme/a");
    world.ok("analyzer", &["-run-image", RUN, APP]);
    world.ok("detector", &[]);
    world.ok("builder", &[]);
}

fn exported(world: &World, env: &[(&str, &str)]) {
    let ran = world.run_with("exporter", &["-launcher", &world.launcher(), APP], env);
    assert_eq!(ran.code, 0, "{}", ran.text);
}

/// Platform API, run.toml (before 0.12 stack.toml), and `image` and `mirrors` in the label.
#[rustfmt::skip]
const NAMES: &[(&str, &str, &str)] = &[
    ("0.15", "", ""),
    ("0.15", "[[images]]\nimage='registry.example/run:1'\nmirrors=['m.example/run']", "registry.example/run:1 m.example/run"),
    ("0.15", "[[images]]\nimage='other'\n[[images]]\nimage='registry.example/run:1'", "other"),
    ("0.15", "[[images]]\nimage='other'\nmirrors=['registry.example/run:1']", "other registry.example/run:1"),
    ("0.15", "[[images]]\nimage='other'\n[[images]]\nimage='another'", "other"),
    ("0.11", "", ""),
    ("0.11", "[run-image]\nimage='registry.example/run:1'\nmirrors=['m.example/run']", "registry.example/run:1 m.example/run"),
    ("0.11", "[run-image]\nimage='other'", "other"),
];

fn names(_: &World) {
    for (api, text, expected) in NAMES {
        let found = each_lifecycle(|lifecycle| {
            let world = World {
                api,
                reference: lifecycle,
                ..World::new()
            };
            world.write("run.toml", text);
            world.write("stack.toml", text);
            built(&world, "");
            exported(&world, &[]);
            let label = world.image(APP).json("io.buildpacks.lifecycle.metadata");
            // Under the newer name, too, since that is there.
            let of_stack = &label["stack"]["runImage"];
            if *api == "0.15" {
                assert_eq!(
                    label["runImage"].get("image"),
                    of_stack.get("image"),
                    "{text}"
                );
            } else {
                assert_eq!(label["runImage"].get("image"), None);
            }
            let mirrors = of_stack["mirrors"].as_array().cloned().unwrap_or_default();
            let names = [vec![of_stack["image"].clone()], mirrors].concat();
            names
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        });
        assert!(
            found.iter().all(|found| found == expected),
            "{api} {text}: {found:?}"
        );
    }
}

/// Patterns of each slice, and the files of each layer.
#[rustfmt::skip]
const SLICES: &[(&[&str], &[&str])] = &[
    (&[], &["a.css app.txt dir/b.css dir/sub/c.css link odd[x]/d.css"]),
    (&["\"*.css\""], &["a.css", "app.txt dir/b.css dir/sub/c.css link odd[x]/d.css"]),
    (&["\"*.css\", \"dir/*.css\""], &["a.css dir/b.css", "app.txt dir/sub/c.css link odd[x]/d.css"]),
    (&["\"dir\""], &["dir/b.css dir/sub/c.css", "a.css app.txt link odd[x]/d.css"]),
    (&["\"dir/\""], &["dir/b.css dir/sub/c.css", "a.css app.txt link odd[x]/d.css"]),
    (&["\"dir/sub\"", "\"dir\""], &["dir/sub/c.css", "dir/b.css", "a.css app.txt link odd[x]/d.css"]),
    (&["\"dir\"", "\"dir/sub\""], &["dir/b.css dir/sub/c.css", "", "a.css app.txt link odd[x]/d.css"]),
    (&["\"link/*\""], &["", "a.css app.txt dir/b.css dir/sub/c.css link odd[x]/d.css"]),
    (&["\"link\""], &["link", "a.css app.txt dir/b.css dir/sub/c.css odd[x]/d.css"]),
    (&["\"../*\""], &["", "a.css app.txt dir/b.css dir/sub/c.css link odd[x]/d.css"]),
    (&["\"none\""], &["", "a.css app.txt dir/b.css dir/sub/c.css link odd[x]/d.css"]),
    (&["\"*/*/c.css\", \"./a.css\""], &["a.css dir/sub/c.css", "app.txt dir/b.css link odd[x]/d.css"]),
    (&["\"odd\\\\[x\\\\]/*\""], &["odd[x]/d.css", "a.css app.txt dir/b.css dir/sub/c.css link"]),
    (&["\"*\""], &["a.css app.txt dir/b.css dir/sub/c.css link odd[x]/d.css", ""]),
];

fn slices(_: &World) {
    let mut wrong = String::new();
    for (patterns, expected) in SLICES {
        let found = each_lifecycle(|lifecycle| {
            let world = World {
                reference: lifecycle,
                ..World::new()
            };
            for file in ["a.css", "dir/b.css", "dir/sub/c.css", "odd[x]/d.css"] {
                world.write(&format!("app/{file}"), file);
            }
            std::os::unix::fs::symlink("dir", world.path("app/link")).unwrap();
            world.write("beside", "not the app's");
            let text = patterns
                .iter()
                .map(|list| format!("[[slices]]\npaths=[{list}]\n"));
            built(&world, &text.collect::<String>());
            exported(&world, &[]);
            let image = world.image(APP);
            let root = world.path("app").display().to_string();
            let history = image.history();
            let layers = history
                .iter()
                .enumerate()
                .filter(|(_, by)| by.starts_with("Application "));
            layers
                .map(|(at, _)| files(&image.listing(at, &root)))
                .collect::<Vec<String>>()
        });
        if found.iter().any(|found| found != expected) {
            wrong += &format!("{patterns:?}: {found:?}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// Names of what is no directory.
fn files(listing: &[String]) -> String {
    let files = listing.iter().filter(|line| !line.starts_with("  5"));
    let name = |line: &String| line.split('"').nth(1).unwrap().replace("ROOT/", "");
    files.map(name).collect::<Vec<_>>().join(" ")
}

#[rustfmt::skip]
const PROJECTS: &[(Option<&str>, &str)] = &[
    (None, "{}"),
    (Some(""), "{}"),
    (Some("[source]\ntype='git'"), "{\"source\":{\"type\":\"git\"}}"),
    (Some("[source]\ntype='git'\n[source.version]\ncommit='c'\n[source.metadata]\nrefs=['a', 'b']"),
        "{\"source\":{\"type\":\"git\",\"version\":{\"commit\":\"c\"},\"metadata\":{\"refs\":[\"a\",\"b\"]}}}"),
];

fn project(_: &World) {
    for (text, expected) in PROJECTS {
        let found = each_lifecycle(|lifecycle| {
            let world = World {
                reference: lifecycle,
                ..World::new()
            };
            if let Some(text) = text {
                world.write("layers/project-metadata.toml", text);
            }
            built(&world, "");
            exported(&world, &[]);
            world
                .image(APP)
                .label("io.buildpacks.project.metadata")
                .to_owned()
        });
        assert!(
            found.iter().all(|found| found == expected),
            "{text:?}: {found:?}"
        );
    }
}

fn exec_env(_: &World) {
    for (api, value, expected) in [
        ("0.15", Some("test"), Some("test")),
        ("0.15", None, Some("production")),
        ("0.14", Some("test"), None),
    ] {
        let found = each_lifecycle(|lifecycle| {
            let world = World {
                api,
                reference: lifecycle,
                ..World::new()
            };
            built(&world, "");
            let env: Vec<(&str, &str)> = value
                .map(|value| ("CNB_EXEC_ENV", value))
                .into_iter()
                .collect();
            exported(&world, &env);
            let labels = world.image(APP).config["config"]["Labels"].clone();
            labels
                .get("io.buildpacks.exec-env")
                .and_then(Value::as_str)
                .map(str::to_owned)
        });
        assert!(
            found.iter().all(|found| found.as_deref() == expected),
            "{api} {value:?}: {found:?}"
        );
    }
}

fn times(_: &World) {
    for (api, epoch, expected) in [
        ("0.15", "", "1980-01-01T00:00:01Z"),
        ("0.15", "1700000000", "2023-11-14T22:13:20Z"),
        ("0.9", "0", "1970-01-01T00:00:00Z"),
        ("0.8", "1700000000", "1980-01-01T00:00:01Z"),
    ] {
        let found = each_lifecycle(|lifecycle| {
            let world = World {
                api,
                reference: lifecycle,
                ..World::new()
            };
            built(&world, "");
            exported(&world, &[("SOURCE_DATE_EPOCH", epoch)]);
            let image = world.image(APP);
            // In the layers, time stands still.
            let layer = image.listing(
                image.history().len() - 1,
                &world.root.path().display().to_string(),
            );
            assert!(
                layer.iter().all(|line| line.contains(" 315532801 ")),
                "{layer:?}"
            );
            image.config["created"].as_str().unwrap().to_owned()
        });
        assert!(
            found.iter().all(|found| found == expected),
            "{api} {epoch}: {found:?}"
        );
    }
}

const TWO: &str =
    "[[processes]]\ntype='web'\ncommand=['x']\n[[processes]]\ntype='a.b'\ncommand=['y']\n";

fn entrypoints(_: &World) {
    let default = format!("{TWO}default=true\n");
    for (launch, chosen, expected) in [
        ("", "", "/cnb/lifecycle/launcher"),
        (TWO, "", "/cnb/lifecycle/launcher"),
        (TWO, "web", "/cnb/process/web"),
        (&default, "", "/cnb/process/a.b"),
        (&default, "web", "/cnb/process/web"),
    ] {
        let found = each_lifecycle(|lifecycle| {
            let world = World {
                reference: lifecycle,
                ..World::new()
            };
            built(&world, launch);
            exported(&world, &[("CNB_PROCESS_TYPE", chosen)]);
            let config = &world.image(APP).config["config"];
            assert_eq!(config["Cmd"], Value::Null);
            let names = config["Env"].as_array().unwrap().iter();
            assert!(
                !names
                    .clone()
                    .any(|var| var.as_str().unwrap().contains("CNB_PROCESS_TYPE"))
            );
            config["Entrypoint"].to_string()
        });
        assert!(
            found
                .iter()
                .all(|found| *found == format!("[\"{expected}\"]")),
            "{launch} {chosen}: {found:?}"
        );
    }
}

fn launcher_bills(world: &World) {
    built(world, "");
    for file in [
        "launcher.sbom.cdx.json",
        "other.sbom.spdx.json",
        "readme.txt",
    ] {
        world.write(&format!("bills/{file}"), "{}");
    }
    let bills = world.path("bills").display().to_string();
    world.ok(
        "exporter",
        &[
            "-launcher",
            &world.launcher(),
            "-launcher-sbom",
            &bills,
            APP,
        ],
    );
    let names = world.image(APP).names("Software Bill");
    let names: Vec<&str> = names
        .iter()
        .filter_map(|name| name.split("launcher/").nth(1))
        .collect();
    assert_eq!(names, ["launcher.sbom.cdx.json", "other.sbom.spdx.json"]);
}

fn previous_image(_: &World) {
    let layer = "mkdir $1/x; [ -f $1/x.toml ] && touch ../known; echo x > $1/x/file; printf '[types]\\nlaunch = true\\n[metadata]\\nn = 1\\n' > $1/x.toml";
    each_lifecycle(|lifecycle| {
        let world = World {
            reference: lifecycle,
            ..World::new()
        };
        world.buildpack("0.10", "a", "", "", layer);
        world.order("a");
        world.all();
        world.reset();
        let launcher = world.launcher();
        world.ok(
            "analyzer",
            &[
                "-run-image",
                RUN,
                "-previous-image",
                APP,
                "registry.example/app:2",
            ],
        );
        world.ok("detector", &[]);
        world.ok("restorer", &[]);
        world.ok("builder", &[]);
        let text = world.ok(
            "exporter",
            &["-launcher", &launcher, "registry.example/app:2"],
        );
        assert!(text.contains("Reusing layer 'a:x'"), "{text}");
        assert!(world.path("known").exists());
        world.reset();
        let third = "registry.example/app:3";
        let args = ["-run-image", RUN, "-previous-image", APP, third];
        let ran = world.create(&args, &[]);
        assert!(ran.text.contains("Reusing layer 'a:x'"), "{}", ran.text);
        assert_eq!(world.image(third).diff_ids(), world.image(APP).diff_ids());
        assert_eq!(
            world.image("registry.example/app:2").diff_ids(),
            world.image(APP).diff_ids()
        );
    });
}

fn reused(_: &World) {
    each_lifecycle(|lifecycle| {
        let world = World {
            reference: lifecycle,
            ..World::new()
        };
        for _ in 0..2 {
            world.reset();
            built(&world, TWO);
            let text = world.ok("exporter", &["-launcher", &world.launcher(), APP]);
            let is_second = text.contains("Reusing layer 'buildpacksio/lifecycle:config'");
            for id in ["launcher", "config", "process-types"] {
                let doing = if is_second { "Reusing" } else { "Adding" };
                assert!(
                    text.contains(&format!("{doing} layer 'buildpacksio/lifecycle:{id}'")),
                    "{text}"
                );
            }
        }
    });
}
