//! Files that are not what the specification wants, a row each: what is wrong is said with the file and its line, the exit
//! status is the specification's, and nothing has become of the layers, the cache and the image.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use crate::{
    Case,
    registry::Remote,
    world::{APP, World, order},
};

pub(crate) const CASES: &[Case] = &[
    ("malformed: what the phases are given", inputs),
    ("malformed: what a buildpack leaves", results),
    ("malformed: what is only passed over", passed_over),
    ("malformed: labels in a registry", in_a_registry),
];

/// Platform API, a file and its text, the phase, its exit status, what is said.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    i32,
    &'static str,
);

const CUT: &str = "\n[[";
const ODD_GROUP: &str = "[[group]]\nid = 'a'\nversion = '1'\napi = 10\n";

#[rustfmt::skip]
const INPUTS: &[Row] = &[
    ("0.15", "run.toml", CUT, "analyzer", 3, "run.toml, line 2: "),
    ("0.15", "run.toml", "[[images]]\nimage = 3", "analyzer", 3, "run.toml, line 2: "),
    ("0.11", "stack.toml", "[run-image]\nimage = 3", "analyzer", 1, "stack.toml, line 2: "),
    ("0.15", "order.toml", CUT, "detector", 1, "order.toml, line 2: "),
    ("0.15", "order.toml", "[[order]]\n[[order.group]]\nid = 3", "detector", 1, "order.toml, line 3: "),
    ("0.15", "order.toml", "[[order-extensions]]\n[[order-extensions.group]]\nid = 'x'", "detector", 1, "order.toml, line 2: "),
    ("0.15", "system.toml", "[system.pre]\nbuildpacks = 1", "detector", 22, "system.toml, line 2: "),
    ("0.15", "layers/analyzed.toml", "[run-image.target]\nos = 3", "detector", 1, "analyzed.toml, line 2: "),
    ("0.15", "buildpacks/a/1/buildpack.toml", "api = '0.10'\n[buildpack]\nid = 3", "detector", 1, "buildpack.toml, line 3: "),
    ("0.15", "buildpacks/a/1/buildpack.toml", "api = '0.10'\n\n\u{0}", "detector", 1, "buildpack.toml, line 3: "),
    ("0.15", "buildpacks/a/1/buildpack.toml", "api = '0.10'\n[buildpack]\nid = 'a'\nversion = '1'\n[[targets]]\nos = 3", "detector", 1, "buildpack.toml, line 6: "),
    ("0.15", "extensions/e/1/extension.toml", "api = '0.10'\n[extension]\nid = 3", "detector", 1, "extension.toml, line 3: "),
    ("0.15", "extensions/e/1/detect/plan.toml", "[[provides]]\nname = 3", "detector", 20, "build plan of e, line 2: "),
    ("0.15", "extensions/e/1/generate/extend-config.toml", "[[run.args]]\nname = 3", "detector", 92, "extend-config.toml, line 2: "),
    ("0.15", "plans/plan.toml", "\n\n[[requires]]\nname = 3", "detector", 21, "build plan of a, line 4: "),
    ("0.15", "layers/group.toml", ODD_GROUP, "restorer", 1, "group.toml, line 4: "),
    ("0.15", "layers/analyzed.toml", "[image]\nreference = 3", "restorer", 1, "analyzed.toml, line 2: "),
    ("0.15", "layers/analyzed.toml", "[image]\n[metadata]\nbuildpacks = 3", "restorer", 1, "analyzed.toml, line 2: "),
    ("0.15", "layers/group.toml", ODD_GROUP, "builder", 1, "group.toml, line 4: "),
    ("0.15", "layers/plan.toml", "[[entries]]\nproviders = 3", "builder", 1, "plan.toml, line 2: "),
    ("0.15", "layers/analyzed.toml", CUT, "builder", 1, "analyzed.toml, line 2: "),
    ("0.15", "buildpacks/a/1/buildpack.toml", CUT, "builder", 52, "buildpack.toml, line 2: "),
    ("0.15", "layers/group.toml", ODD_GROUP, "exporter", 1, "group.toml, line 4: "),
    ("0.15", "layers/analyzed.toml", CUT, "exporter", 1, "analyzed.toml, line 2: "),
    ("0.15", "layers/config/metadata.toml", "[[processes]]\ntype = 3", "exporter", 62, "metadata.toml, line 2: "),
    ("0.15", "layers/project-metadata.toml", "[source]\nversion = 3", "exporter", 1, "project-metadata.toml, line 2: "),
    ("0.15", "run.toml", "[[images]]\nmirrors = 3", "exporter", 3, "run.toml, line 2: "),
    ("0.11", "stack.toml", "[run-image]\nmirrors = 3", "exporter", 1, "stack.toml, line 2: "),
    ("0.15", "layers/a/x.toml", "[types]\nlaunch = 3", "exporter", 62, "a/x.toml, line 2: "),
    ("0.15", "layers/a/store.toml", "[[metadata]]", "exporter", 62, "a/store.toml, line 1: "),
    ("0.8", "layers/a/build.toml", "[[bom]]\nname = 3", "exporter", 62, "a/build.toml, line 2: "),
    ("0.15", "layers/config/metadata.toml", "a = 1\nb = = 2", "launcher", 1, "metadata.toml, line 2: "),
];

/// Of one that is run by `builder`, and then by the creator, which has an image already.
#[rustfmt::skip]
const RESULTS: &[Row] = &[
    ("0.15", "x.toml", "[types]\nlaunch = 3", "builder", 52, "a/x.toml, line 2: "),
    ("0.15", "x.toml", "# of old\nlaunch = true", "builder", 52, "a/x.toml, line 2: `build`, `launch` and `cache` belong under `[types]`"),
    ("0.15", "launch.toml", "[[processes]]\ntype = 3", "builder", 52, "a/launch.toml, line 2: "),
    ("0.15", "launch.toml", "[[slices]]\n\n[[processes]]\ntype = 'web'\ncommand = 'x'", "builder", 52, "a/launch.toml, line 3: `command` of process `web` must be a list"),
    ("0.15", "launch.toml", "[[bom]]\nname = 'x'\nversion = '1'", "builder", 52, "a/launch.toml, line 3: `version` belongs into the metadata"),
    ("0.15", "launch.toml", "[[processes]]\ntype = 'a/b'\ncommand = ['x']", "builder", 52, "a/launch.toml, line 1: `a/b` cannot be a process type"),
    ("0.15", "build.toml", "\n[[unmet]]\nname = 3", "builder", 52, "a/build.toml, line 3: "),
    ("0.15", "build.toml", "[[unmet]]\nname = 'none'", "builder", 52, "a/build.toml: `none` is unmet, but nobody asks for it"),
    ("0.15", "store.toml", "metadata = 3", "creator", 62, "a/store.toml, line 1: "),
];

/// A buildpack that leaves what lies in `left`, and an image and a cache made by it.
fn built(api: &'static str) -> World {
    let world = World {
        api,
        ..World::new()
    };
    let left = world.path("left").display().to_string();
    let plans = world.path("plans").display().to_string();
    for dir in ["left", "plans", "tmp"] {
        fs::create_dir(world.path(dir)).unwrap();
    }
    world.buildpack(
        "0.10",
        "a",
        "",
        &format!("cat {plans}/* > $2 2>/dev/null || true"),
        &format!("rm -rf $1/*; mkdir $1/x; echo x > $1/x/file; printf '[types]\\nlaunch = true\\ncache = true\\n' > $1/x.toml; cp -r {left}/. $1"),
    );
    world.extension("e", "", "");
    fs::remove_dir_all(world.path("extensions/e/1/bin")).unwrap();
    world.order("a");
    world.write("run.toml", "[[images]]\nimage = 'registry.example/run:1'\n");
    world.write(
        "stack.toml",
        "[run-image]\nimage = 'registry.example/run:1'\n",
    );
    world.all();
    world
}

/// With an extension that takes part.
fn extended(world: &World) {
    let text = order("a", "order") + &order("e", "order-extensions");
    world.write("order.toml", &text);
    world.write(
        "extensions/e/1/detect/plan.toml",
        "[[provides]]\nname='e'\n",
    );
    world.write("plans/plan.toml", "[[requires]]\nname='e'\n");
}

fn run(world: &World, phase: &str) -> crate::world::Ran {
    let tmp = world.path("tmp").display().to_string();
    let env = [("TMPDIR", tmp.as_str())];
    if phase == "creator" {
        return world.create(&[APP], &env);
    }
    let (cache, launcher) = (world.path("cache").display().to_string(), world.launcher());
    let args: &[&str] = match phase {
        "analyzer" => &[APP],
        "restorer" => &["-cache-dir", &cache],
        "exporter" => &["-cache-dir", &cache, "-launcher", &launcher, APP],
        _ => &[],
    };
    world.run_with(phase, args, &env)
}

fn inputs(_: &World) {
    let mut wrong = String::new();
    for row @ &(api, file, text, phase, code, _) in INPUTS {
        let world = built(api);
        if file.starts_with("extensions") {
            extended(&world);
        }
        world.write(file, text);
        // An extension is run when the group is known.
        let kept = &["cache", "oci", "tmp", "layers"];
        let kept = &kept[..if code == 92 { 3 } else { 4 }];
        wrong += &failed(&world, row, phase, kept);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn results(_: &World) {
    let mut wrong = String::new();
    for row @ &(api, file, text, phase, ..) in RESULTS {
        let world = built(api);
        world.write(&format!("left/{file}"), text);
        let phases: &[&str] = match phase {
            "builder" => &["builder", "creator"],
            phase => &[phase],
        };
        for phase in phases {
            // What the restorer has hashed stays known.
            wrong += &failed(&world, row, phase, &["cache/committed", "oci", "tmp"]);
            let scratch = world.names("layers");
            let scratch = scratch.iter().find(|name| name.starts_with('.'));
            wrong += &scratch.map_or(String::new(), |name| format!("{file}: {name} is left\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What is not as the row wants it.
fn failed(world: &World, row: &Row, phase: &str, kept: &[&str]) -> String {
    let (_, file, text, _, code, expected) = row;
    let before: Vec<_> = kept.iter().map(|dir| tree(&world.path(dir))).collect();
    let ran = run(world, phase);
    let name = format!("{phase} {file} {text:?}");
    let mut wrong = String::new();
    if ran.code != *code || !ran.text.contains(expected) {
        wrong += &format!("{name}: {} {}\n", ran.code, ran.text);
    }
    for (dir, before) in kept.iter().zip(before) {
        let after = tree(&world.path(dir));
        let changed = after
            .iter()
            .filter(|(path, content)| before.get(*path) != Some(content));
        let gone = before.iter().filter(|(path, _)| !after.contains_key(*path));
        let changed: Vec<&String> = changed.chain(gone).map(|(path, _)| path).collect();
        if !changed.is_empty() {
            wrong += &format!("{name}: {dir} is not as it was: {changed:?}\n");
        }
    }
    wrong
}

/// Every path with its content.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_dir = entry.file_type().unwrap().is_dir();
        if is_dir {
            found.extend(tree(&path));
        }
        let content = if is_dir {
            vec![]
        } else {
            fs::read(&path).unwrap_or_default()
        };
        found.insert(path.display().to_string(), content);
    }
    found
}

/// What earlier builds have left is lost, and said to be.
fn passed_over(_: &World) {
    let lost = built("0.15");
    let json = "cache/committed/io.buildpacks.lifecycle.cache.metadata";
    let tar = lost
        .names("cache/committed")
        .into_iter()
        .find(|name| name.ends_with(".tar"));
    let tar = format!("cache/committed/{}", tar.unwrap());
    for (file, text, expected) in [
        (json, "{\n\"buildpacks\": 3}", "The cache is not used: "),
        (json, "{\n\"buildpacks\": 3}", "cache.metadata, line 2: "),
        (json, "", "cache.metadata, line 1: "),
        (&tar, "not even a tar", "Layer a:x is not restored: "),
    ] {
        let saved = fs::read(lost.path(file)).unwrap();
        lost.write(file, text);
        lost.reset();
        for phase in ["analyzer", "detector"] {
            assert_eq!(run(&lost, phase).code, 0);
        }
        let image = tree(&lost.path("oci"));
        let ran = run(&lost, "restorer");
        assert!(
            ran.code == 0 && ran.text.contains(expected),
            "{file} {text}: {}",
            ran.text
        );
        assert!(!lost.path("layers/a/x").exists(), "{file} {text}");
        assert_eq!(lost.read(file), text);
        assert_eq!(tree(&lost.path("oci")), image);
        assert!(lost.names("tmp").is_empty());
        fs::write(lost.path(file), saved).unwrap();
    }
}

const LIFECYCLE: &str = "io.buildpacks.lifecycle.metadata";

/// The label of an image and of a cache; the images themselves stay as they are.
fn in_a_registry(_: &World) {
    let world = built("0.15");
    let remote = Remote::new(&world);
    let (run, app) = (remote.name("run:1"), remote.name("app:1"));
    world.run_image_with("registry.example/odd:1", "base", |config| {
        config["config"]["Labels"][LIFECYCLE] = "{\n\"app\": 3}".into();
        config["config"]["Labels"]["io.buildpacks.lifecycle.cache.metadata"] = "{\n{".into();
    });
    for name in ["app:1", "cache:1"] {
        remote.push("registry.example/odd:1", name);
    }
    let before: Vec<Value> = ["app:1", "cache:1"].map(|name| remote.config(name)).into();
    let args = ["-run-image", &run, &app];
    let ran = remote.run("rebaser", &args);
    let named = format!("label {LIFECYCLE} of {}@sha256:", remote.name("app"));
    ran.failed(72, &named);
    ran.failed(72, ", line 2: invalid type: integer `3`");
    let text = remote.ok("analyzer", &args);
    assert!(text.contains("Nothing is reused: label"), "{text}");
    let text = remote.ok("restorer", &["-cache-image", &remote.name("cache:1")]);
    assert!(
        text.contains("The cache is not used: label") && text.contains("line 2: "),
        "{text}"
    );
    let after: Vec<Value> = ["app:1", "cache:1"].map(|name| remote.config(name)).into();
    assert_eq!(before, after);
}
