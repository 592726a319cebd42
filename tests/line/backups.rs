//! A backup of a running platform, and another platform made of it: the same apps, releases, config, hosts, keys and
//! history. What is no whole backup leaves nothing.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::server::Server;

const SERVES: &str = "eventually curl -fsS --max-time 60 http://shop.localhost:$HTTP/";

#[test]
fn a_restored_platform_is_the_one_that_was_backed_up() {
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();
    server.change("shop", "web.py", "Hello, world", "Hello, second");
    server.push("shop").ok();
    server.ssh("config:set shop COLOUR=red").ok();
    server.ssh("domains:add shop shop.example.com").ok();
    server.ssh("ps:scale shop web=2").ok();
    server.ssh("apps:create empty").ok();
    server
        .sh("ssh-keygen -q -t ed25519 -N '' -C bob -f bob")
        .ok();
    server.sh("ssh slipway keys:add bob < bob.pub").ok();
    let asked = [
        "apps",
        "config shop",
        "domains shop",
        "keys",
        "releases:info shop v1 --json",
        "limits shop",
    ];
    let before = asked.map(|command| server.ssh(command).ok());

    let file = server.home().join("b.tar.gz");
    let said = server.sh("$SLIPWAY backup --data $DATA b.tar.gz").ok();
    assert!(said.contains("2 apps, 2 images of"), "{said}");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(left_in_data(&server), Vec::<String>::new());
    server.sh("ssh slipway backup > ssh.tar.gz").ok();
    server.kill_9();

    for file in [file, server.home().join("ssh.tar.gz")] {
        let restored = server.restored(&file);
        restored.sh(SERVES).ok();
        assert_eq!(restored.get("shop", "/").body, "Hello, second\n");
        assert_eq!(asked.map(|command| restored.ssh(command).ok()), before);
        assert!(
            restored
                .ssh("doctor")
                .text
                .contains("every app's current image is there")
        );
        assert_eq!(
            head(&restored, 1),
            server.sh("git -C shop rev-parse main").ok().trim()
        );
        restored.sh("git -C $DATA/repos/1.git fsck --strict").ok();
        // Both go on: a rollback to an image of then, and a push on top of the history.
        restored.ssh("rollback shop v1").ok();
        assert_eq!(restored.get("shop", "/").body, "Hello, world\n");
        restored.change("shop", "web.py", "Hello, second", "Hello, restored");
        restored.push("shop").ok();
        assert_eq!(restored.get("shop", "/").body, "Hello, restored\n");
    }
}

/// When it goes, also by a panic: who waits for it would wait for ever.
struct Raises<'a>(&'a AtomicBool);

impl Drop for Raises<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_backup_during_pushes_has_the_branch_of_its_release() {
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();
    let enough = AtomicBool::new(false);
    let backups: Vec<PathBuf> = thread::scope(|scope| {
        scope.spawn(|| {
            let mut words = "Hello, world".to_owned();
            for round in 0.. {
                if enough.load(Ordering::Relaxed) {
                    break;
                }
                let next = format!("Round {round}");
                server.change("shop", "web.py", &words, &next);
                server.push("shop").ok();
                words = next;
            }
        });
        let _end = Raises(&enough);
        let backups = (0..4).map(|number| {
            let file = server.home().join(format!("{number}.tar.gz"));
            // One that is killed is not there, or was whole before, and is not in the way of the next.
            let killed =
                "$SLIPWAY backup --data $DATA killed.tar.gz & sleep 0.0$N; kill -9 $!; wait
                ! test -e killed.tar.gz || $SLIPWAY restore --data killed-$N killed.tar.gz && rm -f killed.tar.gz";
            server.sh(&killed.replace("$N", &number.to_string())).ok();
            let command = format!("$SLIPWAY backup --data $DATA {number}.tar.gz");
            server.sh(&command).ok();
            file
        });
        backups.collect()
    });
    for file in backups {
        let restored = server.restored(&file);
        restored.sh(SERVES).ok();
        restored.sh("git -C $DATA/repos/1.git fsck --strict").ok();
        let shown = restored
            .sh("git -C $DATA/repos/1.git show main:web.py")
            .ok();
        let served = restored.get("shop", "/").body;
        assert!(
            shown.contains(served.trim()),
            "{served} is served of\n{shown}"
        );
        let current = restored.ssh("apps:info shop --json").ok();
        assert!(current.contains("\"name\": \"shop\""), "{current}");
    }
}

#[test]
fn what_is_no_whole_backup_leaves_nothing() {
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();
    server.sh("$SLIPWAY backup --data $DATA whole").ok();
    let size = fs::metadata(server.home().join("whole"))
        .expect("it is there")
        .len();
    let refused = |make: &str, why: &str| {
        server.sh(make).ok();
        let said = server.sh("$SLIPWAY restore bad --data new/data").fails(1);
        assert!(said.contains(why), "{make}: {said}");
        let left = server.sh("find new ! -type d; ls -A new").ok();
        assert_eq!(left, "", "{make}");
    };
    let foreign = "this is no backup of Slipway";
    let damaged = "the backup cannot be used, and nothing has been changed: it is damaged";
    refused("mkdir new; : > bad", foreign);
    refused("head -c 100000 /dev/urandom > bad", foreign);
    refused("tar -czf bad whole", foreign);
    refused("gzip -c whole > bad", foreign);
    for part in [1, 3, 5, 9] {
        refused(
            &format!("head -c {} whole > bad", size * part / 10),
            damaged,
        );
    }
    refused(&format!("head -c {} whole > bad", size - 1), damaged);
    let middle = size / 2;
    let change = format!(
        "cp whole bad; printf XXXX | dd of=bad seek={middle} bs=1 conv=notrunc status=none"
    );
    refused(&change, damaged);
    refused(
        "zcat whole | sed 's/\"format\":1/\"format\":9/' | gzip > bad",
        "in a form that this one does not know",
    );
    let said = server.sh("$SLIPWAY restore whole --data $DATA").fails(1);
    assert!(said.contains("is not empty"), "{said}");
    let said = server.sh("$SLIPWAY backup --data new x").fails(1);
    assert!(said.contains("there is no platform in new"), "{said}");
    assert!(!server.home().join("x.part").exists());
    // Killed, it leaves something beside, which the next one takes away.
    _ = server.sh("$SLIPWAY restore whole --data new/data & sleep 0.02; kill -9 $!; wait");
    server
        .sh("rm -rf new/data; $SLIPWAY restore - --data new/data < whole")
        .ok();
    assert_eq!(server.sh("ls -A new").ok(), "data\n");
    server.sh("ssh -tt slipway backup").fails(64);
}

#[test]
fn without_images_everything_but_the_images_is_there() {
    let server = Server::start();
    server.app("shop", "hello");
    server.push("shop").ok();
    server.sh("$SLIPWAY backup --data $DATA b --keep 0").ok();
    server.kill_9();
    let restored = server.restored(&server.home().join("b"));
    let said = restored.ssh("doctor").text;
    assert!(said.contains("shop"), "{said}");
    assert_eq!(
        head(&restored, 1),
        server.sh("git -C shop rev-parse main").ok().trim()
    );
}

/// Of `main`, as stock git sees it.
fn head(server: &Server, app: i64) -> String {
    let line = format!("git -C $DATA/repos/{app}.git rev-parse main");
    server.sh(&line).ok().trim().to_owned()
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file)
        .expect("it is there")
        .permissions()
        .mode()
        & 0o777
}

/// What a backup has left in the data folder.
fn left_in_data(server: &Server) -> Vec<String> {
    let entries = fs::read_dir(server.data()).expect("the data folder is there");
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("back")).collect()
}
