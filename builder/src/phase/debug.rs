//! DEBUG: a shell where a build has failed, with the environment of the program that failed. No phase of the
//! specification's: it runs in the sandbox in which one of them has failed, when somebody wants to look at it.
//!
//! Its arguments are variables of the terminal, `--`, and perhaps a line for the shell.

use std::{
    convert::Infallible,
    fmt::Write as _,
    fs,
    io::{self, IsTerminal as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, ExitCode},
};

use super::{
    build::{Step, step_of},
    detect::prepare,
};
use crate::{
    buildpack::{Buildpack, Kind},
    env::{self, Env, set},
    failure::{Doing as _, Failure, PhaseName, read_step},
    files::{self, Untrusted},
    group::Group,
    lifecycle::{analyzed::Analyzed, inputs::Inputs},
    plan::Plan,
    scratch::TempDir,
    target::Target,
};

/// Runs what failed once more.
const AGAIN: &str = "/tmp/again";
const PROMPT: &str = "\\w\\$ ";

pub(crate) fn main(args: &[String]) -> ExitCode {
    let Err(failure) = debug(args);
    eprintln!(" !     {failure}");
    ExitCode::FAILURE
}

fn debug(args: &[String]) -> Result<Infallible, Failure> {
    let inputs = Inputs::read(Some(PhaseName::Build), &[])?;
    let step = step(&inputs)?;
    let mut env = step
        .as_ref()
        .map_or_else(|| env::of_phase(None), |step| step.env.clone());
    let mut args = args.iter();
    for variable in args.by_ref().take_while(|arg| *arg != "--") {
        if let Some((name, value)) = variable.split_once('=') {
            set(&mut env, name, value);
        }
    }
    if let Some(step) = &step {
        write_again(step, &inputs.app).failing("write", Path::new(AGAIN))?;
    }
    let command = args.next();
    if command.is_none() && io::stdin().is_terminal() {
        greet(step.as_ref());
        set(&mut env, "PS1", PROMPT);
    }
    become_shell(&env, command, &inputs.app)
}

/// `None`: it failed outside of every buildpack.
fn step(inputs: &Inputs) -> Result<Option<Step>, Failure> {
    let analyzed = Analyzed::read(&inputs.analyzed)?.unwrap_or_default();
    let target = analyzed.target().complete();
    if inputs.group.exists() {
        let Some(at) = read_step(&inputs.layers) else {
            return Ok(None);
        };
        let plan: Plan = files::wanted(&inputs.plan)?;
        return step_of(inputs, &Group::read(&inputs.group)?, plan, &target, &at);
    }
    let layers = Untrusted::open(&inputs.layers, &inputs.layers.display().to_string())?;
    let failure = Failure::read(&layers);
    let Some((id, version)) = failure.as_ref().and_then(Failure::detected_last) else {
        return Ok(None);
    };
    let buildpack = Buildpack::open(Kind::Buildpack, &inputs.buildpacks, id, version)?;
    detect_step(inputs, &target, &buildpack).map(Some)
}

fn detect_step(inputs: &Inputs, target: &Target, buildpack: &Buildpack) -> Result<Step, Failure> {
    let program = buildpack.dir.join("bin/detect");
    let scratch = TempDir::new()?;
    let plan = scratch.path().join("plan.toml");
    fs::write(&plan, "").failing("write", &plan)?;
    let mut env = env::of_phase(inputs.home.as_deref());
    prepare(&mut env, inputs, target, buildpack).failing("prepare the environment of", &program)?;
    set(&mut env, "CNB_BUILD_PLAN_PATH", &plan);
    Ok(Step {
        program,
        args: vec![inputs.platform.clone(), plan],
        env,
        _scratch: scratch,
    })
}

fn write_again(step: &Step, app: &Path) -> io::Result<()> {
    let mut text = format!("#!/bin/sh\ncd {} && exec", quoted(app));
    for word in [&step.program].into_iter().chain(&step.args) {
        _ = write!(text, " {}", quoted(word));
    }
    fs::write(AGAIN, text + "\n")?;
    fs::set_permissions(AGAIN, fs::Permissions::from_mode(0o755))
}

/// For a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

fn greet(step: Option<&Step>) {
    match step {
        Some(step) => eprintln!(
            "       In the environment of {}\n       To run it once more: {AGAIN}",
            step.program.display()
        ),
        None => eprintln!("       It failed outside of every buildpack."),
    }
}

/// What is temporary stays: the shell needs it, and the sandbox's own goes with it.
fn become_shell(env: &Env, command: Option<&String>, app: &Path) -> Result<Infallible, Failure> {
    let mut failed = io::Error::from(io::ErrorKind::NotFound);
    for (shell, options) in [("/bin/bash", ["--norc"].as_slice()), ("/bin/sh", &[])] {
        let line = command.map(|command| ["-c", command.as_str()]);
        failed = Command::new(shell)
            .args(if line.is_some() { &[] } else { options })
            .args(line.into_iter().flatten())
            .current_dir(app)
            .env_clear()
            .envs(env::vars(env))
            .exec();
    }
    Err(failed).failing("become", Path::new("a shell"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_a_shell() {
        let check = |path: &str, expected: &str| assert_eq!(quoted(Path::new(path)), expected);
        check("/a b", "'/a b'");
        check("/it's", r"'/it'\''s'");
    }
}
