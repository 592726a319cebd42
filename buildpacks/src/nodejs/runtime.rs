//! Node.js itself: the stack's when it fits, else the registry's, in a layer of its own.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use libcnb::{build::BuildContext, data::layer_name};
use nodejs_semver::{Range, Version};

use super::{Nodejs, app::App, errors::NodeError, registry::Registry, version};
use crate::{
    command,
    error::IoContext,
    key::Key,
    layer::{Use, keyed},
    print,
};

/// The Node.js of this build.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) version: Version,
    /// As in the registry's names: `x64`, `arm64`.
    pub(super) arch: &'static str,
    /// PATH for programs that are to find this Node.js.
    pub(super) path: OsString,
}

#[derive(Debug, PartialEq)]
enum Choice {
    Stack(Version),
    Registry(Range),
}

pub(super) fn provide(
    context: &BuildContext<Nodejs>,
    app: &App,
) -> libcnb::Result<Node, NodeError> {
    print::step("Choosing Node.js");
    let range = match &app.asked_node {
        Some(asked) => Some(
            version::range(asked).ok_or_else(|| NodeError::VersionNotUnderstood(asked.clone()))?,
        ),
        None => None,
    };
    let why = match &app.asked_node {
        Some(asked) => format!("{} asks for `{}`", asked.source, asked.text),
        None => "the app asks for no version".to_owned(),
    };
    match choose(range, stack_version(context)?) {
        Choice::Stack(version) => {
            print::detail(&format!("Node.js {version} of the stack ({why})"));
            Ok(Node {
                version,
                arch: arch(context)?,
                path: env::var_os("PATH").unwrap_or_default(),
            })
        }
        Choice::Registry(range) => from_registry(context, app, &range, &why),
    }
}

fn choose(asked: Option<Range>, stack: Option<Version>) -> Choice {
    match (asked, stack) {
        (Some(range), Some(version)) if version.satisfies(&range) => Choice::Stack(version),
        (Some(range), _) => Choice::Registry(range),
        (None, Some(version)) => Choice::Stack(version),
        (None, None) => Choice::Registry(version::lts_range()),
    }
}

/// The version of the stack's Node.js. To ask it takes as long as the rest of a build that has nothing to do, so the answer
/// is kept for as long as the file is the same.
fn stack_version(context: &BuildContext<Nodejs>) -> libcnb::Result<Option<Version>, NodeError> {
    let Some(program) = command::find("node") else {
        return Ok(None);
    };
    let real = program
        .canonicalize()
        .at("find", &program)
        .map_err(NodeError::Io)?;
    let metadata = fs::metadata(&real)
        .at("read", &real)
        .map_err(NodeError::Io)?;
    let key = Key::new("the stack's node")
        .with("path", real.to_string_lossy().as_bytes())
        .with("bytes", metadata.len().to_le_bytes())
        .with("changed", metadata.mtime().to_le_bytes())
        .finish();
    let layer = keyed(context, layer_name!("stack"), Use::Cache, &key)?;
    if let Some(version) = version::parse_printed(&layer.note) {
        return Ok(Some(version));
    }
    let printed = command::capture(Command::new(&real).arg("--version"))
        .map_err(NodeError::StackNode)?
        .output;
    layer.keep(printed.trim())?;
    Ok(version::parse_printed(&printed))
}

fn from_registry(
    context: &BuildContext<Nodejs>,
    app: &App,
    range: &Range,
    why: &str,
) -> libcnb::Result<Node, NodeError> {
    let arch = arch(context)?;
    let key = Key::new("node")
        .with("range", range.to_string())
        .with("arch", arch)
        .finish();
    let layer = keyed(context, layer_name!("node"), Use::BuildAndLaunch, &key)?;
    let version = match version::parse_printed(&layer.note) {
        Some(version) if layer.restored => {
            print::detail(&format!("Node.js {version}, as before ({why})"));
            version
        }
        _ => {
            let start = Instant::now();
            let version = install(app, range, arch, why, &layer.path())?;
            layer.keep(&version.to_string())?;
            print::done(start.elapsed());
            version
        }
    };
    Ok(Node {
        version,
        arch,
        path: path_with(
            &layer.path().join("bin"),
            &env::var_os("PATH").unwrap_or_default(),
        ),
    })
}

fn install(
    app: &App,
    range: &Range,
    arch: &str,
    why: &str,
    dir: &Path,
) -> Result<Version, NodeError> {
    let registry = Registry::of(&app.dir);
    let package = registry.package(&format!("node-linux-{arch}"))?;
    let versions = package
        .versions
        .keys()
        .filter_map(|text| Version::parse(text).ok());
    let newest = package.tags.get("latest").cloned().unwrap_or_default();
    let version = version::choose(range, versions).ok_or_else(|| NodeError::NoSuchVersion {
        range: range.to_string(),
        newest,
    })?;
    print::detail(&format!(
        "Installing Node.js {version} from the npm registry ({why})"
    ));
    let release =
        package
            .versions
            .get(&version.to_string())
            .ok_or_else(|| NodeError::NoSuchVersion {
                range: range.to_string(),
                newest: version.to_string(),
            })?;
    let wanted = |path: &Path| path.starts_with("bin") || path == Path::new("LICENSE");
    registry.unpack(release, dir, wanted)?;
    Ok(version)
}

fn arch(context: &BuildContext<Nodejs>) -> Result<&'static str, NodeError> {
    match context.target.arch.as_str() {
        "amd64" => Ok("x64"),
        "arm64" => Ok("arm64"),
        other => Err(NodeError::Arch(other.to_owned())),
    }
}

/// `path` with `dir` before all else.
pub(super) fn path_with(dir: &Path, path: &OsString) -> OsString {
    let dirs: Vec<PathBuf> = std::iter::once(dir.to_owned())
        .chain(env::split_paths(path))
        .collect();
    env::join_paths(dirs).unwrap_or_else(|_| path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_comes_first_when_it_fits() {
        let range = |text: &str| Range::parse(text).expect("a range");
        let version = |text: &str| Version::parse(text).expect("a version");
        let stack = version("20.20.2");
        for (asked, stack, expected) in [
            (None, Some(&stack), Choice::Stack(stack.clone())),
            (Some(">=18"), Some(&stack), Choice::Stack(stack.clone())),
            (Some("22"), Some(&stack), Choice::Registry(range("22"))),
            (Some("22"), None, Choice::Registry(range("22"))),
            (None, None, Choice::Registry(version::lts_range())),
        ] {
            assert_eq!(
                choose(asked.map(range), stack.cloned()),
                expected,
                "{asked:?}"
            );
        }
    }
}
