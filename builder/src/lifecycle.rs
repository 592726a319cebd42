//! The phases as the specification's programs (platform spec, "Lifecycle Interface"): under their own names, with their
//! flags, variables and exit statuses, so that we can stand in for the reference lifecycle on any platform. They start from
//! plain folders and end in images of a registry or in OCI layouts ([`images`]).

pub(crate) mod analyze;
mod export;
mod generate;
mod rebase;
mod restore;

pub(crate) mod analyzed;
mod app_image;
mod cache;
mod dockerfile;
mod extract;
mod flags;
mod image_cache;
pub(crate) mod images;
pub(crate) mod inputs;
mod privileges;
mod run_image;
mod slices;
mod tree;
mod volume_cache;

use std::{path::Path, process::ExitCode};

pub(crate) use self::extract::extract;
use self::{
    analyzed::Analyzed, cache::Cache, images::Images, inputs::Inputs, privileges::drop_to_user,
};
use crate::{
    failure::{Failure, PhaseName},
    files,
    group::Group,
    lifecycle_dir::{DEBUGGER, become_launcher},
    phase::{build::build, debug, detect::detect},
    plan::Plan,
};

/// Which phase it was when it failed decides about the exit status.
type Ended = Result<(), (PhaseName, Failure)>;

/// `None` when there is no phase of that name.
pub(crate) fn main(name: &str, args: Vec<String>) -> Option<ExitCode> {
    let (phase, program): (_, fn(&Inputs) -> Ended) = match name {
        "analyzer" | "analyze" => (Some(PhaseName::Analyze), analyzer),
        "detector" | "detect" => (Some(PhaseName::Detect), detector),
        "restorer" | "restore" => (Some(PhaseName::Restore), restorer),
        "builder" | "build" => (Some(PhaseName::Build), builder),
        "exporter" | "export" => (Some(PhaseName::Export), exporter),
        "rebaser" | "rebase" => (Some(PhaseName::Rebase), rebaser),
        "extender" | "extend" => (Some(PhaseName::Extend), extender),
        "creator" | "create" => (None, creator),
        "launcher" | "launch" => return Some(become_launcher()),
        DEBUGGER => return Some(debug::main(&args)),
        _ => return None,
    };
    Some(match Inputs::read(phase, &args) {
        Err(failure) => failure.report(phase.unwrap_or(PhaseName::Export)),
        Ok(inputs) if inputs.wants_version => {
            println!("{}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Ok(inputs) => match program(&inputs) {
            Ok(()) => ExitCode::SUCCESS,
            Err((phase, failure)) => failure.report(phase),
        },
    })
}

/// Names the phase that failed.
trait During<T> {
    fn during(self, phase: PhaseName) -> Result<T, (PhaseName, Failure)>;
}

impl<T> During<T> for Result<T, Failure> {
    fn during(self, phase: PhaseName) -> Result<T, (PhaseName, Failure)> {
        self.map_err(|failure| (phase, failure))
    }
}

/// All phases in one: nothing of an image extension, which would need a phase of root in between.
fn creator(inputs: &Inputs) -> Ended {
    let phase = PhaseName::Analyze;
    one_image(inputs).during(phase)?;
    let images = Images::of(inputs).during(phase)?;
    drop_to_user(inputs, &cache_dirs(inputs, Some(&inputs.layers))).during(phase)?;
    let cache = Cache::open(inputs, &images).during(phase)?;
    inputs.log.phase("ANALYZING");
    let analyzed = analyze::analyze(inputs, &images).during(phase)?;
    inputs.log.phase("DETECTING");
    let (group, plan) = detect(inputs).during(PhaseName::Detect)?;
    if !group.extensions.is_empty() {
        let what = "the group has image extensions, which the creator cannot apply".to_owned();
        return Err((PhaseName::Detect, Failure::Refused(what)));
    }
    inputs.log.phase("RESTORING");
    restore::restore(inputs, &images, &group, &analyzed, cache.as_ref())
        .during(PhaseName::Restore)?;
    inputs.log.phase("BUILDING");
    build(inputs, &group, plan, &analyzed).during(PhaseName::Build)?;
    inputs.log.phase("EXPORTING");
    export::export(inputs, &images, &group, &analyzed, cache).during(PhaseName::Export)
}

fn analyzer(inputs: &Inputs) -> Ended {
    let run = || {
        one_image(inputs)?;
        let images = Images::of(inputs)?;
        drop_to_user(inputs, &cache_dirs(inputs, Some(&inputs.layers)))?;
        analyze::analyze(inputs, &images)
    };
    run().map(drop).during(PhaseName::Analyze)
}

fn detector(inputs: &Inputs) -> Ended {
    refuse_root()
        .and_then(|()| no_images(inputs))
        .during(PhaseName::Detect)?;
    let (group, plan) = detect(inputs).during(PhaseName::Detect)?;
    if group.extensions.is_empty() {
        return Ok(());
    }
    generate::generate(inputs, &group, plan).during(PhaseName::Generate)
}

fn restorer(inputs: &Inputs) -> Ended {
    let run = || {
        no_images(inputs)?;
        let images = Images::of(inputs)?;
        drop_to_user(inputs, &cache_dirs(inputs, Some(&inputs.layers)))?;
        let group = Group::read(&inputs.group)?;
        let analyzed = match Analyzed::read(&inputs.analyzed)? {
            Some(mut analyzed) => {
                restore::update_analyzed(inputs, &images, &group, &mut analyzed)?;
                analyzed
            }
            None => {
                inputs.log.warn(format_args!(
                    "Not using analyzed data: {} is missing",
                    inputs.analyzed.display()
                ));
                Analyzed::default()
            }
        };
        let cache = Cache::open(inputs, &images)?;
        restore::restore(inputs, &images, &group, &analyzed, cache.as_ref())
    };
    run().during(PhaseName::Restore)
}

fn builder(inputs: &Inputs) -> Ended {
    let run = || {
        refuse_root().and_then(|()| no_images(inputs))?;
        let group = Group::read(&inputs.group)?;
        let plan: Plan = files::wanted(&inputs.plan)?;
        let analyzed = Analyzed::read(&inputs.analyzed)?.unwrap_or_default();
        build(inputs, &group, plan, &analyzed)
    };
    run().during(PhaseName::Build)
}

fn exporter(inputs: &Inputs) -> Ended {
    let run = || {
        if inputs.images.is_empty() {
            return Err(Failure::Arguments(
                "the name of the image is missing".to_owned(),
            ));
        }
        analyze::same_registry(&inputs.images)?;
        let images = Images::of(inputs)?;
        drop_to_user(inputs, &cache_dirs(inputs, None))?;
        let group = Group::read(&inputs.group)?;
        let analyzed = Analyzed::read(&inputs.analyzed)?.unwrap_or_default();
        let cache = Cache::open(inputs, &images)?;
        export::export(inputs, &images, &group, &analyzed, cache)
    };
    run().during(PhaseName::Export)
}

fn rebaser(inputs: &Inputs) -> Ended {
    let run = || {
        let images = Images::of(inputs)?;
        drop_to_user(inputs, &[])?;
        rebase::rebase(inputs, &images)
    };
    run().during(PhaseName::Rebase)
}

fn extender(_: &Inputs) -> Ended {
    Err((PhaseName::Extend, extend_is_unsupported()))
}

fn extend_is_unsupported() -> Failure {
    Failure::Refused(
        "image extensions that change an image by a Dockerfile are not supported; those that choose another run image are"
            .to_owned(),
    )
}

/// What runs buildpacks has no business being root.
fn refuse_root() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Err(Failure::Privileged);
    }
    Ok(())
}

fn no_images(inputs: &Inputs) -> Result<(), Failure> {
    match inputs.images.first() {
        None => Ok(()),
        Some(image) => Err(Failure::Arguments(format!(
            "`{image}` is one argument too many: there are flags only"
        ))),
    }
}

/// And tags, which have a flag of their own.
fn one_image(inputs: &Inputs) -> Result<(), Failure> {
    match inputs.argument_count {
        1 => Ok(()),
        count => Err(Failure::Arguments(format!(
            "one image is to be named, not {count}; -tag gives it more names"
        ))),
    }
}

fn cache_dirs<'a>(inputs: &'a Inputs, layers: Option<&'a Path>) -> [Option<&'a Path>; 2] {
    [layers, inputs.cache_dir.as_deref()]
}
