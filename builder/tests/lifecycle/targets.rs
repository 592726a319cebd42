//! For what a buildpack is made: targets, and execution environments. Ours, and where it is installed the reference
//! lifecycle.

use crate::{
    Case,
    table::{Fields, each_lifecycle, edit},
    world::{APP, RUN, World},
};

pub(crate) const CASES: &[Case] = &[
    ("table: targets of a buildpack and of a run image", targets),
    ("table: execution environments", environments),
    ("table: what a buildpack is told of its target", told),
];

const VARIANT: &str = "variant";
const NAME: &str = "io.buildpacks.base.distro.name";
const VERSION: &str = "io.buildpacks.base.distro.version";

/// What is in buildpack.toml and in the run image (Debian 12 on linux/amd64), the Platform API, and whether it fits.
type Target = (&'static str, Fields, &'static str, bool);

#[rustfmt::skip]
const TARGETS: &[Target] = &[
    ("", &[], "0.15", true),
    ("[[targets]]", &[], "0.15", true),
    ("[[targets]]\nos='linux'", &[], "0.15", true),
    ("[[targets]]\nos='windows'", &[], "0.15", false),
    ("[[targets]]\nos='windows'", &[], "0.12", false),
    ("[[targets]]\nos='windows'", &[], "0.11", true),
    ("[[targets]]\nos='windows'\n[[targets]]\nos='linux'", &[], "0.15", true),
    ("[[targets]]\narch='arm64'", &[], "0.15", false),
    ("[[targets]]\narch='amd64'", &[], "0.15", true),
    ("[[targets]]\narch='amd64'\narch-variant='v3'", &[], "0.15", true),
    ("[[targets]]\narch='amd64'\narch-variant='v3'", &[(VARIANT, "v3")], "0.15", true),
    ("[[targets]]\narch='amd64'\narch-variant='v3'", &[(VARIANT, "v2")], "0.15", false),
    ("[[targets]]\n[[targets.distros]]\nname='debian'", &[], "0.15", true),
    ("[[targets]]\n[[targets.distros]]\nname='debian'\nversion='12'", &[], "0.15", true),
    ("[[targets]]\n[[targets.distros]]\nname='debian'\nversion='11'", &[], "0.15", false),
    ("[[targets]]\n[[targets.distros]]\nname='ubuntu'", &[], "0.15", false),
    ("[[targets]]\n[[targets.distros]]\nname='ubuntu'\n[[targets.distros]]\nname='debian'", &[], "0.15", true),
    ("[[targets]]\n[[targets.distros]]\nname='debian'\nversion='12'", &[(VERSION, "")], "0.15", true),
    ("[[targets]]\n[[targets.distros]]\nname='none'", &[(NAME, ""), (VERSION, "")], "0.15", false),
    ("[[stacks]]\nid='*'", &[("os", "windows")], "0.15", true),
    ("", &[("os", "windows")], "0.15", false),
    ("[[stacks]]\nid='stack'", &[], "0.15", true),
    ("[[stacks]]\nid='io.buildpacks.stacks.bionic'", &[], "0.15", false),
    ("[[stacks]]\nid='io.buildpacks.stacks.bionic'", &[(NAME, "ubuntu"), (VERSION, "18.04")], "0.15", true),
    ("[[stacks]]\nid='io.buildpacks.stacks.bionic'\n[[stacks]]\nid='*'", &[], "0.15", true),
];

fn targets(_: &World) {
    let mut wrong = String::new();
    for (targets, fields, api, fits) in TARGETS {
        let codes = each_lifecycle(|lifecycle| {
            let world = World {
                api,
                reference: lifecycle,
                ..World::new()
            };
            world.run_image_with(RUN, "base", |config| edit(config, fields));
            world.buildpack("0.10", "a", targets, "exit 0", "");
            world.order("a");
            world.ok("analyzer", &["-run-image", RUN, APP]);
            world.run("detector", &[]).code
        });
        if codes
            .iter()
            .any(|code| (*code == 0) != *fits || code != &codes[0])
        {
            wrong += &format!("{targets:?} {fields:?} {api}: {codes:?}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    // One that may be left out is run all the same, and one of a composite has to fit too.
    for (order, code) in [
        ("windows? a", 0),
        ("windows a", 21),
        ("all", 21),
        ("all? a", 0),
    ] {
        let codes = each_lifecycle(|lifecycle| {
            let world = World {
                reference: lifecycle,
                ..World::new()
            };
            world.buildpack("0.10", "a", "", "exit 0", "");
            world.buildpack("0.10", "windows", "[[targets]]\nos='windows'", "exit 0", "");
            let of = crate::world::order("windows a", "order");
            world.buildpack("0.10", "all", &of, "", "");
            std::fs::remove_dir_all(world.path("buildpacks/all/1/bin")).unwrap();
            world.order(order);
            world.ok("analyzer", &["-run-image", RUN, APP]);
            world.run("detector", &[]).code
        });
        assert!(codes.iter().all(|ran| *ran == code), "{order}: {codes:?}");
    }
}

/// Platform API, Buildpack API, `exec-env`, CNB_EXEC_ENV, and whether the buildpack takes part.
type Environment = (&'static str, &'static str, &'static str, &'static str, bool);

#[rustfmt::skip]
const ENVIRONMENTS: &[Environment] = &[
    ("0.15", "0.12", "", "production", true),
    ("0.15", "0.12", "", "test", true),
    ("0.15", "0.12", "exec-env=[]", "test", true),
    ("0.15", "0.12", "exec-env=['*']", "test", true),
    ("0.15", "0.12", "exec-env=['test']", "test", true),
    ("0.15", "0.12", "exec-env=['test']", "production", false),
    ("0.15", "0.12", "exec-env=['test']", "", false),
    ("0.15", "0.12", "exec-env=['test', 'production']", "", true),
    ("0.15", "0.12", "exec-env=['production']", "development", false),
    ("0.15", "0.11", "exec-env=['test']", "production", true),
    ("0.14", "0.12", "exec-env=['test']", "production", true),
];

fn environments(_: &World) {
    let mut wrong = String::new();
    for (platform, buildpack, listed, chosen, takes_part) in ENVIRONMENTS {
        for order in ["x a", "x? a"] {
            let groups = each_lifecycle(|lifecycle| {
                let world = World {
                    api: platform,
                    reference: lifecycle,
                    ..World::new()
                };
                world.buildpack("0.10", "a", "", "exit 0", "");
                world.buildpack(buildpack, "x", listed, "exit 0", "");
                world.order(order);
                world.ok("analyzer", &["-run-image", RUN, APP]);
                let ran = world.run_with("detector", &[], &[("CNB_EXEC_ENV", chosen)]);
                assert_eq!(ran.code, 0, "{}", ran.text);
                world.read("layers/group.toml").contains("id = \"x\"")
            });
            if groups.iter().any(|group| group != takes_part) {
                wrong += &format!("{platform} {buildpack} {listed} {chosen} {order}: {groups:?}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The same in detect and build, by both lifecycles.
fn told(_: &World) {
    let print = |file: &str| format!("env | grep ^CNB_TARGET_ | sort > $PWD/../{file}");
    for (fields, expected) in [
        (
            &[][..],
            "ARCH=amd64 DISTRO_NAME=debian DISTRO_VERSION=12 OS=linux",
        ),
        (
            &[(VARIANT, "v3"), (VERSION, "")],
            "ARCH=amd64 ARCH_VARIANT=v3 DISTRO_NAME=debian OS=linux",
        ),
        (
            &[("architecture", "arm64"), ("os", "other")],
            "ARCH=arm64 DISTRO_NAME=debian DISTRO_VERSION=12 OS=other",
        ),
    ] {
        each_lifecycle(|lifecycle| {
            let world = World {
                reference: lifecycle,
                ..World::new()
            };
            world.run_image_with(RUN, "base", |config| edit(config, fields));
            world.buildpack(
                "0.10",
                "a",
                "[[stacks]]\nid='*'",
                &print("detect"),
                &print("build"),
            );
            world.order("a");
            world.ok("analyzer", &["-run-image", RUN, APP]);
            world.ok("detector", &[]);
            world.ok("builder", &[]);
            for file in ["detect", "build"] {
                let text = world.read(file).replace("CNB_TARGET_", "");
                assert_eq!(
                    text.split_whitespace().collect::<Vec<_>>().join(" "),
                    expected,
                    "{file}"
                );
            }
        });
    }
}
