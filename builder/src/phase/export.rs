//! EXPORT: from what the build has left to an image in the store. What has not changed is neither read nor hashed.

mod cached;
mod content;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use container::{
    Digest, ImageConfig, Store,
    image::ImageLayer,
    layer::{Form, Owner},
    sandbox::SANDBOX_ID,
    store::Tree,
};

use crate::{
    Builder,
    api::PLATFORM_NEWEST,
    cache::Cache,
    dirs::{APP, LAYERS, LIFECYCLE, PATH, PROCESS},
    entrypoint,
    error::{BuildError, Doing as _},
    files::{Entry, Untrusted},
    group::{Group, Member},
    launch_metadata::{self, LaunchMetadata},
    layer_toml::LayerToml,
    layers::Layers,
    lifecycle_dir::launcher_layer,
    metadata::{
        self, BuildMetadata, LifecycleMetadata, RunImage, RunImageNames, Sha, StackMetadata,
        go_json, project,
    },
    sandboxed::Watch,
    trees,
    work::{Work, make_dir, write_file},
};

const APP_OWNER: Owner = Owner {
    uid: SANDBOX_ID,
    gid: SANDBOX_ID,
};
const ROOT: Owner = Owner { uid: 0, gid: 0 };

pub(crate) struct Export<'a> {
    pub(crate) builder: &'a Builder,
    pub(crate) watch: &'a Watch<'a>,
    pub(crate) work: &'a Work,
    pub(crate) group: &'a Group,
    pub(crate) layers: &'a Layers,
    pub(crate) cache: &'a Cache,
    pub(crate) previous: Option<&'a LifecycleMetadata>,
    /// Becomes the app layer.
    pub(crate) source: &'a Path,
    pub(crate) source_version: Option<&'a str>,
    pub(crate) keep_image: bool,
}

pub(crate) struct Exported {
    pub(crate) image: Digest,
    pub(crate) config: ImageConfig,
    pub(crate) launch: LaunchMetadata,
    pub(crate) layer_count: usize,
    /// Of them, those that the previous image has too.
    pub(crate) reused_count: usize,
    pub(crate) layer_times: Vec<Duration>,
    cached: Vec<Cached>,
}

/// A layer to keep for the next build.
struct Cached {
    member: Member,
    name: String,
    layer: LayerToml,
    /// When it is in the image as well.
    diff_id: Option<Digest>,
}

impl Export<'_> {
    pub(crate) fn export(&self) -> Result<Exported, BuildError> {
        let left = self.layers.untrusted()?;
        let launch = LaunchMetadata::read_untrusted(&left, &self.group.group)?;
        let mut image = Layering::new(self.builder);
        let mut cached = Vec::new();
        let mut buildpacks = Vec::new();
        for member in &self.group.group {
            buildpacks.push(self.buildpack(&left, member, &mut image, &mut cached)?);
        }
        let sbom = self.sbom(&left, &mut image)?;
        let app = self.app(&mut image)?;
        let launcher = launcher_layer(&self.builder.store)?;
        image.push(launcher, "Buildpacks Application Launcher");
        let config = self.config(&launch, &mut image)?;
        let process_types = self.process_types(&launch, &mut image)?;
        let names = RunImageNames {
            image: self.builder.stack.run_name.clone(),
            mirrors: vec![],
        };
        let lifecycle = LifecycleMetadata {
            app: vec![Sha { sha: Some(app) }],
            sbom,
            buildpacks,
            config: Sha { sha: Some(config) },
            launcher: Sha {
                sha: Some(launcher),
            },
            process_types,
            run_image: RunImage {
                top_layer: Some(self.builder.stack.base_layer),
                reference: self.builder.stack.run_image.clone(),
                names: names.clone(),
            },
            stack: Some(StackMetadata { run_image: names }),
        };
        self.watch.check()?;
        let labels = self.labels(&launch, &lifecycle)?;
        let Layering { layers, times, .. } = image;
        let config = self.image_config(&launch, labels, layers);
        Ok(Exported {
            image: match self.keep_image {
                true => self.store().put_image(&config)?,
                false => config.id().doing("describe", Path::new("the image"))?,
            },
            layer_count: config.layers.len(),
            reused_count: self.reused_count(&config),
            layer_times: times,
            config,
            launch,
            cached,
        })
    }

    fn store(&self) -> &Store {
        &self.builder.store
    }

    /// What the build has left becomes a layer.
    fn commit(&self, tree: Tree<'_>, at: &str, form: Form) -> Result<Digest, BuildError> {
        let (Tree::Whole(dir) | Tree::Changed { upper: dir, .. }) = &tree;
        trees::check_depth(dir, at)?;
        Ok(self.store().commit_layer(tree, at, APP_OWNER, form)?)
    }

    fn sbom(&self, left: &Untrusted, image: &mut Layering) -> Result<Option<Sha>, BuildError> {
        if left.entry("sbom/launch")? != Entry::Directory {
            return Ok(None);
        }
        let dir = self.layers.upper().join("sbom/launch");
        let at = format!("{LAYERS}/sbom/launch");
        let sha = self.commit(Tree::Whole(&dir), &at, Form::Dir)?;
        image.push(sha, "Software Bill-of-Materials");
        Ok(Some(Sha { sha: Some(sha) }))
    }

    fn app(&self, image: &mut Layering) -> Result<Digest, BuildError> {
        self.watch.check()?;
        let sha = self.commit(Tree::Whole(self.source), APP, Form::App)?;
        image.push(sha, "Application Layer");
        Ok(sha)
    }

    fn config(&self, launch: &LaunchMetadata, image: &mut Layering) -> Result<Digest, BuildError> {
        let dir = self.work.path("config");
        make_dir(&dir)?;
        let (_, file) = launch_metadata::FILE.split_once('/').unwrap_or_default();
        write_file(&dir.join(file), launch.to_toml(PLATFORM_NEWEST))?;
        let at = format!("{LAYERS}/config");
        let sha = self.commit(Tree::Whole(&dir), &at, Form::Dir)?;
        image.push(sha, "Buildpacks Launcher Config");
        Ok(sha)
    }

    /// `/cnb/process/<type>` for every type: what an image's entrypoint can name.
    fn process_types(
        &self,
        launch: &LaunchMetadata,
        image: &mut Layering,
    ) -> Result<Sha, BuildError> {
        if launch.processes.is_empty() {
            return Ok(Sha::default());
        }
        let dir = self.work.path("process");
        make_dir(&dir)?;
        for process in &launch.processes {
            let link = dir.join(&process.kind);
            std::os::unix::fs::symlink(format!("{LIFECYCLE}/launcher"), &link)
                .doing("make", &link)?;
        }
        let sha = self
            .store()
            .commit_layer(Tree::Whole(&dir), PROCESS, ROOT, Form::Dir)?;
        image.push(sha, "Buildpacks Process Types");
        Ok(Sha { sha: Some(sha) })
    }

    /// Ours go over the buildpacks': the next build mounts the layers that they name, so a build that could choose them
    /// would read other apps' files.
    fn labels(
        &self,
        launch: &LaunchMetadata,
        lifecycle: &LifecycleMetadata,
    ) -> Result<BTreeMap<String, String>, BuildError> {
        let write = |value: serde_json::Result<String>| {
            value.doing("write the labels of", Path::new("the image"))
        };
        let mut labels = self.builder.stack.run_labels.clone();
        let of_buildpacks = launch.labels.iter();
        labels.extend(of_buildpacks.map(|label| (label.key.clone(), label.value.clone())));
        let ours = [
            (metadata::LIFECYCLE, write(go_json(lifecycle))?),
            (
                metadata::BUILD,
                write(BuildMetadata::new(launch, PLATFORM_NEWEST).to_json(PLATFORM_NEWEST))?,
            ),
            (
                metadata::PROJECT,
                write(go_json(&project(self.source_version)))?,
            ),
        ];
        labels.extend(ours.map(|(name, value)| (name.to_owned(), value)));
        Ok(labels)
    }

    /// What a process starts with is the run image's, under what the launcher needs.
    fn image_config(
        &self,
        launch: &LaunchMetadata,
        labels: BTreeMap<String, String>,
        layers: Vec<ImageLayer>,
    ) -> ImageConfig {
        let entrypoint = match &launch.default {
            Some(kind) => entrypoint(kind),
            None => format!("{LIFECYCLE}/launcher"),
        };
        let of_stack = &self.builder.stack.run_env;
        let path = of_stack.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or(PATH, |(_, value)| value);
        let ours = [
            format!("PATH={PROCESS}:{LIFECYCLE}:{path}"),
            format!("CNB_LAYERS_DIR={LAYERS}"),
            format!("CNB_APP_DIR={APP}"),
            format!("CNB_PLATFORM_API={PLATFORM_NEWEST}"),
            "CNB_DEPRECATION_MODE=quiet".to_owned(),
        ];
        let is_ours = |name: &str| name == "PATH" || name.starts_with("CNB_");
        let of_stack = of_stack.iter().filter(|(name, _)| !is_ours(name));
        let of_stack = of_stack.map(|(name, value)| format!("{name}={value}"));
        ImageConfig {
            env: ours.into_iter().chain(of_stack).collect(),
            entrypoint: vec![entrypoint],
            working_dir: APP.to_owned(),
            user: format!("{SANDBOX_ID}:{SANDBOX_ID}"),
            labels,
            layers,
            ..ImageConfig::default()
        }
    }

    fn reused_count(&self, config: &ImageConfig) -> usize {
        let Some(previous) = self.previous else {
            return 0;
        };
        let old = previous.all_layers();
        let layers = config.layers.iter();
        layers.filter(|layer| old.contains(&layer.diff_id)).count()
    }
}

/// The image's layers, from the bottom up.
struct Layering {
    layers: Vec<ImageLayer>,
    times: Vec<Duration>,
    /// When the last was done.
    last: Instant,
}

impl Layering {
    fn new(builder: &Builder) -> Self {
        let mut layering = Self {
            layers: vec![],
            times: vec![],
            last: Instant::now(),
        };
        let stack = &builder.stack;
        layering.push(stack.base_layer, &stack.created_by());
        layering
    }

    fn push(&mut self, diff_id: Digest, created_by: &str) {
        self.layers.push(ImageLayer {
            diff_id,
            created_by: created_by.to_owned(),
        });
        self.times.push(self.last.elapsed());
        self.last = Instant::now();
    }
}
