//! In the place of the reference lifecycle: from a builder image, at the paths of the specification, as an ordinary user,
//! with the arguments and variables that platforms give: kpack 0.17 (`build_pod.go`), and the tasks `buildpacks` 0.6 and
//! `buildpacks-phases` 0.3 of Tekton's catalog.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    Case,
    registry::Remote,
    world::{Ran, World},
};

/// Containers are made by root.
pub(crate) const CASES: &[Case] = &[
    (
        "as root: a container for each phase, as kpack has them",
        each_phase,
    ),
    (
        "as root: the same with a cache in a registry",
        each_phase_with_cache_image,
    ),
    (
        "as root: one container for all, as Tekton has it",
        all_phases,
    ),
    (
        "as root: a step for each phase, as Tekton has them",
        each_step,
    ),
];

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/lifecycle/builder-image.sh"
);

/// A name of this machine that says nothing of it.
const NAME: &str = "registry.test";

/// What a container engine does, as far as phases can tell: the image's files over this machine's system, and its user.
const ENTER: &str = r#"root=$1 user=$2 cwd=$3; shift 3
for dir in bin lib lib64; do [ -e "$root/$dir" ] || [ -L "$root/$dir" ] || cp -a /$dir "$root/"; done 2>/dev/null
for dir in usr etc dev proc; do mkdir -p "$root/$dir"; mount --rbind /$dir "$root/$dir"; done
mkdir -p -m 1777 "$root/tmp"
[ ! -e "$root/../hosts" ] || mount --bind "$root/../hosts" "$root/etc/hosts"
exec /usr/sbin/chroot --userspec="$user" --groups= "$root" /usr/bin/env -C "$cwd" "$@""#;

/// What differs from one build of kpack's to the next.
struct Kpack<'a> {
    analyzer_cache: Option<&'a str>,
    restorer_cache: Option<&'a str>,
    exporter_cache: &'a str,
    previous: &'a str,
}

struct Builder<'a> {
    remote: Remote<'a>,
    /// As umoci unpacks it: `rootfs`, and `config.json`.
    bundle: PathBuf,
}

impl<'a> Builder<'a> {
    fn new(world: &'a World) -> Self {
        let remote = Remote::new(world);
        world.buildpack(
            "0.10",
            "acme/a",
            "sbom-formats=['application/vnd.cyclonedx+json']",
            "[ -f app.txt ]",
            "[ ! -f $1/dep/file ] || echo restored; id -u; echo $HOME $CNB_TARGET_DISTRO_NAME $GREETING; touch made
mkdir -p $1/dep/bin; echo dep > $1/dep/file; printf '#!/bin/bash\\necho \"$1 from $PWD\"\\n' > $1/dep/bin/greet; chmod +x $1/dep/bin/greet
printf '[types]\\nlaunch = true\\ncache = true\\n' > $1/dep.toml; echo '{}' > $1/dep.sbom.cdx.json
printf '[[processes]]\\ntype = \"web\"\\ncommand = [\"greet\"]\\nargs = [\"hello\"]\\n' > $1/launch.toml",
        );
        world.order("acme/a");
        let program = world.path("program");
        let stripped = Command::new("strip")
            .arg("-o")
            .args([&program, &std::env::current_exe().unwrap()])
            .status();
        assert!(stripped.expect("the tests need binutils").success());
        let at = |name: &str| world.path(name).display().to_string();
        tool(
            "bash",
            &[
                SCRIPT,
                &at("program"),
                &at("buildpacks"),
                &at("order.toml"),
                &remote.name("run:1"),
                &at("image"),
            ],
        );
        let (image, bundle) = (at("image:builder"), world.path("bundle"));
        tool(
            "umoci",
            &["unpack", "--image", &image, &bundle.display().to_string()],
        );
        // What the platform mounts: the app, the user's variables, and the credentials in the home.
        world.write("bundle/rootfs/workspace/app.txt", "the app\n");
        world.write("bundle/rootfs/platform/env/GREETING", "hi");
        let auths = format!(
            "{{\"auths\":{{\"127.0.0.1:{}\":{{\"auth\":\"{}\"}}}}}}",
            remote.port, remote.auth
        );
        world.write("bundle/rootfs/home/.docker/config.json", &auths);
        world.write("bundle/rootfs/builder/home/.docker/config.json", &auths);
        world.write("bundle/rootfs/tekton/home/.docker/config.json", &auths);
        for dir in [
            "workspace",
            "home",
            "builder",
            "tekton",
            "cache",
            "var/report",
        ] {
            let dir = bundle.join("rootfs").join(dir);
            fs::create_dir_all(&dir).unwrap();
            tool("chown", &["-R", "1000:1000", &dir.display().to_string()]);
        }
        Self { remote, bundle }
    }

    /// In a container of its own, with nothing but what the image and the platform say.
    fn run(&self, bundle: &Path, command: &[&str], env: &[(&str, &str)]) -> Ran {
        let config: Value =
            serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap();
        let process = &config["process"];
        let user = format!("{}:{}", process["user"]["uid"], process["user"]["gid"]);
        let vars = process["env"].as_array().unwrap().iter();
        let vars = vars.filter_map(|var| var.as_str().unwrap().split_once('='));
        let output = Command::new("unshare")
            .args(["--mount", "bash", "-euc", ENTER, "bash"])
            .arg(bundle.join("rootfs"))
            .args([&user, process["cwd"].as_str().unwrap()])
            .args(command)
            .env_clear()
            .envs(vars)
            .envs(env.iter().copied())
            .output()
            .unwrap();
        Ran::of(&output)
    }

    #[track_caller]
    fn ok(&self, phase: &str, args: &[&str], env: &[(&str, &str)]) -> String {
        let program = format!("/cnb/lifecycle/{phase}");
        let command = [&[program.as_str()], args].concat();
        let ran = self.run(&self.bundle, &command, env);
        assert_eq!(ran.code, 0, "{phase}: {}", ran.text);
        ran.text
    }

    /// What a pod does, a container for each phase; the workspace and the layers are new in every pod.
    fn pod(&self, build: &Kpack<'_>) -> String {
        let app = self.remote.name("app:1");
        let tag = self.remote.name("app:b1");
        let run = format!("-run-image={}", self.remote.name("run:1"));
        let of_tag = format!("-tag={tag}");
        let previous = format!("-previous-image={}", build.previous);
        let api = ("CNB_PLATFORM_API", "0.9");
        let home = ("HOME", "/builder/home");
        let bindings = ("SERVICE_BINDING_ROOT", "/platform/bindings");
        let mut analyzer = vec!["-layers=/layers", "-analyzed=/layers/analyzed.toml", &run];
        analyzer.extend(build.analyzer_cache);
        analyzer.push(&of_tag);
        analyzer.extend((!build.previous.is_empty()).then_some(previous.as_str()));
        analyzer.push(&app);
        let detector = [
            "-app=/workspace",
            "-group=/layers/group.toml",
            "-plan=/layers/plan.toml",
        ];
        let mut restorer = vec!["-group=/layers/group.toml", "-layers=/layers"];
        restorer.extend(build.restorer_cache);
        restorer.push("-analyzed=/layers/analyzed.toml");
        let builder = [&["-layers=/layers"], &detector[..]].concat();
        let exporter = [
            "-layers=/layers",
            "-app=/workspace",
            "-group=/layers/group.toml",
            "-analyzed=/layers/analyzed.toml",
            "-project-metadata=/layers/project-metadata.toml",
            build.exporter_cache,
            "-process-type=web",
            "-report=/var/report/report.toml",
            &app,
            &tag,
        ];
        let run = self.remote.name("run:1");
        let of_export = [
            home,
            api,
            ("SOURCE_DATE_EPOCH", "1700000000"),
            ("CNB_RUN_IMAGE", &run),
        ];
        [
            self.ok("analyzer", &analyzer, &[home, api, bindings]),
            self.ok("detector", &detector, &[api]),
            self.ok("restorer", &restorer, &[home, api]),
            self.ok("builder", &builder, &[api, bindings]),
            self.ok("exporter", &exporter, &of_export),
        ]
        .concat()
    }

    /// Layers are new in every build.
    fn clear_layers(&self) {
        let layers = self.bundle.join("rootfs/layers");
        fs::remove_dir_all(&layers).unwrap();
        fs::create_dir(&layers).unwrap();
        tool("chown", &["1000:1000", &layers.display().to_string()]);
    }

    /// The image runs, by its entrypoint and as its user.
    fn starts(&self, name: &str) {
        let world = self.remote.world;
        let bundle = world.path("app-bundle");
        _ = fs::remove_dir_all(&bundle);
        let layout = world.path("app-image").display().to_string();
        let from = format!("docker://{}", self.remote.name(name));
        let to = format!("oci:{layout}:app");
        self.remote
            .registry
            .skopeo(&["copy", "--quiet", "--src-tls-verify=false", &from, &to]);
        tool(
            "umoci",
            &[
                "unpack",
                "--image",
                &format!("{layout}:app"),
                &bundle.display().to_string(),
            ],
        );
        let config = self.remote.config(name);
        let entrypoint = config["config"]["Entrypoint"][0]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(entrypoint, "/cnb/process/web");
        // Only the app's own variables come along.
        let ran = self.run(&bundle, &[&entrypoint], &[]);
        assert_eq!(
            (ran.code, ran.text.as_str()),
            (0, "hello from /workspace\n")
        );
        let owner = fs::metadata(bundle.join("rootfs/workspace/app.txt")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 1000);
    }
}

#[track_caller]
fn tool(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("the tests need {program}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {stderr}");
}

fn each_phase(world: &World) {
    let builder = Builder::new(world);
    let (run, app) = (builder.remote.name("run:1"), builder.remote.name("app:1"));
    let mut build = Kpack {
        analyzer_cache: None,
        restorer_cache: Some("-cache-dir=/cache"),
        exporter_cache: "-cache-dir=/cache",
        previous: "",
    };
    let text = builder.pod(&build);
    assert!(text.contains("1000\ndebian hi\n"), "{text}");
    assert!(!text.contains("restored"), "{text}");
    let digest = builder.remote.digest("app:1");
    let report = world.toml("bundle/rootfs/var/report/report.toml");
    assert_eq!(report["image"]["digest"].as_str(), Some(digest.as_str()));
    assert_eq!(builder.remote.digest("app:b1"), digest);
    let config = builder.remote.config("app:1");
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    builder.starts("app:1");
    builder.clear_layers();
    let previous = format!("{}@{digest}", builder.remote.name("app"));
    build.previous = &previous;
    let text = builder.pod(&build);
    assert!(text.contains("restored\n"), "{text}");
    assert!(text.contains("Reusing layer 'acme/a:dep'"), "{text}");
    // kpack brings a rebaser of its own; ours is as good.
    world.run_image(crate::world::RUN, "12", "newer");
    builder.remote.run_image();
    let run = format!("-run-image={run}");
    let args = [run.as_str(), "-report=/var/report/rebase.toml", &app];
    let env = [("CNB_PLATFORM_API", "0.9"), ("HOME", "/builder/home")];
    builder.ok("rebaser", &args, &env);
    assert_eq!(
        builder.remote.config("app:1")["rootfs"]["diff_ids"][0],
        builder.remote.config("run:1")["rootfs"]["diff_ids"][0]
    );
    builder.starts("app:1");
}

fn each_phase_with_cache_image(world: &World) {
    let builder = Builder::new(world);
    let cache = format!("-cache-image={}", builder.remote.name("cache:1"));
    let mut build = Kpack {
        analyzer_cache: Some(&cache),
        restorer_cache: Some(&cache),
        exporter_cache: &cache,
        previous: "",
    };
    let text = builder.pod(&build);
    assert!(!text.contains("restored"), "{text}");
    builder.clear_layers();
    // From then on the cache of the last build is read, by its digest, and that of the tag is written.
    let digest = builder.remote.digest("cache:1");
    let last = format!("-cache-image={}@{digest}", builder.remote.name("cache"));
    build.analyzer_cache = Some(&last);
    build.restorer_cache = Some(&last);
    let text = builder.pod(&build);
    assert!(text.contains("restored\n"), "{text}");
    builder.starts("app:1");
}

fn all_phases(world: &World) {
    let builder = Builder::new(world);
    let (run, app, cache) = (
        builder.remote.name("run:1"),
        builder.remote.name("app:1"),
        builder.remote.name("cache:1"),
    );
    let docker = ("DOCKER_CONFIG", "/tekton/home/.docker");
    let env = [("CNB_PLATFORM_API", "0.9"), docker];
    let build = |run_image: &str| {
        let args = [
            "-app=/workspace/",
            "-cache-dir=",
            &format!("-cache-image={cache}"),
            "-uid=1000",
            "-gid=1000",
            "-layers=/layers",
            "-platform=/platform",
            "-report=/layers/report.toml",
            "-process-type=web",
            "-skip-restore=false",
            &format!("-previous-image={app}"),
            &format!("-run-image={run_image}"),
            &app,
        ];
        builder.ok("creator", &args, &env)
    };
    // An argument that is left empty is none: then it is that of run.toml.
    let text = build("");
    assert!(
        text.contains("1000\n") && !text.contains("restored"),
        "{text}"
    );
    builder.starts("app:1");
    let text = build(&run);
    assert!(text.contains("restored\n"), "{text}");
    builder.starts("app:1");
    without_tls(&builder);
}

/// Parameters that nobody has set arrive as arguments without a value.
fn each_step(world: &World) {
    let builder = Builder::new(world);
    let (app, image) = (builder.remote.name("app:1"), builder.remote.name("run:1"));
    let (of_run, of_build) = (
        format!("-run-image={image}"),
        format!("-build-image={image}"),
    );
    let common = [
        ("CNB_EXPERIMENTAL_MODE", "silent"),
        ("HOME", "/tekton/home"),
        ("CNB_PLATFORM_API", "0.13"),
    ];
    let of_restore = [
        ("CNB_LOG_LEVEL", "info"),
        ("CNB_BUILD_IMAGE", ""),
        ("CNB_BUILDER_IMAGE", &image),
        ("CNB_CACHE_IMAGE", ""),
        ("CNB_INSECURE_REGISTRIES", ""),
        ("CNB_SKIP_LAYERS", "false"),
    ];
    let of_restore = [&common[..], &of_restore].concat();
    let step = |phase: &str, args: &[&str], env: &[(&str, &str)]| {
        builder.ok(phase, &[&["-log-level=info"], args].concat(), env)
    };
    let build = |run_image: &str| {
        let analyzer = [
            "-layers=/layers",
            run_image,
            "-cache-image=",
            "-uid=1000",
            "-gid=1000",
            "-insecure-registry=",
            "-tag=",
            "-skip-layers=false",
            &app,
        ];
        let detector = [
            "-app=/workspace/",
            "-group=/layers/group.toml",
            "-plan=/layers/plan.toml",
            "-layers=/layers",
            "-platform=/platform",
        ];
        let restorer = [
            &of_build,
            "-group=/layers/group.toml",
            "-layers=",
            "-cache-dir=/cache",
            "-cache-image=",
            "-uid=1000",
            "-gid=1000",
            "-insecure-registry=",
            "-skip-layers=false",
        ];
        let exporter = [
            "-app=/workspace/",
            "-layers=/layers",
            "-group=/layers/group.toml",
            "-cache-dir=/cache",
            "-cache-image=",
            "-report=/layers/report.toml",
            "-process-type=web",
            "-uid=1000",
            "-gid=1000",
            "-insecure-registry=",
            &app,
        ];
        [
            step("analyzer", &analyzer, &common),
            step("detector", &detector, &common),
            step("restorer", &restorer, &of_restore),
            step("builder", &detector, &common),
            step("exporter", &exporter, &common),
        ]
        .concat()
    };
    let text = build("-run-image=");
    assert!(text.contains("1000\n/tekton/home debian hi\n"), "{text}");
    assert!(!text.contains("restored"), "{text}");
    let report = world.toml("bundle/rootfs/layers/report.toml");
    let digest = builder.remote.digest("app:1");
    assert_eq!(report["image"]["digest"].as_str(), Some(digest.as_str()));
    builder.starts("app:1");
    builder.clear_layers();
    let text = build(&of_run);
    assert!(text.contains("restored\n"), "{text}");
    assert!(text.contains("Reusing layer 'acme/a:dep'"), "{text}");
}

/// Only a registry that is named as one is spoken to in plain HTTP.
fn without_tls(builder: &Builder<'_>) {
    let world = builder.remote.world;
    world.write("bundle/hosts", &format!("127.0.0.1 localhost {NAME}\n"));
    let registry = format!("{NAME}:{}", builder.remote.port);
    let config = "bundle/rootfs/home/.docker/config.json";
    world.write(config, &world.read(config).replace("127.0.0.1", NAME));
    let (run, app) = (format!("{registry}/run:1"), format!("{registry}/app:1"));
    let args = ["-run-image", &run, &app];
    let env = [("CNB_PLATFORM_API", "0.15"), ("HOME", "/home")];
    let command = [&["/cnb/lifecycle/creator"][..], &args].concat();
    let ran = builder.run(&builder.bundle, &command, &env);
    assert_eq!(ran.code, 32, "{}", ran.text);
    let insecure = format!("other.test,{registry}");
    let env = [&env[..], &[("CNB_INSECURE_REGISTRIES", &insecure)]].concat();
    let ran = builder.run(&builder.bundle, &command, &env);
    assert_eq!(ran.code, 0, "{}", ran.text);
    assert_eq!(
        builder.remote.config("app:1")["config"]["User"],
        "1234:4321"
    );
}
