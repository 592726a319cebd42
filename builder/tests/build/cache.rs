//! What the next build gets back, and what a build leaves alone.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    Case,
    world::{With, World},
};

pub(crate) const CASES: &[Case] = &[
    ("an unchanged launch layer is not touched", unchanged),
    ("a changed launch layer is merged", changed),
    (
        "a restored layer can be removed, replaced and moved in",
        removed,
    ),
    (
        "the whole directory of a buildpack can be removed",
        all_removed,
    ),
    ("a cache layer comes back, changed or not", cache_only),
    ("a layer may become another type", retyped),
    ("a failed build leaves the cache as it was", failed),
    (
        "launch layers of a failed release come back from the cache",
        no_previous,
    ),
    ("a launch layer needs no directory to stay", metadata_only),
    ("a cleared cache restores nothing", cleared),
    ("a layer that is not declared again is dropped", dropped),
];

const TYPES: &str = "types() { local file=$1; shift; echo '[types]' > $file; for t in \"$@\"; do echo $t=true >> $file; done; }\n";

fn only(world: &World, script: &str) {
    world.only(&format!("{TYPES}cd $1\n{script}"));
}

/// Inode, size and time of every file. Not the change time: it moves when a hard link elsewhere is removed.
fn state(dir: &Path) -> BTreeSet<(PathBuf, u64, u64, i64, i64)> {
    let mut all = BTreeSet::new();
    let metadata = fs::symlink_metadata(dir).unwrap();
    all.insert((
        dir.to_owned(),
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    ));
    if metadata.is_dir() {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            all.extend(state(&entry.path()));
        }
    }
    all
}

fn unchanged(world: &World) {
    only(
        world,
        "if [ -d deps ]; then echo restored $(cat deps/a/file); else mkdir -p deps/a; echo one > deps/a/file; fi
types deps.toml launch cache build; [ -z \"$FAIL\" ]",
    );
    let (one, text) = world.built(With::default());
    assert!(!text.contains("restored"), "{text}");
    let layers = world.dir.parent().unwrap().join("store/layers");
    let before = state(&layers);
    let (two, text) = world.again(&one);
    assert!(
        text.contains("restored one") && text.contains("- 1 cached layer restored"),
        "{text}"
    );
    assert_eq!(one.image, two.image);
    assert_eq!(state(&layers), before, "nothing in the store was written");
    assert!(
        text.contains("# Image of 6 layers, 5 of them unchanged"),
        "{text}"
    );
}

fn changed(world: &World) {
    only(
        world,
        "mkdir -p deps/sub; n=$(ls deps/sub | wc -l); echo $n > deps/sub/f$n; [ $n = 0 ] || rm -f deps/sub/f0
types deps.toml launch cache; ls -R deps",
    );
    let (one, _) = world.built(With::default());
    let (two, _) = world.again(&one);
    let (three, text) = world.again(&two);
    assert_ne!(world.layer(&one, "'deps'"), world.layer(&two, "'deps'"));
    assert_eq!(
        world.read(&three, "/layers/acme_a/deps/sub/f1").as_deref(),
        Some("1\n"),
        "{text}"
    );
    assert_eq!(world.read(&three, "/layers/acme_a/deps/sub/f0"), None);
}

fn removed(world: &World) {
    let first = "mkdir -p deps/dir; echo old > deps/file; echo old > deps/dir/file; types deps.toml launch cache";
    only(world, first);
    let (one, _) = world.built(With::default());
    only(
        world,
        "rm -rf deps; mkdir deps; echo new > deps/other; types deps.toml launch cache",
    );
    let (two, _) = world.again(&one);
    assert_eq!(
        world.read(&two, "/layers/acme_a/deps/other").as_deref(),
        Some("new\n")
    );
    assert_eq!(world.read(&two, "/layers/acme_a/deps/file"), None);
    only(
        world,
        "mv deps/dir deps/moved; mv deps/file deps/dir; types deps.toml launch cache",
    );
    let (three, _) = world.again(&one);
    assert_eq!(
        world
            .read(&three, "/layers/acme_a/deps/moved/file")
            .as_deref(),
        Some("old\n")
    );
    assert_eq!(
        world.read(&three, "/layers/acme_a/deps/dir").as_deref(),
        Some("old\n")
    );
    only(
        world,
        "mv deps deps2; types deps2.toml launch; rm deps.toml",
    );
    let (four, _) = world.again(&one);
    assert_eq!(
        world.read(&four, "/layers/acme_a/deps2/file").as_deref(),
        Some("old\n")
    );
    assert_eq!(world.read(&four, "/layers/acme_a/deps/file"), None);
    only(world, "rm -rf deps; types deps.toml launch cache");
    let (error, _) = world.failed(With {
        previous: Some(one.image),
        ..With::default()
    });
    assert!(
        error.to_string().contains("neither a directory nor"),
        "{error}"
    );
}

fn all_removed(world: &World) {
    only(
        world,
        "mkdir a b; echo 1 > a/file; echo 1 > b/file; types a.toml launch cache; types b.toml launch cache",
    );
    let (one, _) = world.built(With::default());
    only(
        world,
        "rm -rf $1; mkdir $1; cd $1; mkdir a; types a.toml launch cache",
    );
    let (two, _) = world.again(&one);
    assert_eq!(world.read(&two, "/layers/acme_a/a/file"), None);
    assert_eq!(world.read(&two, "/layers/acme_a/b/file"), None);
}

fn cache_only(world: &World) {
    only(
        world,
        "echo content: $(cat store/* 2>/dev/null); cat store.toml deps.toml 2>/dev/null || true
mkdir -p deps; [ -n \"$SAME\" ] || echo $RANDOM$RANDOM > deps/$(ls deps | wc -l); ls deps | sed 's/^/has /'
types deps.toml cache; echo '[metadata]
a = 1' >> deps.toml",
    );
    let (one, text) = world.built(With::default());
    assert!(
        text.contains("has 0\n") && !text.contains("has 1\n"),
        "{text}"
    );
    assert!(
        world.read(&one, "/layers/acme_a/deps/0").is_none(),
        "it is not in the image"
    );
    let (_, text) = world.built(With::default());
    assert!(text.contains("[metadata]\na = 1\n"), "{text}");
    assert!(
        text.contains("has 0\nhas 1\n") && !text.contains("has 2\n"),
        "{text}"
    );
    let before = state(&world.cache.join("layers"));
    let env = [("SAME".to_owned(), "1".to_owned())].into();
    let (_, text) = world.built(With {
        env,
        ..With::default()
    });
    assert!(
        text.contains("has 1\n") && !text.contains("has 2\n"),
        "{text}"
    );
    assert_eq!(state(&world.cache.join("layers")), before);
}

fn retyped(world: &World) {
    let print = "[ -d x ] && echo restored $(cat x/file) || mkdir x; echo kept > x/file;";
    for types in ["cache", "launch cache", "cache build", "launch cache"] {
        only(world, &format!("{print} types x.toml {types}"));
        let (built, text) = world.built(With::default());
        let in_image = world.read(&built, "/layers/acme_a/x/file").is_some();
        assert_eq!(in_image, types.contains("launch"), "{types}");
        let is_first = !text.contains("- 1 cached layer restored");
        assert_eq!(text.contains("restored kept"), !is_first, "{text}");
    }
    // Untouched on the way from the cache into the image, and back.
    for types in ["cache", "launch cache", "cache"] {
        only(
            world,
            &format!("cat x/file | sed 's/^/still /'; types x.toml {types}"),
        );
        let (_, text) = world.built(With::default());
        assert!(text.contains("still kept"), "{types}: {text}");
    }
}

fn failed(world: &World) {
    let add = "mkdir -p deps l; touch deps/$(ls deps | wc -l) l/$(ls l | wc -l); echo has $(ls deps | wc -l) $(ls l | wc -l)
types deps.toml cache; types l.toml launch cache";
    only(world, add);
    let (one, _) = world.built(With::default());
    let (cache, store) = (
        state(&world.cache),
        state(&world.dir.parent().unwrap().join("store/layers")),
    );
    for end in [
        "exit 1",
        "rm -rf deps l; kill -KILL $$",
        "printf '=' > deps.toml",
        "rm -rf l",
    ] {
        only(world, &format!("{add}\n{end}"));
        let (_, text) = world.failed(With {
            previous: Some(one.image),
            ..With::default()
        });
        assert!(text.contains("has 2 2"), "{text}");
        assert_eq!(state(&world.cache), cache, "{end}");
        assert_eq!(
            state(&world.dir.parent().unwrap().join("store/layers")),
            store,
            "{end}"
        );
    }
}

fn no_previous(world: &World) {
    only(
        world,
        "[ -d deps ] && echo restored || mkdir deps; types deps.toml launch cache",
    );
    world.built(With::default());
    let (_, text) = world.built(With::default());
    assert!(text.contains("restored\n"), "{text}");
}

fn metadata_only(world: &World) {
    only(
        world,
        "if [ -f big.toml ]; then ls; else mkdir big; echo content > big/file; fi; types big.toml launch",
    );
    let (one, _) = world.built(With::default());
    let (two, text) = world.again(&one);
    assert!(
        text.contains("big.toml\n") && !text.contains("big\n"),
        "{text}"
    );
    assert_eq!(one.image, two.image);
    assert_eq!(
        world.read(&two, "/layers/acme_a/big/file").as_deref(),
        Some("content\n")
    );
}

fn cleared(world: &World) {
    only(
        world,
        "ls; mkdir -p a b; types a.toml cache; types b.toml launch cache",
    );
    let (one, _) = world.built(With::default());
    let (_, text) = world.built(With {
        previous: Some(one.image),
        clear_cache: true,
        ..With::default()
    });
    assert!(
        !text.contains("a.toml") && !text.contains("b.toml"),
        "{text}"
    );
}

fn dropped(world: &World) {
    only(
        world,
        "mkdir -p a b; types a.toml launch cache; types b.toml cache",
    );
    let (one, _) = world.built(With::default());
    // The types have to be written again.
    only(world, "ls");
    let (two, text) = world.again(&one);
    assert!(text.contains("a.toml") && text.contains("b.toml"), "{text}");
    assert_eq!(
        world.image(&two).config.layers.len() + 1,
        world.image(&one).config.layers.len()
    );
    let (_, text) = world.again(&two);
    assert!(
        !text.contains("a.toml") && !text.contains("b.toml"),
        "{text}"
    );
}
