//! What a program inside may not do, and what may not be done through a hostile image.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use container::{Mount, Stdio, sandbox::Bind, spawner::SpawnError};

use crate::World;

/// Number, arguments, and the error that is due: 1 is EPERM, 38 ENOSYS.
const REFUSED: &[(libc::c_long, &str, i32)] = &[
    (libc::SYS_mount, "0, 0, 0, 0, 0", 1),
    (libc::SYS_unshare, "0x10000000", 1),
    (libc::SYS_setns, "0, 0", 1),
    (libc::SYS_clone, "0x10000011, 0, 0, 0, 0", 1),
    (libc::SYS_clone3, "0, 0", 38),
    (libc::SYS_io_uring_setup, "1, 0", 38),
    (libc::SYS_bpf, "0, 0, 0", 1),
    (libc::SYS_keyctl, "0, 0", 1),
    (libc::SYS_perf_event_open, "0, 0, 0, 0, 0", 1),
    (libc::SYS_userfaultfd, "0", 1),
    (libc::SYS_open_by_handle_at, "0, 0, 0", 1),
    (libc::SYS_ioctl, "0, 0x5412, 0", 1),
    (libc::SYS_ioctl, "0, 0x541c, 0", 1),
    // x32's getpid.
    (0x4000_0000 | 39, "", 38),
];

pub(crate) fn system_calls(world: &World) {
    for (number, arguments, errno) in REFUSED {
        let call = format!(
            "exec python3 -c 'import ctypes; c = ctypes.CDLL(None, use_errno=True)\n\
             print(c.syscall(ctypes.c_long({number}), *map(ctypes.c_long, [{arguments}])), ctypes.get_errno())'"
        );
        let expected = format!("-1 {errno}\n");
        assert_eq!(world.output(&call), expected, "{number}({arguments})");
    }
}

/// Descriptors, signals, limits: what a program inherits without asking.
pub(crate) fn inheritance(world: &World) {
    assert_eq!(world.output("exec ls /proc/self/fd"), "0\n1\n2\n3\n");
    let signals = world.output("exec grep -E 'SigIgn|SigBlk' /proc/self/status");
    for line in signals.lines() {
        let set = line.split_once('\t').unwrap().1;
        // The C library keeps 32 and 33 for itself and lets nobody change them.
        let set = u64::from_str_radix(set, 16).unwrap() & !(0b11 << 31);
        assert_eq!(set, 0, "{line}");
    }
    assert_eq!(
        world.output("umask; ulimit -c; cat /proc/self/oom_score_adj"),
        "0022\n0\n300\n"
    );
    let files: u64 = world.output("ulimit -Hn").trim().parse().unwrap();
    assert!(files <= 65_536, "{files}");
    let (exit, text) =
        world.run(&world.sandbox("exec 2>&1; cat /proc/1/environ /proc/1/maps && ls /proc/1/fd/"));
    assert!(!exit.success(), "{text}");
    let terminal = "exec python3 -c 'import os; print(os.isatty(os.openpty()[1]))'";
    assert_eq!(world.output(terminal), "True\n");
}

/// Sixty, each with a path near the longest there is: mount(2) takes a page of options.
pub(crate) fn many_layers(world: &World) {
    let mut sandbox = world.sandbox("cat /top; cat /layer-* | wc -l; ls -d /given");
    let deep = world
        .dir
        .path()
        .join("x".repeat(200))
        .join("y,:z".repeat(50));
    for number in 0..60 {
        let layer = deep.join(number.to_string());
        fs::create_dir_all(&layer).unwrap();
        fs::write(layer.join("top"), format!("{number}\n")).unwrap();
        fs::write(layer.join(format!("layer-{number}")), "here\n").unwrap();
        sandbox.lowers.insert(number, layer);
    }
    sandbox.mounts.push(Mount::Tmpfs {
        target: "/given/inner".into(),
        bytes_max: 1 << 20,
    });
    let (exit, text) = world.run(&sandbox);
    assert_eq!((exit.code, text.as_str()), (Some(0), "0\n60\n/given\n"));
    assert!(
        !sandbox.scratch.join("upper/given").exists(),
        "mount targets are not changes"
    );
    let spare = deep.join("0");
    sandbox.lowers.extend(vec![spare; 100]);
    let error = world.spawner.spawn(&sandbox, Stdio::Null).unwrap_err();
    assert!(error.to_string().contains("layers"), "{error}");
}

/// A mount target that an image leads elsewhere.
pub(crate) fn links_in_images(world: &World) {
    let outside = world.dir.path().join("outside");
    let layer = world.dir.path().join("evil");
    for dir in [&outside, &layer] {
        fs::create_dir(dir).unwrap();
    }
    symlink(&outside, layer.join("way")).unwrap();
    for target in ["/way/x", "/way", "/../x", "/etc/../../x"] {
        let mut sandbox = world.sandbox("true");
        sandbox.lowers.insert(0, layer.clone());
        sandbox.mounts.push(Mount::Bind(Bind {
            source: "/usr".into(),
            target: target.into(),
            read_only: true,
        }));
        let error = world.spawner.spawn(&sandbox, Stdio::Null).unwrap_err();
        assert!(error.to_string().contains("make "), "{target}: {error}");
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// Scripts whose interpreter would be the binary on the host that starts sandboxes. With `--list` it does nothing.
pub(crate) fn our_own_program(world: &World) {
    let layer = world.dir.path().join("evil");
    fs::create_dir(&layer).unwrap();
    symlink("/proc/self/exe", layer.join("link")).unwrap();
    for (name, interpreter) in [
        ("script", "/proc/self/exe"),
        ("thread", " /proc/thread-self/exe"),
        ("by-link", "/link"),
        ("by-script", "/script"),
        ("harmless", "/bin/echo"),
    ] {
        fs::write(layer.join(name), format!("#!{interpreter} --list\n")).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(layer.join(name), mode).unwrap();
    }
    let sandbox = |program: &str| {
        let mut sandbox = world.sandbox("");
        sandbox.lowers.insert(0, layer.clone());
        sandbox.argv = vec![program.to_owned(), "--list".to_owned()];
        sandbox
    };
    for program in ["/script", "/thread", "/by-link", "/by-script", "/link"] {
        let error = world.spawner.spawn(&sandbox(program), Stdio::Null);
        let error = error.map(drop).unwrap_err().to_string();
        assert!(error.contains(&format!("exec {program}")), "{error}");
    }
    let (exit, text) = world.run(&sandbox("/harmless"));
    assert_eq!(
        (exit.code, text.as_str()),
        (Some(0), "--list /harmless --list\n")
    );
    // Later /proc/self/exe is its own program, and our other processes show theirs to nobody.
    assert_eq!(
        world.output("exec bash -c 'readlink /proc/self/exe /proc/1/exe; exit 0'"),
        "/usr/bin/readlink\n"
    );
}

/// It is refused, and the sandboxes that run are none the worse for it.
pub(crate) fn too_large(world: &World) {
    let running = world
        .spawner
        .spawn(&world.sandbox("sleep 1000"), Stdio::Null)
        .unwrap();
    let mut sandbox = world.sandbox("true");
    sandbox.env.push(("LARGE".into(), "x".repeat(200_000)));
    let error = world.spawner.spawn(&sandbox, Stdio::Null).unwrap_err();
    assert!(matches!(error, SpawnError::TooLarge(_)), "{error}");
    running.terminate().unwrap();
    assert_eq!(running.wait().unwrap().signal, Some(libc::SIGTERM));
}
