//! The platform is killed, and started again on the same data.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use release::{AppName, Apps, ReleaseStatus};

use crate::{
    deploys::server,
    world::{World, until},
};

/// Of the instances on disk.
fn pids(dir: &Path) -> Vec<u64> {
    let records = fs::read_dir(dir.join("instances")).unwrap();
    let record = |dir: fs::DirEntry| fs::read(dir.path().join("instance.json")).ok();
    let pid = |json: Vec<u8>| {
        serde_json::from_slice::<serde_json::Value>(&json).ok()?["process"]["pid"].as_u64()
    };
    records
        .filter_map(|dir| pid(record(dir.unwrap())?))
        .collect()
}

fn alive(pid: u64) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

pub(crate) fn adopted(world: World) {
    let app = world.app("shop");
    world.deploy(&app, &[("web", &server("one $A"))]).0.unwrap();
    let dir = world.dir.clone();
    let before = pids(&dir);
    let _kept = world.killed();
    assert!(before.iter().all(|pid| alive(*pid)));
    let world = World::at(&dir);
    // At once: nothing has to start.
    assert_eq!(world.get(&app), (200, "one $A".into()));
    assert_eq!(world.ps(&app), ["web.1 v1 up"]);
    assert_eq!(pids(&dir), before, "the same process");
    // It is ours again: it can be replaced.
    world.deploy(&app, &[("web", &server("two"))]).0.unwrap();
    assert_eq!(world.get(&app), (200, "two".into()));
    until("the adopted one has gone", || {
        !alive(before[0]) && world.instance_dirs() == 1
    });
    drop(world);
    fs::remove_dir_all(dir).unwrap();
}

pub(crate) fn interrupted(world: World) {
    let app = world.app("shop");
    world.deploy(&app, &[("web", &server("one"))]).0.unwrap();
    let candidate = release::Candidate {
        image: world.image(&[("web", "exec sleep 1000")]),
        description: "Deploy".into(),
        build: None,
        commit: None,
        git_ref: None,
    };
    let (apps, name) = (std::sync::Arc::clone(&world.apps), app.clone());
    let (events, _told) = tokio::sync::mpsc::channel(100);
    world
        .runtime()
        .spawn(async move { apps.deploy(&name, candidate, "ann", events).await });
    let dir = world.dir.clone();
    until("it has started", || pids(&dir).len() == 2);
    let before = pids(&dir);
    let _kept = world.killed();
    let world = World::at(&dir);
    assert_eq!(world.get(&app), (200, "one".into()));
    let newest = world.apps.ledger().releases(&app, 1).unwrap().remove(0);
    assert_eq!(
        (newest.status, newest.reason.as_deref()),
        (ReleaseStatus::Failed, Some("interrupted"))
    );
    world.until_ps(&app, &["web.1 v1 up"]);
    until("one process is left", || {
        before.iter().filter(|pid| alive(**pid)).count() == 1 && world.instance_dirs() == 1
    });
    drop(world);
    fs::remove_dir_all(dir).unwrap();
}

/// Argument under which this binary deploys until it is killed.
pub(crate) const DEPLOYER: &str = "deployer";

pub(crate) fn deploy_for_ever(dir: &str) -> ! {
    let world = World::at(Path::new(dir));
    let app = "shop".parse().unwrap();
    _ = world.apps.create(&app, "ann");
    for n in 0.. {
        world
            .deploy(&app, &[("web", &server(&n.to_string()))])
            .0
            .unwrap();
        println!("live");
    }
    unreachable!("the numbers do not end")
}

/// A real process, really killed; whatever it was doing, the next start finds one truth and leaves nothing else.
pub(crate) fn killed_anywhere(world: World) {
    let app: AppName = world.app("shop");
    world.deploy(&app, &[("web", &server("one"))]).0.unwrap();
    let dir = world.dir.clone();
    let _kept = world.killed();
    for delay_ms in [0, 10, 20, 30, 45, 60, 80, 110, 150, 200, 260] {
        let mut deployer = Command::new(std::env::current_exe().unwrap())
            .args([DEPLOYER, dir.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(deployer.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "live\n");
        // Not a wait for something: the moment of the kill is what is tried out.
        std::thread::sleep(Duration::from_millis(delay_ms));
        deployer.kill().unwrap();
        deployer.wait().unwrap();
        let world = World::at(&dir);
        let releases = world.apps.ledger().releases(&app, 100).unwrap();
        assert!(
            releases
                .iter()
                .all(|release| release.status != ReleaseStatus::Pending)
        );
        let current = world.apps.ledger().current(&app).unwrap().unwrap();
        world.until_ps(&app, &[&format!("web.1 {} up", current.number)]);
        assert_eq!(world.get(&app).0, 200);
        until("one instance is left, and nothing of the others", || {
            world.instance_dirs() == 1 && sandboxes_on(&dir) == 1
        });
        let _kept = world.killed();
    }
    drop(World::at(&dir));
    assert_eq!(sandboxes_on(&dir), 0);
    fs::remove_dir_all(dir).unwrap();
}

/// Inits that hold an exit record below `dir`, whoever knows of them.
fn sandboxes_on(dir: &Path) -> usize {
    let holds = |process: fs::DirEntry| {
        let files = fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten();
        let links = files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok());
        links
            .into_iter()
            .any(|link| link.parent() == Some(&dir.join("instances")))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.map(holds).filter(|holds| *holds).count()
}

pub(crate) fn second(world: World) {
    let second = Apps::start(world.config.clone());
    let error = world.runtime().block_on(second).unwrap_err();
    assert!(
        error.to_string().starts_with("another slipway is running"),
        "{error}"
    );
    // After an orderly end the next one may.
    world.runtime().block_on(world.apps.shutdown());
}

/// As if killed between the spawn and the record of the pid.
pub(crate) fn orphan(world: World) {
    let app = world.app("shop");
    world.deploy(&app, &[("web", &server("one"))]).0.unwrap();
    let dir = world.dir.clone();
    let before = pids(&dir);
    let _kept = world.killed();
    let instance = fs::read_dir(dir.join("instances"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let record = fs::read(instance.join("instance.json")).unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    record["process"] = serde_json::Value::Null;
    record["address"] = serde_json::Value::Null;
    fs::write(instance.join("instance.json"), record.to_string()).unwrap();
    // And one that was cut off even before that.
    fs::create_dir(dir.join("instances/1-1")).unwrap();
    let world = World::at(&dir);
    assert!(!alive(before[0]), "the orphan was found");
    world.until_ps(&app, &["web.1 v1 up"]);
    assert_eq!(world.get(&app), (200, "one".into()));
    until("its directories have gone", || world.instance_dirs() == 1);
    drop(world);
    fs::remove_dir_all(dir).unwrap();
}

pub(crate) fn ended_meanwhile(world: World) {
    let app: AppName = world.app("shop");
    world.deploy(&app, &[("web", &server("one"))]).0.unwrap();
    let dir = world.dir.clone();
    let before = pids(&dir);
    let _kept = world.killed();
    let killed = Command::new("kill")
        .args(["-9", &before[0].to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    until("it has gone", || !alive(before[0]));
    let world = World::at(&dir);
    world.until_ps(&app, &["web.1 v1 up"]);
    assert_eq!(world.get(&app), (200, "one".into()));
    assert_ne!(pids(&dir), before);
    drop(world);
    fs::remove_dir_all(dir).unwrap();
}
