//! `slipway build DIR`: an app's folder to an image, by the same engine as a push; for authors of buildpacks and for CI.

mod env;
mod facts;
mod finish;
mod printer;
mod sboms;
mod shell;
mod target;
mod workshop;

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, atomic::AtomicBool},
};

use builder::{
    BuildError, BuildpackId, Output as _, Request, Version, project::Project,
    provenance::Provenance, sources::Set,
};
use container::{Digest, Store};
use serde_json::Value;

use self::{printer::Printer, shell::Failed, target::Target, workshop::Workshop};
use crate::stack;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The app's folder
    dir: PathBuf,
    /// Where the image goes: a reference, which is pushed to its registry, or oci:DIR[:TAG]; may be repeated
    #[arg(short, long = "tag", value_name = "TARGET", required = true)]
    tags: Vec<Target>,
    /// A buildpack: an id, a folder, an archive, a git address with #REF, or an image; may be repeated
    #[arg(short, long, value_name = "WHERE")]
    buildpack: Vec<String>,
    #[command(flatten)]
    stack: stack::Choice,
    #[command(flatten)]
    env: env::Given,
    /// What is kept between builds belongs to this name; to the folder when absent
    #[arg(long, value_name = "NAME")]
    cache: Option<String>,
    /// The image whose layers are taken over where they are still right: a reference, or oci:DIR[:TAG]; the last one of the
    /// same cache when absent
    #[arg(long, value_name = "IMAGE")]
    previous_image: Option<Target>,
    /// Forget what earlier builds have kept
    #[arg(long)]
    clear_cache: bool,
    #[command(flatten)]
    wishes: finish::Wishes,
    /// Where the bills of materials of the buildpacks are written to, besides into the image
    #[arg(long, value_name = "DIR")]
    sbom_output_dir: Option<PathBuf>,
    /// When the build fails: a shell in it, at the step that failed, with its environment
    #[arg(long)]
    shell_on_failure: bool,
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

pub(crate) fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let app = args.dir.canonicalize();
    let app = app.map_err(|error| format!("cannot read {}: {error}", args.dir.display()))?;
    if args.shell_on_failure {
        shell::check()?;
    }
    let started = now()?;
    let workshop = Workshop::open(&args)?;
    let failed = args
        .shell_on_failure
        .then(|| Failed::new(&workshop.builder));
    let failed = failed.transpose()?;
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
    let env = args.env.over(project.env)?;
    if args.explain {
        explain(set.as_ref(), args.stack.is_builder(), &env, &mut output);
    }
    let commit = commit(&app);
    let cache = workshop.cache(&app, args.cache.as_deref())?;
    let request = Request {
        source,
        cache: &cache.join("layers"),
        previous: match &args.previous_image {
            Some(image) => workshop.adopt(image, &mut output)?,
            None => previous(&cache),
        },
        env: &env,
        source_version: commit.clone(),
        clear_cache: args.clear_cache,
        keep_image: true,
        failed: failed.as_ref().map(Failed::dir),
        cancel: Arc::new(AtomicBool::new(false)),
    };
    let previous = request.previous;
    let builder = workshop.builder(set.as_ref());
    let built = builder.build(request, &mut output);
    if let Err(error) = &built {
        if args.json {
            println!("{}", facts::failure_json(error));
        }
        if let Some(failed) = &failed {
            failed.enter(&builder, &env, error, &mut output)?;
        }
    }
    let built = args.wishes.apply(built.map_err(words)?, &builder.store)?;
    fs::write(cache.join("image"), built.image.to_string())?;
    if let Some(dir) = &args.sbom_output_dir {
        sboms::write(&builder.store, &built.config, dir)?;
    }

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

fn explain(
    set: Option<&Set>,
    is_builder: bool,
    env: &BTreeMap<String, String>,
    output: &mut Printer,
) {
    match set {
        Some(set) => {
            output.line("Buildpacks that were asked for, in order:");
            for one in set.group() {
                let optional = if one.optional { ", optional" } else { "" };
                output.line(&format!("  {} {}{optional}", one.id, one.version));
            }
        }
        None => output.line(match is_builder {
            true => "No buildpack was asked for: detection goes by the order of the builder",
            false => "No buildpack was asked for: detection chooses among the bundled ones",
        }),
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
