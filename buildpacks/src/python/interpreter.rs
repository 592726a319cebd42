//! The Python interpreter: one of the stack's that fits, else one that uv installs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use libcnb::{build::BuildContext, data::layer_name};
use pep440_rs::{Version, VersionSpecifiers};

use super::{
    Python,
    app::App,
    errors::PythonError,
    uv::{self, Uv},
    version::{Asked, parse_printed},
};
use crate::{
    command,
    error::IoContext,
    key::Key,
    layer::{Use, keyed},
    print,
};

const PRINT_VERSION: &str = "import sys; print('%d.%d.%d' % sys.version_info[:3])";

/// Taken when the app asks for none and the stack has none.
const DEFAULT_LINE: &str = "3.14";

#[derive(Debug)]
pub(super) struct Interpreter {
    pub(super) program: PathBuf,
    pub(super) version: Version,
}

pub(super) fn provide(
    context: &BuildContext<Python>,
    app: &App,
) -> libcnb::Result<Interpreter, PythonError> {
    print::step("Choosing Python");
    let asked = app.asked_python.as_ref();
    let specifiers = match asked {
        Some(asked) => Some(
            asked
                .specifiers()
                .ok_or_else(|| PythonError::VersionNotUnderstood(asked.clone()))?,
        ),
        None => None,
    };
    let why = match asked {
        Some(asked) => format!("{} asks for `{}`", asked.source, asked.text),
        None => "the app asks for no version".to_owned(),
    };
    let mut seen = Vec::new();
    for program in stack_programs() {
        let Some(version) = ask_version(&program) else {
            continue;
        };
        if fits(&version, specifiers.as_ref()) {
            print::detail(&format!("Python {version} of the stack ({why})"));
            return Ok(Interpreter { program, version });
        }
        seen.push(version);
    }
    let default = Asked::new(DEFAULT_LINE, "the default");
    from_vendor(context, app, asked.unwrap_or(&default), &seen, &why)
}

fn fits(version: &Version, specifiers: Option<&VersionSpecifiers>) -> bool {
    specifiers.is_none_or(|specifiers| specifiers.contains(version))
}

/// `python3` first, as what the machine's owner prefers, then `python3.N` from the newest; one path per real file.
fn stack_programs() -> Vec<PathBuf> {
    let dirs = command::path_dirs();
    let mut lines: Vec<(u32, PathBuf)> = dirs
        .iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let line = entry
                .file_name()
                .to_str()?
                .strip_prefix("python3.")?
                .parse()
                .ok()?;
            Some((line, entry.path()))
        })
        .collect();
    lines.sort_by_key(|(line, _)| std::cmp::Reverse(*line));
    let mut programs: Vec<PathBuf> = dirs
        .iter()
        .map(|dir| dir.join("python3"))
        .chain(lines.into_iter().map(|(_, path)| path))
        .filter(|path| command::is_executable(path))
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    let mut seen = Vec::new();
    programs.retain(|path| {
        let is_new = !seen.contains(path);
        seen.push(path.clone());
        is_new
    });
    programs
}

/// `None` for what does not start: it is then as good as absent.
fn ask_version(program: &Path) -> Option<Version> {
    let answer =
        command::capture(Command::new(program).args(["-I", "-S", "-c", PRINT_VERSION])).ok()?;
    match answer.status.success() {
        true => parse_printed(&answer.output),
        false => None,
    }
}

fn from_vendor(
    context: &BuildContext<Python>,
    app: &App,
    asked: &Asked,
    seen: &[Version],
    why: &str,
) -> libcnb::Result<Interpreter, PythonError> {
    let key = Key::new("python").with("asked", asked.request()).finish();
    let layer = keyed(context, layer_name!("python"), Use::BuildAndLaunch, &key)?;
    if !layer.restored {
        print::detail(&format!("Installing Python {} ({why})", asked.request()));
        let start = Instant::now();
        let uv = uv::provide(context)?;
        install(&uv, app, asked, &layer.path()).map_err(|source| PythonError::NoInterpreter {
            asked: asked.clone(),
            stack: seen.iter().map(Version::to_string).collect(),
            source,
        })?;
        layer.keep("")?;
        print::done(start.elapsed());
    }
    let program = installed_program(&layer.path())?;
    let version = ask_version(&program).ok_or(PythonError::DoesNotStart(program.clone()))?;
    print::detail(&format!("Python {version}"));
    Ok(Interpreter { program, version })
}

fn install(uv: &Uv, app: &App, asked: &Asked, dir: &Path) -> Result<(), command::CommandError> {
    let mut command = uv.command(app);
    command
        .args(["python", "install", "--no-bin", asked.request()])
        .env("UV_PYTHON_INSTALL_DIR", dir)
        .env("UV_PYTHON_DOWNLOADS", "manual");
    command::stream(&mut command)
}

/// uv makes one folder for the version, and may make a link beside it for the line.
fn installed_program(dir: &Path) -> Result<PathBuf, PythonError> {
    fs::read_dir(dir)
        .at("read", dir)?
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path().join("bin/python3"))
        .find(|program| command::is_executable(program))
        .ok_or_else(|| PythonError::DoesNotStart(dir.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_start_has_no_version() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("python3");
        assert!(ask_version(&path).is_none());
        fs::write(&path, "#!/bin/sh\nexit 1\n").expect("written");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("changed");
        assert!(ask_version(&path).is_none());
    }
}
