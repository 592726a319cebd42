//! Which buildpacks take part.

use std::fs;

use crate::{
    Case,
    world::{World, order},
};

pub(crate) const CASES: &[Case] = &[
    ("nested orders are spread out from the left", nested),
    ("the platform's order goes before the builder's", orders),
    ("each buildpack is asked once", once),
    ("system buildpacks surround every group", system),
    ("what a buildpack sees, by its API", environment),
    ("words are shown when they are of use", words),
    (
        "bad input is named with its line, and nothing is left",
        bad_input,
    ),
    ("bad arguments and versions", arguments),
];

/// Ids of group.toml.
fn group(world: &World) -> String {
    world.ok("detector", &[]);
    ids(world)
}

fn ids(world: &World) -> String {
    let group = world.toml("layers/group.toml");
    let ids = group["group"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["id"].as_str().unwrap());
    ids.collect::<Vec<_>>().join(" ")
}

fn nested(world: &World) {
    for id in ["a", "b", "c", "d"] {
        world.buildpack("0.10", id, "", "exit 0", "");
    }
    world.buildpack("0.10", "no", "", "exit 100", "");
    world.buildpack("0.10", "errs", "", "exit 5", "");
    let composite =
        |id: &str, groups: &str| world.buildpack("0.10", id, &order(groups, "order"), "", "");
    composite("c-or-d", "no c\nd");
    composite("never", "no");
    composite("deep", "a c-or-d\nb");
    composite("needs-later", "no\nerrs\nb");
    for (groups, expected) in [
        ("a b", "a b"),
        ("a no\nb", "b"),
        ("a no? errs? b", "a b"),
        ("a b a", "a b"),
        ("c-or-d", "d"),
        ("a c-or-d b", "a d b"),
        ("deep b", "a d b"),
        ("never a\nb", "b"),
        ("never? a", "a"),
        ("deep never\nc", "c"),
        ("a needs-later", "a b"),
        ("c-or-d d", "d"),
    ] {
        world.order(groups);
        assert_eq!(group(world), expected, "{groups}");
    }
    for (groups, code) in [
        ("no", 20),
        ("never?", 20),
        ("errs", 21),
        ("no\nerrs\nno", 21),
        ("no? no?", 20),
        ("c no", 20),
    ] {
        world.order(groups);
        assert_eq!(world.run("detector", &[]).code, code, "{groups}");
    }
}

fn orders(world: &World) {
    for id in ["a", "b", "c"] {
        world.buildpack("0.10", id, "", "exit 0", "");
    }
    world.write("layers/order.toml", &order("a", "order"));
    world.write("mine.toml", &order("b", "order"));
    world.order("c");
    let mine = world.path("mine.toml").display().to_string();
    let default = [("CNB_ORDER_PATH", "")];
    for (args, env, expected) in [
        (&[][..], &default[..], "a"),
        (&["-order", &mine], &default, "b"),
        (&["-order", &mine], &[], "b"),
        (&[], &[], "c"),
    ] {
        let ran = world.run_with("detector", args, env);
        assert_eq!(ran.code, 0, "{}", ran.text);
        assert_eq!(ids(world), expected, "{args:?} {env:?}");
    }
}

fn once(world: &World) {
    let count = world.path("count").display().to_string();
    for id in ["a", "b"] {
        world.buildpack("0.10", id, "", &format!("echo {id} >> {count}"), "");
    }
    world.buildpack(
        "0.10",
        "no",
        "",
        &format!("echo no >> {count}; exit 100"),
        "",
    );
    world.order("a no\nb no\na b no\na b");
    assert_eq!(group(world), "a b");
    let mut asked: Vec<String> = world.read("count").lines().map(str::to_owned).collect();
    asked.sort();
    assert_eq!(asked, ["a", "b", "no"]);
}

fn system(world: &World) {
    for id in ["a", "first", "last"] {
        world.buildpack("0.10", id, "", "exit 0", "");
    }
    world.order("a");
    world.write(
        "system.toml",
        "[[system.pre.buildpacks]]\nid='first'\nversion='1'\n[[system.post.buildpacks]]\nid='last'\nversion='1'\n",
    );
    assert_eq!(group(world), "first a last");
    let old = World {
        api: "0.14",
        ..World::new()
    };
    old.buildpack("0.10", "a", "", "exit 0", "");
    old.write("system.toml", "not even TOML");
    old.order("a");
    assert_eq!(group(&old), "a");
}

fn environment(world: &World) {
    world.write("platform/env/MINE", "a\n");
    world.write("platform/env/PATH", "/mine");
    world.write("build-config/env/OPERATOR", "o");
    let print = |id: &str| {
        format!(
            "env | sort > {}; pwd > {}",
            world.path(&format!("{id}.env")).display(),
            world.path("cwd").display()
        )
    };
    for (api, more) in [
        ("0.7", ""),
        ("0.8", ""),
        ("0.10", ""),
        ("0.12", ""),
        ("0.9", "clear-env=true"),
    ] {
        let id = format!("v{}", api.replace('.', ""));
        world.buildpack(api, &id, more, &print(&id), "");
    }
    world.order("v07 v08 v09 v010 v012");
    let env = [
        ("SECRET", "x"),
        ("CNB_REGISTRY_AUTH", "x"),
        ("http_proxy", "p"),
        ("CNB_STACK_ID", "s"),
        ("CNB_EXEC_ENV", "test"),
    ];
    let ran = world.run_with("detector", &[], &env);
    assert_eq!(ran.code, 0, "{}", ran.text);
    let names = |id: &str| -> Vec<String> {
        let text = world.read(&format!("{id}.env"));
        let names = text
            .lines()
            .filter_map(|line| line.split_once('=').map(|(name, _)| name.to_owned()));
        names
            .filter(|name| !["_", "SHLVL", "PWD", "OLDPWD"].contains(&name.as_str()))
            .collect()
    };
    let base = [
        "CNB_BUILDPACK_DIR",
        "CNB_STACK_ID",
        "HOME",
        "MINE",
        "OPERATOR",
        "PATH",
        "http_proxy",
    ];
    let with = |more: &[&str], less: &[&str]| {
        let mut names: Vec<String> = base
            .iter()
            .chain(more)
            .filter(|name| !less.contains(name))
            .map(|name| (*name).to_owned())
            .collect();
        names.sort();
        names
    };
    let plan = ["CNB_PLATFORM_DIR", "CNB_BUILD_PLAN_PATH"];
    let target = [
        "CNB_TARGET_OS",
        "CNB_TARGET_ARCH",
        "CNB_TARGET_DISTRO_NAME",
        "CNB_TARGET_DISTRO_VERSION",
    ];
    let sorted = |id: &str| {
        let mut names = names(id);
        names.sort();
        names
    };
    assert_eq!(sorted("v07"), with(&[], &[]));
    assert_eq!(sorted("v08"), with(&plan, &[]));
    assert_eq!(sorted("v09"), with(&plan, &["MINE"]));
    assert_eq!(
        sorted("v010"),
        with(&[plan.as_slice(), &target].concat(), &[])
    );
    assert_eq!(
        sorted("v012"),
        with(&[plan.as_slice(), &target, &["CNB_EXEC_ENV"]].concat(), &[])
    );
    assert!(
        world
            .read("v012.env")
            .contains("PATH=/mine:/usr/bin:/bin\n")
    );
    assert_eq!(
        world.read("cwd").trim(),
        world.path("app").display().to_string()
    );
}

fn words(world: &World) {
    world.buildpack("0.10", "a", "", "echo said by a", "");
    world.buildpack("0.10", "no", "", "echo said by no >&2; exit 100", "");
    world.order("a");
    let text = world.ok("detector", &[]);
    assert_eq!(text, "a 1\n");
    assert!(
        world
            .ok("detector", &["-log-level", "debug"])
            .contains("said by a")
    );
    assert_eq!(world.ok("detector", &["-log-level", "error"]), "");
    world.order("a no");
    let ran = world.run("detector", &[]);
    ran.failed(20, "said by no");
    assert!(!ran.text.contains("said by a"), "{}", ran.text);
}

fn bad_input(world: &World) {
    world.buildpack("0.10", "a", "", "exit 0", "");
    world.order("a");
    for (file, text, expected) in [
        (
            "order.toml",
            "[[order]]\n[[order.group]]\nid = 3\n",
            "order.toml, line 3: ",
        ),
        (
            "order.toml",
            "[[order]]\n[[order.group]]\nid='../x'\nversion='1'\n",
            ".._x",
        ),
        (
            "order.toml",
            "[[order]]\n[[order.group]]\nid='a'\nversion='../1'\n",
            "cannot be a buildpack's version",
        ),
        (
            "buildpacks/a/1/buildpack.toml",
            "api='0.10'\n[buildpack]\nid=",
            "buildpack.toml, line 3: ",
        ),
        (
            "layers/analyzed.toml",
            "[run-image]\ntarget = 3",
            "analyzed.toml, line 2: ",
        ),
        ("system.toml", "[system]\npre = 1", "system.toml, line 2: "),
    ] {
        let saved = fs::read(world.path(file)).ok();
        world.write(file, text);
        let ran = world.run("detector", &[]);
        assert!(
            [1, 22].contains(&ran.code) && ran.text.contains(expected),
            "{file}: {} {}",
            ran.code,
            ran.text
        );
        assert!(!world.path("layers/group.toml").exists(), "{file}");
        match saved {
            Some(saved) => fs::write(world.path(file), saved).unwrap(),
            None => fs::remove_file(world.path(file)).unwrap(),
        }
    }
    let left = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let left: Vec<_> = left
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with(".lifecycle-")
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn arguments(world: &World) {
    world.buildpack("0.10", "a", "", "exit 0", "");
    world.order("a");
    world
        .run("detector", &["-nonsense"])
        .failed(3, "there is no flag -nonsense");
    world
        .run("detector", &["image"])
        .failed(3, "`image` is one argument too many");
    world
        .run("detector", &["-log-level", "loud"])
        .failed(3, "`loud` is no log level");
    world
        .run("exporter", &[])
        .failed(3, "the name of the image is missing");
    world
        .run("analyzer", &["a", "b"])
        .failed(3, "one image is to be named, not 2");
    world
        .run(
            "analyzer",
            &[
                "-run-image",
                "run",
                "-tag",
                "other.example/x",
                "one.example/x",
            ],
        )
        .failed(3, "images go to one registry");
    world
        .run("analyzer", &["Not A Name"])
        .failed(3, "is no image reference");
    world
        .run("creator", &["-daemon", "image"])
        .failed(3, "a docker daemon");
    for api in ["", "0.6", "0.99", "new"] {
        world
            .run_with("detector", &[], &[("CNB_PLATFORM_API", api)])
            .failed(11, "0.7 to 0.15");
    }
    world.buildpack("0.13", "b", "", "", "");
    world.order("b");
    world
        .run("detector", &[])
        .failed(12, "Buildpack API `0.13` of b is not supported");
    assert_eq!(
        world.ok("detector", &["-version"]).trim(),
        env!("CARGO_PKG_VERSION")
    );
}
