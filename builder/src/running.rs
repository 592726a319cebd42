//! A build that runs: its directories, and the two of its phases that happen inside a sandbox.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use container::{Bind, Mount};

use crate::{
    Builder, Output, Request,
    dirs::LAYERS,
    error::BuildError,
    files::{BadFile, Untrusted},
    group::Group,
    layers::Layers,
    lifecycle_dir::{BUILDER, DETECTOR},
    narrate,
    plan::Plan,
    sandboxed::{Phase, Watch},
    work::{Source, Work, make_dir},
};

/// A build that runs.
pub(crate) struct Running<'a> {
    pub(crate) builder: &'a Builder,
    pub(crate) work: Work,
    pub(crate) source: Source<'a>,
    pub(crate) watch: Watch<'a>,
    pub(crate) request: &'a Request<'a>,
}

impl Running<'_> {
    pub(crate) fn detect(
        &self,
        platform: &Path,
        output: &mut dyn Output,
    ) -> Result<(Group, Plan), BuildError> {
        let results = self.work.writable_dir("detect")?;
        let phase = Phase {
            name: "detect",
            program: DETECTOR,
            app: &self.source.path,
            app_read_only: true,
            platform,
            layers: Mount::Bind(Bind {
                source: results.clone(),
                target: LAYERS.to_owned(),
                read_only: false,
            }),
            results: &results,
            source_version: self.request.source_version.as_deref(),
            scratch: self.work.path("detect-sandbox"),
        };
        let ran = phase.run(self.builder, &self.watch, output);
        if let Err(error) = &ran {
            narrate::tried(error, output);
        }
        ran?;
        let results = Untrusted::open(&results, LAYERS)?;
        let missing = |file| BadFile::new(&results.shown(file), "is missing");
        Ok((
            results
                .toml("group.toml")?
                .ok_or_else(|| missing("group.toml"))?,
            results
                .toml("plan.toml")?
                .ok_or_else(|| missing("plan.toml"))?,
        ))
    }

    pub(crate) fn build(
        &self,
        platform: &Path,
        layers: &Layers,
        output: &mut dyn Output,
    ) -> Result<(), BuildError> {
        let empty = self.work.path("no-layers");
        make_dir(&empty)?;
        let overlay_work = self.work.path("layers-work");
        let phase = Phase {
            name: "build",
            program: BUILDER,
            app: &self.source.path,
            app_read_only: false,
            platform,
            layers: layers.mount(&self.builder.store, overlay_work, empty)?,
            results: layers.upper(),
            source_version: self.request.source_version.as_deref(),
            scratch: self.work.path("build-sandbox"),
        };
        phase.run(self.builder, &self.watch, output)
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
