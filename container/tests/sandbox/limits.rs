//! Limits: each by itself, fair, and nothing left of the control groups.

use std::{fs, path::Path};

use container::{Limits, limits::Enforcement};

use crate::World;

pub(crate) fn each_by_itself(world: &World) {
    let mut sandbox = world.sandbox("cat /proc/self/cgroup");
    sandbox.limits = Limits {
        cpu_milli: Some(1),
        ..Limits::default()
    };
    let (exit, groups) = world.run(&sandbox);
    assert!(exit.success(), "{groups}");
    let grouped = groups.contains("/slipway/");
    let capabilities = world.spawner.capabilities();
    assert_eq!(
        grouped,
        capabilities.cpu != Enforcement::None,
        "{capabilities:?} {groups}"
    );
    let mut bomb = world.sandbox(
        "exec python3 -c 'import os, time\nn = 0\ntry:\n  while n < 200:\n    if os.fork() == 0: time.sleep(100)\n    n += 1\n\
         except BlockingIOError: print(n)'",
    );
    bomb.limits = Limits {
        processes: Some(20),
        ..Limits::default()
    };
    let (_, text) = world.run(&bomb);
    let children: u32 = text.trim().parse().unwrap();
    assert!((15..20).contains(&children), "the limit is 20: {text}");
}

/// Memory that processes share is memory; and it is used once, however many share it.
pub(crate) fn shared_memory(world: &World) {
    let hog = "exec python3 -c 'import mmap, time\nm = mmap.mmap(-1, 1 << 30)\nfor at in range(0, 1 << 30, 4096): m[at] = 1\n\
               time.sleep(60)'";
    let (exit, text) = world.run(&world.sandbox(hog));
    assert!(exit.out_of_memory && !exit.success(), "{exit:?} {text}");
    let workers = "exec python3 -c 'import os, time\nx = bytes(range(256)) * (80 << 12)\nfor _ in range(6):\n  \
                   if os.fork() == 0: time.sleep(1); os._exit(0)\nfor _ in range(6): os.wait()'";
    let (exit, text) = world.run(&world.sandbox(workers));
    assert!(exit.success() && !exit.out_of_memory, "{exit:?} {text}");
}

/// Groups whose sandbox and whose spawner are gone.
pub(crate) fn groups_left() -> Vec<String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let groups = own.lines().flat_map(|line| {
        let (controllers, group) = line.split_once(':').unwrap().1.split_once(':').unwrap();
        let dir = Path::new("/sys/fs/cgroup")
            .join(controllers)
            .join(group.trim_start_matches('/'))
            .join("slipway");
        fs::read_dir(dir).into_iter().flatten().flatten()
    });
    groups
        .filter(|entry| {
            fs::read_to_string(entry.path().join("cgroup.procs")).is_ok_and(|pids| pids.is_empty())
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !runs(name.split('-').next().unwrap()))
        .collect()
}

/// One that has ended and that nobody has asked about does not.
fn runs(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}
