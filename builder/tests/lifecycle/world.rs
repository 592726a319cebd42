//! Folders as a builder image has them, a run image, and a lifecycle to run in them.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use container::{
    Digest,
    layer::{Owner, Plan},
    layout::Layout,
    manifest::{Descriptor, Index, Manifest, OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Platform},
};
use serde_json::{Value, json};

pub(crate) const RUN: &str = "registry.example/run:1";
pub(crate) const APP: &str = "registry.example/app:1";

pub(crate) struct World {
    pub(crate) root: tempfile::TempDir,
    /// Ours when absent.
    pub(crate) reference: Option<PathBuf>,
    pub(crate) api: &'static str,
}

/// The reference lifecycle takes the path of a layout for an image's name, which has small letters only.
/// A name that somebody has left behind is passed over.
pub(crate) fn folder(name: &str) -> tempfile::TempDir {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        let made = tempfile::Builder::new()
            .prefix(&name)
            .rand_bytes(0)
            .tempdir();
        match made {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return made.unwrap(),
        }
    }
}

/// What a phase did.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) text: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self {
            root: folder("world"),
            reference: None,
            api: "0.15",
        };
        for dir in [
            "buildpacks",
            "extensions",
            "platform/env",
            "build-config/env",
            "oci",
            "cache",
            "names",
        ] {
            fs::create_dir_all(world.path(dir)).unwrap();
        }
        let exe = std::env::current_exe().unwrap();
        for phase in [
            "analyzer", "detector", "restorer", "builder", "exporter", "creator", "rebaser",
            "extender", "launcher",
        ] {
            std::os::unix::fs::symlink(&exe, world.path("names").join(phase)).unwrap();
        }
        world.reset();
        world.run_image(RUN, "12", "base");
        world
    }

    /// A fresh app and no layers, as at the start of a build.
    pub(crate) fn reset(&self) {
        for dir in ["layers", "app"] {
            _ = fs::remove_dir_all(self.path(dir));
            fs::create_dir_all(self.path(dir)).unwrap();
        }
        self.write("app/app.txt", "the app\n");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn toml(&self, name: &str) -> toml::Table {
        toml::from_str(&self.read(name)).unwrap()
    }

    /// A buildpack of one version whose programs are bash scripts.
    pub(crate) fn buildpack(&self, api: &str, id: &str, more: &str, detect: &str, build: &str) {
        let dir = format!("buildpacks/{}/1", id.replace('/', "_"));
        self.write(
            &format!("{dir}/buildpack.toml"),
            &format!("api='{api}'\n[buildpack]\nid='{id}'\nversion='1'\nhomepage='https://example.org/{id}'\n{more}\n"),
        );
        self.script(&format!("{dir}/bin/detect"), detect);
        self.script(&format!("{dir}/bin/build"), build);
    }

    /// An image extension of one version.
    pub(crate) fn extension(&self, id: &str, detect: &str, generate: &str) {
        let dir = format!("extensions/{id}/1");
        self.write(
            &format!("{dir}/extension.toml"),
            &format!("api='0.10'\n[extension]\nid='{id}'\nversion='1'\n"),
        );
        self.script(&format!("{dir}/bin/detect"), detect);
        self.script(&format!("{dir}/bin/generate"), generate);
    }

    pub(crate) fn script(&self, name: &str, script: &str) {
        self.write(name, &format!("#!/bin/bash\nset -e\n{script}\n"));
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Groups, one a line; a `?` makes a buildpack optional.
    pub(crate) fn order(&self, groups: &str) {
        self.write("order.toml", &order(groups, "order"));
    }

    /// Extends the environment only by what is given.
    pub(crate) fn run_with(&self, phase: &str, args: &[&str], env: &[(&str, &str)]) -> Ran {
        Ran::of(&self.command(phase, args, env).output().unwrap())
    }

    pub(crate) fn command(&self, phase: &str, args: &[&str], env: &[(&str, &str)]) -> Command {
        let dir = self.reference.clone().unwrap_or_else(|| self.path("names"));
        let at = |name: &str| self.path(name).display().to_string();
        let mut command = Command::new(dir.join(phase));
        command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.root.path())
            .env("TMPDIR", std::env::temp_dir())
            .env("CNB_PLATFORM_API", self.api)
            .env("CNB_EXPERIMENTAL_MODE", "warn")
            .env("CNB_NO_COLOR", "true")
            .env("CNB_APP_DIR", at("app"))
            .env("CNB_LAYERS_DIR", at("layers"))
            .env("CNB_PLATFORM_DIR", at("platform"))
            .env("CNB_BUILDPACKS_DIR", at("buildpacks"))
            .env("CNB_EXTENSIONS_DIR", at("extensions"))
            .env("CNB_BUILD_CONFIG_DIR", at("build-config"))
            .env("CNB_ORDER_PATH", at("order.toml"))
            .env("CNB_RUN_PATH", at("run.toml"))
            .env("CNB_STACK_PATH", at("stack.toml"))
            .env("CNB_SYSTEM_PATH", at("system.toml"))
            .env("CNB_USE_LAYOUT", "true")
            .env("CNB_LAYOUT_DIR", at("oci"))
            .env(
                "CNB_USER_ID",
                rustix::process::geteuid().as_raw().to_string(),
            )
            .env(
                "CNB_GROUP_ID",
                rustix::process::getegid().as_raw().to_string(),
            )
            .envs(env.iter().copied())
            .current_dir(self.root.path());
        command
    }

    /// With the cache and the launcher; `args` are the other flags and the image.
    pub(crate) fn creator(&self, args: &[&str], env: &[(&str, &str)]) -> Command {
        let (cache, launcher) = (self.path("cache").display().to_string(), self.launcher());
        let own = ["-cache-dir", &cache, "-launcher", &launcher];
        self.command("creator", &[&own, args].concat(), env)
    }

    /// The same, done.
    pub(crate) fn create(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        Ran::of(&self.creator(args, env).output().unwrap())
    }

    pub(crate) fn run(&self, phase: &str, args: &[&str]) -> Ran {
        self.run_with(phase, args, &[])
    }

    pub(crate) fn ok(&self, phase: &str, args: &[&str]) -> String {
        let ran = self.run(phase, args);
        assert_eq!(ran.code, 0, "{phase}: {}", ran.text);
        ran.text
    }

    /// All phases, one after the other.
    pub(crate) fn all(&self) -> String {
        let cache = self.path("cache").display().to_string();
        [
            self.ok("analyzer", &["-run-image", RUN, APP]),
            self.ok("detector", &[]),
            self.ok("restorer", &["-cache-dir", &cache]),
            self.ok("builder", &[]),
            self.ok(
                "exporter",
                &["-cache-dir", &cache, "-launcher", &self.launcher(), APP],
            ),
        ]
        .concat()
    }

    /// Any program will do, but it has to be the same for both lifecycles.
    pub(crate) fn launcher(&self) -> String {
        self.write("launcher", "the launcher");
        self.path("launcher").display().to_string()
    }

    pub(crate) fn image(&self, name: &str) -> Image {
        Image::open(&self.path("oci").join(name.replace(':', "/")))
    }

    pub(crate) fn run_image(&self, name: &str, version: &str, text: &str) {
        self.run_image_with(name, text, |config| {
            config["config"]["Labels"]["io.buildpacks.base.distro.version"] = version.into();
        });
    }

    /// One layer with `etc/<text>`, on Debian 12 unless that is edited.
    pub(crate) fn run_image_with(&self, name: &str, text: &str, edit: impl FnOnce(&mut Value)) {
        self.run_image_of(name, text, text.as_bytes().into(), edit);
    }

    pub(crate) fn run_image_of(
        &self,
        name: &str,
        text: &str,
        content: Arc<[u8]>,
        edit: impl FnOnce(&mut Value),
    ) {
        let dir = self.path("oci").join(name.replace(':', "/"));
        _ = fs::remove_dir_all(&dir);
        let layout = Layout::create(&dir).unwrap();
        let owner = Owner { uid: 0, gid: 0 };
        let mut plan = Plan::default();
        plan.directory("etc", 0o755, owner);
        plan.file(&format!("etc/{text}"), content, 0o644, owner);
        let mut bytes = Vec::new();
        let blob = plan.write_gzip(&mut bytes).unwrap();
        let layer = layout.put(OCI_LAYER_GZIP, &bytes).unwrap();
        let mut config = json!({
            "architecture": "amd64", "os": "linux", "created": "2020-01-01T00:00:00Z",
            "config": {
                "Env": ["PATH=/usr/bin:/bin", "X=1"], "User": "1234:4321", "Cmd": ["sh"],
                "Labels": {
                    "io.buildpacks.base.distro.name": "debian", "io.buildpacks.base.distro.version": "12",
                    "io.buildpacks.stack.id": "stack", "kept": text,
                },
            },
            "history": [{ "created_by": "nothing", "empty_layer": true }, { "created_by": text }],
            "rootfs": { "type": "layers", "diff_ids": [blob.diff_id] },
        });
        edit(&mut config);
        let config = layout
            .put(OCI_CONFIG, config.to_string().as_bytes())
            .unwrap();
        let manifest = Manifest::new(config, vec![layer]).to_json();
        let mut descriptor = layout.put(OCI_MANIFEST, &manifest).unwrap();
        descriptor.platform = Some(Platform {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            variant: None,
        });
        fs::write(
            dir.join("index.json"),
            Index::new(vec![descriptor]).to_json(),
        )
        .unwrap();
    }

    /// Names in the folder, sorted; none when there is no such folder.
    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(dir));
        let entries = entries.into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Starts a process as in the image: by the launcher that an image gets, on the layers, which still lie here.
    pub(crate) fn launch(&self, name: &str, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let mut launcher = self.path("names/image-launcher");
        if let Some(dir) = &self.reference {
            launcher = dir.join("launcher");
        } else if !launcher.exists() {
            self.ok("exporter", &[APP]);
            fs::write(&launcher, self.image(APP).file("/cnb/lifecycle/launcher")).unwrap();
            fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let output = Command::new(launcher)
            .arg0(name)
            .args(args)
            .env_clear()
            .env("PATH", "/cnb/process:/usr/bin:/bin")
            .env("CNB_PLATFORM_API", self.api)
            .env("CNB_LAYERS_DIR", self.path("layers"))
            .env("CNB_APP_DIR", self.path("app"))
            .envs(env.iter().copied())
            .output()
            .unwrap();
        Ran::of(&output)
    }
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        let text = [&output.stdout[..], &output.stderr].concat();
        Self {
            code: output.status.code().unwrap_or(-1),
            text: String::from_utf8_lossy(&text).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn failed(&self, code: i32, expected: &str) {
        assert_eq!(self.code, code, "{}", self.text);
        assert!(self.text.contains(expected), "{expected}: {}", self.text);
    }
}

pub(crate) fn order(groups: &str, name: &str) -> String {
    let mut text = String::new();
    for group in groups.lines() {
        text.push_str(&format!("[[{name}]]\n"));
        for word in group.split_whitespace() {
            let (id, optional) = (word.trim_end_matches('?'), word.ends_with('?'));
            text.push_str(&format!(
                "[[{name}.group]]\nid='{id}'\nversion='1'\noptional={optional}\n"
            ));
        }
    }
    text
}

pub(crate) struct Image {
    pub(crate) config: Value,
    layers: Vec<Descriptor>,
    layout: Layout,
}

impl Image {
    fn open(dir: &Path) -> Self {
        let layout = Layout::open(dir).unwrap();
        let (_, manifest) = layout.image(None, &Platform::here()).unwrap();
        let config = layout.bytes(&manifest.config).unwrap();
        Self {
            config: serde_json::from_slice(&config).unwrap(),
            layers: manifest.layers,
            layout,
        }
    }

    pub(crate) fn label(&self, name: &str) -> &str {
        self.config["config"]["Labels"][name]
            .as_str()
            .unwrap_or_else(|| panic!("{name}: {:#}", self.config))
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_str(self.label(name)).unwrap()
    }

    pub(crate) fn diff_ids(&self) -> Vec<String> {
        serde_json::from_value(self.config["rootfs"]["diff_ids"].clone()).unwrap()
    }

    pub(crate) fn history(&self) -> Vec<String> {
        let entries = self.config["history"].as_array().unwrap().iter();
        entries
            .map(|entry| entry["created_by"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Names in the layer that was created by `by`; each layer is checked against its diffID.
    pub(crate) fn names(&self, by: &str) -> Vec<String> {
        let at = self
            .history()
            .iter()
            .position(|created_by| created_by.contains(by));
        let at = at.unwrap_or_else(|| panic!("{by}: {:?}", self.history()));
        let tar = self.tar(at);
        assert_eq!(Digest::of(&tar).to_string(), self.diff_ids()[at]);
        let mut archive = tar::Archive::new(&tar[..]);
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    /// What is in a layer, a line each: kind, mode, size, whose it is, name and target.
    pub(crate) fn listing(&self, at: usize, root: &str) -> Vec<String> {
        let own = u64::from(rustix::process::geteuid().as_raw());
        let tar = self.tar(at);
        let mut archive = tar::Archive::new(&tar[..]);
        let mut lines = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let below = name.strip_prefix(root).map(|name| format!("ROOT{name}"));
            // Where the world lies is not the image's doing.
            let name = match below {
                Some(below) => below,
                None if name.starts_with("/cnb") => name,
                None => continue,
            };
            let header = entry.header();
            let uid = header.uid().unwrap();
            let owner = if uid == own {
                "own".to_owned()
            } else {
                uid.to_string()
            };
            let target = entry.link_name_bytes().unwrap_or_default();
            lines.push(format!(
                "  {} {:04o} {} {owner} {} {:?} {:?}",
                char::from(header.as_bytes()[156]),
                header.mode().unwrap(),
                header.size().unwrap(),
                header.mtime().unwrap(),
                name,
                String::from_utf8_lossy(&target),
            ));
        }
        lines
    }

    /// Of the topmost layer that has it.
    fn file(&self, name: &str) -> Vec<u8> {
        for at in (0..self.layers.len()).rev() {
            let tar = self.tar(at);
            for entry in tar::Archive::new(&tar[..]).entries().unwrap() {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                if entry.path_bytes() == name.as_bytes() {
                    std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
                    return content;
                }
            }
        }
        panic!("{name}: {:?}", self.history())
    }

    pub(crate) fn tar(&self, at: usize) -> Vec<u8> {
        let path = self.layout.blob(&self.layers[at].digest);
        let mut tar = Vec::new();
        let mut gzip = flate2::read::MultiGzDecoder::new(fs::File::open(path).unwrap());
        std::io::Read::read_to_end(&mut gzip, &mut tar).unwrap();
        tar
    }
}
