//! BUILD: runs each buildpack's bin/build in the order of the group, with the environment that the layers of those before
//! it make (buildpack spec, "Phase #3: Build").

use std::{
    fs, io, mem,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    api::Api,
    bom::{self, BomEntry},
    buildpack::{Buildpack, Kind},
    env::{self, Env, set},
    failure::{Doing as _, Ended, Failure, note_step},
    files::{BadFile, Untrusted},
    group::{Group, Member},
    id::BuildpackId,
    launch_metadata::{self, LaunchMetadata},
    launch_toml::{BuildToml, LaunchToml},
    layer_toml::{Layer, LayerToml},
    lifecycle::{analyzed::Analyzed, inputs::Inputs},
    phase::detect::{prepare, write_toml},
    plan::{BuildpackPlan, Plan},
    sbom,
    scratch::TempDir,
    target::Target,
};

pub(crate) fn build(
    inputs: &Inputs,
    group: &Group,
    mut plan: Plan,
    analyzed: &Analyzed,
) -> Result<(), Failure> {
    let target = analyzed.target().complete();
    let layers = Untrusted::open(&inputs.layers, &inputs.layers.display().to_string())?;
    let buildpacks = open_all(inputs, group)?;
    remove_sboms(inputs)?;
    let mut env = env::of_phase(inputs.home.as_deref());
    let mut build_bom = Vec::new();
    let mut launch = LaunchMetadata {
        extensions: group.extensions.clone(),
        ..LaunchMetadata::default()
    };
    for (member, buildpack) in group.group.iter().zip(&buildpacks) {
        let asked = plan.of(Kind::Buildpack, &member.id);
        note_step(&member.id);
        step(inputs, &env, &target, buildpack, &asked)?.run(inputs, &member.id)?;
        let results = Results::read(&layers, member, &asked)?;
        plan.settle(Kind::Buildpack, &member.id, &results.unmet);
        retire_unused(inputs, member, &results.layers)?;
        add_layers(&mut env, inputs, member, &results.layers)?;
        if inputs.api >= Api::of(8) {
            sbom::collect(&inputs.layers, &layers, buildpack, &results.layers)?;
        }
        warn_of_bom(inputs, &layers, member, &results)?;
        build_bom.extend(bom::of(member, &results.bom));
        if launch.add(member, &results.launch) {
            let id = &member.id;
            inputs.log.warn(format_args!(
                "{id} redefines the default process type, which is none any more"
            ));
        }
    }
    if inputs.api >= Api::of(9) {
        let launch_bom = mem::take(&mut launch.bom);
        sbom::write_legacy(
            &inputs.layers,
            &[("launch", launch_bom), ("build", build_bom)],
        )?;
    }
    write_launch(inputs, &launch)
}

/// All before the first is run: one that cannot be read changes nothing.
fn open_all(inputs: &Inputs, group: &Group) -> Result<Vec<Buildpack>, Failure> {
    let members = group.group.iter();
    members
        .map(|member| {
            let (id, version) = (&member.id, &member.version);
            Buildpack::open(Kind::Buildpack, &inputs.buildpacks, id, version)
                .map_err(Failure::of_phase)
        })
        .collect()
}

/// Of an earlier build.
fn remove_sboms(inputs: &Inputs) -> Result<(), Failure> {
    let dir = inputs.layers.join("sbom");
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.failing("remove", &dir),
    }
}

/// One run of a buildpack's program.
pub(crate) struct Step {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<PathBuf>,
    pub(crate) env: Env,
    /// Holds its plan.
    pub(crate) _scratch: TempDir,
}

/// The step of one buildpack of a group, as it was when it began: those before it have done theirs.
pub(crate) fn step_of(
    inputs: &Inputs,
    group: &Group,
    mut plan: Plan,
    target: &Target,
    at: &BuildpackId,
) -> Result<Option<Step>, Failure> {
    let layers = Untrusted::open(&inputs.layers, &inputs.layers.display().to_string())?;
    let mut env = env::of_phase(inputs.home.as_deref());
    for member in &group.group {
        let asked = plan.of(Kind::Buildpack, &member.id);
        if member.id == *at {
            let (id, version) = (&member.id, &member.version);
            let buildpack = Buildpack::open(Kind::Buildpack, &inputs.buildpacks, id, version)?;
            return step(inputs, &env, target, &buildpack, &asked).map(Some);
        }
        let results = Results::read(&layers, member, &asked)?;
        plan.settle(Kind::Buildpack, &member.id, &results.unmet);
        add_layers(&mut env, inputs, member, &results.layers)?;
    }
    Ok(None)
}

fn step(
    inputs: &Inputs,
    env: &Env,
    target: &Target,
    buildpack: &Buildpack,
    plan: &BuildpackPlan<'_>,
) -> Result<Step, Failure> {
    let program = buildpack.dir.join("bin/build");
    let layers = inputs.layers_of(&buildpack.info.id);
    fs::create_dir_all(&layers).failing("make", &layers)?;
    let scratch = TempDir::new()?;
    let plan_file = scratch.path().join("plan.toml");
    write_toml(&plan_file, plan)?;
    let mut env = env.clone();
    prepare(&mut env, inputs, target, buildpack).failing("prepare the environment of", &program)?;
    if buildpack.api >= Api::of(8) {
        set(&mut env, "CNB_LAYERS_DIR", &layers);
        set(&mut env, "CNB_BP_PLAN_PATH", &plan_file);
    }
    Ok(Step {
        program,
        args: vec![layers, inputs.platform.clone(), plan_file],
        env,
        _scratch: scratch,
    })
}

impl Step {
    fn run(self, inputs: &Inputs, id: &BuildpackId) -> Result<(), Failure> {
        let args: Vec<&Path> = self.args.iter().map(PathBuf::as_path).collect();
        let ended = execute(&self.program, &args, &inputs.app, &self.env);
        match ended.failing("run", &self.program)? {
            Ended::Status(0) => Ok(()),
            exit => Err(Failure::BuildpackFailed {
                buildpack: id.clone(),
                exit,
            }),
        }
    }
}

/// Its standard error goes where its standard output goes, so that their lines stay in order.
pub(crate) fn execute(program: &Path, args: &[&Path], app: &Path, env: &Env) -> io::Result<Ended> {
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    let status = Command::new(program)
        .args(args)
        .current_dir(app)
        .env_clear()
        .envs(env::vars(env))
        .stdin(Stdio::null())
        .stderr(stdout)
        .status()?;
    Ok(Ended::from(status))
}

/// What a buildpack has left.
struct Results {
    layers: Vec<Layer>,
    launch: LaunchToml,
    /// Of what is not in the image.
    bom: Vec<BomEntry>,
    unmet: Vec<String>,
}

impl Results {
    fn read(
        layers: &Untrusted,
        member: &Member,
        plan: &BuildpackPlan<'_>,
    ) -> Result<Self, BadFile> {
        let dir = member.id.dir_name();
        let build = BuildToml::read(layers, &dir)?;
        let unmet = build.unmet();
        if let Some(name) = unmet.iter().find(|name| !plan.asks_for(name)) {
            return Err(BadFile::new(
                &layers.shown(&format!("{dir}/build.toml")),
                format!("`{name}` is unmet, but nobody asks for it"),
            ));
        }
        Ok(Self {
            layers: LayerToml::all(layers, &dir)?,
            launch: LaunchToml::read(layers, &dir, member.api)?,
            bom: build.bom,
            unmet,
        })
    }
}

/// A buildpack that has both is on its way from one to the other.
fn warn_of_bom(
    inputs: &Inputs,
    layers: &Untrusted,
    member: &Member,
    results: &Results,
) -> Result<(), Failure> {
    let has_bom = !results.launch.bom.is_empty() || !results.bom.is_empty();
    if has_bom && !sbom::has_some(layers, &member.id)? {
        inputs.log.warn(format_args!(
            "{} lists its dependencies under `[[bom]]`, which is no longer the way: files like `launch.sbom.cdx.json` are",
            member.id
        ));
    }
    Ok(())
}

/// A layer that is for nothing is moved out of sight of later buildpacks.
fn retire_unused(inputs: &Inputs, member: &Member, layers: &[Layer]) -> Result<(), Failure> {
    for (name, layer) in layers {
        let dir = inputs.layers_of(&member.id).join(name);
        if layer.types.is_used() || fs::symlink_metadata(&dir).is_err() {
            continue;
        }
        let ignored = inputs.layers_of(&member.id).join(format!("{name}.ignore"));
        match fs::rename(&dir, &ignored) {
            // A restored layer lies in a lower directory of an overlay, which cannot be renamed.
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
            result => result.failing("rename", &dir)?,
        }
    }
    Ok(())
}

fn add_layers(
    env: &mut Env,
    inputs: &Inputs,
    member: &Member,
    layers: &[Layer],
) -> Result<(), Failure> {
    for (name, _) in layers.iter().filter(|(_, layer)| layer.types.build) {
        let dir = inputs.layers_of(&member.id).join(name);
        env::add_layer(env, &dir).failing("read the environment of", &dir)?;
    }
    Ok(())
}

fn write_launch(inputs: &Inputs, launch: &LaunchMetadata) -> Result<(), Failure> {
    let path = inputs.layers.join(launch_metadata::FILE);
    let dir = path.parent().unwrap_or(&inputs.layers);
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&path, launch.to_toml(inputs.api)))
        .failing("write", &path)
}
