//! An app that is its own executable: a program built elsewhere, or a script with a `#!` line.

mod errors;
mod find;

use libcnb::{
    Buildpack,
    build::{BuildContext, BuildResult, BuildResultBuilder},
    data::{
        launch::{LaunchBuilder, ProcessBuilder},
        process_type,
    },
    detect::{DetectContext, DetectResult, DetectResultBuilder},
    generic::{GenericMetadata, GenericPlatform},
};

pub(crate) use errors::PlainError;

use crate::{error::report, print, procfile};

pub(crate) struct Plain;

impl Buildpack for Plain {
    type Platform = GenericPlatform;
    type Metadata = GenericMetadata;
    type Error = PlainError;

    /// Fails beside a Procfile: whoever wrote one has said what to start.
    fn detect(&self, context: DetectContext<Self>) -> libcnb::Result<DetectResult, PlainError> {
        if procfile::is_present(&context.app_dir) {
            return DetectResultBuilder::fail().build();
        }
        let programs = find::programs(&context.app_dir).map_err(PlainError::Read)?;
        if programs.iter().any(|program| program.executable) {
            return DetectResultBuilder::pass().build();
        }
        for program in &programs {
            let name = &program.name;
            print::detail(&format!(
                "Found `{name}`, but it is not executable: `git update-index --chmod=+x {name}`"
            ));
        }
        DetectResultBuilder::fail().build()
    }

    fn build(&self, context: BuildContext<Self>) -> libcnb::Result<BuildResult, PlainError> {
        print::step("Looking for the executable");
        let programs = find::programs(&context.app_dir).map_err(PlainError::Read)?;
        let name = find::choose(&programs).map_err(PlainError::Choice)?;
        print::detail(&format!("web -> ./{name}"));
        let command = context.app_dir.join(name).to_string_lossy().into_owned();
        let web = ProcessBuilder::new(process_type!("web"), [command])
            .default(true)
            .build();
        BuildResultBuilder::new()
            .launch(LaunchBuilder::new().process(web).build())
            .build()
    }

    fn on_error(&self, error: libcnb::Error<PlainError>) {
        report(error, errors::explain);
    }
}
