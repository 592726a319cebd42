use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use builder::{
    Builder, Request,
    sources::{Asked, Set, SourceUri, Sources, Wanted},
};
use container::{
    ImageConfig,
    image::ImageLayer,
    layer::{Form, Owner},
    layout::Layout,
    registry::{Client, Reach},
    store::Tree,
};

use crate::world::{Shown, With, World};

pub(crate) const CASES: &[crate::Case] = &[
    (
        "classic_buildpacks_run_in_order",
        classic_buildpacks_run_in_order,
    ),
    ("a_classic_buildpack_says_no", a_classic_buildpack_says_no),
    (
        "a_buildpackage_is_a_folder_or_a_file",
        a_buildpackage_is_a_folder_or_a_file,
    ),
    ("a_push_heeds_project_toml", a_push_heeds_project_toml),
    ("what_is_no_buildpack_is_said", what_is_no_buildpack_is_said),
];

pub(crate) fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/usr/bin/env bash\nset -e\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn sources(world: &World) -> Sources {
    Sources {
        client: Client::for_others(Reach::default()),
        installed: world.builder.buildpacks.clone(),
    }
}

fn assemble(world: &World, paths: &[&Path]) -> Result<(World, Set), String> {
    let wanted = paths.iter();
    let wanted = wanted.map(|path| Wanted::Source(SourceUri::Path(path.to_path_buf())));
    let wanted: Vec<Wanted> = wanted.collect();
    let set = sources(world).gather(&world.builder, &Asked::These(wanted.into()));
    let set = set.map(Option::unwrap).map_err(|error| {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    })?;
    let world = World {
        dir: world.dir.clone(),
        cache: world.cache.clone(),
        builder: Builder {
            buildpacks: set.dir().to_owned(),
            ..world.builder.clone()
        },
    };
    Ok((world, set))
}

fn classic(dir: &Path, compile: &str, release: Option<&str>) {
    script(
        &dir.join("bin/detect"),
        "test -f \"$1/app.txt\" && echo Classic",
    );
    script(&dir.join("bin/compile"), compile);
    if let Some(release) = release {
        script(&dir.join("bin/release"), release);
    }
}

fn classic_buildpacks_run_in_order(world: &World) {
    let (one, two) = (world.dir.join("one"), world.dir.join("two"));
    classic(
        &one,
        r#"
        here=$(cd "$(dirname "$0")/.." && pwd)
        echo "export GREETING='hello \"you\"'" > "$here/export"
        mkdir -p "$1/.profile.d" "$1/.one"
        echo 'export FROM_PROFILE="$HOME/.one"' > "$1/.profile.d/one.sh"
        echo "config $(cat "$3/SETTING") in env: ${SETTING-none}"
        "#,
        Some("echo 'no: one'"),
    );
    classic(
        &two,
        r#"
        echo "greeting $GREETING on $STACK"
        count=$(cat "$2/count" 2>/dev/null || echo 0)
        echo $((count + 1)) > "$2/count"
        echo "compiled $((count + 1)) times"
        echo 'worker: echo "works in $PWD" "$SETTING"' > "$1/Procfile"
        "#,
        Some(
            "printf -- '---\\naddons: []\\ndefault_process_types:\\n  web: echo \"web from $FROM_PROFILE\"\\n  worker: \"not this\"\\n'",
        ),
    );
    let (classics, set) = assemble(world, &[&one, &two]).unwrap();
    let with = || With {
        env: BTreeMap::from([("SETTING".to_owned(), "5".to_owned())]),
        ..With::default()
    };
    let (built, text) = classics.built(with());
    for expected in [
        "config 5 in env: none",
        "greeting hello \"you\" on heroku-2",
        "compiled 1 times",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let ran = |kind: &str| {
        let argv = format!("/cnb/process/{kind}");
        classics.run(&built, &[&argv], &[("SETTING", "6")])
    };
    assert_eq!(ran("web"), (0, "web from /workspace/.one\n".to_owned()));
    assert_eq!(ran("worker"), (0, "works in /workspace 6\n".to_owned()));
    let (_, text) = classics.built(With {
        previous: Some(built.image),
        ..with()
    });
    assert!(text.contains("compiled 2 times"), "{text}");
    drop(set);
}

fn a_classic_buildpack_says_no(world: &World) {
    let no = world.dir.join("no");
    classic(&no, "", None);
    script(&no.join("bin/detect"), "exit 1");
    let (no, set) = assemble(world, &[&no]).unwrap();
    let (error, _) = no.failed(With::default());
    assert_eq!(error.to_string(), "no buildpack applies to this app");
    drop(set);
}

/// A layout of a composite buildpackage: `acme/all` stands for `acme/one`.
fn buildpackage(world: &World, into: &Path) {
    let store = world.store();
    let layer = |id: &str, more: &str| {
        let scratch = store.scratch().unwrap();
        let tree = scratch.path().join("tree");
        let dir = tree.join("1.0");
        script(&dir.join("bin/detect"), "exit 0");
        script(&dir.join("bin/build"), "echo built by a package");
        if !more.is_empty() {
            fs::remove_dir_all(dir.join("bin")).unwrap();
        }
        let toml = format!("api='0.10'\n[buildpack]\nid='{id}'\nversion='1.0'\n{more}");
        fs::write(dir.join("buildpack.toml"), toml).unwrap();
        let at = format!("/cnb/buildpacks/{}", id.replace('/', "_"));
        let owner = Owner { uid: 0, gid: 0 };
        let diff_id = store.commit_layer(Tree::Whole(&tree), &at, owner, Form::Dir);
        ImageLayer {
            diff_id: diff_id.unwrap(),
            created_by: id.to_owned(),
        }
    };
    let order = "[[order]]\n[[order.group]]\nid='acme/one'\nversion='1.0'\n";
    let config = ImageConfig {
        env: vec![],
        entrypoint: vec![],
        working_dir: String::new(),
        user: String::new(),
        labels: BTreeMap::from([(
            "io.buildpacks.buildpackage.metadata".to_owned(),
            r#"{"id":"acme/all","version":"1.0"}"#.to_owned(),
        )]),
        layers: vec![layer("acme/one", ""), layer("acme/all", order)],
        ..ImageConfig::default()
    };
    let image = store.put_image(&config).unwrap();
    Layout::create(into)
        .unwrap()
        .add(store, &image, "latest")
        .unwrap();
}

fn a_buildpackage_is_a_folder_or_a_file(world: &World) {
    let layout = world.dir.join("package");
    buildpackage(world, &layout);
    let file: PathBuf = world.dir.join("package.cnb");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(&layout)
        .arg("-cf")
        .arg(&file)
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
    for path in [&layout, &file] {
        let (packaged, set) = assemble(world, &[path]).unwrap();
        let (_, text) = packaged.built(With::default());
        assert!(text.contains("built by a package"), "{text}");
        assert!(text.contains("acme/one 1.0"), "{text}");
        drop(set);
    }
}

fn what_is_no_buildpack_is_said(world: &World) {
    let empty = world.dir.join("empty");
    fs::create_dir(&empty).unwrap();
    let text = world.dir.join("text.tgz");
    fs::write(&text, "no archive").unwrap();
    let evil = world.dir.join("evil.tar");
    let packed = Command::new("tar")
        .arg("-C")
        .arg(&world.dir)
        .arg("-Pcf")
        .arg(&evil)
        .args(["--transform=s,text,../../text,", "text.tgz"])
        .status();
    assert!(packed.unwrap().success());
    for (path, expected) in [
        (&empty, "neither a buildpack.toml nor bin/detect"),
        (&text, "its archive is no tar archive"),
        (&evil, "leads out of the archive"),
        (&world.dir.join("none"), "cannot open"),
    ] {
        let error = assemble(world, &[path]).err().unwrap();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
    let unknown = SourceUri::parse("acme/none", None).unwrap();
    assert!(sources(world).check(&world.builder, &unknown).is_err());
}

fn a_push_heeds_project_toml(world: &World) {
    let build_with = |project: &str, set: &[SourceUri]| {
        let source = world.store().scratch().unwrap().keep();
        fs::write(source.join("project.toml"), project).unwrap();
        fs::write(source.join("secret.md"), "").unwrap();
        classic(
            &source.join("own"),
            "ls; ls \"$3\"; cat \"$3/WHO\" \"$3/SET\"",
            None,
        );
        fs::write(source.join("app.txt"), "").unwrap();
        let mut shown = Shown::default();
        let request = Request {
            source: source.clone(),
            cache: &world.cache,
            previous: None,
            env: &BTreeMap::from([("SET".to_owned(), "by config\n".to_owned())]),
            source_version: None,
            clear_cache: false,
            keep_image: true,
            failed: None,
            cancel: Arc::default(),
        };
        let built = world
            .builder
            .build_described(request, &sources(world), set, &mut shown);
        assert!(!source.exists(), "the source is consumed");
        (built, shown.text)
    };
    let build = |project: &str| build_with(project, &[]);
    let (built, text) = build(
        "[io.buildpacks]\nexclude=['*.md','own']\n[[io.buildpacks.group]]\nuri='own'\n\
         [[io.buildpacks.build.env]]\nname='WHO'\nvalue='by project '\n\
         [[io.buildpacks.build.env]]\nname='SET'\nvalue='no'\n",
    );
    built.unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(
        text.contains("app.txt\nproject.toml\nSET\nWHO\nby project by config\n"),
        "{text}"
    );
    for (project, expected) in [
        (
            "[[io.buildpacks.group]]\nuri='/etc'\n".to_owned(),
            "not a folder or file of the app",
        ),
        (
            "[io.buildpacks]\nbuilder='A'\n".to_owned(),
            "project.toml: `A` is no image reference",
        ),
        (
            "[[io.buildpacks.group]]\nid='acme/none'\n".to_owned(),
            "there is no buildpack `acme/none`",
        ),
    ] {
        let (built, _) = build(&project);
        let reason = built.unwrap_err().reason();
        assert!(reason.contains(expected), "{reason}");
    }
    let other = world.dir.join("other");
    classic(&other, "echo the one that is set", None);
    let set = [SourceUri::Path(other)];
    let (built, text) = build_with("[[io.buildpacks.group]]\nuri='own'\n", &set);
    built.unwrap_or_else(|error| panic!("{error}\n{text}"));
    for expected in [
        "the one that is set",
        "- project.toml names others, which are not used",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}
