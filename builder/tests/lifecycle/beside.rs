//! The same builds by the reference lifecycle, in the same places: the group, the plan, the layers to the byte, the labels
//! and the configuration field by field, the exit statuses.

use std::{fs, path::PathBuf, sync::Once};

use serde_json::Value;

use crate::{
    Case,
    exporting::{GOLDEN, summary},
    registry::Remote,
    shapes::fixture,
    world::{APP, RUN, World, order},
};

pub(crate) const CASES: &[Case] = &[
    (
        "beside the reference: a build with everything, twice",
        everything,
    ),
    ("beside the reference: all platforms", platforms),
    (
        "beside the reference: another run image by an extension",
        extension,
    ),
    ("beside the reference: images in a registry", registry),
    ("beside the reference: exit statuses", statuses),
];

/// Where its programs are; `None`, said once, when it is not installed.
pub(crate) fn reference() -> Option<PathBuf> {
    static SAID: Once = Once::new();
    let dir = std::env::var_os("SLIPWAY_LIFECYCLE").map(PathBuf::from);
    if dir.is_none() {
        SAID.call_once(|| {
            println!(
                "SLIPWAY_LIFECYCLE is not set: nothing is compared to the reference lifecycle"
            );
        });
    }
    dir
}

/// What a build has left, without what the two rightly differ in.
struct Left {
    files: Vec<(String, String)>,
    config: Value,
    summary: Option<String>,
}

const FILES: &[&str] = &[
    "layers/group.toml",
    "layers/analyzed.toml",
    "layers/config/metadata.toml",
    "layers/acme_second/plan.txt",
    "layers/acme_second/env.txt",
    "layers/acme_app/env.txt",
    "layers/acme_old/env.txt",
    "cache/committed/io.buildpacks.lifecycle.cache.metadata",
];

fn build(world: &World) -> Left {
    let metadata = world.read("project-metadata.toml");
    world.write("layers/project-metadata.toml", &metadata);
    world.all();
    let mut files: Vec<(String, String)> = FILES
        .iter()
        .map(|name| {
            let text = world.read(name);
            let is_toml = (name.ends_with(".toml") && !name.contains("config/"))
                || name.ends_with("plan.txt");
            // Both are TOML; only one of them has to be written as the other does.
            let text = if is_toml {
                format!("{:#?}", sorted(&world.toml(name)))
            } else {
                text
            };
            ((*name).to_owned(), text)
        })
        .collect();
    files.push(("layers/plan.toml".to_owned(), plan(world)));
    files.push((
        "cache".to_owned(),
        world.names("cache/committed").join("\n"),
    ));
    files.push(("sboms".to_owned(), tree(world, "layers/sbom").join("\n")));
    let report = world.toml("layers/report.toml");
    let bom = report
        .get("build")
        .and_then(|build| build.get("bom"))
        .and_then(toml::Value::as_array);
    files.push((
        "the report's build.bom".to_owned(),
        format!("{:#?}", bom.filter(|bom| !bom.is_empty())),
    ));
    let mut image = world.image(APP).config;
    let labels = &mut image["config"]["Labels"];
    let mut build: Value =
        serde_json::from_str(labels["io.buildpacks.build.metadata"].as_str().unwrap()).unwrap();
    build["launcher"] = Value::Null;
    labels["io.buildpacks.build.metadata"] = build;
    // Compared as text, so that the order of the fields counts. The reference writes the run image's configuration anew
    // before it takes the digest, which then is not that of the image on disk.
    let label = labels["io.buildpacks.lifecycle.metadata"].as_str().unwrap();
    let at = label.find("/run/").unwrap() + "/run/1".len();
    let end = at + "@sha256:".len() + 64;
    labels["io.buildpacks.lifecycle.metadata"] =
        format!("{}{}", &label[..at], &label[end..]).into();
    Left {
        files,
        config: image,
        // Older platforms have less of it.
        summary: (world.api == "0.15").then(|| summary(world)),
    }
}

fn sorted(table: &toml::Table) -> Value {
    let mut value = serde_json::to_value(table).unwrap();
    // Absent and empty are the same to whoever reads these.
    fn tidy(value: &mut Value) {
        if let Value::Object(object) = value {
            object.retain(|_, value| !matches!(value, Value::Array(list) if list.is_empty()));
            object.retain(|_, value| !matches!(value, Value::Object(map) if map.is_empty()));
            object.values_mut().for_each(tidy);
        }
        if let Value::Array(list) = value {
            list.iter_mut().for_each(tidy);
        }
        // Its JSON knows no integers; a buildpack that wrote 1 gets 1.0 back. Not from us.
        if let Some(number) = value.as_f64() {
            *value = number.into();
        }
    }
    tidy(&mut value);
    // The digest of our own image differs, because it is packed by another compressor.
    for name in [
        "/image/reference",
        "/run-image/reference",
        "/metadata/run-image/reference",
    ] {
        if let Some(Value::String(reference)) = value.pointer_mut(name) {
            reference.truncate(reference.find('@').unwrap_or(reference.len()));
        }
    }
    value
}

/// In no order: the reference's differs from run to run.
fn plan(world: &World) -> String {
    let plan = sorted(&world.toml("layers/plan.toml"));
    let entries = plan["entries"].as_array().cloned().unwrap_or_default();
    let mut entries: Vec<String> = entries.iter().map(Value::to_string).collect();
    entries.sort();
    entries.join("\n")
}

fn tree(world: &World, dir: &str) -> Vec<String> {
    let mut found = Vec::new();
    for name in world.names(dir) {
        let path = format!("{dir}/{name}");
        match world.path(&path).is_dir() {
            true => found.extend(tree(world, &path)),
            false => found.push(format!("{path}: {}", world.read(&path))),
        }
    }
    found
}

fn compare(ours: &Left, theirs: &Left, what: &str) {
    for ((name, ours), (_, theirs)) in ours.files.iter().zip(&theirs.files) {
        assert!(
            ours == theirs,
            "{what}: {name}\nours:\n{ours}\ntheirs:\n{theirs}"
        );
    }
    let (Value::Object(ours), Value::Object(theirs)) = (&ours.config, &theirs.config) else {
        panic!("{what}: no configuration");
    };
    for name in ours.keys().chain(theirs.keys()) {
        let (ours, theirs) = (ours.get(name), theirs.get(name));
        assert!(
            ours == theirs,
            "{what}: {name}\nours:\n{ours:#?}\ntheirs:\n{theirs:#?}"
        );
    }
}

/// One world for both, because the layers hold the paths.
fn both(
    world: &mut World,
    reference: PathBuf,
    times: usize,
    prepare: fn(&World),
) -> [Vec<Left>; 2] {
    let builds = [None, Some(reference)].map(|lifecycle| {
        world.reference = lifecycle;
        let app = world.path("oci/registry.example/app");
        _ = fs::remove_dir_all(app);
        _ = fs::remove_dir_all(world.path("cache"));
        fs::create_dir_all(world.path("cache")).unwrap();
        let build = |_| {
            world.reset();
            prepare(world);
            build(world)
        };
        (0..times).map(build).collect::<Vec<Left>>()
    });
    for (number, (ours, theirs)) in builds[0].iter().zip(&builds[1]).enumerate() {
        compare(
            ours,
            theirs,
            &format!("Platform API {}, build {}", world.api, number + 1),
        );
    }
    builds
}

fn everything(_: &World) {
    let Some(reference) = reference() else { return };
    for left in both(&mut World::new(), reference, 2, fixture)
        .iter()
        .flatten()
    {
        assert_eq!(left.summary.as_deref(), Some(GOLDEN));
    }
}

/// An extension has the last word on the run image, and is in the labels.
fn extension(_: &World) {
    let Some(reference) = reference() else { return };
    for api in ["0.10", "0.12", "0.15"] {
        let mut world = World::new();
        world.api = api;
        world.run_image("registry.example/run:2", "12", "second");
        both(&mut world, reference.clone(), 1, |world| {
            fixture(world);
            world.extension(
                "chooser",
                "echo '[[provides]]\nname = \"tool\"' > $2",
                CHOOSE,
            );
            let order = world.read("order.toml") + &order("chooser", "order-extensions");
            world.write("order.toml", &order);
        });
    }
}

const CHOOSE: &str = "echo 'FROM registry.example/run:2' > $1/run.Dockerfile";

fn platforms(_: &World) {
    let Some(reference) = reference() else { return };
    for api in ["0.7", "0.8", "0.9", "0.11", "0.12", "0.13", "0.14"] {
        let mut world = World::new();
        world.api = api;
        both(&mut world, reference.clone(), 1, fixture);
    }
}

/// Builds twice, then another run image below, with a fresh registry for each lifecycle.
fn registry(_: &World) {
    let Some(reference) = reference() else { return };
    for api in ["0.7", "0.12", "0.15"] {
        let mut world = World::new();
        world.api = api;
        let [ours, theirs] = [None, Some(reference.clone())].map(|lifecycle| {
            world.reference = lifecycle;
            in_registry(&world)
        });
        for ((what, ours), (_, theirs)) in ours.iter().zip(&theirs) {
            assert!(
                ours == theirs,
                "Platform API {api}, {what}\nours:\n{ours:#}\ntheirs:\n{theirs:#}"
            );
        }
    }
}

fn in_registry(world: &World) -> Vec<(&'static str, Value)> {
    world.run_image(RUN, "12", "base");
    let remote = Remote::new(world);
    let mut found = Vec::new();
    for what in ["the first build", "the second build"] {
        world.reset();
        fixture(world);
        let names = format!(
            "image='{}'\nmirrors=['{}']\n",
            remote.name("run:1"),
            remote.name("mirror:1")
        );
        world.write("run.toml", &format!("[[images]]\n{names}"));
        world.write("stack.toml", &format!("[run-image]\n{names}"));
        remote.all();
        found.extend(["app:1", "app:2"].map(|name| (what, remote.plain_config(name))));
        // No more of it is read than these.
        let cache = remote.config("cache:1");
        let label = &cache["config"]["Labels"]["io.buildpacks.lifecycle.cache.metadata"];
        found.push((what, label.clone()));
        // The reference adds a layer that it keeps a second time.
        let mut diff_ids = cache["rootfs"]["diff_ids"].as_array().unwrap().clone();
        diff_ids.dedup();
        found.push((what, diff_ids.into()));
        let analyzed = world.read("layers/analyzed.toml");
        assert!(analyzed.contains("/run@sha256:"), "{analyzed}");
        let report = world.toml("layers/report.toml");
        assert_eq!(
            report["image"]["digest"].as_str(),
            Some(remote.digest("app:1").as_str())
        );
        found.push((what, remote.plain(&report["image"]["tags"].to_string())));
    }
    world.run_image(RUN, "12", "newer");
    remote.run_image();
    remote.ok("rebaser", &[&remote.name("app:1"), &remote.name("app:3")]);
    found.extend(["app:1", "app:2", "app:3"].map(|name| {
        let mut config = remote.plain_config(name);
        // The reference loses it.
        config["history"] = Value::Null;
        ("rebased", config)
    }));
    found
}

impl Remote<'_> {
    /// With the labels as JSON, and without the registry's port.
    fn plain_config(&self, name: &str) -> Value {
        let mut config = self.config(name);
        let labels = &mut config["config"]["Labels"];
        if let Some(build) = labels["io.buildpacks.build.metadata"].as_str() {
            let mut build: Value = serde_json::from_str(build).unwrap();
            build["launcher"] = Value::Null;
            labels["io.buildpacks.build.metadata"] = build;
        }
        self.plain(&config.to_string())
    }

    fn plain(&self, text: &str) -> Value {
        let text = text.replace(&format!("127.0.0.1:{}", self.port), "registry");
        serde_json::from_str(&text).unwrap()
    }
}

/// What it is, how to bring it about, and the phase that fails.
type Failing<'a> = (&'a str, &'a dyn Fn(&World), &'a str);

fn statuses(_: &World) {
    let Some(reference) = reference() else { return };
    let mut world = World::new();
    let cases: &[Failing<'_>] = &[
        (
            "nothing applies",
            &|world| world.order("acme/absent"),
            "detector",
        ),
        (
            "a buildpack cannot tell",
            &|world| world.order("acme/absent\nacme/fails"),
            "detector",
        ),
        (
            "made for another target",
            &|world| world.order("acme/windows"),
            "detector",
        ),
        (
            "a plan that is no TOML",
            &|world| {
                world.buildpack("0.10", "acme/x", "", "echo = > $2", "");
                world.order("acme/x");
            },
            "detector",
        ),
        (
            "a version outside the metadata",
            &|world| {
                world.buildpack(
                    "0.10",
                    "acme/x",
                    "",
                    "printf '[[requires]]\\nname=\"a\"\\nversion=\"1\"' > $2",
                    "",
                );
                world.order("acme/x");
            },
            "detector",
        ),
        (
            "an order that is no TOML",
            &|world| world.write("order.toml", "[[order"),
            "detector",
        ),
        (
            "a buildpack that is not there",
            &|world| world.order("acme/none"),
            "detector",
        ),
        (
            "a Buildpack API of the future",
            &|world| {
                world.buildpack("0.99", "acme/x", "", "", "");
                world.order("acme/x");
            },
            "detector",
        ),
        (
            "a build that fails",
            &|world| {
                world.buildpack("0.10", "acme/x", "", "", "exit 7");
                world.order("acme/x");
            },
            "builder",
        ),
        (
            "a layer that is no TOML",
            &|world| {
                world.buildpack("0.10", "acme/x", "", "", "echo = > $1/x.toml");
                world.order("acme/x");
            },
            "builder",
        ),
        (
            "types where they were once",
            &|world| {
                world.buildpack("0.10", "acme/x", "", "", "echo 'launch = true' > $1/x.toml");
                world.order("acme/x");
            },
            "builder",
        ),
        (
            "two defaults",
            &|world| {
                let two = "for t in a b; do printf \"[[processes]]\\ntype='$t'\\ncommand=['x']\\ndefault=true\\n\"; done > $1/launch.toml";
                world.buildpack("0.10", "acme/x", "", "", two);
                world.order("acme/x");
            },
            "builder",
        ),
        (
            "an undeclared bill of materials",
            &|world| {
                world.buildpack(
                    "0.10",
                    "acme/x",
                    "",
                    "",
                    "echo {} > $1/launch.sbom.cdx.json",
                );
                world.order("acme/x");
            },
            "builder",
        ),
        (
            "a layer without a directory",
            &|world| {
                world.buildpack(
                    "0.10",
                    "acme/x",
                    "",
                    "",
                    "printf '[types]\\nlaunch = true' > $1/x.toml",
                );
                world.order("acme/x");
            },
            "exporter",
        ),
    ];
    for (what, prepare, last) in cases {
        let codes: Vec<Vec<i32>> = [None, Some(reference.clone())]
            .into_iter()
            .map(|lifecycle| {
                world.reference = lifecycle;
                world.reset();
                fixture(&world);
                prepare(&world);
                let launcher = world.launcher();
                let phases: [(&str, Vec<&str>); 5] = [
                    ("analyzer", vec!["-run-image", RUN, APP]),
                    ("detector", vec![]),
                    ("restorer", vec![]),
                    ("builder", vec![]),
                    ("exporter", vec!["-launcher", &launcher, APP]),
                ];
                let upto = phases.iter().position(|(name, _)| name == last).unwrap();
                phases[..=upto]
                    .iter()
                    .map(|(name, args)| world.run(name, args).code)
                    .collect()
            })
            .collect();
        assert_eq!(codes[0], codes[1], "{what}");
        assert_ne!(codes[0].last(), Some(&0), "{what}");
    }
}
