//! BUILD, inside the sandbox: runs each buildpack's bin/build in the order of the group, with the environment that the
//! layers of those before it make (buildpack spec, "Phase #3: Build").

use std::{
    fs, io,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use crate::{
    buildpack::Buildpack,
    dirs::{Dirs, buildpack_env},
    env::{BUILD_ROOTS, Env},
    failure::{Ended, Failure},
    files::{BadFile, Untrusted},
    group::{Group, Member},
    launch_metadata::{self, LaunchMetadata},
    launch_toml::{BuildToml, LaunchToml},
    layer_toml::{Layer, LayerToml},
    phase::detect::write_toml,
    plan::{BuildpackPlan, Plan},
    sbom,
};

/// Body of `/cnb/lifecycle/builder`.
pub(crate) fn main() -> ExitCode {
    let dirs = Dirs::of_sandbox();
    match build(&dirs, &Env::current()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&dirs.layers),
    }
}

fn build(dirs: &Dirs, env: &Env) -> Result<(), Failure> {
    let layers = Untrusted::open(&dirs.layers, &dirs.layers.display().to_string())?;
    let missing = |file: &str| BadFile::new(&layers.shown(file), "is missing");
    let group: Group = layers
        .toml("group.toml")?
        .ok_or_else(|| missing("group.toml"))?;
    let mut plan: Plan = layers
        .toml("plan.toml")?
        .ok_or_else(|| missing("plan.toml"))?;
    let mut env = env.clone();
    let mut launch = LaunchMetadata::default();
    for member in &group.group {
        let buildpack = Buildpack::open(&dirs.buildpacks, &member.id, &member.version)?;
        run(dirs, &env, &buildpack, &plan.of(&member.id))?;
        let results = Results::read(&layers, member, &plan.of(&member.id))?;
        plan.settle(&member.id, &results.unmet);
        retire_unused(dirs, member, &results.layers)?;
        add_layers(&mut env, dirs, member, &results.layers).map_err(Failure::io(format!(
            "read the environment of {}",
            member.id
        )))?;
        sbom::collect(dirs, &layers, &buildpack, &results.layers)?;
        launch.add(member, &results.launch);
    }
    write_launch(dirs, &launch)
}

fn run(
    dirs: &Dirs,
    env: &Env,
    buildpack: &Buildpack,
    plan: &BuildpackPlan<'_>,
) -> Result<(), Failure> {
    let id = &buildpack.info.id;
    let program = buildpack.dir.join("bin/build");
    let doing = || Failure::io(format!("run {}", program.display()));
    let layers = dirs.layers_of(id);
    fs::create_dir_all(&layers).map_err(doing())?;
    let plan_file = std::env::temp_dir().join(format!("plan-{}.toml", id.dir_name()));
    write_toml(&plan_file, plan)?;
    let env = env_of(dirs, env, buildpack, &layers, &plan_file).map_err(doing())?;
    let status = Command::new(&program)
        .args([&layers, &dirs.platform, &plan_file])
        .current_dir(&dirs.app)
        .env_clear()
        .envs(env.vars())
        .stdin(Stdio::null())
        .status()
        .map_err(doing())?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::BuildpackFailed {
        buildpack: id.clone(),
        exit: Ended::from(status),
    })
}

fn env_of(
    dirs: &Dirs,
    env: &Env,
    buildpack: &Buildpack,
    layers: &Path,
    plan: &Path,
) -> io::Result<Env> {
    let mut env = env.clone();
    if !buildpack.info.clear_env {
        env.add_platform(&dirs.env())?;
    }
    buildpack_env(&mut env, dirs, &buildpack.dir);
    env.set("CNB_LAYERS_DIR", layers);
    env.set("CNB_BP_PLAN_PATH", plan);
    Ok(env)
}

/// What a buildpack has left.
struct Results {
    layers: Vec<Layer>,
    launch: LaunchToml,
    unmet: Vec<String>,
}

impl Results {
    fn read(
        layers: &Untrusted,
        member: &Member,
        plan: &BuildpackPlan<'_>,
    ) -> Result<Self, BadFile> {
        let dir = member.id.dir_name();
        let unmet = BuildToml::read(layers, &dir)?;
        if let Some(name) = unmet.iter().find(|name| !plan.asks_for(name)) {
            return Err(BadFile::new(
                &layers.shown(&format!("{dir}/build.toml")),
                format!("`{name}` is unmet, but nobody asks for it"),
            ));
        }
        Ok(Self {
            layers: LayerToml::all(layers, &dir)?,
            launch: LaunchToml::read(layers, &dir, member.api)?,
            unmet,
        })
    }
}

/// A layer that is for nothing is moved out of sight of later buildpacks.
fn retire_unused(dirs: &Dirs, member: &Member, layers: &[Layer]) -> Result<(), Failure> {
    for (name, layer) in layers {
        let dir = dirs.layers_of(&member.id).join(name);
        if layer.types.is_used() || fs::symlink_metadata(&dir).is_err() {
            continue;
        }
        let ignored = dirs.layers_of(&member.id).join(format!("{name}.ignore"));
        match fs::rename(&dir, &ignored) {
            // A restored layer lies in a lower directory of an overlay, which cannot be renamed.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            result => result.map_err(Failure::io(format!("rename {}", dir.display())))?,
        }
    }
    Ok(())
}

fn add_layers(env: &mut Env, dirs: &Dirs, member: &Member, layers: &[Layer]) -> io::Result<()> {
    for (name, layer) in layers {
        if layer.types.build {
            let dir = dirs.layers_of(&member.id).join(name);
            env.add_roots(&dir, BUILD_ROOTS);
            env.add_dir(&dir.join("env"))?;
            env.add_dir(&dir.join("env.build"))?;
        }
    }
    Ok(())
}

fn write_launch(dirs: &Dirs, launch: &LaunchMetadata) -> Result<(), Failure> {
    let path = dirs.layers.join(launch_metadata::FILE);
    let dir = path.parent().unwrap_or(&dirs.layers);
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&path, launch.to_toml()))
        .map_err(Failure::io(format!("write {}", path.display())))
}
