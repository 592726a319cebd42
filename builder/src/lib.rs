//! BUILD: a Cloud Native Buildpacks lifecycle, from a source directory to an OCI image.
//!
//! [`build`] is the story: analyze, detect, restore, build, export. The phases talk through the spec's files; detect and
//! build run inside a sandbox, under their own names, because they execute buildpacks; the others are ours and trusted.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use container::{Digest, Limits, Spawner, Stack, Store};

/// What stays the same from build to build.
#[derive(Debug, Clone)]
pub struct Builder {
    pub store: Store,
    pub spawner: Arc<Spawner>,
    pub stack: Stack,
    /// Folder of buildpacks: `<id with / as _>/<version>/buildpack.toml`, and `order.toml` beside them.
    pub buildpacks: PathBuf,
    /// Folder shown as `/cnb/lifecycle` in sandboxes: the `slipway` binary and its names (`detector`, `builder`, `launcher`).
    pub lifecycle: PathBuf,
    pub limits: Limits,
    pub wall_time_max: Duration,
}

/// One build.
#[derive(Debug)]
pub struct Request<'a> {
    /// The app's source, unpacked, on the store's file system; consumed.
    pub source: PathBuf,
    /// Kept between builds of one app: cached layers and their metadata. One build at a time uses it.
    pub cache: &'a Path,
    /// The app's previous image: its metadata is restored, its unchanged layers are reused.
    pub previous: Option<Digest>,
    /// The user's environment for the buildpacks (`<platform>/env`).
    pub env: &'a BTreeMap<String, String>,
    /// For the image's labels and SOURCE_VERSION: the commit.
    pub source_version: Option<String>,
    /// Forget the cache.
    pub clear_cache: bool,
    /// Set to stop the build: its processes are killed, nothing is left behind.
    pub cancel: Arc<AtomicBool>,
}

/// Where a build's story goes, as it happens. Lines come without the trailing newline; `release`, `deploy` and others
/// print theirs beside these, so the caller owns the look.
pub trait Output: Send {
    /// `-----> text`
    fn step(&mut self, text: &str);
    /// A line of ours under the step.
    fn detail(&mut self, text: &str);
    /// Raw output of a buildpack: whole lines, any bytes.
    fn raw(&mut self, line: &[u8]);
}

/// A successful build.
#[derive(Debug, Clone)]
pub struct Built {
    pub image: Digest,
    /// Sorted by type; `default` names the default process type of the image.
    pub processes: Vec<Process>,
    pub default: Option<String>,
    /// Wall time per phase, in order, for the closing line and the bench.
    pub timings: Vec<(&'static str, Duration)>,
}

/// A process type of an image, as launch.toml declares it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Process {
    #[serde(rename = "type")]
    pub kind: String,
    pub command: Vec<String>,
    #[serde(default)]
    pub args: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "to be replaced by variants: facts, with the buildpack, the exit status, out of memory, cancelled, timed out"
)]
pub struct BuildError;

impl Builder {
    pub fn build(
        &self,
        _request: Request<'_>,
        _output: &mut dyn Output,
    ) -> Result<Built, BuildError> {
        todo!()
    }
}

/// The process types of an image in the store, from its labels: what `release` starts (name, command line to show).
pub fn processes(_store: &Store, _image: &Digest) -> Result<Vec<Process>, BuildError> {
    todo!()
}

/// Runs a phase or the launcher when argv[0] names one (`detector`, `builder`, `launcher`, or a process type under
/// `/cnb/process`); `None` when it does not.
pub fn main_by_name(_argv0: &str) -> Option<std::process::ExitCode> {
    todo!()
}

/// Fills `dir` for [`Builder::lifecycle`] with a copy of `exe` and its names, unless it holds the same version already.
pub fn install_lifecycle(_exe: &Path, _dir: &Path) -> std::io::Result<()> {
    todo!()
}
