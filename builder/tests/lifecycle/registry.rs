//! The phases on a registry, which skopeo reads back.

use std::{collections::BTreeMap, fs, sync::atomic::Ordering};

use serde_json::Value;

use crate::{
    Case,
    server::{AUTH, Registry, Wire},
    world::{RUN, Ran, World},
};

pub(crate) const CASES: &[Case] = &[
    ("from a registry to a registry, twice", twice),
    ("another run image below an app in a registry", rebase),
    ("a run image of the same registry is not copied", mounted),
    ("what cannot be pushed is known before the build", refused),
    (
        "a registry that is lost half-way keeps what it had",
        lost_half_way,
    ),
];

/// More than goes through a wire that is cut.
const NOISE_BYTES: usize = 6_000_000;
const CUT_BYTES: i64 = 2_000_000;

/// A world whose images are in a registry.
pub(crate) struct Remote<'a> {
    pub(crate) world: &'a World,
    pub(crate) registry: Registry,
    /// Under which the phases know it.
    pub(crate) port: u16,
    pub(crate) auth: &'static str,
}

impl<'a> Remote<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let remote = Self::at(world, Registry::start());
        remote.run_image();
        remote
    }

    /// In one that runs already.
    pub(crate) fn at(world: &'a World, registry: Registry) -> Self {
        Self {
            world,
            port: registry.port,
            registry,
            auth: AUTH,
        }
    }

    /// That of the world's folder, in Docker's form, as most are.
    pub(crate) fn run_image(&self) {
        self.push(RUN, "run:1");
    }

    /// An image of the world's folder, in Docker's form.
    pub(crate) fn push(&self, image: &str, name: &str) {
        let layout = self.world.path("oci").join(image.replace(':', "/"));
        let to = format!("docker://127.0.0.1:{}/{name}", self.registry.port);
        let from = format!("oci:{}", layout.display());
        self.registry.skopeo(&[
            "copy",
            "--quiet",
            "--format=v2s2",
            "--dest-tls-verify=false",
            &from,
            &to,
        ]);
    }

    pub(crate) fn name(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    pub(crate) fn run(&self, phase: &str, args: &[&str]) -> Ran {
        let auth = format!("{{\"127.0.0.1:{}\":\"Basic {}\"}}", self.port, self.auth);
        let env = [
            ("CNB_USE_LAYOUT", "false"),
            ("CNB_REGISTRY_AUTH", auth.as_str()),
        ];
        self.world.run_with(phase, args, &env)
    }

    #[track_caller]
    pub(crate) fn ok(&self, phase: &str, args: &[&str]) -> String {
        let ran = self.run(phase, args);
        assert_eq!(ran.code, 0, "{phase}: {}", ran.text);
        ran.text
    }

    /// All phases, to two names, with a cache in an image.
    pub(crate) fn all(&self) -> String {
        let (run, app, tag) = (self.name("run:1"), self.name("app:1"), self.name("app:2"));
        let (cache, launcher) = (self.name("cache:1"), self.world.launcher());
        [
            self.ok(
                "analyzer",
                &[
                    "-run-image",
                    &run,
                    "-cache-image",
                    &cache,
                    "-tag",
                    &tag,
                    &app,
                ],
            ),
            self.ok("detector", &[]),
            self.ok("restorer", &["-cache-image", &cache]),
            self.ok("builder", &[]),
            self.ok(
                "exporter",
                &["-cache-image", &cache, "-launcher", &launcher, &app, &tag],
            ),
        ]
        .concat()
    }

    pub(crate) fn skopeo(&self, what: &[&str], name: &str) -> Value {
        let name = format!("docker://127.0.0.1:{}/{name}", self.registry.port);
        let args = [&["inspect", "--tls-verify=false"], what, &[&name]].concat();
        serde_json::from_str(&self.registry.skopeo(&args)).unwrap()
    }

    pub(crate) fn digest(&self, name: &str) -> String {
        self.skopeo(&[], name)["Digest"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) fn config(&self, name: &str) -> Value {
        self.skopeo(&["--config"], name)
    }
}

fn buildpack(world: &World, more: &str) {
    world.buildpack(
        "0.10",
        "a",
        "",
        "exit 0",
        &format!(
            "[ ! -f $1/c/file ] || echo restored; mkdir -p $1/c $1/l; echo c > $1/c/file; echo l > $1/l/file
printf '[types]\\ncache = true\\nlaunch = true\\n' > $1/c.toml; printf '[types]\\nlaunch = true\\n' > $1/l.toml
printf '[[processes]]\\ntype = \"web\"\\ncommand = [\"serve\"]\\ndefault = true\\n' > $1/launch.toml
{more}"
        ),
    );
    world.order("a");
}

/// What no compressor makes smaller.
fn noise() -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..NOISE_BYTES).map(|_| next()).collect()
}

fn twice(world: &World) {
    let remote = Remote::new(world);
    buildpack(world, "");
    assert!(!remote.all().contains("restored"));
    let (first, cache) = (remote.digest("app:1"), remote.digest("cache:1"));
    assert_eq!(remote.digest("app:2"), first);
    let report = world.toml("layers/report.toml");
    assert_eq!(report["image"]["digest"].as_str(), Some(first.as_str()));
    assert_eq!(
        report["image"]["tags"],
        vec![remote.name("app:1"), remote.name("app:2")].into()
    );
    let config = remote.config("app:1");
    assert_eq!(config["config"]["Entrypoint"][0], "/cnb/process/web");
    let label = config["config"]["Labels"]["io.buildpacks.lifecycle.metadata"].as_str();
    let label: Value = serde_json::from_str(label.unwrap()).unwrap();
    let run = remote.name(&format!("run@{}", remote.digest("run:1")));
    assert_eq!(label["runImage"]["reference"], run.as_str());
    // It verifies every blob.
    let copy = format!("oci:{}:x", world.path("copy").display());
    let from = format!("docker://{}", remote.name("app:1"));
    remote
        .registry
        .skopeo(&["copy", "--quiet", "--src-tls-verify=false", &from, &copy]);

    world.reset();
    let text = remote.all();
    for expected in [
        "restored",
        "Reusing layer 'a:c'",
        "Reusing layer 'a:l'",
        "Reusing layer 'buildpacksio/lifecycle:launcher'",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(
        remote.digest("app:1"),
        first,
        "the same is made of the same"
    );
    assert_eq!(remote.digest("cache:1"), cache);
}

fn rebase(world: &World) {
    let remote = Remote::new(world);
    buildpack(world, "");
    world.write(
        "run.toml",
        &format!("[[images]]\nimage='{}'\n", remote.name("run:1")),
    );
    remote.all();
    let old = remote.config("app:1");
    world.run_image(RUN, "12", "newer");
    remote.run_image();
    remote.ok("rebaser", &[&remote.name("app:1"), &remote.name("app:3")]);
    let (new, base) = (remote.config("app:1"), remote.config("run:1"));
    let diff_ids = |config: &Value| config["rootfs"]["diff_ids"].as_array().unwrap().clone();
    assert_eq!(diff_ids(&new)[0], diff_ids(&base)[0]);
    assert_ne!(diff_ids(&new)[0], diff_ids(&old)[0]);
    assert_eq!(diff_ids(&new)[1..], diff_ids(&old)[1..]);
    assert_eq!(remote.digest("app:1"), remote.digest("app:3"));
    assert_eq!(
        remote.config("app:2"),
        old,
        "the other name keeps its image"
    );
    let report = world.toml("layers/report.toml");
    assert_eq!(
        report["image"]["digest"].as_str(),
        Some(remote.digest("app:1").as_str())
    );
}

/// In the registry already, where it takes no way over us.
fn mounted(world: &World) {
    world.run_image_of(RUN, "noise", noise().into(), |_| {});
    let mut remote = Remote::new(world);
    buildpack(world, "");
    let wire = Wire::to(remote.registry.port, CUT_BYTES, 1);
    remote.port = wire.port;
    remote.all();
    assert_eq!(
        wire.cuts_left.load(Ordering::Relaxed),
        1,
        "no connection has carried a layer of the run image"
    );
    let copy = format!("oci:{}:x", world.path("copy").display());
    let from = format!("docker://127.0.0.1:{}/app:1", remote.registry.port);
    remote
        .registry
        .skopeo(&["copy", "--quiet", "--src-tls-verify=false", &from, &copy]);
}

fn refused(world: &World) {
    let mut remote = Remote::new(world);
    buildpack(world, "");
    // Base64 of `user:wrong`.
    remote.auth = "dXNlcjp3cm9uZw==";
    let (run, app) = (remote.name("run:1"), remote.name("app:1"));
    let ran = remote.run("analyzer", &["-run-image", &run, &app]);
    ran.failed(32, &format!("refuses access to `{}", remote.name("app")));
    assert!(!ran.text.contains(remote.auth), "{}", ran.text);
    assert!(!world.path("layers/analyzed.toml").exists());
    let elsewhere = ["-run-image", &run, &app, "-tag", "registry.example/app:1"];
    remote.run("analyzer", &elsewhere).failed(3, "");
    remote
        .run("analyzer", &["-run-image", &run, "No Name"])
        .failed(3, "No Name");
    remote.auth = AUTH;
    let none = remote.name("none:1");
    remote
        .run("analyzer", &["-run-image", &none, &app])
        .failed(32, &format!("there is no run image `{none}`"));
}

fn lost_half_way(world: &World) {
    let mut remote = Remote::new(world);
    buildpack(world, "");
    let home = remote.port;
    remote.all();
    let digests =
        |remote: &Remote<'_>| ["app:1", "app:2", "cache:1"].map(|name| remote.digest(name));
    let before = digests(&remote);
    // The next image has a layer that never arrives.
    fs::write(world.path("noise"), noise()).unwrap();
    buildpack(world, "cp $1/../../noise $1/l/noise");
    world.reset();
    let (run, app) = (remote.name("run:1"), remote.name("app:1"));
    remote.ok("analyzer", &["-run-image", &run, &app]);
    remote.ok("detector", &[]);
    remote.ok("builder", &[]);
    let analyzed = world.read("layers/analyzed.toml");
    let wire = Wire::to(home, CUT_BYTES, 1000);
    remote.port = wire.port;
    world.write(
        "layers/analyzed.toml",
        &analyzed.replace(&format!(":{home}/"), &format!(":{}/", wire.port)),
    );
    let (app, tag, cache) = (
        remote.name("app:1"),
        remote.name("app:2"),
        remote.name("cache:1"),
    );
    let (volume, launcher) = (world.path("cache"), world.launcher());
    let kept = tree(world, "cache");
    for cache in [
        ["-cache-image", &cache],
        ["-cache-dir", volume.to_str().unwrap()],
    ] {
        let args = [&cache[..], &["-launcher", &launcher, &app, &tag]].concat();
        remote
            .run("exporter", &args)
            .failed(62, &format!("cannot push `{}@sha256:", remote.name("app")));
        assert_eq!(digests(&remote), before);
        assert_eq!(tree(world, "cache"), kept);
        assert!(!world.path("layers/report.toml").exists());
    }
}

/// Files of a volume cache; those of one that is only begun do not count.
fn tree(world: &World, dir: &str) -> BTreeMap<String, Vec<u8>> {
    let names = world.names(&format!("{dir}/committed")).into_iter();
    names
        .map(|name| {
            let content = fs::read(world.path(&format!("{dir}/committed/{name}"))).unwrap();
            (name, content)
        })
        .collect()
}
