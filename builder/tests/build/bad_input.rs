//! Input that is wrong in every place where others write some: the error names the file and the line, and the image, the
//! cache and the store are what they were.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use builder::{
    Request,
    sources::{SourceUri, Sources},
};
use container::registry::{Client, Reach};

use crate::world::{Shown, With, World};

pub(crate) const CASES: &[crate::Case] = &[("bad input is named and changes nothing", bad_input)];

const GOOD: &str = "api='0.10'\n[buildpack]\nid='own/x'\nversion='1'\n";

fn bad_input(world: &World) {
    world.only(
        "mkdir -p $1/x && echo kept > $1/x/file && printf '[types]\\nlaunch=true\\ncache=true\\n' > $1/x.toml",
    );
    let (built, _) = world.built(With::default());
    let before = state(world);
    let long = format!("{GOOD}\n[metadata]\nx='{}'\n", "x".repeat(2 << 20));
    let nested = format!(
        "{GOOD}[metadata]\nx={}1{}\n",
        "[".repeat(9000),
        "]".repeat(9000)
    );
    let itself = format!("{GOOD}[[order]]\n[[order.group]]\nid='own/x'\nversion='1'\n");
    let absent = format!("{GOOD}[[order]]\n[[order.group]]\nid='own/absent'\nversion='1'\n");
    for (project, descriptor, detect, expected) in [
        ("[io.buildpacks\n", GOOD, "", "project.toml, line 1: "),
        (
            "\n[[io.buildpacks.group]]\nuri=3\n",
            GOOD,
            "",
            "project.toml, line 3: invalid type",
        ),
        (
            "[[io.buildpacks.group]]\nuri='own/bin/detect'\n",
            GOOD,
            "",
            "buildpack `own/bin/detect`: its archive is no tar archive",
        ),
        ("\u{0}", GOOD, "", "project.toml, line 1: "),
        (
            OWN,
            "api='0.10'\n[buildpack]\nid=",
            "",
            "buildpack `own`: buildpack.toml, line 3: ",
        ),
        (
            OWN,
            "api='0.10'\n[buildpack]\nid='a b'\nversion='1'",
            "",
            "buildpack.toml, line 3: ",
        ),
        (
            OWN,
            "api='0.10'\n[buildpack]\nid='own/x'\nversion='..'",
            "",
            "buildpack.toml, line 4: ",
        ),
        (
            OWN,
            "api='9.9'\n[buildpack]\nid='own/x'\nversion='1'",
            "",
            "`9.9` of own/x is not supported",
        ),
        (OWN, &long, "", "buildpack.toml: is larger than"),
        (OWN, &nested, "", "buildpack.toml, line 6: "),
        (OWN, &itself, "", "does one contain itself"),
        (OWN, &absent, "", "own_absent/1/buildpack.toml: is missing"),
        (
            OWN,
            GOOD,
            "echo '[[provides]' > $2",
            "own/x (build plan of own/x, line 1: ",
        ),
        (
            OWN,
            GOOD,
            "printf '[[requires]]\\nname=\"y\"\\n' > $2",
            "no buildpack applies",
        ),
    ] {
        let said = attempt(world, &built.image, project, descriptor, detect);
        assert!(said.contains(expected), "{expected}: {said}");
        let ours = world.dir.parent().unwrap().display().to_string();
        assert!(!said.contains(&ours), "a folder of ours: {said}");
        world.assert_nothing_left();
        assert_eq!(state(world), before, "{expected}");
    }
    let (again, text) = world.again(&built);
    assert_eq!(again.image, built.image, "{text}");
}

const OWN: &str = "[[io.buildpacks.group]]\nuri='own'\n";

/// The words of a push that fails.
fn attempt(
    world: &World,
    previous: &container::Digest,
    project: &str,
    descriptor: &str,
    detect: &str,
) -> String {
    let source = world.store().scratch().unwrap().keep();
    fs::write(source.join("project.toml"), project).unwrap();
    let own = source.join("own");
    crate::sources::script(&own.join("bin/detect"), detect);
    crate::sources::script(&own.join("bin/build"), "exit 9");
    fs::write(own.join("buildpack.toml"), descriptor).unwrap();
    let sources = Sources {
        client: Client::for_others(Reach::default()),
        installed: world.builder.buildpacks.clone(),
    };
    let request = Request {
        source,
        cache: &world.cache,
        previous: Some(*previous),
        env: &BTreeMap::new(),
        source_version: None,
        clear_cache: false,
        keep_image: true,
        failed: None,
        cancel: Arc::default(),
    };
    let none: &[SourceUri] = &[];
    let mut shown = Shown::default();
    let failed = world
        .builder
        .build_described(request, &sources, none, &mut shown);
    failed.unwrap_err().reason() + &shown.text
}

/// Names and content of the store's layers and images, and of the cache.
fn state(world: &World) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let store = world.dir.parent().unwrap().join("store");
    for dir in [&store.join("images"), &world.cache] {
        read(dir, &mut all);
    }
    for layer in fs::read_dir(store.join("layers")).unwrap().flatten() {
        all.insert(layer.path().display().to_string(), vec![]);
    }
    all
}

fn read(dir: &Path, all: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            read(&entry.path(), all);
        } else {
            let content = fs::read(entry.path()).unwrap_or_default();
            all.insert(entry.path().display().to_string(), content);
        }
    }
}
