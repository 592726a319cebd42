//! The package manager that the app uses: which one, in which version, and how it is called.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Component, Path, PathBuf},
    process::Command,
    time::Instant,
};

use libcnb::{build::BuildContext, data::layer_name};
use nodejs_semver::{Range, Version};
use serde::Deserialize;

use super::{
    Nodejs,
    app::{App, Lock},
    errors::NodeError,
    manifest::Manifest,
    registry::{Package, Registry},
    runtime::{Node, path_with},
};
use crate::{
    command,
    error::{IoContext, IoError},
    key::Key,
    layer::{Use, keyed},
    print,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Npm,
    Yarn,
    Pnpm,
}

#[derive(Debug)]
pub(super) struct Manager {
    pub(super) kind: Kind,
    /// For the key of what it installs.
    pub(super) version: String,
    path: OsString,
    /// Its own cache of packages, kept between builds.
    pub(super) cache: PathBuf,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Npm => "npm",
            Kind::Yarn => "yarn",
            Kind::Pnpm => "pnpm",
        }
    }
}

/// `None` for an app without package.json.
pub(super) fn provide(
    context: &BuildContext<Nodejs>,
    app: &App,
    node: &Node,
) -> libcnb::Result<Option<Manager>, NodeError> {
    let Some(manifest) = &app.manifest else {
        return Ok(None);
    };
    let kind = choose_kind(app.lock, manifest)?;
    let asked = asked_version(kind, app, manifest)?;
    let cache = keyed(context, layer_name!("cache"), Use::Cache, kind.name())?;
    if !cache.restored {
        cache.keep("")?;
    }
    let (version, path) = match stack_npm(kind, asked.as_ref(), &node.version) {
        Some(version) => (version.to_string(), node.path.clone()),
        None => from_registry(context, app, kind, asked, node)?,
    };
    Ok(Some(Manager {
        kind,
        version,
        path,
        cache: cache.path(),
    }))
}

impl Manager {
    /// The manager in the app's folder, quiet about anything but its work, with its cache in our layer.
    pub(super) fn command(&self, app: &App) -> Command {
        let program = env::split_paths(&self.path)
            .map(|dir| dir.join(self.kind.name()))
            .find(|path| command::is_executable(path))
            .unwrap_or_else(|| PathBuf::from(self.kind.name()));
        let mut command = Command::new(program);
        command
            .current_dir(&app.dir)
            .env("PATH", &self.path)
            .env("CI", "true")
            .env("npm_config_cache", &self.cache)
            .env("npm_config_audit", "false")
            .env("npm_config_fund", "false")
            .env("npm_config_update_notifier", "false")
            .env("npm_config_progress", "false")
            .env("npm_config_logs_max", "0")
            .env("YARN_CACHE_FOLDER", &self.cache)
            .env("YARN_SILENT_VERSION_CHECK", "1")
            .env("COREPACK_ENABLE_STRICT", "0");
        if self.kind == Kind::Pnpm {
            // By its own variables and npm's: which of them it reads has changed with its versions.
            for name in ["npm_config_store_dir", "pnpm_config_store_dir"] {
                command.env(name, self.cache.join("store"));
            }
            command.env("npm_config_manage_package_manager_versions", "false");
            command.env("pnpm_config_manage_package_manager_versions", "false");
        }
        command
    }
}

fn choose_kind(lock: Option<Lock>, manifest: &Manifest) -> Result<Kind, NodeError> {
    let named = manifest.package_manager().map(|(name, _)| name);
    match (lock, named) {
        (Some(Lock::Npm | Lock::NpmShrinkwrap), _) | (None, Some("npm") | None) => Ok(Kind::Npm),
        (Some(Lock::Yarn), _) | (None, Some("yarn")) => Ok(Kind::Yarn),
        (Some(Lock::Pnpm), _) | (None, Some("pnpm")) => Ok(Kind::Pnpm),
        (Some(Lock::Bun), _) => Err(NodeError::ManagerNotYet("Bun".to_owned())),
        (None, Some(other)) => Err(NodeError::ManagerNotYet(other.to_owned())),
    }
}

/// What is asked of the manager: by `packageManager`, by `engines`, else by the format of its lock file.
fn asked_version(kind: Kind, app: &App, manifest: &Manifest) -> Result<Option<Range>, NodeError> {
    if kind == Kind::Yarn && is_modern_yarn(app)? {
        return Err(NodeError::ManagerNotYet("Yarn 2 and later".to_owned()));
    }
    let asked = manifest
        .package_manager()
        .filter(|(name, _)| *name == kind.name())
        .map(|(_, version)| version)
        .or_else(|| manifest.engine(kind.name()));
    let range = match asked {
        Some(text) => {
            Some(
                Range::parse(text).map_err(|_| NodeError::ManagerVersionNotUnderstood {
                    manager: kind.name(),
                    text: text.to_owned(),
                })?,
            )
        }
        None => None,
    };
    match (kind, range) {
        (Kind::Npm, range) => Ok(range),
        (Kind::Yarn, Some(range)) if !allows_major(&range, 1) => {
            Err(NodeError::ManagerNotYet("Yarn 2 and later".to_owned()))
        }
        (Kind::Yarn, _) => Ok(Range::parse("1.x").ok()),
        (Kind::Pnpm, Some(range)) => Ok(Some(range)),
        (Kind::Pnpm, None) => {
            let path = app.dir.join(Lock::Pnpm.file());
            let lock = fs::read_to_string(&path).unwrap_or_default();
            Ok(Range::parse(pnpm_for_lock(&lock)).ok())
        }
    }
}

fn allows_major(range: &Range, major: u64) -> bool {
    Range::parse(format!("{major}.x")).is_ok_and(|line| range.allows_any(&line))
}

fn is_modern_yarn(app: &App) -> Result<bool, IoError> {
    let path = app.dir.join(Lock::Yarn.file());
    let lock = match path.is_file() {
        true => fs::read_to_string(&path).at("read", &path)?,
        false => String::new(),
    };
    Ok(app.dir.join(".yarnrc.yml").is_file() || lock.contains("\n__metadata:"))
}

/// The versions of pnpm that read this lock file.
fn pnpm_for_lock(lock: &str) -> &'static str {
    let version = lock
        .lines()
        .find_map(|line| line.strip_prefix("lockfileVersion:"))
        .map(|version| version.trim().trim_matches(['\'', '"']))
        .unwrap_or_default();
    match version.split('.').next() {
        Some("5") => "7.x",
        Some("6") => "8.x",
        _ => ">=9 <11",
    }
}

/// The version of the stack's npm, when npm is what is wanted, and it fits the app and this Node.js. Read from its
/// package.json: to start it takes a third of a second.
fn stack_npm(kind: Kind, asked: Option<&Range>, node: &Version) -> Option<Version> {
    #[derive(Deserialize)]
    struct Package {
        version: String,
        #[serde(default)]
        engines: BTreeMap<String, String>,
    }
    if kind != Kind::Npm {
        return None;
    }
    let program = command::find("npm")?.canonicalize().ok()?;
    let package = program.parent()?.parent()?.join("package.json");
    let package: Package = serde_json::from_slice(&fs::read(package).ok()?).ok()?;
    let version = Version::parse(&package.version).ok()?;
    let takes_node = package
        .engines
        .get("node")
        .and_then(|range| Range::parse(range).ok())
        .is_none_or(|range| node.satisfies(&range));
    let is_asked = asked.is_none_or(|range| version.satisfies(range));
    (takes_node && is_asked).then_some(version)
}

fn from_registry(
    context: &BuildContext<Nodejs>,
    app: &App,
    kind: Kind,
    asked: Option<Range>,
    node: &Node,
) -> libcnb::Result<(String, OsString), NodeError> {
    let range = asked.unwrap_or_else(Range::any);
    let key = Key::new(kind.name())
        .with("range", range.to_string())
        .with("node", node.version.to_string())
        .finish();
    let layer = keyed(context, layer_name!("manager"), Use::BuildAndLaunch, &key)?;
    let version = match layer.restored {
        true => layer.note.clone(),
        false => {
            let start = Instant::now();
            let version = install(app, kind, &range, &node.version, &layer.path())?;
            layer.keep(&version)?;
            print::done(start.elapsed());
            version
        }
    };
    Ok((version, path_with(&layer.path().join("bin"), &node.path)))
}

fn install(
    app: &App,
    kind: Kind,
    range: &Range,
    node: &Version,
    dir: &Path,
) -> Result<String, NodeError> {
    let registry = Registry::of(&app.dir);
    let package = registry.package(kind.name())?;
    let version = newest(&package, range, node).ok_or_else(|| NodeError::NoSuchManager {
        manager: kind.name(),
        range: range.to_string(),
        node: node.to_string(),
    })?;
    print::step(&format!(
        "Installing {} {version} from the npm registry",
        kind.name()
    ));
    let files = dir.join("package");
    fs::create_dir_all(&files).at("create", &files)?;
    if let Some(release) = package.versions.get(&version.to_string()) {
        registry.unpack(release, &files, |_| true)?;
    }
    link_programs(&files, &dir.join("bin"))?;
    Ok(version.to_string())
}

/// The newest release in the range that runs on this Node.js.
fn newest(package: &Package, range: &Range, node: &Version) -> Option<Version> {
    package
        .versions
        .iter()
        .filter(|(_, release)| {
            release
                .engines
                .get("node")
                .and_then(|range| Range::parse(range.as_str()?).ok())
                .is_none_or(|range| node.satisfies(&range))
        })
        .filter_map(|(text, _)| Version::parse(text).ok())
        .filter(|version| !version.is_prerelease() && version.satisfies(range))
        .max()
}

/// Makes a link in `bin` for each program that the package declares.
fn link_programs(package: &Path, bin: &Path) -> Result<(), NodeError> {
    #[derive(Deserialize)]
    struct Programs {
        #[serde(default)]
        bin: BTreeMap<String, String>,
    }
    let path = package.join("package.json");
    let text = fs::read_to_string(&path).at("read", &path)?;
    let programs: Programs =
        serde_json::from_str(&text).map_err(|error| NodeError::Manifest(error.into()))?;
    fs::create_dir_all(bin).at("create", bin)?;
    for (name, file) in programs.bin {
        let file: PathBuf = Path::new(&file)
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        let program = package.join(&file);
        let link = bin.join(name);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .at("change the mode of", &program)?;
        symlink(Path::new("../package").join(&file), &link).at("link", &link)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Manifest {
        Manifest::parse(text).expect("a manifest")
    }

    #[test]
    fn the_lock_decides_before_the_manifest() {
        let named = |name: &str| manifest(&format!(r#"{{"packageManager": "{name}@1.2.3"}}"#));
        let choose = |lock, manifest: &Manifest| choose_kind(lock, manifest).ok();
        assert_eq!(choose(None, &manifest("{}")), Some(Kind::Npm));
        assert_eq!(choose(None, &named("pnpm")), Some(Kind::Pnpm));
        assert_eq!(choose(Some(Lock::Yarn), &manifest("{}")), Some(Kind::Yarn));
        assert_eq!(choose(Some(Lock::Bun), &manifest("{}")), None);
        assert_eq!(choose(None, &named("bun")), None);
    }

    #[test]
    fn pnpm_is_one_that_reads_the_lock() {
        for (lock, expected) in [
            ("lockfileVersion: 5.4\n", "7.x"),
            ("lockfileVersion: '6.0'\n\nsettings:\n", "8.x"),
            ("lockfileVersion: '9.0'\n", ">=9 <11"),
            ("", ">=9 <11"),
        ] {
            assert_eq!(pnpm_for_lock(lock), expected, "{lock}");
        }
    }

    #[test]
    fn the_newest_release_that_runs_here_is_taken() {
        let release = |node: &str| serde_json::json!({"dist": {"tarball": "t", "integrity": null}, "engines": {"node": node}});
        let package: Package = serde_json::from_value(serde_json::json!({"versions": {
            "9.0.0": release(">=16"), "10.2.0": release(">=18"), "10.10.0": release(">=18"),
            "11.0.0": release(">=22"), "12.0.0-rc.1": release(">=18"),
        }}))
        .expect("a package");
        let newest = |range: &str, node: &str| {
            let range = Range::parse(range).expect("a range");
            let node = Version::parse(node).expect("a version");
            super::newest(&package, &range, &node).map(|version| version.to_string())
        };
        assert_eq!(newest("*", "20.0.0").as_deref(), Some("10.10.0"));
        assert_eq!(newest("*", "22.0.0").as_deref(), Some("11.0.0"));
        assert_eq!(newest("11", "20.0.0"), None);
    }
}
