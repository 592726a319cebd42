//! The app as its files describe it, read once.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use super::{errors::PythonError, version::Asked};
use crate::{
    error::{IoContext, IoError},
    print,
};

const MARKERS: [&str; 10] = [
    "requirements.txt",
    "pyproject.toml",
    "uv.lock",
    "poetry.lock",
    "Pipfile",
    "setup.py",
    "setup.cfg",
    "manage.py",
    "main.py",
    "app.py",
];

#[derive(Debug)]
pub(super) struct App {
    pub(super) dir: PathBuf,
    pub(super) source: Source,
    pub(super) asked_python: Option<Asked>,
}

/// Where the app's packages are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    UvLock,
    Requirements,
    /// `pyproject.toml` alone; `is_package` when it can be built and installed itself.
    Pyproject {
        is_package: bool,
    },
    /// `setup.py` alone.
    Setup,
    Nothing,
}

pub(super) fn is_python(app: &Path) -> bool {
    MARKERS.iter().any(|name| app.join(name).is_file())
}

/// A script at the root of something that is not quite a Python app, or a misspelled list of packages.
pub(super) fn other_script(app: &Path) -> Option<String> {
    fs::read_dir(app)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            let name = name.to_ascii_lowercase();
            name.ends_with(".py") || name.starts_with("requirement") && name.ends_with(".txt")
        })
        .min_by_key(|name| (name.ends_with(".py"), name.clone()))
}

impl App {
    pub(super) fn read(dir: &Path) -> Result<App, PythonError> {
        let pyproject = read_optional(&dir.join("pyproject.toml"))?
            .map(|text| text.parse::<toml::Table>())
            .transpose()
            .map_err(PythonError::Pyproject)?;
        Ok(App {
            source: source(dir, pyproject.as_ref())?,
            asked_python: asked_python(dir, pyproject.as_ref())?,
            dir: dir.to_owned(),
        })
    }
}

/// The most exact record counts.
fn source(dir: &Path, pyproject: Option<&toml::Table>) -> Result<Source, PythonError> {
    let has = |name: &str| dir.join(name).is_file();
    let is_package = pyproject.is_some_and(|table| table.contains_key("build-system"));
    let has_project = pyproject.is_some_and(|table| table.contains_key("project"));
    let is_poetry = has("poetry.lock") && !has_project;
    if has("uv.lock") {
        if pyproject.is_none() {
            return Err(PythonError::LockWithoutPyproject);
        }
        if has("requirements.txt") {
            print::warning("uv.lock is used; requirements.txt beside it is not read.");
        }
        return Ok(Source::UvLock);
    }
    if has("requirements.txt") {
        return Ok(Source::Requirements);
    }
    if is_poetry {
        return Err(PythonError::PoetryNotYet);
    }
    if has("Pipfile") || has("Pipfile.lock") {
        return Err(PythonError::PipenvNotYet);
    }
    Ok(match (has_project, is_package) {
        (false, false) if has("setup.py") => Source::Setup,
        (false, false) => Source::Nothing,
        _ => Source::Pyproject { is_package },
    })
}

/// The user's word first, then the files made for it, then what the project claims to work with.
fn asked_python(dir: &Path, pyproject: Option<&toml::Table>) -> Result<Option<Asked>, PythonError> {
    if let Ok(text) = env::var("BP_CPYTHON_VERSION")
        && !text.trim().is_empty()
    {
        return Ok(Some(Asked::new(&text, "BP_CPYTHON_VERSION")));
    }
    for source in [".python-version", "runtime.txt"] {
        let text = read_optional(&dir.join(source))?.unwrap_or_default();
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'));
        if let Some(line) = line {
            if source == "runtime.txt" {
                print::warning(
                    "runtime.txt is read, but .python-version (`3.13`) is its successor.",
                );
            }
            return Ok(Some(Asked::new(line, source)));
        }
    }
    let required = pyproject
        .and_then(|table| table.get("project")?.get("requires-python")?.as_str())
        .map(|text| Asked::new(text, "requires-python in pyproject.toml"));
    Ok(required)
}

pub(super) fn read_optional(path: &Path) -> Result<Option<String>, IoError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(files: &[(&str, &str)]) -> Result<App, PythonError> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            fs::write(dir.path().join(name), text).expect("written");
        }
        App::read(dir.path())
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: Source) {
        assert_eq!(app(files).expect("an app").source, expected);
    }

    #[test]
    fn the_most_exact_record_counts() {
        let project = ("pyproject.toml", "[project]\nname = 'a'\n");
        let tools = ("pyproject.toml", "[tool.black]\n");
        let package = ("pyproject.toml", "[project]\nname = 'a'\n[build-system]\n");
        check(
            &[("uv.lock", ""), project, ("requirements.txt", "")],
            Source::UvLock,
        );
        check(&[project, ("requirements.txt", "")], Source::Requirements);
        check(&[project], Source::Pyproject { is_package: false });
        check(&[package], Source::Pyproject { is_package: true });
        check(&[tools, ("main.py", "")], Source::Nothing);
        check(&[("setup.py", "")], Source::Setup);
        check(&[("main.py", "")], Source::Nothing);
    }

    #[test]
    fn what_is_not_supported_yet_is_refused() {
        let poetry = ("pyproject.toml", "[tool.poetry]\n[build-system]\n");
        let error = app(&[("poetry.lock", ""), poetry]).expect_err("refused");
        assert!(matches!(error, PythonError::PoetryNotYet));
        let error = app(&[("Pipfile", "")]).expect_err("refused");
        assert!(matches!(error, PythonError::PipenvNotYet));
        let error = app(&[("uv.lock", "")]).expect_err("refused");
        assert!(matches!(error, PythonError::LockWithoutPyproject));
    }

    #[track_caller]
    fn check_asked(files: &[(&str, &str)], expected: Option<(&str, &str)>) {
        let asked = app(files).expect("an app").asked_python;
        let asked = asked
            .as_ref()
            .map(|asked| (asked.text.as_str(), asked.source));
        assert_eq!(asked, expected);
    }

    #[test]
    fn the_version_comes_from_the_first_that_names_one() {
        let project = (
            "pyproject.toml",
            "[project]\nname = 'a'\nrequires-python = '>=3.10'\n",
        );
        check_asked(
            &[(".python-version", "# ours\n\n3.12\n"), project],
            Some(("3.12", ".python-version")),
        );
        check_asked(
            &[("runtime.txt", "python-3.11.4\n")],
            Some(("python-3.11.4", "runtime.txt")),
        );
        check_asked(
            &[project],
            Some((">=3.10", "requires-python in pyproject.toml")),
        );
        check_asked(&[("main.py", "")], None);
    }
}
