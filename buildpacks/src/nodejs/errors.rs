//! What can be wrong with a Node.js build, and the words for it.

use super::{app::Asked, manifest::ManifestError, registry::RegistryError, version::LTS_MAJOR};
use crate::{
    command::CommandError,
    error::{IoError, chain, into_libcnb_error},
};

#[derive(Debug)]
pub(crate) enum NodeError {
    Io(IoError),
    Manifest(ManifestError),
    SeveralLocks(Vec<&'static str>),
    LockOfAnother {
        lock: &'static str,
        manager: String,
    },
    VersionNotUnderstood(Asked),
    NoSuchVersion {
        range: String,
        newest: String,
    },
    Arch(String),
    StackNode(CommandError),
    Registry(RegistryError),
    ManagerNotYet(String),
    ManagerVersionNotUnderstood {
        manager: &'static str,
        text: String,
    },
    NoSuchManager {
        manager: &'static str,
        range: String,
        node: String,
    },
    Install {
        manager: &'static str,
        lock: Option<&'static str>,
        source: CommandError,
    },
    Prune(CommandError),
    Script {
        name: &'static str,
        source: CommandError,
    },
}

into_libcnb_error!(NodeError);

impl From<IoError> for NodeError {
    fn from(error: IoError) -> NodeError {
        NodeError::Io(error)
    }
}

pub(super) fn explain(error: &NodeError) -> (String, String) {
    let (title, body) = words(error);
    (title.to_owned(), body)
}

fn words(error: &NodeError) -> (&'static str, String) {
    match error {
        NodeError::Io(error) => ("A file could not be handled", format!("{}.", chain(error))),
        NodeError::Manifest(error) => (
            "package.json is not valid",
            format!("{error}.\n`npm pkg fix` or an editor shows where."),
        ),
        NodeError::SeveralLocks(files) => (
            "There are lock files of more than one package manager",
            format!(
                "Found {}.\nRemove all but one, or name the package manager in package.json:\n\n    \
                 \"packageManager\": \"npm@10.9.2\"",
                list(files)
            ),
        ),
        NodeError::LockOfAnother { lock, manager } => (
            "The lock file is not of the app's package manager",
            format!(
                "package.json says `\"packageManager\": \"{manager}@...\"`, but the lock file is {lock}.\n\
                 Run `{manager} install`, commit what it writes, and `git rm {lock}`."
            ),
        ),
        NodeError::VersionNotUnderstood(asked) => (
            "The version of Node.js that is asked for is not understood",
            format!(
                "{} says `{}`. Ask for a range such as `{LTS_MAJOR}.x` or `>=20`.",
                asked.source, asked.text
            ),
        ),
        NodeError::NoSuchVersion { range, newest } => (
            "There is no such version of Node.js",
            format!(
                "The registry has none in the range `{range}`; its newest is {newest}.\n\
                 Change `engines.node` in package.json to a range such as `{LTS_MAJOR}.x`."
            ),
        ),
        NodeError::Arch(arch) => (
            "There is no Node.js for this machine",
            format!("Node.js is available for amd64 and arm64, and this is {arch}."),
        ),
        NodeError::StackNode(error) => (
            "The stack's Node.js does not start",
            format!(
                "{}.\nThis is not the app's fault: whoever runs the platform can repair or remove it.",
                chain(error)
            ),
        ),
        NodeError::Registry(error) => (
            "The npm registry did not give what was asked for",
            format!(
                "{}.\nIf the network stumbled, push again. Another registry: `npm_config_registry`, or .npmrc.",
                chain(error)
            ),
        ),
        NodeError::ManagerNotYet(manager) => (
            "This package manager is not supported yet",
            format!(
                "The app uses {manager}. npm, Yarn 1 and pnpm are supported:\n\
                 `npm install` makes a package-lock.json from the same package.json."
            ),
        ),
        NodeError::ManagerVersionNotUnderstood { manager, text } => (
            "The version of the package manager is not understood",
            format!(
                "package.json asks for {manager} `{text}`. Ask for one such as `{manager}@10.2.0`."
            ),
        ),
        NodeError::NoSuchManager {
            manager,
            range,
            node,
        } => (
            "There is no such version of the package manager",
            format!(
                "The registry has no {manager} in the range `{range}` that runs on Node.js {node}."
            ),
        ),
        NodeError::Install {
            manager,
            lock,
            source,
        } => (
            "The packages could not be installed",
            format!(
                "{}: its own words stand above.\n{}",
                chain(source),
                install_hint(manager, *lock)
            ),
        ),
        NodeError::Prune(error) => (
            "The development packages could not be removed",
            format!(
                "{}: its own words stand above.\nTo keep them in the image: `config:set NPM_CONFIG_PRODUCTION=false`.",
                chain(error)
            ),
        ),
        NodeError::Script { name, source } => (
            "A build script failed",
            format!(
                "{}: its own words stand above.\nThe script is `{name}` in package.json; it can be tried at home in the same way.",
                chain(source)
            ),
        ),
    }
}

fn install_hint(manager: &str, lock: Option<&str>) -> String {
    match lock {
        Some(lock) => format!(
            "If {lock} no longer fits package.json, `{manager} install` at home repairs it: commit the result."
        ),
        None => format!("Does `{manager} install` work at home, in a fresh clone?"),
    }
}

fn list(names: &[&str]) -> String {
    names.join(" and ")
}
