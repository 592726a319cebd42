//! The content store with real trees: layer bytes against another reader, merging against a real overlay, and the
//! exported layout against the tools that others use.

#![expect(
    clippy::unwrap_used,
    reason = "clippy sees only the test functions as tests, not what they share"
)]

use std::{
    fs,
    io::Read as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use container::{
    Digest, ImageConfig, Store,
    archive::{ArchiveReader, ArchiveWriter},
    image::ImageLayer,
    layer::{self, Form, LayerSource, Owner},
    layout,
    store::{Collected, Roots, StoreError, Tree, original_owner},
};

const OWNER: Owner = Owner {
    uid: 1000,
    gid: 1000,
};

/// Modes are set, not left to the umask: they are part of the bytes.
fn with_fixed_modes(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            with_fixed_modes(&entry.path());
        } else if kind.is_file() {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}

/// What is awkward in a tar: long and non-ASCII names, links, special bits, sizes around a block.
fn awkward_tree(root: &Path) {
    fs::create_dir_all(root.join("empty")).unwrap();
    for length in [99, 100, 101, 155, 200] {
        fs::write(root.join("n".repeat(length)), "x").unwrap();
    }
    let deep = root
        .join("d".repeat(90))
        .join("e".repeat(90))
        .join("f".repeat(90));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("leaf"), "deep").unwrap();
    fs::write(root.join("grüße"), "ü").unwrap();
    for size in [0, 511, 512, 513, 3_000_000] {
        fs::write(root.join(format!("size-{size}")), vec![7; size]).unwrap();
    }
    symlink("../elsewhere", root.join("link")).unwrap();
    symlink("l".repeat(150), root.join("long-link")).unwrap();
    fs::write(root.join("tool"), "#!/bin/sh\n").unwrap();
    with_fixed_modes(root);
    fs::set_permissions(root.join("tool"), fs::Permissions::from_mode(0o4755)).unwrap();
}

fn awkward_source(dir: &Path) -> LayerSource<'_> {
    LayerSource {
        dir,
        at: "/layers/bp/name",
        owner: OWNER,
        form: Form::Dir,
    }
}

#[test]
fn another_reader_finds_every_entry_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    awkward_tree(dir.path());
    let mut bytes = Vec::new();
    let digest = layer::write_tar(&awkward_source(dir.path()), &mut bytes).unwrap();
    assert_eq!(digest, Digest::of(&bytes));
    assert_eq!(bytes.len() % 512, 0);
    let mut seen = 0;
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().into_owned();
        let header = entry.header();
        assert_eq!(
            (header.mtime().unwrap(), header.uid().unwrap()),
            (layer::MTIME, 1000)
        );
        let Ok(below) = name.strip_prefix("/layers/bp/name") else {
            continue;
        };
        let file = dir.path().join(below);
        let metadata = fs::symlink_metadata(&file).unwrap();
        assert_eq!(
            header.mode().unwrap(),
            metadata.permissions().mode() & 0o7777,
            "{name:?}"
        );
        if metadata.is_symlink() {
            assert_eq!(
                entry.link_name().unwrap().unwrap(),
                fs::read_link(&file).unwrap()
            );
        } else if metadata.is_file() {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            assert_eq!(content, fs::read(&file).unwrap(), "{name:?}");
        }
        seen += 1;
    }
    assert_eq!(seen, 20);
}

#[test]
fn the_same_tree_has_the_same_digest_wherever_and_whenever_it_was_made() {
    let digest = || {
        let dir = tempfile::tempdir().unwrap();
        awkward_tree(dir.path());
        layer::diff_id(&awkward_source(dir.path())).unwrap()
    };
    assert_eq!(digest(), digest());
    // Made with Go 1.26's archive/tar from the same tree and the calls of the reference lifecycle.
    assert_eq!(digest().to_string(), GO_DIFF_ID);
}

const GO_DIFF_ID: &str = "sha256:dbd61d4b8c008fdeab3738de7a6736ee0979a20b7e9654709328e088e1fcb61c";

#[test]
fn a_committed_layer_stands_at_its_place_and_a_second_time_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let commit = || {
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("file"), "content").unwrap();
        store
            .commit_layer(Tree::Whole(&tree), "/layers/bp/one", OWNER, Form::Dir)
            .unwrap()
    };
    let first = commit();
    assert_eq!(commit(), first);
    let file = store.layer(&first).unwrap().join("layers/bp/one/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
    let mtime = fs::metadata(&file).unwrap().modified().unwrap();
    assert_eq!(
        mtime
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs(),
        layer::MTIME
    );
}

#[test]
fn an_empty_upper_is_the_lower_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "content").unwrap();
    let lower = store
        .commit_layer(Tree::Whole(&tree), "/layers/bp/one", OWNER, Form::Dir)
        .unwrap();
    let upper = dir.path().join("upper");
    fs::create_dir(&upper).unwrap();
    let again = store.commit_layer(
        Tree::Changed {
            lower,
            upper: &upper,
        },
        "/layers/bp/one",
        OWNER,
        Form::Dir,
    );
    assert_eq!(again.unwrap(), lower);
}

#[test]
fn a_merge_is_what_the_overlay_showed() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting an overlay needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let script = "set -e; mkdir -p lower/keep lower/gone lower/again/old lower/into upper work merged \
        && echo 1 > lower/keep/a && echo 2 > lower/keep/b && echo 3 > lower/gone/c && echo 4 > lower/again/old/d \
        && echo 5 > lower/file && ln -s keep lower/link && echo 6 > lower/into/e \
        && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged && cd merged \
        && echo changed > keep/a && rm keep/b && rm -r gone && rm -r again && mkdir again && echo new > again/n \
        && mkdir -p fresh/sub && rm -r into && mkdir into && mkdir into/deeper && echo x > into/deeper/x \
        && rm file && mkdir file && echo f > file/f && rm link && ln -s again link && chmod 700 into \
        && cd .. && cp -a merged seen && umount merged";
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .current_dir(dir.path())
        .status()
        .unwrap();
    assert!(status.success());
    let store = Store::open(&dir.path().join("store")).unwrap();
    store
        .merge(
            &dir.path().join("lower"),
            &dir.path().join("upper"),
            &dir.path().join("merged-by-us"),
        )
        .unwrap();
    let differ = Command::new("diff")
        .args(["-r", "--no-dereference", "seen", "merged-by-us"])
        .current_dir(dir.path())
        .status()
        .unwrap();
    assert!(differ.success());
    let mode = fs::metadata(dir.path().join("merged-by-us/into"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    assert_eq!(
        fs::read_to_string(dir.path().join("lower/keep/a")).unwrap(),
        "1\n",
        "the lower is untouched"
    );
}

#[test]
fn read_only_directories_are_merged_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let (lower, upper) = (dir.path().join("lower"), dir.path().join("upper"));
    for place in [lower.join("closed"), upper.clone()] {
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("file"), "content").unwrap();
    }
    fs::set_permissions(lower.join("closed"), fs::Permissions::from_mode(0o555)).unwrap();
    let into = dir.path().join("into");
    store.merge(&lower, &upper, &into).unwrap();
    assert_eq!(
        fs::read_to_string(into.join("closed/file")).unwrap(),
        "content"
    );
    assert_eq!(
        fs::metadata(into.join("closed"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o555
    );
}

#[test]
fn a_place_outside_of_the_image_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    for at in ["/layers/../../etc", "layers/bp", ""] {
        let tree = dir.path().join("tree");
        fs::create_dir_all(&tree).unwrap();
        let refused = store.commit_layer(Tree::Whole(&tree), at, OWNER, Form::Dir);
        assert!(refused.is_err(), "{at}");
    }
}

#[test]
fn opening_twice_in_a_row_leaves_what_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (id, config) = image(&store, dir.path());
    let scratch = store.scratch().unwrap().keep();
    fs::write(scratch.join("half"), "done").unwrap();
    for _ in 0..3 {
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.image(&id).unwrap().config, config);
        assert!(!scratch.exists());
    }
}

#[test]
fn an_image_is_read_back_and_damage_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (id, config) = image(&store, dir.path());
    assert_eq!(store.put_image(&config).unwrap(), id);
    assert_eq!(store.image(&id).unwrap().config, config);
    let file = dir.path().join("images").join(format!("{}.json", id.hex()));
    fs::write(
        &file,
        fs::read_to_string(&file).unwrap().replace("web", "wub"),
    )
    .unwrap();
    assert!(
        store
            .image(&id)
            .unwrap_err()
            .to_string()
            .contains("damaged")
    );
}

fn image(store: &Store, dir: &Path) -> (Digest, ImageConfig) {
    let layers = [
        ("/", Form::Dir),
        ("/layers/bp/one", Form::Dir),
        ("/workspace", Form::App),
    ]
    .map(|(at, form)| {
        let tree = dir.join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("file"), vec![at.len() as u8; 2_500_000]).unwrap();
        fs::create_dir(tree.join("a")).unwrap();
        fs::write(tree.join("a/f"), "f").unwrap();
        fs::write(tree.join("a-b"), "b").unwrap();
        let diff_id = store
            .commit_layer(Tree::Whole(&tree), at, OWNER, form)
            .unwrap();
        ImageLayer {
            diff_id,
            created_by: format!("made at {at}"),
        }
    });
    let config = ImageConfig {
        env: vec!["PATH=/usr/bin".into()],
        entrypoint: vec!["/cnb/process/web".into()],
        working_dir: "/workspace".into(),
        user: "1000:1000".into(),
        labels: [("a".to_owned(), "<b>".to_owned())].into(),
        layers: layers.to_vec(),
        ..ImageConfig::default()
    };
    (store.put_image(&config).unwrap(), config)
}

/// How a layer was made is noted, but whoever moves a store may lose that.
#[test]
fn a_layer_without_a_note_or_with_a_wrong_one_is_the_same_blob() {
    const NOTE: &str = "user.slipway.source";
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let (id, config) = image(&store, dir.path());
    let digest = layout::export(&store, &id, &dir.path().join("noted"), "v1").unwrap();
    let other = br#"{"at":"/elsewhere","uid":7,"gid":7,"is_app":true}"#;
    let outside = br#"{"at":"/../../..","uid":0,"gid":0,"is_app":false}"#;
    for (number, note) in [None, Some(&other[..]), Some(outside), Some(b"{")]
        .into_iter()
        .enumerate()
    {
        for layer in &config.layers {
            let tree = store.layer(&layer.diff_id).unwrap();
            match note {
                None => _ = rustix::fs::lremovexattr(tree, NOTE),
                Some(note) => {
                    let flags = rustix::fs::XattrFlags::empty();
                    rustix::fs::lsetxattr(tree, NOTE, note, flags).unwrap();
                }
            }
        }
        let out = dir.path().join(number.to_string());
        let found = layout::export(&store, &id, &out, "v1").unwrap();
        assert_eq!(found, digest, "{note:?}");
    }
}

#[test]
fn skopeo_and_umoci_accept_the_exported_layout() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let (id, config) = image(&store, dir.path());
    let out = dir.path().join("out");
    let digest = layout::export(&store, &id, &out, "v1").unwrap();
    assert_eq!(
        layout::export(&store, &id, &out, "v1").unwrap(),
        digest,
        "the same image, the same bytes"
    );
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program)
            .args(args)
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{program} {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = run("skopeo", &["inspect", "oci:out:v1"]);
    assert!(shown.contains(&digest.to_string()), "{shown}");
    run("skopeo", &["copy", "oci:out:v1", "dir:copied"]);
    run(
        "umoci",
        &["unpack", "--rootless", "--image", "out:v1", "bundle"],
    );
    for layer in &config.layers {
        let place = layer.created_by.trim_start_matches("made at /");
        assert_eq!(
            fs::read_to_string(dir.path().join("bundle/rootfs").join(place).join("a/f")).unwrap(),
            "f"
        );
    }
}

#[test]
fn a_directory_that_is_no_layout_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store")).unwrap();
    let (id, _) = image(&store, dir.path());
    let mine = dir.path().join("mine");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("letter"), "dear").unwrap();
    let error = layout::export(&store, &id, &mine, "v1")
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("is neither empty nor an OCI layout"),
        "{error}"
    );
    assert_eq!(fs::read_dir(&mine).unwrap().count(), 1);
}

/// An image of one layer with this text in it.
fn image_of(store: &Store, text: &str) -> (Digest, Digest) {
    let scratch = store.scratch().unwrap();
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), text).unwrap();
    let layer = store
        .commit_layer(Tree::Whole(&tree), "/app", OWNER, Form::Dir)
        .unwrap();
    let config = ImageConfig {
        layers: vec![ImageLayer {
            diff_id: layer,
            created_by: "test".to_owned(),
        }],
        ..ImageConfig::default()
    };
    (store.put_image(&config).unwrap(), layer)
}

fn collect(store: &Store, images: &[Digest]) -> Collected {
    let roots = || {
        Ok::<_, StoreError>(Roots {
            images: images.to_vec(),
            layers: vec![],
        })
    };
    store.collect_garbage(roots).unwrap()
}

#[test]
fn garbage_is_what_neither_a_root_nor_a_hold_needs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (kept, kept_layer) = image_of(&store, "kept");
    let (gone, gone_layer) = image_of(&store, "gone");
    let collected = collect(&store, &[kept]);
    assert_eq!((collected.images, collected.layers), (1, 1));
    assert!(collected.bytes > 0);
    assert!(store.image(&kept).is_ok() && store.layer(&kept_layer).is_some());
    assert!(!store.has_image(&gone) && store.layer(&gone_layer).is_none());

    // Made under a hold, or made long ago and only looked up: both stay until the last hold ends.
    let (_, old_layer) = image_of(&store, "old");
    let hold = store.clone().hold();
    let (held, held_layer) = image_of(&store, "held");
    assert!(store.layer(&old_layer).is_some());
    let second = store.hold();
    drop(hold);
    let collected = collect(&store, &[kept]);
    assert_eq!((collected.images, collected.layers), (1, 0), "old's image");
    assert!(store.has_image(&held) && store.layer(&held_layer).is_some());
    drop(second);
    let collected = collect(&store, &[kept]);
    assert_eq!((collected.images, collected.layers), (1, 2));
    assert_eq!(collect(&store, &[kept]), Collected::default());
}

#[test]
fn nothing_is_removed_while_a_root_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (damaged, _) = image_of(&store, "damaged");
    let (other, layer) = image_of(&store, "other");
    let file = dir.path().join(format!("images/{}.json", damaged.hex()));
    fs::write(file, "{}").unwrap();
    let roots = || {
        Ok::<_, StoreError>(Roots {
            images: vec![damaged],
            layers: vec![],
        })
    };
    assert!(matches!(
        store.collect_garbage(roots),
        Err(StoreError::Damaged(_))
    ));
    assert!(store.has_image(&other) && store.layer(&layer).is_some());
}

#[test]
fn builds_go_on_while_garbage_is_collected() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        let builds: Vec<_> = (0..4)
            .map(|thread| {
                let store = store.clone();
                scope.spawn(move || {
                    for round in 0..50 {
                        let hold = store.hold();
                        // Every thread makes the same ones over and over: some find them there, some not.
                        let (image, layer) = image_of(&store, &format!("{}", round % 3));
                        assert!(store.layer(&layer).is_some(), "{thread} {round}");
                        assert!(store.image(&image).is_ok(), "{thread} {round}");
                        drop(hold);
                    }
                })
            })
            .collect();
        while builds.iter().any(|build| !build.is_finished()) {
            collect(&store, &[]);
        }
    });
    collect(&store, &[]);
    assert_eq!(fs::read_dir(dir.path().join("layers")).unwrap().count(), 0);
}

#[test]
fn a_copy_has_the_same_layers_and_nothing_goes_while_it_is_made() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(from.path()).unwrap();
    let scratch = store.scratch().unwrap();
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree).unwrap();
    awkward_tree(&tree);
    fs::create_dir(tree.join("closed")).unwrap();
    fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o555)).unwrap();
    let layer = store
        .commit_layer(Tree::Whole(&tree), "/layers/bp/x", OWNER, Form::Dir)
        .unwrap();
    let config = ImageConfig {
        layers: vec![ImageLayer {
            diff_id: layer,
            created_by: "test".to_owned(),
        }],
        ..ImageConfig::default()
    };
    let image = store.put_image(&config).unwrap();

    let kept = Store::reader(from.path()).keep().unwrap();
    let refused = store.collect_garbage(|| Ok::<_, StoreError>(Roots::default()));
    assert!(matches!(refused, Err(StoreError::Kept)), "{refused:?}");
    let mut writer = ArchiveWriter::new(Vec::new(), "about", b"a copy").unwrap();
    for layer in store.layers_present(&image).unwrap() {
        let plan = store.plan_layer(&layer, Path::new("store")).unwrap();
        // As a build that is based on it does.
        let file = from
            .path()
            .join(format!("layers/{}/layers/bp/x/size-512", layer.hex()));
        fs::hard_link(file, scratch.path().join("another name")).unwrap();
        writer.append(&plan).unwrap();
    }
    writer
        .append(&store.plan_image(&image, Path::new("store")).unwrap())
        .unwrap();
    let bytes = writer.finish().unwrap();
    drop(kept);
    assert!(collect(&store, &[]).images == 1);

    let (reader, _) = ArchiveReader::open(bytes.as_slice(), "about").unwrap();
    let below = |name: &Path| name.strip_prefix("store").ok().map(Path::to_owned);
    reader.unpack(to.path(), below, &original_owner).unwrap();
    Store::settle(to.path()).unwrap();
    let copy = Store::open(to.path()).unwrap();
    let out = tempfile::tempdir().unwrap();
    // The layer is hashed again, and refused when a mode or a byte is another.
    layout::export(&copy, &image, &out.path().join("image"), "copy").unwrap();
    let tree = copy.layer(&layer).unwrap();
    let times = fs::metadata(tree.join("layers/bp/x/closed")).unwrap();
    assert_eq!(
        times.modified().unwrap(),
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(layer::MTIME)
    );
}
