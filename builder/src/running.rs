//! A build that runs: its directories, and the two of its phases that happen inside a sandbox.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use container::{Bind, Mount, Sandbox};

use crate::{
    Builder, Output, Request,
    dirs::LAYERS,
    error::BuildError,
    failed,
    failure::{self, Tried},
    files::{BadFile, Untrusted},
    group::Group,
    layers::Layers,
    lifecycle::analyzed::Analyzed,
    lifecycle_dir::{BUILDER, DETECTOR},
    narrate,
    plan::Plan,
    sandboxed::{Phase, Watch},
    work::{Source, Work, make_dir, write_file},
};

/// 1980-01-01T00:00:01Z: tools that honour it leave files that do not differ from build to build.
const SOURCE_DATE_EPOCH: &str = "315532801";

/// A build that runs.
pub(crate) struct Running<'a> {
    pub(crate) builder: &'a Builder,
    pub(crate) work: Work,
    pub(crate) source: Source<'a>,
    pub(crate) watch: Watch<'a>,
    pub(crate) request: &'a Request<'a>,
    /// The sandbox of the phase that failed.
    pub(crate) failed: OnceCell<Sandbox>,
}

/// What detection has found.
pub(crate) struct Detected {
    pub(crate) group: Group,
    pub(crate) plan: Plan,
    pub(crate) tried: Vec<Tried>,
}

impl Running<'_> {
    pub(crate) fn detect(
        &self,
        platform: &Path,
        build_config: &Path,
        output: &mut dyn Output,
    ) -> Result<Detected, BuildError> {
        let results = self.work.writable_dir("detect")?;
        self.write_analyzed(&results)?;
        let phase = Phase {
            name: "detect",
            program: DETECTOR,
            app: &self.source.path,
            app_read_only: true,
            platform,
            build_config,
            layers: Mount::Bind(Bind {
                source: results.clone(),
                target: LAYERS.to_owned(),
                read_only: false,
            }),
            results: &results,
            scratch: self.work.path("detect-sandbox"),
        };
        let ran = self.run(&phase, output);
        if let Err(error) = &ran {
            narrate::tried(error, output);
        }
        ran?;
        let results = Untrusted::open(&results, LAYERS)?;
        let missing = |file| BadFile::new(&results.shown(file), "is missing");
        let (group, plan) = (results.toml("group.toml")?, results.toml("plan.toml")?);
        Ok(Detected {
            group: group.ok_or_else(|| missing("group.toml"))?,
            plan: plan.ok_or_else(|| missing("plan.toml"))?,
            tried: failure::read_tried(&results),
        })
    }

    pub(crate) fn build(
        &self,
        platform: &Path,
        build_config: &Path,
        layers: &Layers,
        output: &mut dyn Output,
    ) -> Result<(), BuildError> {
        self.write_analyzed(layers.upper())?;
        let empty = self.work.path("no-layers");
        make_dir(&empty)?;
        let overlay_work = self.work.path("layers-work");
        let phase = Phase {
            name: "build",
            program: BUILDER,
            app: &self.source.path,
            app_read_only: false,
            platform,
            build_config,
            layers: layers.mount(&self.builder.store, overlay_work, empty)?,
            results: layers.upper(),
            scratch: self.work.path("build-sandbox"),
        };
        self.run(&phase, output)
    }

    fn run(&self, phase: &Phase<'_>, output: &mut dyn Output) -> Result<(), BuildError> {
        let ran = phase.run(self.builder, &self.watch, output);
        let failed = !matches!(ran, Ok(()) | Err(BuildError::Cancelled));
        if failed && self.request.failed.is_some() {
            // It is known once.
            _ = self.failed.set(phase.sandbox(self.builder)?);
        }
        ran
    }

    pub(crate) fn keep_failed(mut self) -> Result<(), BuildError> {
        match (self.failed.take(), self.request.failed) {
            (Some(sandbox), Some(to)) => failed::keep(self.work, self.source, sandbox, to),
            _ => Ok(()),
        }
    }
}

impl Running<'_> {
    /// What our platform has for every buildpack, and the user may replace.
    pub(crate) fn build_config(&self) -> Result<PathBuf, BuildError> {
        let epoch = ("SOURCE_DATE_EPOCH".to_owned(), SOURCE_DATE_EPOCH.to_owned());
        let version = self.request.source_version.iter();
        let version = version.map(|commit| ("SOURCE_VERSION".to_owned(), commit.clone()));
        // PATH is the phase's own: buildpacks have it from there.
        let of_stack = self.builder.stack.build_env.iter();
        let of_stack = of_stack.filter(|(name, _)| name != "PATH").cloned();
        let variables = version.chain([epoch]).chain(of_stack).collect();
        self.work.env_dir("build-config", &variables)
    }

    /// From which the phases know what they build for.
    fn write_analyzed(&self, layers: &Path) -> Result<(), BuildError> {
        let analyzed = Analyzed::for_target(self.builder.stack.target.clone().into());
        write_file(&layers.join("analyzed.toml"), analyzed.to_toml())
    }
}

pub(crate) struct Clock {
    last: Instant,
    pub(crate) laps: Vec<(&'static str, Duration)>,
}

impl Clock {
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            last: started,
            laps: vec![],
        }
    }

    pub(crate) fn lap(&mut self, name: &'static str) {
        self.laps.push((name, self.last.elapsed()));
        self.last = Instant::now();
    }
}
