//! Why a build did not become an image: facts. Whoever talks to the user chooses the words around them.

use std::{io, path::PathBuf, time::Duration};

use container::{spawner::SpawnError, store::StoreError};

use crate::{
    failure::{Ended, Tried},
    files::BadFile,
    id::BuildpackId,
    sources::SourceError,
};

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("no buildpack applies to this app")]
    NothingDetected { tried: Vec<Tried> },
    #[error(
        "no buildpack applies to this app, and {} could not tell",
        failed(tried)
    )]
    DetectFailed { tried: Vec<Tried> },
    #[error("buildpack {buildpack} failed: {exit}")]
    BuildpackFailed {
        buildpack: BuildpackId,
        exit: Ended,
        /// Of its output, without colours.
        last_lines: Vec<String>,
    },
    #[error("out of memory{}", limit(*limit_bytes))]
    OutOfMemory { limit_bytes: Option<u64> },
    #[error("timed out after {}", words(*after))]
    TimedOut { after: Duration },
    #[error("cancelled")]
    Cancelled,
    #[error(transparent)]
    BadFile(#[from] BadFile),
    /// What was asked for cannot be done, and why.
    #[error("{0}")]
    Refused(String),
    /// The phase's process ended without a reason: somebody inside killed it, or removed what it wrote.
    #[error("{phase} ended with {exit} and without saying why")]
    PhaseLost { phase: &'static str, exit: Ended },
    /// A phase could not do its part inside the sandbox.
    #[error("{phase} could not {action}: {error}")]
    PhaseFailed {
        phase: &'static str,
        action: String,
        error: String,
    },
    #[error("`{0}` cannot be the name of an environment variable")]
    BadVariable(String),
    #[error("image {0} was not built by buildpacks")]
    NotBuilt(container::Digest),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("project.toml")]
    NoBuilder(#[source] container::registry::NotAReference),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("cannot {action} {}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl BuildError {
    /// One line, causes included, for `! [remote rejected] main -> main (reason)`.
    pub fn reason(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        let line = text.lines().next().unwrap_or_default();
        line.chars().filter(|char| !char.is_control()).collect()
    }
}

/// Says what was being done to which path.
pub(crate) trait Doing<T> {
    fn doing(self, action: &'static str, path: &std::path::Path) -> Result<T, BuildError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, action: &'static str, path: &std::path::Path) -> Result<T, BuildError> {
        self.map_err(|error| BuildError::Io {
            action,
            path: path.to_owned(),
            source: error.into(),
        })
    }
}

fn failed(tried: &[Tried]) -> String {
    let failed = tried.iter().filter(|one| one.exit.is_failure());
    let names: Vec<String> = failed
        .map(|one| match (&one.misfit, one.exit) {
            (Some(why), Ended::Unusable) => format!("{} ({why})", one.id),
            (_, exit) => format!("{} ({exit})", one.id),
        })
        .collect();
    names.join(", ")
}

/// The machine's own memory may end before a limit is reached.
fn limit(bytes: Option<u64>) -> String {
    bytes.map_or_else(String::new, |bytes| {
        format!(": the build used more than {} MiB", bytes / (1024 * 1024))
    })
}

/// `15 min`, `90 s`.
fn words(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 60 && seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_of_facts() {
        let id = |text: &str| BuildpackId::try_from(text.to_owned()).unwrap();
        let tried = |exit| Tried {
            id: id("acme/a"),
            version: crate::id::Version::try_from("1".to_owned()).unwrap(),
            exit,
            misfit: None,
            wants: vec![],
        };
        for (error, expected) in [
            (
                BuildError::DetectFailed {
                    tried: vec![tried(Ended::Status(100)), tried(Ended::Signal(9))],
                },
                "no buildpack applies to this app, and acme/a (signal 9) could not tell",
            ),
            (
                BuildError::TimedOut {
                    after: Duration::from_secs(900),
                },
                "timed out after 15 min",
            ),
            (
                BuildError::TimedOut {
                    after: Duration::from_secs(90),
                },
                "timed out after 90 s",
            ),
            (
                BuildError::OutOfMemory {
                    limit_bytes: Some(512 << 20),
                },
                "out of memory: the build used more than 512 MiB",
            ),
            (
                Err::<(), _>(io::Error::from(io::ErrorKind::NotFound))
                    .doing("read", std::path::Path::new("/x"))
                    .unwrap_err(),
                "cannot read /x: entity not found",
            ),
            (
                BuildError::BadFile(BadFile {
                    file: "/layers/a/x.toml".to_owned(),
                    line: Some(3),
                    what: "odd\u{1b}[31m\nmore".to_owned(),
                }),
                "/layers/a/x.toml, line 3: odd[31m",
            ),
        ] {
            assert_eq!(error.reason(), expected);
        }
    }
}
