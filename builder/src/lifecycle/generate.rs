//! GENERATE, at the end of DETECT: each image extension of the group writes Dockerfiles (image-extension spec, "Phase:
//! Generation"). One that only chooses another run image is done with here; one that changes an image waits for EXTEND.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    analyzed::{Analyzed, RunImageRef},
    dockerfile::Dockerfile,
    inputs::Inputs,
};
use crate::{
    api::Api,
    buildpack::{Buildpack, Kind},
    env::{self, set},
    failure::{Doing as _, Ended, Failure},
    files::BadFile,
    group::{Group, Member},
    phase::{
        build::execute,
        detect::{prepare, write_toml},
    },
    plan::Plan,
    scratch::TempDir,
};

/// Since then what extensions write stays where they wrote it.
const IN_PLACE: Api = Api::of(13);
/// Arguments that the lifecycle sets itself.
const OWN_ARGS: &[&str] = &["build_id", "user_id", "group_id"];

/// A run.Dockerfile, and whose.
struct RunFile {
    path: PathBuf,
    dockerfile: Dockerfile,
}

#[derive(Default, Deserialize)]
struct ExtendConfig {
    #[serde(default)]
    build: Args,
    #[serde(default)]
    run: Args,
}

#[derive(Default, Deserialize)]
struct Args {
    #[serde(default)]
    args: Vec<Arg>,
}

#[derive(Deserialize)]
struct Arg {
    name: String,
}

pub(super) fn generate(inputs: &Inputs, group: &Group, mut plan: Plan) -> Result<(), Failure> {
    let mut analyzed = Analyzed::read(&inputs.analyzed)?.unwrap_or_default();
    let scratch = TempDir::new()?;
    let output = if inputs.api >= IN_PLACE {
        inputs.generated.clone()
    } else {
        scratch.path().to_owned()
    };
    let mut run_files = Vec::new();
    for member in &group.extensions {
        let dir = run(inputs, member, &plan, &analyzed, &output)?;
        plan.settle(Kind::Extension, &member.id, &[]);
        run_files.extend(read(inputs, member, &dir)?);
    }
    let superseded = choose_run_image(inputs, &mut analyzed, &run_files);
    for file in &run_files[..superseded] {
        let ignored = PathBuf::from(format!("{}.ignore", file.path.display()));
        fs::rename(&file.path, &ignored).failing("rename", &file.path)?;
    }
    if inputs.api < IN_PLACE {
        copy_generated(inputs, group, &output)?;
    }
    write_toml(&inputs.analyzed, &analyzed)?;
    write_toml(&inputs.plan, &plan)
}

/// Where the extension's files are then.
fn run(
    inputs: &Inputs,
    member: &Member,
    plan: &Plan,
    analyzed: &Analyzed,
    output: &Path,
) -> Result<PathBuf, Failure> {
    let extension = Buildpack::open(
        Kind::Extension,
        &inputs.extensions,
        &member.id,
        &member.version,
    )?;
    let dir = output.join(member.id.dir_name());
    fs::create_dir_all(&dir).failing("make", &dir)?;
    let program = extension.dir.join("bin/generate");
    if !program.exists() {
        copy_tree(&extension.dir.join("generate"), &dir)?;
        return Ok(dir);
    }
    let scratch = TempDir::new()?;
    let plan_file = scratch.path().join("plan.toml");
    write_toml(&plan_file, &plan.of(Kind::Extension, &member.id))?;
    let mut env = env::of_phase(inputs.home.as_deref());
    prepare(&mut env, inputs, &analyzed.target().complete(), &extension)
        .failing("prepare the environment of", &program)?;
    set(&mut env, "CNB_BP_PLAN_PATH", &plan_file);
    set(&mut env, "CNB_OUTPUT_DIR", &dir);
    set(&mut env, "CNB_PLATFORM_DIR", &inputs.platform);
    match execute(
        &program,
        &[&dir, &inputs.platform, &plan_file],
        &inputs.app,
        &env,
    )
    .failing("run", &program)?
    {
        Ended::Status(0) => Ok(dir),
        exit => Err(Failure::BuildpackFailed {
            buildpack: member.id.clone(),
            exit,
        }),
    }
}

/// Checks what the extension has written; its run.Dockerfile, if there is one.
fn read(inputs: &Inputs, member: &Member, dir: &Path) -> Result<Option<RunFile>, Failure> {
    check_config(&dir.join("extend-config.toml"))?;
    check_contexts(dir)?;
    let bad = |path: &Path, what: String| BadFile::new(&path.display().to_string(), what);
    let path = dir.join("build.Dockerfile");
    if let Some(text) = read_text(&path)? {
        Dockerfile::check_build(&text).map_err(|what| bad(&path, what))?;
    }
    let path = dir.join("run.Dockerfile");
    let Some(text) = read_text(&path)? else {
        return Ok(None);
    };
    let dockerfile = Dockerfile::of_run(&text).map_err(|what| bad(&path, what))?;
    for (line, command) in &dockerfile.odd {
        inputs.log.warn(format_args!(
            "{}: {command} in line {line} of run.Dockerfile is not recommended",
            member.id
        ));
    }
    Ok(Some(RunFile { path, dockerfile }))
}

fn check_config(path: &Path) -> Result<(), Failure> {
    let config: ExtendConfig = crate::files::toml(path)?.unwrap_or_default();
    let mut args = config.build.args.iter().chain(&config.run.args);
    match args.find(|arg| OWN_ARGS.contains(&arg.name.as_str())) {
        None => Ok(()),
        Some(arg) => {
            let what = format!("sets the argument `{}`, which the lifecycle sets", arg.name);
            Err(BadFile::new(&path.display().to_string(), what).into())
        }
    }
}

fn check_contexts(dir: &Path) -> Result<(), Failure> {
    let is_there = |name: &str| dir.join(name).is_dir();
    if is_there("context") && (is_there("context.build") || is_there("context.run")) {
        let what = "has a context for one image beside the one for both";
        return Err(BadFile::new(&dir.display().to_string(), what).into());
    }
    Ok(())
}

/// The last extension that names a base chooses the run image, and those before it are of no effect; how many they are.
fn choose_run_image(inputs: &Inputs, analyzed: &mut Analyzed, files: &[RunFile]) -> usize {
    let chosen = files
        .iter()
        .rposition(|file| file.dockerfile.base.is_some());
    let effective = &files[chosen.unwrap_or(0)..];
    let extends = effective.iter().any(|file| file.dockerfile.extends);
    let base = chosen.and_then(|at| files[at].dockerfile.base.clone());
    let current = analyzed
        .run_image
        .as_ref()
        .map(|run_image| run_image.image.clone())
        .unwrap_or_default();
    if let Some(base) = base.filter(|base| inputs.api < Api::of(12) || *base != current) {
        // What the other one said of itself does not hold for this one.
        analyzed.run_image = Some(RunImageRef {
            reference: base.clone(),
            image: base,
            extend: extends,
            target: None,
        });
    }
    if let Some(run_image) = &mut analyzed.run_image {
        run_image.extend |= extends;
    }
    chosen.unwrap_or(0)
}

/// Before Platform API 0.13: `<generated>/<kind>/<extension>/Dockerfile`.
fn copy_generated(inputs: &Inputs, group: &Group, from: &Path) -> Result<(), Failure> {
    for member in &group.extensions {
        let dir = from.join(member.id.dir_name());
        for kind in ["build", "run"] {
            let into = inputs.generated.join(kind).join(member.id.dir_name());
            for (name, to) in [
                (format!("{kind}.Dockerfile"), "Dockerfile"),
                (format!("{kind}.Dockerfile.ignore"), "Dockerfile.ignore"),
            ] {
                let file = dir.join(&name);
                if !file.exists() {
                    continue;
                }
                fs::create_dir_all(&into).failing("make", &into)?;
                fs::copy(&file, into.join(to)).failing("copy", &file)?;
                let config = dir.join("extend-config.toml");
                if config.exists() {
                    fs::copy(&config, into.join("extend-config.toml")).failing("copy", &config)?;
                }
            }
        }
    }
    Ok(())
}

fn read_text(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.failing("read", path).map(Some),
    }
}

/// What an extension without a program brings along.
fn copy_tree(from: &Path, to: &Path) -> Result<(), Failure> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result.failing("read", from)?,
    };
    for entry in entries {
        let entry = entry.failing("read", from)?;
        let (path, into) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().failing("read", &path)?.is_dir() {
            fs::create_dir_all(&into).failing("make", &into)?;
            copy_tree(&path, &into)?;
        } else {
            fs::copy(&path, &into).failing("copy", &path)?;
        }
    }
    Ok(())
}
