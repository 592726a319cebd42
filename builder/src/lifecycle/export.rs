//! EXPORT: from what the build has left to an image (platform spec, "Export"). Layers from below: the run image's, the
//! buildpacks' in the order of the group, bills of materials, the app's, the launcher's.

mod boms;
mod keep;
mod project;

use std::{collections::BTreeMap, fs, path::Path};

use container::{
    Digest,
    layer::{Owner, Plan},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{
    analyze::lifecycle_metadata,
    analyzed::Analyzed,
    app_image::{AppImage, CREATED},
    cache::Cache,
    images::{Images, Saved},
    inputs::Inputs,
    run_image, slices,
};
use crate::{
    api::Api,
    bom::{self, BomEntry},
    dirs::{LIFECYCLE, PROCESS},
    failure::{Doing as _, Failure},
    files::{self, BadFile, Untrusted},
    group::{Group, Member},
    launch_metadata::{self, LaunchMetadata},
    launch_toml::{BuildToml, StoreToml, check_type},
    layer_toml::LayerToml,
    lifecycle_dir::{LAUNCHER, LAUNCHER_PROGRAM, launcher_layer_of},
    metadata::{
        self, BuildMetadata, BuildpackLayers, LayerMetadata, LifecycleMetadata, RunImage, Sha,
        StackMetadata, Store, go_json, table_to_json,
    },
    phase::detect::write_toml,
};

const ROOT: Owner = Owner { uid: 0, gid: 0 };

/// report.toml.
#[derive(Serialize)]
pub(super) struct Report {
    image: ImageReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    build: Option<BuildReport>,
}

/// Before Platform API 0.9.
#[derive(Serialize)]
struct BuildReport {
    bom: Vec<BomEntry>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct ImageReport {
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    manifest_size: usize,
}

struct Export<'a> {
    inputs: &'a Inputs,
    group: &'a Group,
    launch: LaunchMetadata,
    previous: LifecycleMetadata,
    image: AppImage<'a>,
    label: LifecycleMetadata,
}

/// Writes the image and report.toml, and then the cache, which may fail without harm.
pub(super) fn export(
    inputs: &Inputs,
    images: &Images,
    group: &Group,
    analyzed: &Analyzed,
    cache: Option<Cache>,
) -> Result<(), Failure> {
    refuse_extended(inputs, analyzed)?;
    let pinned = analyzed
        .run_image
        .as_ref()
        .map_or("", |run_image| run_image.reference.as_str());
    if pinned.is_empty() {
        return Err(Failure::Arguments(
            "analyzed.toml names no run image: run the analyzer first".to_owned(),
        ));
    }
    let launch = launch_metadata(inputs)?;
    let base = images.wanted(pinned)?;
    let previous = analyzed
        .previous()
        .map(|reference| images.find(reference))
        .transpose()?
        .flatten();
    let keeps_history = inputs.api >= Api::of(12);
    let names = run_image::for_export(inputs, analyzed, !launch.extensions.is_empty())?;
    let label = LifecycleMetadata {
        run_image: RunImage {
            top_layer: base.layers.last().map(|layer| layer.diff_id),
            reference: base.reference.clone(),
            names: if keeps_history {
                names.clone()
            } else {
                metadata::RunImageNames::default()
            },
        },
        stack: Some(StackMetadata { run_image: names }),
        ..LifecycleMetadata::default()
    };
    let export = Export {
        inputs,
        group,
        launch,
        // What analyzed.toml says of it, or the image itself, which is the same unless somebody was in between.
        previous: previous
            .as_ref()
            .and_then(|image| lifecycle_metadata(image).ok().flatten())
            .map_or_else(LifecycleMetadata::default, |_| analyzed.metadata()),
        image: AppImage::on(
            &base,
            previous.as_ref(),
            images,
            keeps_history,
            created(inputs),
            cache.as_ref().map(Cache::records).unwrap_or_default(),
        )?,
        label,
    };
    // Whatever can be wrong is found before there is an image.
    let build = build_report(inputs, group)?;
    let (saved, layers) = export.run(images)?;
    let report = Report {
        build,
        ..Report::of(&saved)
    };
    write_toml(&inputs.report, &report)?;
    if let Some(cache) = cache
        && let Err(failure) = keep::keep(inputs, images, group, cache, &layers)
    {
        inputs
            .log
            .warn(format_args!("Failed to export cache: {failure}"));
    }
    Ok(())
}

/// Layers by buildpack, as they are in the image.
type Exported = BTreeMap<String, BTreeMap<String, LayerMetadata>>;

impl Export<'_> {
    fn run(mut self, images: &Images) -> Result<(Saved, Exported), Failure> {
        let inputs = self.inputs;
        if inputs.api >= Api::of(11) {
            boms::copy_own(inputs)?;
        }
        let left = Untrusted::open(&inputs.layers, &inputs.layers.display().to_string())?;
        for member in &self.group.group {
            let layers = self.buildpack(&left, member)?;
            self.label.buildpacks.push(layers);
        }
        if inputs.api >= Api::of(8) {
            self.sbom()?;
        }
        self.app()?;
        self.launcher()?;
        self.labels()?;
        self.configure()?;
        let layers = self
            .label
            .buildpacks
            .iter()
            .map(|one| (one.key.dir_name(), one.layers.clone()))
            .collect();
        let names = &inputs.images;
        let saved = self.image.save(images, names)?;
        inputs
            .log
            .info(format_args!("*** Images ({}):", saved.digest));
        for name in &saved.names {
            inputs.log.info(format_args!("      {name}"));
        }
        Ok((saved, layers))
    }

    fn buildpack(&mut self, left: &Untrusted, member: &Member) -> Result<BuildpackLayers, Failure> {
        let (id, version) = (&member.id, &member.version);
        let dir = id.dir_name();
        let known = self.previous.buildpack(id).cloned();
        let mut layers = BTreeMap::new();
        for (name, layer) in LayerToml::all(left, &dir)? {
            if !layer.types.launch {
                continue;
            }
            let created_by = format!("Layer: '{name}', Created by buildpack: {id}@{version}");
            let path = self.inputs.layers.join(&dir).join(&name);
            let known = known
                .as_ref()
                .and_then(|known| known.layers.get(&name))
                .map(|known| known.sha);
            let sha = if path.is_dir() {
                let plan = dir_plan(&path, self.owner()).failing("read", &path)?;
                self.image.add(&plan, known, &created_by)?
            } else {
                let missing = "the layer has neither a directory nor a predecessor in the image";
                let file = left.shown(&format!("{dir}/{name}.toml"));
                let known = known.filter(|_| !layer.types.cache);
                let known = known.ok_or_else(|| BadFile::new(&file, missing))?;
                self.image.reuse(&known, &created_by)?;
                known
            };
            self.say(known == Some(sha), &format!("{id}:{name}"));
            layers.insert(name, layer_metadata(sha, &layer));
        }
        let store: Option<StoreToml> = left.toml(&format!("{dir}/store.toml"))?;
        Ok(BuildpackLayers {
            key: id.clone(),
            version: version.clone(),
            layers,
            store: store.map(|store| Store {
                metadata: table_to_json(&store.metadata),
            }),
        })
    }

    fn sbom(&mut self) -> Result<(), Failure> {
        let dir = self.inputs.layers.join("sbom/launch");
        if !dir.is_dir() {
            return Ok(());
        }
        let plan = dir_plan(&dir, self.owner()).failing("read", &dir)?;
        let known = self.previous.sbom.and_then(|sbom| sbom.sha);
        let sha = self.add(
            &plan,
            known,
            "Software Bill-of-Materials",
            "buildpacksio/lifecycle:launch.sbom",
        )?;
        self.label.sbom = Some(sha);
        Ok(())
    }

    fn app(&mut self) -> Result<(), Failure> {
        let app = &self.inputs.app;
        let layers = slices::divide(app, &self.launch.slices)?;
        let is_whole = layers.len() == 1;
        for (number, paths) in (1..).zip(&layers) {
            let plan = slices::plan(app, paths, self.owner()).failing("read", app)?;
            let created_by = match is_whole {
                true => "Application Layer".to_owned(),
                false => format!("Application Slice: {number}"),
            };
            let sha = match self.known_slice(&plan)? {
                Some(known) => {
                    self.image.reuse(&known, &created_by)?;
                    known
                }
                None => self.image.add(&plan, None, &created_by)?,
            };
            self.label.app.push(Sha { sha: Some(sha) });
        }
        Ok(())
    }

    /// One that the previous image has, wherever it stands there.
    fn known_slice(&self, plan: &Plan) -> Result<Option<Digest>, Failure> {
        if self.previous.app.is_empty() {
            return Ok(None);
        }
        let sha = self.image.diff_id(plan)?;
        Ok(self
            .previous
            .app
            .iter()
            .any(|known| known.sha == Some(sha))
            .then_some(sha))
    }

    fn launcher(&mut self) -> Result<(), Failure> {
        let program = match &self.inputs.launcher {
            Some(path) => fs::read(path).failing("read the launcher", path)?,
            None => LAUNCHER_PROGRAM.to_vec(),
        };
        let known = self.previous.launcher.sha;
        let plan = launcher_layer_of(program.into());
        self.label.launcher = self.add(
            &plan,
            known,
            "Buildpacks Application Launcher",
            "buildpacksio/lifecycle:launcher",
        )?;
        let dir = self.inputs.layers.join("config");
        let plan = dir_plan(&dir, self.owner()).failing("read", &dir)?;
        let known = self.previous.config.sha;
        self.label.config = self.add(
            &plan,
            known,
            "Buildpacks Launcher Config",
            "buildpacksio/lifecycle:config",
        )?;
        if self.launch.processes.is_empty() {
            return Ok(());
        }
        let mut plan = Plan::default();
        plan.directory("/cnb", 0o755, ROOT);
        plan.directory(PROCESS, 0o755, ROOT);
        for process in &self.launch.processes {
            let (name, launcher) = (
                format!("{PROCESS}/{}", process.kind),
                format!("{LIFECYCLE}/{LAUNCHER}"),
            );
            plan.symlink(&name, &launcher, 0o755, ROOT);
        }
        let known = self.previous.process_types.sha;
        self.label.process_types = self.add(
            &plan,
            known,
            "Buildpacks Process Types",
            "buildpacksio/lifecycle:process-types",
        )?;
        Ok(())
    }

    fn add(
        &mut self,
        plan: &Plan,
        known: Option<Digest>,
        created_by: &str,
        id: &str,
    ) -> Result<Sha, Failure> {
        let sha = self.image.add(plan, known, created_by)?;
        self.say(known == Some(sha), id);
        Ok(Sha { sha: Some(sha) })
    }

    fn say(&self, is_reused: bool, id: &str) {
        let doing = if is_reused { "Reusing" } else { "Adding" };
        self.inputs.log.info(format_args!("{doing} layer '{id}'"));
    }

    fn labels(&mut self) -> Result<(), Failure> {
        let api = self.inputs.api;
        let write = |text: serde_json::Result<String>| {
            text.map_err(Failure::io("write the image's labels"))
        };
        let lifecycle = write(go_json(&self.label))?;
        let build = write(BuildMetadata::new(&self.launch, api).to_json(api))?;
        let project = write(go_json(&project::label(self.inputs)?))?;
        self.image.set_label(metadata::LIFECYCLE, &lifecycle);
        self.image.set_label(metadata::BUILD, &build);
        self.image.set_label(metadata::PROJECT, &project);
        for label in &self.launch.labels {
            self.image.set_label(&label.key, &label.value);
        }
        if api >= Api::of(15) && !self.inputs.exec_env.is_empty() {
            self.image
                .set_label("io.buildpacks.exec-env", &self.inputs.exec_env);
        }
        Ok(())
    }

    fn configure(&mut self) -> Result<(), Failure> {
        let (inputs, image) = (self.inputs, &mut self.image);
        image.set_env("CNB_LAYERS_DIR", &inputs.layers.display().to_string());
        image.set_env("CNB_APP_DIR", &inputs.app.display().to_string());
        image.set_env("CNB_PLATFORM_API", &inputs.api.to_string());
        image.set_env("CNB_DEPRECATION_MODE", "quiet");
        let path = format!(
            "{PROCESS}:{LIFECYCLE}:{}",
            image.env("PATH").unwrap_or_default()
        );
        image.set_env("PATH", &path);
        image.set("WorkingDir", inputs.app.display().to_string().into());
        let entrypoint = entrypoint(&self.launch, inputs.process_type.as_deref())?;
        image.set("Entrypoint", json!([entrypoint]));
        image.remove("Cmd");
        Ok(())
    }

    fn owner(&self) -> Owner {
        owner(self.inputs)
    }
}

fn build_report(inputs: &Inputs, group: &Group) -> Result<Option<BuildReport>, Failure> {
    if inputs.api >= Api::of(9) {
        return Ok(None);
    }
    let left = Untrusted::open(&inputs.layers, &inputs.layers.display().to_string())?;
    let mut bom = Vec::new();
    for member in &group.group {
        let build = BuildToml::read(&left, &member.id.dir_name())?;
        bom.extend(bom::of(member, &build.bom));
    }
    Ok((!bom.is_empty()).then_some(BuildReport { bom }))
}

impl Report {
    pub(super) fn of(saved: &Saved) -> Self {
        Self {
            build: None,
            image: ImageReport {
                tags: saved.names.clone(),
                digest: saved.is_in_registry.then(|| saved.digest.to_string()),
                manifest_size: saved.manifest_bytes,
            },
        }
    }
}

fn layer_metadata(sha: Digest, layer: &LayerToml) -> LayerMetadata {
    let data = layer.metadata.as_ref().map(table_to_json);
    LayerMetadata {
        sha,
        data: data.unwrap_or_default(),
        build: layer.types.build,
        launch: layer.types.launch,
        cache: layer.types.cache,
    }
}

/// The directory at its place, its parents as they are.
pub(super) fn dir_plan(dir: &Path, owner: Owner) -> std::io::Result<Plan> {
    let mut plan = Plan::default();
    plan.parents(dir)?;
    plan.tree(dir, dir, owner)?;
    Ok(plan)
}

pub(super) fn owner(inputs: &Inputs) -> Owner {
    Owner {
        uid: inputs.uid,
        gid: inputs.gid,
    }
}

fn launch_metadata(inputs: &Inputs) -> Result<LaunchMetadata, Failure> {
    let path = inputs.layers.join(launch_metadata::FILE);
    let launch: LaunchMetadata = files::wanted(&path).map_err(Failure::of_phase)?;
    for process in &launch.processes {
        check_type(&process.kind)
            .map_err(|what| BadFile::new(&path.display().to_string(), what))?;
    }
    Ok(launch)
}

fn entrypoint(launch: &LaunchMetadata, wanted: Option<&str>) -> Result<String, Failure> {
    match wanted.or(launch.default.as_deref()) {
        None => Ok(format!("{LIFECYCLE}/{LAUNCHER}")),
        Some(kind) if launch.process(kind).is_some() => Ok(format!("{PROCESS}/{kind}")),
        Some(kind) => {
            let kinds: Vec<&str> = launch
                .processes
                .iter()
                .map(|process| process.kind.as_str())
                .collect();
            Err(Failure::Refused(format!(
                "there is no process type `{kind}`; there are: {}",
                kinds.join(", ")
            )))
        }
    }
}

/// What EXTEND has made would be lost, so it is not passed over.
fn refuse_extended(inputs: &Inputs, analyzed: &Analyzed) -> Result<(), Failure> {
    let is_extended = analyzed
        .run_image
        .as_ref()
        .is_some_and(|run_image| run_image.extend);
    let has_layers =
        fs::read_dir(inputs.extended.join("run")).is_ok_and(|mut entries| entries.next().is_some());
    if inputs.api >= Api::of(12) && (is_extended || has_layers) {
        return Err(super::extend_is_unsupported());
    }
    Ok(())
}

/// RFC 3339.
fn created(inputs: &Inputs) -> String {
    let epoch = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .filter(|epoch| !epoch.is_empty() && inputs.api >= Api::of(9));
    let Some(epoch) = epoch else {
        return CREATED.to_owned();
    };
    let time = epoch
        .parse()
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(
        || {
            inputs.log.warn("Ignoring invalid SOURCE_DATE_EPOCH");
            CREATED.to_owned()
        },
        |time| time.to_string(),
    )
}
