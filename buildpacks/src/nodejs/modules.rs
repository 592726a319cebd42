//! The app's packages. They live in layers, `node_modules` in the app is a link to one: with the development packages
//! while the build scripts run, without them in the image. The same key means that no package manager is started.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Instant, SystemTime},
};

use libcnb::{build::BuildContext, data::layer_name};

use super::{
    Nodejs,
    app::{App, Lock},
    carry,
    errors::NodeError,
    manager::{Kind, Manager},
    manifest::Manifest,
    runtime::Node,
    scripts,
};
use crate::{
    command,
    error::{IoContext, IoError},
    key::Key,
    layer::{Use, keyed},
    print, tree,
};

const NODE_MODULES: &str = "node_modules";
/// A package manager's cache that has grown beyond this is emptied after use.
const CACHE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Where the packages are while the build scripts run.
pub(super) enum Modules<'a> {
    /// There are none to install.
    None,
    /// In the app itself, because some of them are links into it.
    InApp { prune_by: Option<&'a Manager> },
    /// In a layer that is shipped as it is.
    InLayer,
    /// In a layer that is only for the build; `shipped` holds those that are needed to run.
    InLayers {
        build: PathBuf,
        shipped: PathBuf,
        since: SystemTime,
    },
}

/// Which packages the build and the image need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Without the development packages throughout.
    Production,
    /// All for the build scripts, then without the development packages.
    AllThenProduction,
    /// All throughout.
    All,
}

pub(super) fn install<'a>(
    context: &BuildContext<Nodejs>,
    app: &App,
    manager: &'a Option<Manager>,
    node: &Node,
) -> libcnb::Result<Modules<'a>, NodeError> {
    let (Some(manifest), Some(manager)) = (&app.manifest, manager) else {
        return Ok(Modules::None);
    };
    if !manifest.has_dependencies() {
        return Ok(Modules::None);
    }
    print::step(&format!("Installing packages with {}", manager.kind.name()));
    remove_checked_in(app).map_err(NodeError::Io)?;
    if app.lock.is_none() {
        print::warning(&no_lock(manager.kind));
    }
    let wanted = wanted(manifest, is_pruning_off());
    if manifest.has_linked_packages() || app.dir.join("pnpm-workspace.yaml").is_file() {
        run_installer(app, manager, wanted)?;
        let prune_by = (wanted == Wanted::AllThenProduction).then_some(manager);
        return Ok(Modules::InApp { prune_by });
    }
    let key = key(app, manifest, manager, node, wanted)?;
    in_layers(context, app, manager, wanted, &key)
}

impl Modules<'_> {
    /// After the build scripts: leaves what the running app needs.
    pub(super) fn ship(&self, app: &App) -> Result<(), NodeError> {
        match self {
            Modules::None | Modules::InLayer | Modules::InApp { prune_by: None } => Ok(()),
            Modules::InApp {
                prune_by: Some(manager),
            } => {
                print::step("Removing development packages");
                prune(app, manager)
            }
            Modules::InLayers {
                build,
                shipped,
                since,
            } => {
                carry::new_files(build, shipped, *since)?;
                Ok(tree::link(shipped, &app.dir.join(NODE_MODULES))?)
            }
        }
    }
}

fn in_layers<'a>(
    context: &BuildContext<Nodejs>,
    app: &App,
    manager: &'a Manager,
    wanted: Wanted,
    key: &str,
) -> libcnb::Result<Modules<'a>, NodeError> {
    let layer = keyed(context, layer_name!("modules"), Use::Launch, key)?;
    let build_layer = match wanted {
        Wanted::AllThenProduction => Some(keyed(
            context,
            layer_name!("modules_build"),
            Use::Cache,
            key,
        )?),
        Wanted::Production | Wanted::All => None,
    };
    let in_app = app.dir.join(NODE_MODULES);
    let shipped = layer.path().join(NODE_MODULES);
    let build = build_layer
        .as_ref()
        .map(|layer| layer.path().join(NODE_MODULES));
    let is_restored = layer.restored && build_layer.as_ref().is_none_or(|layer| layer.restored);
    if is_restored {
        print::detail("Nothing has changed: the packages of the last build are used");
    } else {
        for stale in build.iter().chain([&shipped]) {
            tree::remove(stale).map_err(NodeError::Io)?;
        }
        run_installer(app, manager, wanted)?;
        if let Some(build) = &build {
            tree::copy_tree(&in_app, build).map_err(NodeError::Io)?;
            prune(app, manager)?;
        }
        place(&in_app, &shipped)?;
        layer.keep(&manager.version)?;
        if let Some(layer) = &build_layer {
            layer.keep(&manager.version)?;
        }
    }
    tree::link(build.as_ref().unwrap_or(&shipped), &in_app).map_err(NodeError::Io)?;
    Ok(match build {
        None => Modules::InLayer,
        Some(build) => Modules::InLayers {
            build,
            shipped,
            since: SystemTime::now(),
        },
    })
}

/// A package manager that installed nothing (all packages optional, say) leaves no folder.
fn place(in_app: &Path, shipped: &Path) -> Result<(), NodeError> {
    if !in_app.is_dir() {
        fs::create_dir_all(in_app).at("create", in_app)?;
    }
    // Their time stamps and paths would make two equal installs differ.
    for record in [
        ".modules.yaml",
        ".pnpm-workspace-state.json",
        ".pnpm-workspace-state-v1.json",
    ] {
        tree::remove(&in_app.join(record))?;
    }
    Ok(tree::move_tree(in_app, shipped)?)
}

fn remove_checked_in(app: &App) -> Result<(), IoError> {
    let in_app = app.dir.join(NODE_MODULES);
    if fs::symlink_metadata(&in_app).is_ok() {
        print::warning(
            "node_modules is checked in: it is replaced by a fresh install.\n\
             `git rm -r --cached node_modules` and a line `node_modules` in .gitignore keep it out.",
        );
        tree::remove(&in_app)?;
    }
    Ok(())
}

fn no_lock(kind: Kind) -> String {
    let name = kind.name();
    let lock = match kind {
        Kind::Npm => Lock::Npm.file(),
        Kind::Yarn => Lock::Yarn.file(),
        Kind::Pnpm => Lock::Pnpm.file(),
    };
    format!(
        "There is no lock file, so versions may differ from those on your machine.\n\
         `{name} install` writes {lock}: commit it."
    )
}

/// Heroku's switches, so that apps which set them keep their meaning.
fn is_pruning_off() -> bool {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    is("NPM_CONFIG_PRODUCTION", "false")
        || is("YARN_PRODUCTION", "false")
        || is("PNPM_SKIP_PRUNING", "true")
}

fn wanted(manifest: &Manifest, pruning_is_off: bool) -> Wanted {
    let runs_scripts = scripts::has_any(manifest) || manifest.has_install_scripts();
    match (
        manifest.has_dev_dependencies(),
        pruning_is_off,
        runs_scripts,
    ) {
        (true, true, _) => Wanted::All,
        (true, false, true) => Wanted::AllThenProduction,
        _ => Wanted::Production,
    }
}

fn key(
    app: &App,
    manifest: &Manifest,
    manager: &Manager,
    node: &Node,
    wanted: Wanted,
) -> Result<String, NodeError> {
    let mut key = Key::new("packages")
        .with("manifest", manifest.dependency_text())
        .with("manager", manager.kind.name())
        .with("manager version", &manager.version)
        .with("node", node.version.to_string())
        .with("arch", node.arch)
        .with("wanted", format!("{wanted:?}"));
    let lock = app.lock.map(Lock::file);
    for name in [".npmrc", ".yarnrc", ".pnpmfile.cjs"]
        .into_iter()
        .chain(lock)
    {
        key = key.with(name, "").with_file(&app.dir.join(name))?;
    }
    if manifest.has_install_scripts() {
        // They may read any file of the app: patches, a schema, a binding's sources.
        key = key.with_tree(&app.dir)?;
    }
    Ok(key.finish())
}

fn run_installer(app: &App, manager: &Manager, wanted: Wanted) -> Result<(), NodeError> {
    let start = Instant::now();
    let with_dev = wanted != Wanted::Production;
    let mut command = manager.command(app);
    add_install_arguments(&mut command, manager.kind, app.lock.is_some(), with_dev);
    command::stream(&mut command).map_err(|source| NodeError::Install {
        manager: manager.kind.name(),
        lock: app.lock.map(Lock::file),
        source,
    })?;
    if tree::empty_above(&manager.cache, CACHE_BYTES_MAX)? {
        print::detail("The cache of downloaded packages had grown too large and was emptied");
    }
    print::done(start.elapsed());
    Ok(())
}

fn add_install_arguments(command: &mut Command, kind: Kind, is_locked: bool, with_dev: bool) {
    match (kind, is_locked) {
        (Kind::Npm, true) => command.arg("ci"),
        (Kind::Npm, false) => command.args(["install", "--no-package-lock"]),
        (Kind::Yarn, true) => command.args(["install", "--non-interactive", "--frozen-lockfile"]),
        (Kind::Yarn, false) => command.args(["install", "--non-interactive", "--no-lockfile"]),
        (Kind::Pnpm, true) => command.args(["install", "--frozen-lockfile"]),
        (Kind::Pnpm, false) => command.args(["install", "--no-lockfile"]),
    };
    // Said either way: NODE_ENV=production must not decide what the build scripts find.
    command.arg(match (kind, with_dev) {
        (Kind::Npm, true) => "--include=dev",
        (Kind::Npm, false) => "--omit=dev",
        (Kind::Yarn, true) => "--production=false",
        (Kind::Yarn, false) => "--production=true",
        (Kind::Pnpm, true) => "--prod=false",
        (Kind::Pnpm, false) => "--prod",
    });
}

/// Without scripts: what they made for the packages that stay is there already.
fn prune(app: &App, manager: &Manager) -> Result<(), NodeError> {
    let mut command = manager.command(app);
    match manager.kind {
        Kind::Npm => command.args(["prune", "--omit=dev", "--no-save", "--ignore-scripts"]),
        Kind::Yarn => command.args([
            "install",
            "--production=true",
            "--non-interactive",
            "--frozen-lockfile",
            "--prefer-offline",
            "--ignore-scripts",
        ]),
        Kind::Pnpm => command.args(["prune", "--prod", "--ignore-scripts"]),
    };
    command::stream(&mut command).map_err(NodeError::Prune)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_packages_are_installed_only_for_scripts() {
        for (text, pruning_is_off, expected) in [
            (
                r#"{"dependencies": {"a": "1"}, "scripts": {"build": "b"}}"#,
                false,
                Wanted::Production,
            ),
            (
                r#"{"devDependencies": {"a": "1"}}"#,
                false,
                Wanted::Production,
            ),
            (
                r#"{"devDependencies": {"a": "1"}, "scripts": {"test": "b"}}"#,
                false,
                Wanted::Production,
            ),
            (
                r#"{"devDependencies": {"a": "1"}, "scripts": {"build": "b"}}"#,
                false,
                Wanted::AllThenProduction,
            ),
            (
                r#"{"devDependencies": {"a": "1"}, "scripts": {"prepare": "b"}}"#,
                false,
                Wanted::AllThenProduction,
            ),
            (
                r#"{"devDependencies": {"a": "1"}, "scripts": {"build": "b"}}"#,
                true,
                Wanted::All,
            ),
        ] {
            let manifest = Manifest::parse(text).expect("a manifest");
            assert_eq!(wanted(&manifest, pruning_is_off), expected, "{text}");
        }
    }
}
