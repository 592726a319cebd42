//! A layer that nobody has touched is not hashed again, and one that somebody has touched is, however well it is hidden.

#![expect(
    clippy::unwrap_used,
    reason = "clippy sees only the test functions as tests, not what they share"
)]

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use container::{
    Digest,
    layer::{Owner, Plan, Records},
};

const OWNER: Owner = Owner {
    uid: 1000,
    gid: 1000,
};
/// As long as a coarse clock needs to tell two changes apart, and much more.
const PATIENCE: Duration = Duration::from_secs(60);

type Change = fn(&World);

struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(world.at("layer/deep/er")).unwrap();
        fs::write(world.at("layer/file"), "content").unwrap();
        fs::write(world.at("layer/deep/er/other"), "another").unwrap();
        fs::create_dir(world.at("layer/empty")).unwrap();
        symlink("file", world.at("layer/link")).unwrap();
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn records(&self) -> Records {
        Records::open(&self.at("records"))
    }

    fn plan(&self, name: &str) -> Plan {
        let mut plan = Plan::default();
        plan.tree(&self.at("layer"), Path::new(name), OWNER)
            .unwrap();
        plan
    }

    /// As the next program finds it in the file.
    fn known(&self) -> Option<Digest> {
        self.records().find(&self.plan("/layers/x").fingerprint()?)
    }

    /// Hashed, and written down; a coarse clock takes its time.
    fn record(&self) -> Digest {
        let begun = Instant::now();
        loop {
            let records = self.records();
            let diff_id = records.diff_id(&self.plan("/layers/x")).unwrap();
            records.save().unwrap();
            if let Some(known) = self.known() {
                assert_eq!(known, diff_id);
                return diff_id;
            }
            assert!(begun.elapsed() < PATIENCE, "it is never recorded");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Sets the time of the last modification back to what it was.
fn hide(path: &Path, change: impl FnOnce(&Path)) {
    let before = fs::symlink_metadata(path).unwrap();
    change(path);
    let after = File::options().write(true).open(path).unwrap();
    after.set_modified(before.modified().unwrap()).unwrap();
    let after = after.metadata().unwrap();
    assert_eq!(
        (after.len(), after.mtime(), after.mtime_nsec()),
        (before.len(), before.mtime(), before.mtime_nsec())
    );
}

#[test]
fn every_change_is_seen() {
    let is_root = rustix::process::geteuid().is_root();
    let changes: &[(&str, Change)] = &[
        ("a byte, with the size and time that it had", |world| {
            hide(&world.at("layer/deep/er/other"), |path| {
                fs::write(path, "anothex").unwrap();
            });
        }),
        ("a byte through another name of the file", |world| {
            // The name itself is a change already, so it is there before the record.
            hide(&world.at("second"), |path| {
                fs::write(path, "CONTENT").unwrap();
            });
        }),
        (
            "another file of the same size and time in its place",
            |world| {
                let (old, new) = (world.at("layer/file"), world.at("new"));
                let modified = old.metadata().unwrap().modified().unwrap();
                fs::write(&new, "CONTENT").unwrap();
                File::options()
                    .write(true)
                    .open(&new)
                    .unwrap()
                    .set_modified(modified)
                    .unwrap();
                fs::rename(&new, &old).unwrap();
            },
        ),
        ("the mode of a file", |world| {
            fs::set_permissions(world.at("layer/file"), fs::Permissions::from_mode(0o755)).unwrap();
        }),
        ("the mode of a directory", |world| {
            fs::set_permissions(world.at("layer/empty"), fs::Permissions::from_mode(0o700))
                .unwrap();
        }),
        ("the target of a link", |world| {
            fs::remove_file(world.at("layer/link")).unwrap();
            symlink("fil2", world.at("layer/link")).unwrap();
        }),
        ("a file more", |world| {
            fs::write(world.at("layer/empty/new"), "").unwrap();
        }),
        ("a file less", |world| {
            fs::remove_file(world.at("layer/file")).unwrap();
        }),
        ("a directory less", |world| {
            fs::remove_dir(world.at("layer/empty")).unwrap();
        }),
        ("a file that is a directory", |world| {
            fs::remove_file(world.at("layer/file")).unwrap();
            fs::create_dir(world.at("layer/file")).unwrap();
        }),
        ("another name of a file", |world| {
            fs::hard_link(world.at("layer/file"), world.at("layer/again")).unwrap();
        }),
        ("an owner", |world| {
            lchown(world.at("layer/file"), Some(7), Some(7)).unwrap();
        }),
    ];
    for (what, change) in changes {
        if *what == "an owner" && !is_root {
            continue;
        }
        let world = World::new();
        fs::hard_link(world.at("layer/file"), world.at("second")).unwrap();
        world.record();
        change(&world);
        assert_eq!(world.known(), None, "{what}");
        let records = world.records();
        let hashed = records.diff_id(&world.plan("/layers/x")).unwrap();
        assert_eq!(hashed, world.plan("/layers/x").diff_id().unwrap(), "{what}");
    }
}

#[test]
fn what_is_no_change_is_none() {
    let world = World::new();
    let diff_id = world.record();
    let aside = world.at("aside");
    fs::rename(world.at("layer"), &aside).unwrap();
    fs::rename(&aside, world.at("layer")).unwrap();
    assert_eq!(world.known(), Some(diff_id));
}

#[test]
fn a_record_is_of_one_layer_and_of_its_place_and_owner() {
    let world = World::new();
    world.record();
    let records = world.records();
    for (name, owner) in [
        ("/layers/y", OWNER),
        ("/layers/x", Owner { uid: 0, gid: 0 }),
    ] {
        let mut plan = Plan::default();
        plan.tree(&world.at("layer"), Path::new(name), owner)
            .unwrap();
        assert_eq!(records.find(&plan.fingerprint().unwrap()), None, "{name}");
    }
    let mut below = Plan::default();
    below.directory("/layers", 0o700, OWNER);
    below
        .tree(&world.at("layer"), Path::new("/layers/x"), OWNER)
        .unwrap();
    assert_eq!(records.find(&below.fingerprint().unwrap()), None);
}

#[test]
fn torn_records_are_none() {
    let world = World::new();
    world.record();
    let path = world.at("records");
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(world.known(), None, "{length}");
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] = if damaged[at] == b'a' { b'b' } else { b'a' };
        fs::write(&path, &damaged).unwrap();
        assert_eq!(world.known(), None, "{at}");
    }
    fs::write(&path, &whole).unwrap();
    assert!(world.known().is_some());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(world.known(), None);
}
