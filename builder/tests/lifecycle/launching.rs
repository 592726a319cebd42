//! A process starts as the image says.

use crate::{
    Case,
    table::each_lifecycle,
    world::{APP, World},
};

pub(crate) const CASES: &[Case] = &[
    ("processes of an image start", starts),
    (
        "a shell's processes, their profiles and where they run",
        shells,
    ),
    ("what cannot be started says why", cannot),
    ("the binary is the launcher under its name", by_name),
];

fn starts(world: &World) {
    world.buildpack(
        "0.10",
        "acme/a",
        "",
        "exit 0",
        "mkdir -p $1/x/{bin,env,env.launch/web,exec.d,profile.d}
printf '#!/bin/bash\\necho \"tool $* $V $E in $(pwd)\"; env | grep ^CNB_ || true' > $1/x/bin/tool
printf '#!/bin/bash\\necho \"E = \\\\\"$V-e\\\\\"\" >&3' > $1/x/exec.d/e
echo 'export P=profile' > $1/x/profile.d/p
chmod +x $1/x/bin/tool $1/x/exec.d/e
echo -n v > $1/x/env/V; echo -n 2 > $1/x/env.launch/web/V.append
printf '[types]\\nlaunch = true\\n' > $1/x.toml
echo '[[processes]]
type = \"web\"
command = [\"tool\", \"always\"]
args = [\"default\"]
default = true' > $1/launch.toml",
    );
    world.buildpack(
        "0.8",
        "old",
        "",
        "exit 0",
        "echo '[[processes]]
type = \"shell\"
command = \"echo $P $V | tr a-z A-Z\"' > $1/launch.toml",
    );
    world.order("acme/a old");
    world.all();
    let app = world.path("app").display().to_string();
    for (name, args, expected) in [
        (
            "/cnb/process/web",
            &[][..],
            format!("tool always default v2 v2-e in {app}\n"),
        ),
        (
            "web",
            &["mine", "$V"],
            format!("tool always mine $V v2 v2-e in {app}\n"),
        ),
        ("/cnb/process/shell", &[], "PROFILE V\n".to_owned()),
        (
            "/cnb/lifecycle/launcher",
            &["--", "tool", "x"],
            format!("tool x v v-e in {app}\n"),
        ),
        (
            "/cnb/lifecycle/launcher",
            &["tool $P"],
            format!("tool profile v v-e in {app}\n"),
        ),
    ] {
        let ran = world.launch(name, args, &[]);
        assert_eq!((ran.code, ran.text), (0, expected), "{name} {args:?}");
    }
    assert_eq!(
        world.image(APP).config["config"]["Entrypoint"][0],
        "/cnb/process/web"
    );
}

/// Ours, and where it is installed the reference launcher.
fn shells(_: &World) {
    each_lifecycle(|lifecycle| {
        shells_by(&World {
            reference: lifecycle,
            ..World::new()
        });
    });
}

fn shells_by(world: &World) {
    let dir = world.path("elsewhere").display().to_string();
    std::fs::create_dir(world.path("elsewhere")).unwrap();
    world.buildpack(
        "0.8",
        "a",
        "",
        "exit 0",
        &format!(
            "mkdir -p $1/x/profile.d/web.1
echo 'export ORDER=\"$ORDER first\" NAME=$0 AT=$PWD' > $1/x/profile.d/1
echo 'export ORDER=\"$ORDER second\"' > $1/x/profile.d/2
echo 'export ORDER=\"$ORDER own\"' > $1/x/profile.d/web.1/1
printf '[types]\\nlaunch = true\\n' > $1/x.toml
echo '[[processes]]
type = \"web.1\"
command = \"echo $ORDER in $PWD\"
working-dir = \"{dir}\"
[[processes]]
type = \"args\"
command = \"echo\"
args = [\"$ORDER\", \"a b\", \"$(echo c)\"]' > $1/launch.toml"
        ),
    );
    world.order("a");
    world.all();
    world.write(
        "app/.profile",
        "export ORDER=\"$ORDER app\"; [ \"$AT\" = \"$PWD\" ] && export ORDER=\"$ORDER here\"\n",
    );
    for (name, args, expected) in [
        (
            "/cnb/process/web.1",
            &[][..],
            format!("first second own app here in {dir}\n"),
        ),
        (
            "/cnb/process/args",
            &[],
            " first second app here a b c\n".to_owned(),
        ),
        (
            "/cnb/process/args",
            &["more"],
            " first second app here a b c more\n".to_owned(),
        ),
        (
            "launcher",
            &["echo $ORDER"],
            "first second app here\n".to_owned(),
        ),
        (
            "launcher",
            &["echo", "$ORDER", "x"],
            " first second app here x\n".to_owned(),
        ),
        ("launcher", &["--", "echo", "$ORDER"], "$ORDER\n".to_owned()),
    ] {
        let ran = world.launch(name, args, &[]);
        assert_eq!(ran.text, expected, "{name} {args:?}");
    }
    assert_eq!(world.launch("launcher", &["exit 3"], &[]).code, 3);
}

/// Under its name, our own binary is the launcher too.
fn by_name(world: &World) {
    world.run("launcher", &[]).failed(1, "config/metadata.toml");
    world
        .run_with("launcher", &[], &[("CNB_PLATFORM_API", "")])
        .failed(11, "CNB_PLATFORM_API is not set");
}

fn cannot(world: &World) {
    world.buildpack(
        "0.12",
        "a",
        "",
        "exit 0",
        "echo '[[processes]]
type = \"web\"
command = [\"none\"]
[[processes]]
type = \"test\"
command = [\"true\"]
exec-env = [\"test\"]' > $1/launch.toml",
    );
    world.order("a");
    world.all();
    world
        .launch("/cnb/process/web", &[], &[])
        .failed(82, "launcher: none: not found in PATH");
    world
        .launch("/cnb/process/test", &[], &[])
        .failed(82, "is not for the execution environment `production`");
    assert_eq!(
        world
            .launch("/cnb/process/test", &[], &[("CNB_EXEC_ENV", "test")])
            .code,
        0
    );
    world
        .launch("launcher", &[], &[])
        .failed(82, "neither a process type nor a command");
    world
        .launch("web", &[], &[("CNB_PLATFORM_API", "9")])
        .failed(11, "Platform API `9` is not supported");
    world
        .launch("web", &[], &[("CNB_LAYERS_DIR", "/none")])
        .failed(1, "/none/config/metadata.toml");
}
