//! One bin/detect.

use std::{
    fs, io,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    api::Api,
    buildpack::{Buildpack, Kind},
    env::{self, Env, set},
    failure::Ended,
    files::{BadFile, Untrusted},
    lifecycle::inputs::Inputs,
    plan::DetectPlan,
    scratch::TempDir,
    target::Target,
};

/// Of one bin/detect; what it prints beyond is dropped.
const OUTPUT_BYTES_MAX: u64 = 256 * 1024;

#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) exit: Ended,
    pub(super) output: Vec<u8>,
    pub(super) plan: DetectPlan,
    /// Of one that is of no use.
    pub(super) why: Option<String>,
}

impl Outcome {
    pub(super) fn unusable(why: impl ToString, output: Vec<u8>) -> Self {
        Self {
            exit: Ended::Unusable,
            output,
            plan: DetectPlan::default(),
            why: Some(why.to_string()),
        }
    }
}

/// What does not work is this buildpack's failure, not that of the detection.
pub(super) fn run(inputs: &Inputs, env: &Env, target: &Target, buildpack: &Buildpack) -> Outcome {
    let scratch = match TempDir::new() {
        Ok(scratch) => scratch,
        Err(failure) => return Outcome::unusable(failure, vec![]),
    };
    let program = buildpack.dir.join("bin/detect");
    if buildpack.kind == Kind::Extension && !program.exists() {
        return of_plan(&buildpack.dir.join("detect"), buildpack, vec![]);
    }
    match execute(inputs, env, target, buildpack, scratch.path()) {
        Ok((Ended::Status(0), output)) => of_plan(scratch.path(), buildpack, output),
        Ok((exit, output)) => Outcome {
            exit,
            output,
            plan: DetectPlan::default(),
            why: None,
        },
        Err(error) => {
            Outcome::unusable(format!("cannot run {}: {error}", program.display()), vec![])
        }
    }
}

fn execute(
    inputs: &Inputs,
    env: &Env,
    target: &Target,
    buildpack: &Buildpack,
    scratch: &Path,
) -> io::Result<(Ended, Vec<u8>)> {
    let plan = scratch.join("plan.toml");
    fs::write(&plan, "")?;
    let mut env = env.clone();
    prepare(&mut env, inputs, target, buildpack)?;
    if buildpack.api >= Api::of(8) {
        set(&mut env, "CNB_BUILD_PLAN_PATH", &plan);
    }
    let (mut reader, writer) = io::pipe()?;
    let mut command = Command::new(buildpack.dir.join("bin/detect"));
    command
        .args([&inputs.platform, &plan])
        .current_dir(&inputs.app)
        .env_clear()
        .envs(env::vars(&env))
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let mut child = command.spawn()?;
    // It holds the writing ends; the output would never end.
    drop(command);
    let mut output = Vec::new();
    (&mut reader)
        .take(OUTPUT_BYTES_MAX)
        .read_to_end(&mut output)
        .and_then(|_| io::copy(&mut reader, &mut io::sink()))?;
    Ok((Ended::from(child.wait()?), output))
}

/// What every program of a buildpack finds in its environment, whatever it is run for.
pub(crate) fn prepare(
    env: &mut Env,
    inputs: &Inputs,
    target: &Target,
    buildpack: &Buildpack,
) -> io::Result<()> {
    let platform = (!buildpack.info.clear_env).then_some(inputs.platform.as_path());
    env::add_overrides(env, platform, &inputs.build_config)?;
    match buildpack.kind {
        Kind::Buildpack => set(env, "CNB_BUILDPACK_DIR", &buildpack.dir),
        Kind::Extension => set(env, "CNB_EXTENSION_DIR", &buildpack.dir),
    }
    if buildpack.api >= Api::of(8) {
        set(env, "CNB_PLATFORM_DIR", &inputs.platform);
    }
    if buildpack.api >= Api::of(10) {
        target.set(env);
    }
    if buildpack.api >= Api::of(12) && !inputs.exec_env.is_empty() {
        set(env, "CNB_EXEC_ENV", &inputs.exec_env);
    }
    Ok(())
}

fn of_plan(dir: &Path, buildpack: &Buildpack, output: Vec<u8>) -> Outcome {
    match read_plan(dir, buildpack) {
        Ok(plan) => Outcome {
            exit: Ended::Status(0),
            output,
            plan,
            why: None,
        },
        Err(bad) => Outcome::unusable(bad, output),
    }
}

/// Named in errors after the buildpack, because the path means nothing to anybody.
fn read_plan(dir: &Path, buildpack: &Buildpack) -> Result<DetectPlan, BadFile> {
    let shown = format!("build plan of {}", buildpack.info.id);
    if !dir.exists() {
        return Ok(DetectPlan::default());
    }
    let named = |bad: BadFile| BadFile {
        file: shown.clone(),
        ..bad
    };
    let plan: DetectPlan = Untrusted::open(dir, "")
        .and_then(|dir| dir.toml("plan.toml"))
        .map_err(named)?
        .unwrap_or_default();
    plan.check(&shown)?;
    if buildpack.kind == Kind::Extension && plan.requires_something() {
        return Err(BadFile::new(
            &shown,
            "an extension may provide, and not require",
        ));
    }
    Ok(plan)
}
