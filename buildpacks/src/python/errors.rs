//! What can be wrong with a Python build, and the words for it.

use std::path::PathBuf;

use super::{app::Source, version::Asked};
use crate::{
    command::CommandError,
    download::DownloadError,
    error::{IoError, chain, into_libcnb_error},
};

#[derive(Debug)]
pub(crate) enum PythonError {
    Io(IoError),
    Pyproject(toml::de::Error),
    LockWithoutPyproject,
    PoetryNotYet,
    PipenvNotYet,
    VersionNotUnderstood(Asked),
    NoInterpreter {
        asked: Asked,
        /// Versions that the stack has.
        stack: Vec<String>,
        source: CommandError,
    },
    DoesNotStart(PathBuf),
    Arch(String),
    Index(DownloadError),
    /// For this platform.
    NoUv(String),
    NoDigest(String),
    TooManyIncludes(usize),
    Venv(CommandError),
    Install {
        from: Source,
        source: CommandError,
    },
    CollectStatic(CommandError),
}

into_libcnb_error!(PythonError);

impl From<IoError> for PythonError {
    fn from(error: IoError) -> PythonError {
        PythonError::Io(error)
    }
}

impl From<DownloadError> for PythonError {
    fn from(error: DownloadError) -> PythonError {
        PythonError::Index(error)
    }
}

pub(super) fn explain(error: &PythonError) -> (String, String) {
    let (title, body) = words(error);
    (title.to_owned(), body)
}

fn words(error: &PythonError) -> (&'static str, String) {
    match error {
        PythonError::Io(error) => ("A file could not be handled", format!("{}.", chain(error))),
        PythonError::Pyproject(error) => ("pyproject.toml is not valid", error.to_string()),
        PythonError::LockWithoutPyproject => (
            "uv.lock has no pyproject.toml beside it",
            "uv.lock only says which versions; what the app needs stands in pyproject.toml. Commit it too.".to_owned(),
        ),
        PythonError::PoetryNotYet => (
            "Poetry is not supported yet",
            "Found poetry.lock, but no requirements.txt or uv.lock. Export the locked versions and commit them:\n\n    \
             poetry export -o requirements.txt"
                .to_owned(),
        ),
        PythonError::PipenvNotYet => (
            "Pipenv is not supported yet",
            "Found a Pipfile, but no requirements.txt or uv.lock. Export the locked versions and commit them:\n\n    \
             pipenv requirements > requirements.txt"
                .to_owned(),
        ),
        PythonError::VersionNotUnderstood(asked) => (
            "The version of Python that is asked for is not understood",
            format!(
                "{} says `{}`. Ask for a line such as `3.13`.",
                asked.source, asked.text
            ),
        ),
        PythonError::NoInterpreter {
            asked,
            stack,
            source,
        } => (
            "The Python that is asked for is not available",
            format!(
                "{} asks for `{}`; {}.\nInstalling one did not work either: {}.\n{}",
                asked.source,
                asked.text,
                on_stack(stack),
                chain(source),
                version_hint(stack)
            ),
        ),
        PythonError::DoesNotStart(path) => (
            "The installed Python does not start",
            format!("Tried `{}`. This is not the app's fault.", path.display()),
        ),
        PythonError::Arch(arch) => (
            "There is no uv for this machine",
            format!("uv is available for amd64 and arm64, and this is {arch}."),
        ),
        PythonError::Index(error) => (
            "The package index did not give what was asked for",
            format!(
                "{}.\nIf the network stumbled, push again. Another index: `PIP_INDEX_URL`; it must speak the JSON simple API.",
                chain(error)
            ),
        ),
        PythonError::NoUv(platform) => (
            "The package index has no uv to install packages with",
            format!("No wheel of uv for {platform} was found. Does the index named by `PIP_INDEX_URL` hold all of uv's files?"),
        ),
        PythonError::NoDigest(file) => (
            "The package index does not say what its files should be",
            format!("`{file}` comes without a sha256 digest, so nothing could tell whether it is the right one."),
        ),
        PythonError::TooManyIncludes(max) => (
            "requirements.txt includes too many files",
            format!("More than {max} files were included, one by another."),
        ),
        PythonError::Venv(error) => (
            "The virtual environment could not be made",
            format!("{}: its own words stand above.", chain(error)),
        ),
        PythonError::Install { from, source } => (
            "The packages could not be installed",
            format!(
                "{}: its own words stand above.\n{}",
                chain(source),
                install_hint(*from)
            ),
        ),
        PythonError::CollectStatic(error) => (
            "Django's static files could not be collected",
            format!(
                "{}: its own words stand above.\nOften a config var is missing at build time that the settings read; \
                 set it, or give it a default.\nTo build without them: `config:set DISABLE_COLLECTSTATIC=1`.",
                chain(error)
            ),
        ),
    }
}

fn on_stack(versions: &[String]) -> String {
    match versions {
        [] => "the stack has no Python".to_owned(),
        versions => format!("the stack has {}", versions.join(", ")),
    }
}

/// The newest line of the stack, as something to ask for.
fn version_hint(stack: &[String]) -> String {
    let line = stack.first().map(|version| {
        let parts: Vec<&str> = version.split('.').take(2).collect();
        parts.join(".")
    });
    match line {
        Some(line) => format!("To use the stack's: `echo {line} > .python-version`."),
        None => "Ask whoever runs the platform to install one on the machine.".to_owned(),
    }
}

fn install_hint(from: Source) -> &'static str {
    match from {
        Source::UvLock => {
            "If uv.lock no longer fits pyproject.toml, `uv lock` at home repairs it: commit the result."
        }
        Source::Requirements => {
            "Does `uv pip install -r requirements.txt` work at home, in a fresh environment?"
        }
        Source::Pyproject { .. } | Source::Setup | Source::Nothing => {
            "Does `uv pip install .` work at home, in a fresh environment?"
        }
    }
}
