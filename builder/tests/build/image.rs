//! What an image is made of.

use std::collections::BTreeMap;

use crate::{
    Case,
    world::{With, World},
};

pub(crate) const CASES: &[Case] = &[
    ("layers, labels and configuration", whole),
    (
        "build layers change the environment of later buildpacks",
        build_env,
    ),
    (
        "nothing of the machine's environment reaches a buildpack",
        clean_env,
    ),
    (
        "the user's environment does, unless it is not wanted",
        user_env,
    ),
    ("two builds from nothing are the same image", reproducible),
    ("a bill of materials follows its layer", sbom),
    ("formats that are not declared are refused", sbom_format),
    ("a failing buildpack is named with its last lines", fails),
    ("a bad file is named with its line", bad_file),
    ("a layer of no type is left out", unused),
];

const WEB: &str = "cat > $1/launch.toml <<'.'
[[labels]]
key = \"org.acme\"
value = \"<yes>\"
[[processes]]
type = \"web\"
command = [\"cat\", \"app.txt\"]
default = true
[[processes]]
type = \"cron\"
command = [\"true\"]
args = [\"a\"]
.
mkdir $1/code; echo one > $1/code/file
printf '[types]\\nlaunch = true\\n[metadata]\\nversion = \"1\"\\n' > $1/code.toml
echo '[metadata]
seen = 1' > $1/store.toml
";

fn whole(world: &World) {
    world.buildpack("acme/a", "exit 0", WEB);
    world.buildpack(
        "acme/b",
        "exit 0",
        "touch built; mkdir $1/x; echo '[types]
build = true' > $1/x.toml",
    );
    world.order(&["acme/a", "acme/b"]);
    let (built, _) = world.built(With::default());
    let config = world.image(&built).config;
    let history: Vec<&str> = config
        .layers
        .iter()
        .map(|one| one.created_by.as_str())
        .collect();
    assert_eq!(
        history,
        [
            "Stack: slipway.host",
            "Layer: 'code', Created by buildpack: acme/a@1",
            "Software Bill-of-Materials",
            "Application Layer",
            "Buildpacks Application Launcher",
            "Buildpacks Launcher Config",
            "Buildpacks Process Types",
        ]
    );
    assert_eq!(config.entrypoint, ["/cnb/process/web"]);
    assert_eq!(
        (config.working_dir.as_str(), config.user.as_str()),
        ("/workspace", "1000:1000")
    );
    assert!(config.env[0].starts_with("PATH=/cnb/process:/cnb/lifecycle:/usr/"));
    assert_eq!(config.labels["org.acme"], "<yes>");
    let project = r#"{"source":{"type":"git","version":{"commit":"c0ffee"}}}"#;
    assert_eq!(config.labels["io.buildpacks.project.metadata"], project);
    let lifecycle = &config.labels["io.buildpacks.lifecycle.metadata"];
    let sha = world.layer(&built, "'code'");
    let of_a = format!(
        r#""buildpacks":[{{"key":"acme/a","version":"1","layers":{{"code":{{"sha":"{sha}","data":{{"version":"1"}},"build":false,"launch":true,"cache":false}}}},"store":{{"metadata":{{"seen":1}}}}}},{{"key":"acme/b","version":"1","layers":{{}}}}]"#
    );
    assert!(lifecycle.contains(&of_a), "{lifecycle}");
    assert_eq!(
        world.read(&built, "/layers/acme_a/code/file").as_deref(),
        Some("one\n")
    );
    assert_eq!(
        world.read(&built, "/workspace/app.txt").as_deref(),
        Some("the app\n")
    );
    assert!(world.read(&built, "/workspace/built").is_some());
    assert_eq!(built.default.as_deref(), Some("web"));
    let kinds: Vec<&str> = built
        .processes
        .iter()
        .map(|one| one.kind.as_str())
        .collect();
    assert_eq!(kinds, ["cron", "web"]);
    assert_eq!(built.processes[0].args, ["a"]);
    assert_eq!(
        builder::processes(world.store(), &built.image).unwrap(),
        built.processes
    );
    let phases: Vec<&str> = built.timings.iter().map(|(name, _)| *name).collect();
    assert_eq!(phases, ["analyze", "detect", "restore", "build", "export"]);
    // The next build gets the store back, and the metadata of the layer without its content.
    world.buildpack(
        "acme/a",
        "exit 0",
        &format!("cat $1/store.toml $1/code.toml; ls $1\n{WEB}"),
    );
    let (_, text) = world.again(&built);
    assert!(
        text.contains("[metadata]\nseen = 1\n[metadata]\nversion = \"1\"\n"),
        "{text}"
    );
    assert!(text.contains("code.toml\nstore.toml\n"), "{text}");
}

fn build_env(world: &World) {
    world.buildpack(
        "acme/a",
        "exit 0",
        "mkdir -p $1/{one,two}/{bin,env,env.build,env.launch}
for layer in one two; do
  echo -n $layer- > $1/$layer/env/V.append
  echo -n launch > $1/$layer/env.launch/V.override
done
echo -n build > $1/two/env.build/V.append
echo -n 1 > $1/one/env.build/ONLY.default
echo '[types]
build = true' | tee $1/one.toml > $1/two.toml",
    );
    world.buildpack(
        "acme/b",
        "exit 0",
        "echo \"$PATH\"; echo \"$V $ONLY $CNB_LAYERS_DIR\"",
    );
    world.order(&["acme/a", "acme/b"]);
    let (_, text) = world.built(With::default());
    assert!(
        text.contains("/layers/acme_a/two/bin:/layers/acme_a/one/bin:/usr/"),
        "{text}"
    );
    assert!(text.contains("one-two-build 1 /layers/acme_b"), "{text}");
}

const EXPECTED: &[&str] = &[
    "CNB_BP_PLAN_PATH",
    "CNB_BUILDPACK_DIR",
    "CNB_LAYERS_DIR",
    "CNB_PLATFORM_DIR",
    "CNB_STACK_ID",
    "CNB_TARGET_ARCH",
    "CNB_TARGET_DISTRO_NAME",
    "CNB_TARGET_DISTRO_VERSION",
    "CNB_TARGET_OS",
    "HOME",
    "PATH",
    "SOURCE_DATE_EPOCH",
    "SOURCE_VERSION",
];

fn clean_env(world: &World) {
    world.only("cat /proc/self/environ | tr '\\0' '\\n' | sed 's/=.*//; s/^/VAR /'; echo home $HOME; touch $HOME/x; ls / /cnb; id -u");
    let (_, text) = world.built(With::default());
    let of_stack: Vec<&str> = world
        .builder
        .stack
        .build_env
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let bash_own = ["_", "SHLVL", "PWD", "OLDPWD"];
    let mut seen: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("VAR "))
        .filter(|name| !of_stack.contains(name) && !bash_own.contains(name))
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, EXPECTED);
    assert!(
        text.contains("home /home/app\n") && text.contains("\n1000\n"),
        "{text}"
    );
}

fn user_env(world: &World) {
    let print = "echo \"$MINE|${PATH%%:*}|$(cat /platform/env/MINE)\"";
    world.buildpack(
        "acme/a",
        "[ \"$MINE\" = 'a
b' ]",
        print,
    );
    world.buildpack_of(
        "0.10",
        "acme/b",
        "clear-env = true",
        "[ -z \"$MINE\" ]",
        print,
    );
    world.order(&["acme/a", "acme/b"]);
    let env = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    let (_, text) = world.built(With {
        env: env(&[("MINE", "a\nb"), ("PATH", "/mine")]),
        ..With::default()
    });
    assert!(text.contains("a\nb|/mine|a\nb\n"), "{text}");
    assert!(text.contains("\n|/usr/local/sbin|a\nb\n"), "{text}");
    for name in ["../x", "", "A=B", "a\0"] {
        let (error, _) = world.failed(With {
            env: env(&[(name, "")]),
            ..With::default()
        });
        assert!(error.to_string().contains("cannot be the name"), "{error}");
    }
}

fn reproducible(world: &World) {
    world.only(&format!(
        "{WEB}\ndate > /tmp/now; touch -d 2001-01-01 $1/code/old; ln -s old $1/code/link"
    ));
    let (one, _) = world.built(With::default());
    let (two, text) = world.built(With {
        clear_cache: true,
        ..With::default()
    });
    assert_eq!(one.image, two.image, "{text}");
}

const CYCLONEDX: &str = "sbom-formats = ['application/vnd.cyclonedx+json;version=1.4']";

fn sbom(world: &World) {
    let script =
        "if [ -f $1/dep.sbom.cdx.json ]; then echo restored $(cat $1/dep.sbom.cdx.json); fi
mkdir -p $1/dep; echo '[types]
launch = true
cache = true' > $1/dep.toml
echo '{}' > $1/launch.sbom.cdx.json; echo '{ }' > $1/dep.sbom.cdx.json";
    world.buildpack_of("0.10", "acme/a", CYCLONEDX, "exit 0", script);
    world.order(&["acme/a"]);
    let (built, text) = world.built(With::default());
    assert!(!text.contains("restored"), "{text}");
    world.layer(&built, "Software Bill-of-Materials");
    let read = |path: &str| world.read(&built, &format!("/layers/sbom/launch/acme_a/{path}"));
    assert_eq!(read("sbom.cdx.json").as_deref(), Some("{}\n"));
    assert_eq!(read("dep/sbom.cdx.json").as_deref(), Some("{ }\n"));
    let (_, text) = world.again(&built);
    assert!(text.contains("restored { }"), "{text}");
}

fn sbom_format(world: &World) {
    let script = "echo '{}' > $1/launch.sbom.spdx.json";
    world.buildpack_of("0.10", "acme/a", CYCLONEDX, "exit 0", script);
    world.order(&["acme/a"]);
    let (error, _) = world.failed(With::default());
    assert!(
        error
            .to_string()
            .starts_with("/layers/acme_a/launch.sbom.spdx.json: "),
        "{error}"
    );
}

fn fails(world: &World) {
    world.only("echo out; echo -e '\\e[31mred\\e[0m' >&2; exit 9");
    let (error, text) = world.failed(With::default());
    assert_eq!(error.reason(), "buildpack acme/a failed: exit status 9");
    let builder::BuildError::BuildpackFailed { last_lines, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(last_lines, ["out", "red"]);
    assert!(text.contains("\u{1b}[31mred"), "{text}");
}

fn bad_file(world: &World) {
    for (script, expected) in [
        (
            "printf '[types]\\nlaunch = maybe\\n' > $1/x.toml",
            "/layers/acme_a/x.toml, line 2: ",
        ),
        (
            "echo 'launch = true' > $1/x.toml",
            "/layers/acme_a/x.toml, line 1: `build`, ",
        ),
        (
            "printf '\\n[[processes]]\\ntype = 3\\n' > $1/launch.toml",
            "/layers/acme_a/launch.toml, line 3: ",
        ),
        (
            "printf '[[processes]]\\ntype = \"a/b\"\\ncommand = [\"x\"]' > $1/launch.toml",
            "/layers/acme_a/launch.toml, line 1: `a/b` cannot be a process type",
        ),
        (
            "printf '[types]\\nlaunch = true' > $1/x.toml",
            "/layers/acme_a/x.toml: the layer has neither a directory nor a predecessor",
        ),
    ] {
        world.only(script);
        let (error, _) = world.failed(With::default());
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    world.buildpack("acme/a", "echo '=' > $2", "");
    let (error, _) = world.failed(With::default());
    assert!(
        error
            .to_string()
            .contains("acme/a (build plan of acme/a, line 1: "),
        "{error}"
    );
}

fn unused(world: &World) {
    world.only("mkdir $1/x; touch $1/x/file $1/x.toml; echo '[types]' > $1/y.toml");
    let (built, _) = world.built(With::default());
    assert!(world.read(&built, "/layers/acme_a/x/file").is_none());
    // Without a process there is no entrypoint but the launcher.
    assert_eq!(
        world.image(&built).config.entrypoint,
        ["/cnb/lifecycle/launcher"]
    );
}
