//! Who ends with whom: commands, sandboxes, spawners, and the slipway that started them; and what a log may take.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio as StdStdio},
};

use container::{Process, Sandbox, Stdio, sandbox::Lifetime};

use crate::{World, children, until};

fn detached(world: &World, script: &str, log_bytes_max: u64) -> (Sandbox, PathBuf, PathBuf) {
    let (log, exit_record) = (
        world.dir.path().join("log"),
        world.dir.path().join("exit.json"),
    );
    let mut sandbox = world.sandbox(script);
    sandbox.lifetime = Lifetime::Detached {
        log: log.clone(),
        log_bytes_max,
        label: "app[web.1]".into(),
        exit_record: exit_record.clone(),
    };
    (sandbox, log, exit_record)
}

pub(crate) fn exit_record(world: &World) {
    let (sandbox, _, record) = detached(world, "exit 5", 1 << 20);
    fs::write(
        &record,
        r#"{"code":0,"signal":null,"out_of_memory":false,"ended_at":1}"#,
    )
    .unwrap();
    let process = world.spawner.spawn(&sandbox, Stdio::Null).unwrap();
    let (first, second) = (process.wait().unwrap(), process.wait().unwrap());
    assert_eq!((first.code, &first), (Some(5), &second));
    // Init killed: no record, not even an older one.
    let (sandbox, _, _) = detached(world, "sleep 1000", 1 << 20);
    let process = world.spawner.spawn(&sandbox, Stdio::Null).unwrap();
    process.kill().unwrap();
    assert_eq!(process.wait().unwrap().signal, Some(9));
    assert!(!record.exists());
    // Not started: no record.
    let (mut sandbox, _, _) = detached(world, "", 1 << 20);
    sandbox.argv = vec!["/no/such".into()];
    world.spawner.spawn(&sandbox, Stdio::Null).unwrap_err();
    assert!(!record.exists());
    // Of a bound one it is asked for twice, too.
    let process = world
        .spawner
        .spawn(&world.sandbox("exit 6"), Stdio::Null)
        .unwrap();
    assert_eq!(process.wait().unwrap().code, Some(6));
    assert_eq!(process.wait().unwrap().code, Some(6));
}

pub(crate) fn log_bounds(world: &World) {
    const BYTES_MAX: u64 = 50_000;
    let script =
        "for i in $(seq 5000); do echo line number $i; done; printf 'no newline'; sleep 1000";
    let (sandbox, log, _) = detached(world, script, BYTES_MAX);
    let process = world.spawner.spawn(&sandbox, Stdio::Null).unwrap();
    until("the unfinished line is there", || {
        fs::read_to_string(&log).is_ok_and(|text| text.ends_with("app[web.1]: no newline\n"))
    });
    process.kill().unwrap();
    process.wait().unwrap();
    let old = fs::read_to_string(log.with_extension("1")).unwrap();
    let new = fs::read_to_string(&log).unwrap();
    assert!(old.len() as u64 <= BYTES_MAX && new.len() as u64 <= BYTES_MAX);
    let numbers: Vec<u32> = old
        .lines()
        .chain(new.lines())
        .filter_map(|line| line.split_once("]: line number ")?.1.parse().ok())
        .collect();
    let expected: Vec<u32> = (5001 - u32::try_from(numbers.len()).unwrap()..=5000).collect();
    assert_eq!(numbers, expected, "the last lines, in order, none missing");
}

pub(crate) fn spawner_killed(world: &World) {
    let bound = world
        .spawner
        .spawn(&world.sandbox("sleep 1000"), Stdio::Null)
        .unwrap();
    let (sandbox, _, _) = detached(world, "sleep 1000", 1 << 20);
    let detached = world.spawner.spawn(&sandbox, Stdio::Null).unwrap();
    for spawner in children(std::process::id()) {
        // SAFETY: our own child.
        unsafe { libc::kill(i32::try_from(spawner).unwrap(), libc::SIGKILL) };
    }
    assert_eq!(bound.wait().unwrap().signal, Some(9));
    until("the next one is started by a new spawner", || {
        world
            .spawner
            .spawn(&world.sandbox("true"), Stdio::Null)
            .is_ok_and(|process| process.wait().unwrap().success())
    });
    detached.terminate().unwrap();
    assert_eq!(detached.wait().unwrap().signal, Some(libc::SIGTERM));
}

pub(crate) fn slipway_killed(world: &World) {
    let mut starter = Command::new(std::env::current_exe().unwrap())
        .arg("start-both")
        .arg(world.dir.path())
        .stdout(StdStdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(starter.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    let numbers: Vec<u64> = said
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    let record = world.dir.path().join("exit.json");
    let adopt = |at: usize| {
        let pid = u32::try_from(numbers[at]).unwrap();
        Process::adopt(pid, numbers[at + 1], &record).unwrap()
    };
    let (bound, detached) = (adopt(0).unwrap(), adopt(2).unwrap());
    starter.kill().unwrap();
    starter.wait().unwrap();
    bound.wait().unwrap();
    assert!(adopt(0).is_none() && adopt(2).is_some());
    until("its trap is set", || {
        fs::read_to_string(world.dir.path().join("log")).is_ok_and(|text| text.contains("ready"))
    });
    detached.terminate().unwrap();
    assert_eq!(detached.wait().unwrap().code, Some(8));
}

/// Prints pid and start time of a bound and of a detached sandbox, and waits to be killed.
pub(crate) fn start_both(dir: &Path) {
    // In the test's own directory, because this one is killed.
    let world = World::at(tempfile::tempdir_in(dir).unwrap());
    let bound = world
        .spawner
        .spawn(&world.sandbox("sleep 1000"), Stdio::Null)
        .unwrap();
    let (mut sandbox, _, _) = detached(
        &world,
        "trap 'exit 8' TERM; echo ready; while :; do sleep 0.05; done",
        1 << 20,
    );
    if let Lifetime::Detached {
        log, exit_record, ..
    } = &mut sandbox.lifetime
    {
        *log = dir.join("log");
        *exit_record = dir.join("exit.json");
    }
    let detached = world.spawner.spawn(&sandbox, Stdio::Null).unwrap();
    println!(
        "{} {} {} {}",
        bound.pid(),
        bound.start_time(),
        detached.pid(),
        detached.start_time()
    );
    std::thread::park();
}
