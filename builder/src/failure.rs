//! Why a phase failed: an exit status of the lifecycle's (platform spec, "Exit Codes"), words, and, for a phase of our own
//! builds, a file that tells the outside of its sandbox, because a number does not name a buildpack.

use std::{ffi::OsStr, fmt, fs, io, path::Path, process::ExitCode};

use serde::{Deserialize, Serialize};

use crate::{
    files::{BadFile, Untrusted},
    id::{BuildpackId, Version},
};

/// Below `<layers>`, where [`FILE_VARIABLE`] of our sandboxes says so; the spec knows no such file.
pub(crate) const FILE: &str = "failure.toml";
/// Beside it, the buildpack whose bin/build was begun last.
const STEP_FILE: &str = "step";
pub(crate) const FILE_VARIABLE: &str = "SLIPWAY_FAILURE";

/// The same, for what was tried by a detection that found a group.
pub(crate) const TRIED_FILE: &str = "tried.toml";
pub(crate) const TRIED_VARIABLE: &str = "SLIPWAY_TRIED";

#[derive(Debug, Default, Serialize, Deserialize)]
struct TriedToml {
    #[serde(default)]
    tried: Vec<Tried>,
}

/// Where our sandboxes ask for it. A build does not fail for what is only told of it.
pub(crate) fn note_tried(tried: Vec<Tried>) {
    if let Some(path) = std::env::var_os(TRIED_VARIABLE) {
        let text = toml::to_string(&TriedToml { tried }).unwrap_or_default();
        _ = fs::write(path, text);
    }
}

pub(crate) fn read_tried(results: &Untrusted) -> Vec<Tried> {
    let read: Option<TriedToml> = results.toml(TRIED_FILE).ok().flatten();
    read.unwrap_or_default().tried
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PhaseName {
    Analyze,
    Detect,
    Generate,
    Restore,
    Build,
    Export,
    Rebase,
    Extend,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    /// The command line, or an environment variable.
    Arguments(String),
    PlatformApi(String),
    BuildpackApi(String),
    /// The phase runs what others wrote, and was started as root.
    Privileged,
    /// A file that the phase was given.
    Input(BadFile),
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
    /// A file that a buildpack, or an earlier build, has left.
    BadFile(BadFile),
    /// The name of what was being done, and why it could not be.
    Io {
        action: String,
        error: String,
    },
    /// What was asked for cannot be done, and why.
    Refused(String),
}

/// What became of a buildpack in detection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    pub id: BuildpackId,
    pub version: Version,
    pub exit: Ended,
    /// It passed, but nothing provides what it requires, or the other way round; or it could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfit: Option<String>,
    /// The files that would have matched, where the buildpack says so.
    #[serde(default)]
    pub wants: Vec<String>,
}

impl Tried {
    /// Why it does not take part; why it would, where it passed.
    pub fn why(&self) -> String {
        match (&self.misfit, self.exit, self.wants.as_slice()) {
            (Some(misfit), _, _) => misfit.clone(),
            (None, Ended::Status(0), _) => "would apply, but not alone".to_owned(),
            (None, Ended::Status(100), []) => "bin/detect exited 100".to_owned(),
            (None, Ended::Status(100), files) => format!("found no {}", one_of(files)),
            (None, exit, _) => format!("bin/detect failed: {exit}"),
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
fn one_of(names: &[String]) -> String {
    match names {
        [rest @ .., last] if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        names => names.concat(),
    }
}

/// How a buildpack's program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    Status(i32),
    Signal(i32),
    /// It could not be started, or what it has written cannot be used.
    Unusable,
}

impl Failure {
    pub(crate) fn io<E: fmt::Display>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |error| Self::Io {
            action,
            error: error.to_string(),
        }
    }

    pub(crate) fn buildpack_api(of: &BuildpackId, api: &str) -> Self {
        Self::BuildpackApi(format!(
            "Buildpack API `{api}` of {of} is not supported: 0.7 to 0.12 are"
        ))
    }

    /// What was there to be found by this phase, and is not one of its inputs.
    pub(crate) fn of_phase(self) -> Self {
        match self {
            Self::Input(bad) => Self::BadFile(bad),
            other => other,
        }
    }

    pub(crate) fn exit_code(&self, phase: PhaseName) -> u8 {
        match self {
            Self::Privileged | Self::Input(_) => 1,
            Self::Arguments(_) => 3,
            Self::PlatformApi(_) => 11,
            Self::BuildpackApi(_) => 12,
            Self::NothingDetected { .. } => 20,
            Self::DetectFailed { .. } => 21,
            Self::BuildpackFailed { .. } if phase == PhaseName::Generate => 91,
            Self::BuildpackFailed { .. } => 51,
            Self::BadFile(_) | Self::Io { .. } | Self::Refused(_) => phase.generic_code(),
        }
    }

    /// Ends a phase: says why, leaves the file where one is asked for, and gives the exit status.
    pub(crate) fn report(&self, phase: PhaseName) -> ExitCode {
        match std::env::var_os(FILE_VARIABLE) {
            Some(path) => self.write(&path),
            None => eprintln!("ERROR: failed to {}: {self}", phase.verb()),
        }
        ExitCode::from(self.exit_code(phase))
    }

    fn write(&self, path: &OsStr) {
        let text = toml::to_string(self).map_err(io::Error::other);
        if let Err(error) = text.and_then(|text| fs::write(path, text)) {
            eprintln!("cannot say why: {error}: {self:?}");
        }
    }

    /// The buildpack to look at first, if it is one that has failed.
    pub(crate) fn detected_last(&self) -> Option<(&BuildpackId, &Version)> {
        let (Self::DetectFailed { tried } | Self::NothingDetected { tried }) = self else {
            return None;
        };
        let failed = tried.iter().find(|one| one.exit.is_failure());
        failed.or(tried.last()).map(|one| (&one.id, &one.version))
    }

    pub(crate) fn read(layers: &Untrusted) -> Option<Self> {
        layers.toml(FILE).ok().flatten()
    }
}

impl PhaseName {
    fn verb(self) -> &'static str {
        match self {
            Self::Analyze => "analyze",
            Self::Detect => "detect",
            Self::Generate => "generate",
            Self::Restore => "restore",
            Self::Build => "build",
            Self::Export => "export",
            Self::Rebase => "rebase",
            Self::Extend => "extend",
        }
    }

    fn generic_code(self) -> u8 {
        match self {
            Self::Detect => 22,
            Self::Analyze => 32,
            Self::Restore => 42,
            Self::Build => 52,
            Self::Export => 62,
            Self::Rebase => 72,
            Self::Generate => 92,
            Self::Extend => 102,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments(text)
            | Self::PlatformApi(text)
            | Self::BuildpackApi(text)
            | Self::Refused(text) => f.write_str(text),
            Self::Privileged => {
                f.write_str("buildpacks are not run as root; start it as the build's user")
            }
            Self::Input(bad) | Self::BadFile(bad) => write!(f, "{bad}"),
            Self::NothingDetected { .. } => {
                f.write_str("no group of buildpacks applies to this app")
            }
            Self::DetectFailed { tried } => {
                let failed = tried.iter().filter(|one| one.exit.is_failure());
                let names: Vec<String> = failed
                    .map(|one| format!("{} ({})", one.id, one.exit))
                    .collect();
                write!(
                    f,
                    "no group of buildpacks applies to this app, and could not tell: {}",
                    names.join(", ")
                )
            }
            Self::BuildpackFailed { buildpack, exit } => write!(f, "{buildpack} failed: {exit}"),
            Self::Io { action, error } => write!(f, "cannot {action}: {error}"),
        }
    }
}

impl From<BadFile> for Failure {
    fn from(bad: BadFile) -> Self {
        Self::BadFile(bad)
    }
}

/// Of our own builds only: whatever ends the phase now, it is known where it was.
pub(crate) fn note_step(buildpack: &BuildpackId) {
    let file = std::env::var_os(FILE_VARIABLE);
    if let Some(file) = file.map(|file| Path::new(&file).with_file_name(STEP_FILE)) {
        // Where this fails nobody can look inside; the build itself is not concerned.
        _ = fs::write(file, buildpack.to_string());
    }
}

pub(crate) fn read_step(layers: &Path) -> Option<BuildpackId> {
    let text = fs::read_to_string(layers.join(STEP_FILE)).ok()?;
    BuildpackId::try_from(text).ok()
}

/// Says what was being done to which path.
pub(crate) trait Doing<T> {
    fn failing(self, action: &str, path: &Path) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> Doing<T> for Result<T, E> {
    fn failing(self, action: &str, path: &Path) -> Result<T, Failure> {
        self.map_err(Failure::io(format!("{action} {}", path.display())))
    }
}

impl Ended {
    /// Of bin/detect, for which 100 is a no.
    pub(crate) fn is_failure(self) -> bool {
        !matches!(self, Self::Status(0 | 100))
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

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unusable => f.write_str("no usable answer"),
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
            Failure::io("write")(io::Error::from(io::ErrorKind::NotFound)),
            Failure::buildpack_api(&id("acme/a"), "0.13"),
        ] {
            failure.write(dir.path().join(FILE).as_os_str());
            let read = Failure::read(&layers).unwrap();
            assert_eq!(format!("{read:?}"), format!("{failure:?}"));
        }
    }

    #[test]
    fn every_buildpack_says_why_it_does_not_apply() {
        for (exit, misfit, wants, expected) in [
            (Ended::Status(100), None, &[][..], "bin/detect exited 100"),
            (Ended::Status(100), None, &["a"], "found no a"),
            (
                Ended::Status(100),
                None,
                &["a", "b", "c"],
                "found no a, b or c",
            ),
            (Ended::Status(0), None, &[], "would apply, but not alone"),
            (Ended::Status(0), Some("requires `x`"), &[], "requires `x`"),
            (
                Ended::Status(2),
                None,
                &["a"],
                "bin/detect failed: exit status 2",
            ),
        ] {
            let tried = Tried {
                id: BuildpackId::try_from("acme/a".to_owned()).unwrap(),
                version: Version::try_from("1".to_owned()).unwrap(),
                exit,
                misfit: misfit.map(str::to_owned),
                wants: wants.iter().map(|file| (*file).to_owned()).collect(),
            };
            assert_eq!(tried.why(), expected);
        }
    }
}
