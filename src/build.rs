//! `slipway build DIR`: an app's folder to an image, by the same engine as a push; for authors of buildpacks and for CI.

mod facts;
mod printer;
mod target;

use std::{
    collections::BTreeMap,
    error::Error,
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, atomic::AtomicBool},
};

use builder::{
    BuildError, Builder, BuildpackId, Output as _, Request, Version,
    project::Project,
    provenance::Provenance,
    sources::{Asked, Set, SourceUri, Sources, Wanted},
};
use container::{
    Digest, Spawner, Stack, Store,
    registry::{Client, Credentials, Reference},
};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use self::{printer::Printer, target::Target};
use crate::up::{BUILD_LIMITS, BUILD_TIME_MAX};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The app's folder
    dir: PathBuf,
    /// Where the image goes: a reference of a registry, or oci:DIR[:TAG]; may be repeated
    #[arg(short, long = "tag", value_name = "TARGET", required = true)]
    tags: Vec<Target>,
    /// A buildpack: an id, a folder, an archive, a git address with #REF, or an image; may be repeated
    #[arg(short, long, value_name = "WHERE")]
    buildpack: Vec<String>,
    /// An image whose buildpacks and order are used
    #[arg(short = 'B', long, value_name = "REF", conflicts_with = "buildpack")]
    builder: Option<Reference>,
    /// A variable for the buildpacks; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Forget what earlier builds of this folder have kept
    #[arg(long)]
    clear_cache: bool,
    /// A registry that is spoken to in plain HTTP
    #[arg(long, value_name = "HOST")]
    insecure_registry: Vec<String>,
    /// Say why each buildpack takes part or not, and what every layer is, how large, new or reused
    #[arg(long)]
    explain: bool,
    /// The result as JSON on stdout
    #[arg(long)]
    json: bool,
    /// Where layers and caches are kept; $XDG_CACHE_HOME/slipway when absent
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// What stays when the source has been consumed.
struct Workshop {
    data: PathBuf,
    builder: Builder,
    sources: Sources,
    /// One build at a time: opening the store tidies what another would be using.
    _lock: File,
}

pub(crate) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let app = args.dir.canonicalize();
    let app = app.map_err(|error| format!("cannot read {}: {error}", args.dir.display()))?;
    let started = now()?;
    let workshop = Workshop::open(&args)?;
    let mut output = Printer;
    let source = workshop.copy(&app)?;
    let project = Project::read(&source)?;
    let pruned = project.prune(&source)?;
    if pruned > 0 {
        output.line(&format!(
            "project.toml leaves out {pruned} files and folders"
        ));
    }
    let set = workshop.buildpacks(&args, &project)?;
    let env = env(&args.env, &project)?;
    if args.explain {
        explain(set.as_ref(), &env, &mut output);
    }
    let commit = commit(&app);
    let cache = workshop.cache(&app)?;
    let request = Request {
        source,
        cache: &cache.join("layers"),
        previous: previous(&cache),
        env: &env,
        source_version: commit.clone(),
        clear_cache: args.clear_cache,
        keep_image: true,
        failed: None,
        cancel: Arc::new(AtomicBool::new(false)),
    };
    let previous = request.previous;
    let builder = workshop.builder(set.as_ref());
    let built = builder.build(request, &mut output);
    if let (Err(error), true) = (&built, args.json) {
        println!("{}", facts::failure_json(error));
    }
    let built = built.map_err(words)?;
    fs::write(cache.join("image"), built.image.to_string())?;

    let layers = facts::layers(&builder.store, &built, previous.as_ref())?;
    let buildpacks = buildpacks(&builder.store, &built.image)?;
    let taken: Vec<(String, String)> = buildpacks
        .iter()
        .map(|(id, version)| (id.to_string(), version.as_str().to_owned()))
        .collect();
    output.timings(&built.timings);
    if args.explain {
        output.step("Buildpacks that detection asked");
        facts::show_tried(&built.tried, &taken, &mut output);
        output.step("Layers, from the bottom up");
        facts::show_layers(&layers, &mut output);
    }
    let provenance = Provenance {
        source: commit.as_deref(),
        stack: &builder.stack,
        buildpacks: &buildpacks,
        built: &built,
        started: &started,
        finished: &now()?,
    };
    let digest = target::deliver(
        &args.tags,
        &workshop.sources.client,
        &builder,
        &built,
        &provenance,
    )?;
    for tag in &args.tags {
        output.result(&format!("{tag}@{digest}"));
    }
    if args.json {
        let facts = facts::json(&built, &digest, &args.tags, &layers, &taken);
        println!("{facts}");
    }
    drop(set);
    Ok(())
}

impl Workshop {
    fn open(args: &Args) -> Result<Self, Box<dyn Error>> {
        let data = args.data.clone().map_or_else(data_default, Ok)?;
        fs::create_dir_all(&data)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        let data = data.canonicalize()?;
        let lock = File::create(data.join("lock"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            eprintln!(
                "       Another build uses {}; waiting for it to end",
                data.display()
            );
            flock(&lock, FlockOperation::LockExclusive)?;
        }
        let store = Store::open(&data.join("store"))?;
        let (lifecycle, installed) = (data.join("lifecycle"), data.join("buildpacks"));
        builder::install_lifecycle(&std::env::current_exe()?, &lifecycle)?;
        buildpacks::install(&installed, Path::new("/cnb/lifecycle/slipway"))?;
        let credentials = Credentials::from_environment()?;
        Ok(Self {
            sources: Sources {
                client: Client::new(credentials, args.insecure_registry.clone()),
                installed: installed.clone(),
            },
            builder: Builder {
                stack: Stack::open("host", &store)?,
                spawner: Arc::new(Spawner::start(Path::new("/proc/self/exe"))?),
                store,
                buildpacks: installed,
                lifecycle,
                limits: BUILD_LIMITS,
                wall_time_max: BUILD_TIME_MAX,
            },
            data,
            _lock: lock,
        })
    }

    /// The build consumes its source, and the author wants to keep it.
    fn copy(&self, app: &Path) -> Result<PathBuf, Box<dyn Error>> {
        if self.data.starts_with(app) {
            return Err(format!(
                "{} lies within the app; name another folder with --data",
                self.data.display()
            )
            .into());
        }
        let scratch = self.builder.store.scratch()?;
        let source = scratch.path().join("source");
        builder::sources::copy(app, &source)?;
        scratch.keep();
        Ok(source)
    }

    /// Those of the command line, else of project.toml; `None`: those that are installed, by their order.
    fn buildpacks(&self, args: &Args, project: &Project) -> Result<Option<Set>, Box<dyn Error>> {
        let named = args.buildpack.iter().map(|text| {
            let uri = SourceUri::parse(text, Some(&std::env::current_dir()?))?;
            Ok(Wanted::Source(uri))
        });
        let named: Vec<Wanted> = named.collect::<Result<_, Box<dyn Error>>>()?;
        let asked = match &args.builder {
            Some(image) => Asked::Builder(image.clone()),
            None if named.is_empty() => project.asked()?,
            None => Asked::These(named.into()),
        };
        Ok(self.sources.gather(&self.builder, &asked)?)
    }

    fn builder(&self, set: Option<&Set>) -> Builder {
        let mut builder = self.builder.clone();
        if let Some(set) = set {
            builder.buildpacks = set.dir().to_owned();
        }
        builder
    }

    /// One per folder that is built.
    fn cache(&self, app: &Path) -> Result<PathBuf, Box<dyn Error>> {
        let name = Digest::of(app.as_os_str().as_encoded_bytes()).hex();
        let cache = self.data.join("cache").join(name);
        fs::create_dir_all(&cache)?;
        Ok(cache)
    }
}

fn data_default() -> Result<PathBuf, Box<dyn Error>> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty());
    let cache = cache.map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    Ok(cache
        .ok_or("there is no home folder; name one with --data DIR")?
        .join("slipway"))
}

/// The command line's over project.toml's.
fn env(given: &[String], project: &Project) -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    let mut env = project.env.clone();
    for pair in given {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("`{pair}` is not NAME=VALUE"))?;
        env.insert(name.to_owned(), value.to_owned());
    }
    Ok(env)
}

/// Of a checkout whose git answers; a folder that is none builds as well.
fn commit(app: &Path) -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(app)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn previous(cache: &Path) -> Option<Digest> {
    fs::read_to_string(cache.join("image")).ok()?.parse().ok()
}

fn explain(set: Option<&Set>, env: &BTreeMap<String, String>, output: &mut Printer) {
    match set {
        Some(set) => {
            output.line("Buildpacks that were asked for, in order:");
            for one in set.group() {
                let optional = if one.optional { ", optional" } else { "" };
                output.line(&format!("  {} {}{optional}", one.id, one.version));
            }
        }
        None => output.line("No buildpack was asked for: detection chooses among the bundled ones"),
    }
    // Values may be secrets.
    let names: Vec<&str> = env.keys().map(String::as_str).collect();
    output.line(&format!(
        "Variables for the buildpacks: {}",
        names.join(", ")
    ));
}

/// What was tried stands above it already.
fn words(error: BuildError) -> Box<dyn Error> {
    match error {
        BuildError::BuildpackFailed { .. } => format!("{error}; its last words stand above").into(),
        other => other.into(),
    }
}

/// Those that have taken part, from the image's own label.
fn buildpacks(
    store: &Store,
    image: &Digest,
) -> Result<Vec<(BuildpackId, Version)>, Box<dyn Error>> {
    let labels = store.image(image)?.config.labels;
    let label = labels.get("io.buildpacks.build.metadata");
    let label: Value = serde_json::from_str(label.map_or("{}", String::as_str))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = label["buildpacks"].as_array().into_iter().flatten();
    let pair = |one: &Value| -> Result<_, String> {
        Ok((
            text(&one["id"]).try_into()?,
            text(&one["version"]).try_into()?,
        ))
    };
    Ok(all.map(pair).collect::<Result<_, String>>()?)
}

fn now() -> Result<String, Box<dyn Error>> {
    let seconds = jiff::Timestamp::now().as_second();
    Ok(jiff::Timestamp::from_second(seconds)?.to_string())
}
