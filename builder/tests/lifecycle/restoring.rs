//! What buildpacks get back.

use std::fs;

use crate::{
    Case,
    table::each_lifecycle,
    world::{APP, RUN, World},
};

pub(crate) const CASES: &[Case] = &[
    ("layers come back by their types", types),
    (
        "a cache that is damaged is a cache that is not there",
        damaged,
    ),
    ("a cache cannot write outside of its layer", hostile),
    ("a cache may be an image", image),
    ("nothing comes back when that is not wanted", skipped),
    ("only who takes part gets something back", members),
];

const BUILD: &str = "ls $1 > $1/../../seen-$(basename $1); for l in l lc c b lb; do
  mkdir -p $1/$l; echo $l > $1/$l/file
  printf \"[types]\\nlaunch = $(case $l in *l*) echo true;; *) echo false;; esac)\\ncache = $(case $l in *c*) echo true;; *) echo false;; esac)\\nbuild = $(case $l in *b*) echo true;; *) echo false;; esac)\\n[metadata]\\nname = '$l'\\n\" > $1/$l.toml
done
printf '[metadata]\\nkept = 1\\n' > $1/store.toml
echo '{}' > $1/lc.sbom.cdx.json; echo '{}' > $1/l.sbom.cdx.json";

fn prepare(world: &World) {
    world.buildpack(
        "0.10",
        "a",
        "sbom-formats=['application/vnd.cyclonedx+json']",
        "exit 0",
        BUILD,
    );
    world.order("a");
    world.all();
    world.reset();
}

/// What the buildpack finds, without its names' endings.
fn seen(world: &World) -> String {
    world
        .read("seen-a")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

fn types(world: &World) {
    prepare(world);
    assert_eq!(seen(world), "");
    world.all();
    assert_eq!(
        seen(world),
        "c c.toml l.sbom.cdx.json l.toml lc lc.sbom.cdx.json lc.toml store.toml"
    );
    assert!(!world.path("layers/sbom/cache/a/l").exists());
    // The image is gone, the cache is not.
    world.reset();
    fs::remove_dir_all(world.path("oci/registry.example/app")).unwrap();
    world.all();
    assert_eq!(seen(world), "c c.toml lc lc.sbom.cdx.json lc.toml");
    // The cache is gone, the image is not.
    world.reset();
    fs::remove_dir_all(world.path("cache")).unwrap();
    fs::create_dir(world.path("cache")).unwrap();
    world.all();
    assert_eq!(
        seen(world),
        "l.sbom.cdx.json l.toml lc.sbom.cdx.json store.toml"
    );
}

fn tars(world: &World) -> Vec<String> {
    let names = world.names("cache/committed");
    names
        .into_iter()
        .filter(|name| name.ends_with(".tar"))
        .collect()
}

fn damaged(world: &World) {
    prepare(world);
    for tar in tars(world) {
        let path = format!("cache/committed/{tar}");
        let mut bytes = fs::read(world.path(&path)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(world.path(&path), bytes).unwrap();
    }
    let text = world.all();
    assert!(text.contains("Layer a:c is not restored: "), "{text}");
    assert_eq!(
        seen(world),
        "l.sbom.cdx.json l.toml lc.sbom.cdx.json store.toml"
    );
    // And is whole again.
    world.reset();
    world.all();
    assert!(seen(world).starts_with("c c.toml"), "{}", seen(world));
    for text in ["{", "{\"buildpacks\": 3}", ""] {
        world.reset();
        world.write(
            "cache/committed/io.buildpacks.lifecycle.cache.metadata",
            text,
        );
        world.all();
        assert!(!seen(world).contains("c.toml lc"), "{}", seen(world));
    }
    let ran = world.run("restorer", &["-cache-dir", "/none"]);
    ran.failed(42, "/none");
}

fn hostile(world: &World) {
    prepare(world);
    let metadata = "cache/committed/io.buildpacks.lifecycle.cache.metadata";
    let evil = world.path("evil").display().to_string();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    header.as_mut_bytes()[..evil.len()].copy_from_slice(evil.as_bytes());
    header.set_cksum();
    tar.append(&header, &b"x"[..]).unwrap();
    let tar = tar.into_inner().unwrap();
    let sha = container::Digest::of(&tar);
    fs::write(world.path(&format!("cache/committed/{sha}.tar")), tar).unwrap();
    let json = |name: &str| {
        format!(
            "{{\"buildpacks\":[{{\"key\":\"a\",\"version\":\"1\",\"layers\":{{\"{name}\":{{\"sha\":\"{sha}\",\"data\":null,\"build\":true,\"launch\":false,\"cache\":true}}}}}}]}}"
        )
    };
    for name in ["c", "../../evil", "..", ""] {
        world.reset();
        world.write(metadata, &json(name));
        world.ok("analyzer", &["-run-image", RUN, APP]);
        world.ok("detector", &[]);
        world.ok(
            "restorer",
            &["-cache-dir", &world.path("cache").display().to_string()],
        );
        assert!(
            !world.path("evil").exists() && !world.path("layers/a/c").exists(),
            "{name}"
        );
        let hidden: Vec<String> = world
            .names("layers")
            .into_iter()
            .filter(|name| name.starts_with('.'))
            .collect();
        assert!(hidden.is_empty(), "{hidden:?}");
    }
}

fn image(world: &World) {
    world.buildpack("0.10", "a", "", "exit 0", "if [ -f $1/c/file ]; then echo restored; fi; mkdir -p $1/c; echo c > $1/c/file; printf '[types]\\ncache = true\\nbuild = true\\n' > $1/c.toml");
    world.order("a");
    let launcher = world.launcher();
    let build = || {
        world.ok(
            "creator",
            &[
                "-run-image",
                RUN,
                "-cache-image",
                "registry.example/cache:1",
                "-launcher",
                &launcher,
                APP,
            ],
        )
    };
    assert!(!build().contains("restored"));
    let cache = world.image("registry.example/cache:1");
    assert_eq!(cache.diff_ids().len(), 1);
    world.reset();
    let text = build();
    assert!(
        text.contains("Restoring data for \"a:c\" from cache") && text.contains("restored\n"),
        "{text}"
    );
    assert_eq!(
        world.image("registry.example/cache:1").diff_ids(),
        cache.diff_ids()
    );
    // An empty cache is one layer without anything.
    world.reset();
    world.buildpack("0.10", "a", "", "exit 0", "rm -rf $1/c $1/c.toml");
    build();
    let empty = container::Digest::of(&[0; 1024]).to_string();
    assert_eq!(world.image("registry.example/cache:1").diff_ids(), [empty]);
}

fn skipped(world: &World) {
    prepare(world);
    let cache = world.path("cache").display().to_string();
    world.ok("analyzer", &["-skip-layers", "-run-image", RUN, APP]);
    world.ok("detector", &[]);
    world.ok("restorer", &["-skip-layers", "-cache-dir", &cache]);
    world.ok("builder", &[]);
    assert_eq!(seen(world), "store.toml");
}

/// A buildpack that is not in the group this time, and one whose name is no file name.
fn members(_: &World) {
    each_lifecycle(|lifecycle| {
        let world = World {
            reference: lifecycle,
            ..World::new()
        };
        let build = "ls $1 > $1/../../seen-${1##*/}; mkdir -p $1/c; echo c > $1/c/file; printf '[types]\\ncache = true\\nbuild = true\\n' > $1/c.toml";
        for id in ["acme/one", "two"] {
            world.buildpack("0.10", id, "", "", build);
        }
        world.order("acme/one two");
        world.all();
        world.reset();
        world.order("acme/one");
        world.all();
        assert_eq!(world.read("seen-acme_one"), "c\nc.toml\n");
        assert!(!world.path("layers/two").exists());
        // Nor is it kept for it.
        world.reset();
        world.order("acme/one two");
        world.all();
        assert_eq!(world.read("seen-acme_one"), "c\nc.toml\n");
        assert_eq!(world.read("seen-two"), "");
    });
}
