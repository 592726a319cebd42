//! BUILD: a Cloud Native Buildpacks lifecycle, from a source directory to an OCI image.
//!
//! [`Builder::build`] is the story: analyze, detect, restore, build, export ([`phase`]). The phases talk through the
//! spec's files. Detect and build run inside a sandbox ([`sandboxed`]), under their own names ([`main_by_name`]), because
//! they execute buildpacks; the others are ours and trusted, and read what those have left with care ([`files`]).
//! [`lifecycle`] has the phases as the specification's programs, for other platforms; [`launcher`] is what runs in the
//! finished image.

mod lifecycle;
mod phase;

mod running;
mod sandboxed;
mod work;

mod api;
mod bom;
pub mod builder_image;
mod buildpack;
mod cache;
mod classic;
mod describe;
mod described;
mod dirs;
mod env;
mod error;
mod failed;
mod failure;
mod files;
#[doc(hidden)]
pub mod fuzz;
mod go_toml;
mod group;
mod id;
mod launch_metadata;
mod launch_toml;
mod layer_toml;
mod layers;
mod lifecycle_dir;
mod lines;
mod log;
mod metadata;
mod narrate;
mod order;
mod plan;
mod previous;
pub mod project;
pub mod provenance;
mod sbom;
mod scratch;
pub mod sources;
mod target;
mod trees;
mod try_stack;

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use container::{Digest, ImageConfig, Limits, Spawner, Stack, Store};

use crate::{
    cache::Cache,
    layers::Layers,
    metadata::BuildMetadata,
    phase::{analyze::analyze, export::Export, restore::Restore},
    running::{Clock, Detected, Running},
    sandboxed::Watch,
    work::{Source, Work},
};
pub use crate::{
    describe::{Description, Layer, describe},
    error::BuildError,
    failed::{Inside, Look},
    failure::{Ended, Tried},
    files::BadFile,
    id::{BuildpackId, Version},
    lifecycle_dir::install_lifecycle,
    previous::Previous,
};

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
    /// Kept between builds of one app: cached layers and their metadata, on the store's file system. One build at a time
    /// uses it.
    pub cache: &'a Path,
    /// The app's previous image: its metadata is restored, its unchanged layers are reused.
    pub previous: Option<Digest>,
    /// The user's environment for the buildpacks (`<platform>/env`).
    pub env: &'a BTreeMap<String, String>,
    /// For the image's labels and SOURCE_VERSION: the commit.
    pub source_version: Option<String>,
    /// Forget the cache.
    pub clear_cache: bool,
    /// Store the image. Without, its layers are there for a while, and it is only described: see [`Built::config`].
    pub keep_image: bool,
    /// Where a build that fails in one of its steps is kept for [`Builder::look_inside`], unless it is very large. On the
    /// store's file system; nothing is there yet.
    pub failed: Option<&'a Path>,
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
    pub config: ImageConfig,
    /// Sorted by type; `default` names the default process type of the image.
    pub processes: Vec<Process>,
    pub default: Option<String>,
    /// Wall time per phase, in order, for the closing line and the bench.
    pub timings: Vec<(&'static str, Duration)>,
    /// What it took to make each layer of the image, or to see that it is unchanged; from the bottom up.
    pub layer_times: Vec<Duration>,
    /// Every buildpack that detection has asked, those that take part among them.
    pub tried: Vec<Tried>,
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

impl Builder {
    pub fn build(
        &self,
        request: Request<'_>,
        output: &mut dyn Output,
    ) -> Result<Built, BuildError> {
        let running = self.begin(&request)?;
        let built = self.phases(&running, output);
        if built.is_err()
            && let Err(error) = running.keep_failed()
        {
            // The build has failed for another reason, which is the one to tell.
            output.detail(&format!("Cannot keep the failed build: {}", error.reason()));
        }
        built
    }

    fn begin<'a>(&'a self, request: &'a Request<'_>) -> Result<Running<'a>, BuildError> {
        let started = Instant::now();
        Ok(Running {
            builder: self,
            work: Work::open(&self.store)?,
            source: Source::take(request.source.clone(), &self.store)?,
            watch: Watch {
                cancel: &request.cancel,
                started,
                wall_time_max: self.wall_time_max,
            },
            request,
            failed: OnceCell::new(),
        })
    }

    fn phases(&self, running: &Running<'_>, output: &mut dyn Output) -> Result<Built, BuildError> {
        let request = running.request;
        let platform = running.work.platform(request.env)?;
        let build_config = running.build_config()?;
        let cache = Cache::open(request.cache, request.clear_cache);
        let mut clock = Clock::new(running.watch.started);

        let previous = analyze(&self.store, request.previous.as_ref());
        clock.lap("analyze");

        let Detected { group, plan, tried } = running.detect(&platform, &build_config, output)?;
        narrate::group(&group, output);
        clock.lap("detect");

        let restore = Restore {
            store: &self.store,
            cache: &cache,
            previous: previous.as_ref(),
            clear_cache: request.clear_cache,
        };
        let layers = Layers::new(running.work.writable_dir("layers")?);
        let layers = restore.restore(&group, &plan, layers)?;
        narrate::restored(&layers, output);
        clock.lap("restore");

        running.build(&platform, &build_config, &layers, output)?;
        clock.lap("build");

        let export = Export {
            builder: self,
            watch: &running.watch,
            work: &running.work,
            group: &group,
            layers: &layers,
            cache: &cache,
            previous: previous.as_ref(),
            source: &running.source.path,
            source_version: request.source_version.as_deref(),
            keep_image: request.keep_image,
        };
        let exported = export.export()?;
        narrate::exported(&exported, export.keep(&exported), output);
        clock.lap("export");

        Ok(Built {
            image: exported.image,
            processes: exported
                .launch
                .processes
                .iter()
                .map(Process::from)
                .collect(),
            default: exported.launch.default.clone(),
            config: exported.config,
            timings: clock.laps,
            layer_times: exported.layer_times,
            tried,
        })
    }
}

/// The process types of an image in the store, from its labels: what `release` starts (name, command line to show).
pub fn processes(store: &Store, image: &Digest) -> Result<Vec<Process>, BuildError> {
    let config = store.image(image)?.config;
    let metadata = BuildMetadata::of(&config).ok_or(BuildError::NotBuilt(*image))?;
    Ok(metadata.processes.iter().map(Process::from).collect())
}

/// What starts a process type of an image.
pub fn entrypoint(kind: &str) -> String {
    format!("{}/{kind}", dirs::PROCESS)
}

impl From<&launch_metadata::LaunchProcess> for Process {
    fn from(process: &launch_metadata::LaunchProcess) -> Self {
        Self {
            kind: process.kind.clone(),
            command: process.command.clone(),
            args: process.args.clone().unwrap_or_default(),
        }
    }
}

/// Runs a phase of the lifecycle, or the launcher, when argv[0] names one (`detector`, `creator`, ...); `None` when it does
/// not.
pub fn main_by_name(argv0: &str) -> Option<ExitCode> {
    let name = Path::new(argv0).file_name()?.to_str()?;
    lifecycle::main(name, std::env::args().skip(1).collect())
}

/// `slipway lifecycle PHASE`: under the phase's name (`detector`), or as what it does (`detect`).
pub fn lifecycle_main(phase: &str, args: Vec<String>) -> Option<ExitCode> {
    lifecycle::main(phase, args)
}
