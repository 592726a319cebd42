//! Failed builds, looked at from inside.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use builder::{BuildError, Look, Request};
use container::{Limits, Stdio};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::{
    Case,
    world::{Shown, With, World},
};

pub(crate) const CASES: &[Case] = &[
    ("a failed build is as its last step left it", build),
    ("a failed detection can be looked at", detect),
    ("a step that was killed is known", killed),
    ("what did not fail is not kept", not_kept),
    ("buildpacks of the app stay with it", own_buildpacks),
];

const SECRET: &str = "hunter2-of-the-config";

/// What the shell printed, and its exit status.
fn look(world: &World, failed: &Path, command: Option<&str>, input: &str) -> (String, i32) {
    let env = BTreeMap::from([("SECRET".to_owned(), SECRET.to_owned())]);
    let look = Look {
        env: &env,
        terminal: vec![("TERM".to_owned(), "vt100".to_owned())],
        command: command.map(str::to_owned),
    };
    let (stdin, typed) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let stdio = Stdio::Fds {
        stdin,
        stdout: writer.try_clone().unwrap(),
        stderr: writer,
    };
    let (process, _inside) = world.builder.look_inside(failed, look, stdio).unwrap();
    File::from(typed).write_all(input.as_bytes()).unwrap();
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).unwrap();
    let exit = process.wait().unwrap();
    (text, exit.code.unwrap_or(-1))
}

fn kept_at(world: &World) -> PathBuf {
    world.dir.join("failed/7")
}

fn with(world: &World) -> With {
    With {
        failed: Some(kept_at(world)),
        env: BTreeMap::from([("SECRET".to_owned(), SECRET.to_owned())]),
        ..With::default()
    }
}

fn build(world: &World) {
    world.buildpack(
        "acme/a",
        "exit 0",
        "mkdir -p $CNB_LAYERS_DIR/tools/{bin,env}; printf hello >$CNB_LAYERS_DIR/tools/env/FROM_A
         printf '#!/bin/sh\\necho tool\\n' >$CNB_LAYERS_DIR/tools/bin/tool; chmod +x $CNB_LAYERS_DIR/tools/bin/tool
         printf '[types]\\nbuild=true\\n' >$CNB_LAYERS_DIR/tools.toml",
    );
    world.buildpack(
        "acme/b",
        "exit 0",
        "echo half >half; echo cached >/tmp/cached; echo log >~/log; echo $1 $2; [ -e mended ] && exit 0; exit 7",
    );
    world.order(&["acme/a", "acme/b"]);
    let (error, text) = world.failed(with(world));
    assert!(
        matches!(error, BuildError::BuildpackFailed { .. }),
        "{error}"
    );
    let failed = kept_at(world);
    assert!(!holds(&failed, SECRET), "{text}");

    let command = "echo $FROM_A $CNB_STACK_ID $SECRET $TERM; tool; cat half /tmp/cached ~/log app.txt; pwd; id -u
        basename $(dirname $CNB_BUILDPACK_DIR); cat /platform/env/SECRET";
    let (text, status) = look(world, &failed, Some(command), "");
    let expected = format!(
        "hello {} {SECRET} vt100\ntool\nhalf\ncached\nlog\nthe app\n/workspace\n1000\nacme_b\n{SECRET}",
        world.builder.stack.id
    );
    assert_eq!((text.as_str(), status), (expected.as_str(), 0));

    let (text, status) = look(world, &failed, None, "/tmp/again\nexit $?\n");
    assert_eq!(text, "/layers/acme_b /platform\n");
    assert_eq!(status, 7);
    // It may be moved.
    let (before, failed) = (failed, world.dir.join("failed/7.open"));
    fs::rename(before, &failed).unwrap();
    let (text, status) = look(world, &failed, Some("touch mended"), "");
    assert_eq!((text.as_str(), status), ("", 0));
    let (_, status) = look(world, &failed, Some("/tmp/again"), "");
    assert_eq!(status, 0, "what was changed stays");
    assert!(!holds(&failed, SECRET));

    fs::remove_dir_all(failed.join("source")).unwrap();
    let look = Look {
        env: &BTreeMap::new(),
        terminal: vec![],
        command: None,
    };
    let refused = world.builder.look_inside(&failed, look, Stdio::Null);
    assert!(matches!(refused, Err(BuildError::Refused(_))));

    world.builder.forget_failed(&failed).unwrap();
    assert!(!failed.exists());
}

fn detect(world: &World) {
    world.buildpack("acme/a", "echo $1 $2 | sed s:/tmp.*:plan:; exit 3", "true");
    world.order(&["acme/a"]);
    let (error, _) = world.failed(with(world));
    assert!(matches!(error, BuildError::DetectFailed { .. }), "{error}");
    let failed = kept_at(world);
    let command = "cat app.txt; echo $SECRET; touch new 2>/dev/null; echo $?; /tmp/again";
    let (text, status) = look(world, &failed, Some(command), "");
    assert_eq!(text, format!("the app\n{SECRET}\n1\n/platform plan\n"));
    assert_eq!(status, 3);
    world.builder.forget_failed(&failed).unwrap();
}

fn killed(world: &World) {
    world.buildpack("acme/a", "exit 0", "true");
    world.buildpack(
        "acme/b",
        "exit 0",
        "python3 -c 'x = bytearray(1 << 30)\nprint(len(x))'",
    );
    world.order(&["acme/a", "acme/b"]);
    let mut small = World {
        dir: world.dir.clone(),
        builder: world.builder.clone(),
        cache: world.cache.clone(),
    };
    small.builder.limits = Limits {
        memory_bytes: Some(128 << 20),
        ..world.builder.limits
    };
    let (error, _) = small.failed(with(world));
    assert!(matches!(error, BuildError::OutOfMemory { .. }), "{error}");
    let failed = kept_at(world);
    let command = "basename $(dirname $CNB_BUILDPACK_DIR)";
    assert_eq!(look(&small, &failed, Some(command), "").0, "acme_b\n");
    world.builder.forget_failed(&failed).unwrap();

    world.only("echo at it; sleep 1000");
    small.builder.wall_time_max = Duration::from_secs(3);
    let (error, text) = small.failed(with(world));
    assert!(matches!(error, BuildError::TimedOut { .. }), "{error}");
    if text.contains("at it") {
        assert_eq!(look(&small, &failed, Some(command), "").0, "acme_a\n");
    }
    world.builder.forget_failed(&failed).unwrap();
}

fn not_kept(world: &World) {
    world.only("echo started; sleep 1000");
    let (error, _) = world.failed(With {
        cancel_at: Some("started"),
        ..with(world)
    });
    assert!(matches!(error, BuildError::Cancelled), "{error}");
    world.only("true");
    world.built(with(world));
    assert!(!kept_at(world).exists());
    // Not even looked at, let alone copied, when nobody asked for it.
    world.only("exit 1");
    world.failed(With::default());
}

fn own_buildpacks(world: &World) {
    let source = world.store().scratch().unwrap().keep();
    let project = "[[io.buildpacks.group]]\nuri='own'\n[[io.buildpacks.build.env]]\nname='WHO'\nvalue='project'\n";
    fs::write(source.join("project.toml"), project).unwrap();
    let own = source.join("own");
    crate::sources::script(&own.join("bin/detect"), "exit 0");
    crate::sources::script(&own.join("bin/build"), "echo $WHO; exit 4");
    let descriptor = "api='0.10'\n[buildpack]\nid='acme/own'\nversion='1'\n";
    fs::write(own.join("buildpack.toml"), descriptor).unwrap();
    let failed = kept_at(world);
    let request = Request {
        source,
        cache: &world.cache,
        previous: None,
        env: &BTreeMap::new(),
        source_version: None,
        clear_cache: false,
        keep_image: true,
        failed: Some(&failed),
        cancel: Default::default(),
    };
    let mut shown = Shown::default();
    let sources = crate::sources::sources(world);
    let built = (world.builder).build_described(request, &sources, &[], &mut shown);
    assert!(built.is_err(), "{}", shown.text);
    let (text, status) = look(world, &failed, Some("/tmp/again"), "");
    assert_eq!((text.as_str(), status), ("project\n", 4));
    world.builder.forget_failed(&failed).unwrap();
}

/// Whether any file below holds the text.
fn holds(dir: &Path, text: &str) -> bool {
    let found = std::process::Command::new("grep")
        .args(["-rlF", text])
        .arg(dir)
        .output()
        .unwrap();
    !found.stdout.is_empty()
}
