//! How a phase that runs inside a sandbox tells the outside why it failed: an exit status of the lifecycle's (platform
//! spec, "Exit Codes") and a file beside it, because a number does not name a buildpack.

use std::{fs, io, path::Path, process::ExitCode};

use serde::{Deserialize, Serialize};

use crate::{
    files::{BadFile, Untrusted},
    id::{BuildpackId, Version},
};

/// Below `<layers>`.
const FILE: &str = "failure.toml";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// No group fits, and none of the buildpacks failed to say so.
    NothingDetected {
        tried: Vec<Tried>,
    },
    /// No group fits, and some buildpacks failed.
    DetectFailed {
        tried: Vec<Tried>,
    },
    BuildpackFailed {
        buildpack: BuildpackId,
        exit: Ended,
    },
    BadFile(BadFile),
    /// The name of what was being done, and why it could not be.
    Io {
        action: String,
        error: String,
    },
}

/// What became of a buildpack in detection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    pub id: BuildpackId,
    pub version: Version,
    pub exit: Ended,
    /// It passed, but nothing provides what it requires, or the other way round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfit: Option<String>,
    /// The files that would have matched, where the buildpack says so.
    #[serde(default)]
    pub wants: Vec<String>,
}

/// How a buildpack's program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    Status(i32),
    Signal(i32),
}

impl Failure {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |error| Self::Io {
            action,
            error: error.to_string(),
        }
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::NothingDetected { .. } => 20,
            Self::DetectFailed { .. } => 21,
            Self::BuildpackFailed { .. } => 51,
            Self::BadFile(_) | Self::Io { .. } => 1,
        }
    }

    /// Ends a phase: leaves the file and gives its exit status.
    pub(crate) fn report(&self, layers: &Path) -> ExitCode {
        let text = toml::to_string(self).map_err(io::Error::other);
        if let Err(error) = text.and_then(|text| fs::write(layers.join(FILE), text)) {
            eprintln!("cannot say why: {error}: {self:?}");
        }
        ExitCode::from(self.exit_code())
    }

    pub(crate) fn read(layers: &Untrusted) -> Option<Self> {
        layers.toml(FILE).ok().flatten()
    }
}

impl From<BadFile> for Failure {
    fn from(bad: BadFile) -> Self {
        Self::BadFile(bad)
    }
}

impl From<std::process::ExitStatus> for Ended {
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        match status.code() {
            Some(code) => Self::Status(code),
            None => Self::Signal(status.signal().unwrap_or(0)),
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_crosses_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let layers = Untrusted::open(dir.path(), "/layers").unwrap();
        assert!(Failure::read(&layers).is_none());
        let id = |text: &str| BuildpackId::try_from(text.to_owned()).unwrap();
        let tried = Tried {
            id: id("acme/a"),
            version: Version::try_from("1".to_owned()).unwrap(),
            exit: Ended::Signal(9),
            misfit: Some("requires `x`".to_owned()),
            wants: vec!["package.json".to_owned()],
        };
        for failure in [
            Failure::NothingDetected {
                tried: vec![tried.clone(), tried],
            },
            Failure::BuildpackFailed {
                buildpack: id("acme/a"),
                exit: Ended::Status(7),
            },
            Failure::BadFile(BadFile::new("/layers/x", "is \"odd\"\n")),
            Failure::io("write")(io::ErrorKind::NotFound.into()),
        ] {
            failure.report(dir.path());
            let read = Failure::read(&layers).unwrap();
            assert_eq!(format!("{read:?}"), format!("{failure:?}"));
        }
    }
}
