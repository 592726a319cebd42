//! The phases as the specification's programs (platform spec, "Lifecycle Interface"): under their own names, with their
//! flags, variables and exit statuses, so that we can stand in for the reference lifecycle on any platform.

pub(crate) mod analyzed;
mod flags;
pub(crate) mod inputs;

use std::process::ExitCode;

use crate::{
    failure::{Failure, PhaseName},
    files,
    group::Group,
    lifecycle::{analyzed::Analyzed, inputs::Inputs},
    lifecycle_dir::become_launcher,
    phase,
    plan::Plan,
};

/// What one of our programs does. Which phase it was when it failed decides about the exit status.
type Program = fn(&Inputs) -> Result<(), (PhaseName, Failure)>;

/// `None` when there is no phase of that name.
pub(crate) fn main(name: &str, args: Vec<String>) -> Option<ExitCode> {
    let (phase, program): (_, Program) = match name {
        "detector" | "detect" => (Some(PhaseName::Detect), detector),
        "builder" | "build" => (Some(PhaseName::Build), builder),
        "launcher" | "launch" => return Some(become_launcher()),
        _ => return None,
    };
    let of = phase.unwrap_or(PhaseName::Export);
    Some(match Inputs::read(phase, &args) {
        Err(failure) => failure.report(of),
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

fn detector(inputs: &Inputs) -> Result<(), (PhaseName, Failure)> {
    let failed = |failure| (PhaseName::Detect, failure);
    refuse_root()
        .and_then(|()| no_images(inputs))
        .map_err(failed)?;
    phase::detect::detect(inputs).map(drop).map_err(failed)
}

fn builder(inputs: &Inputs) -> Result<(), (PhaseName, Failure)> {
    let build = || {
        refuse_root().and_then(|()| no_images(inputs))?;
        let group = Group::read(&inputs.group)?;
        let plan: Plan = files::wanted(&inputs.plan)?;
        let analyzed = Analyzed::read(&inputs.analyzed)?.unwrap_or_default();
        phase::build::build(inputs, &group, plan, &analyzed)
    };
    build().map_err(|failure| (PhaseName::Build, failure))
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
