//! `buildpacks`: those that an app is built with, whatever its repository says.

use builder::sources::SourceUri;
use clap::Args;
use release::{AppName, BuildpacksEdit};

use super::Env;
use crate::{
    errors::{Failure, USAGE, chain},
    output,
};

/// List the buildpacks that are set for an app, in their order
///
/// Without any, project.toml or .buildpacks of the repository names them, or detection chooses.
#[derive(Args)]
#[command(after_help = "Example:\n  buildpacks shop")]
pub(super) struct List {
    pub(super) app: AppName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Set a buildpack of an app, for the builds that come
///
/// A name of this server (`slipway/nodejs`), a git address with a #tag, an https address of an archive, or an image.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  buildpacks:set shop slipway/nodejs\n  buildpacks:set shop https://github.com/heroku/heroku-buildpack-ruby#v334 --index 2"
)]
pub(super) struct Set {
    pub(super) app: AppName,
    buildpack: String,
    /// In the place of which one; the one after the last adds it
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    index: usize,
}

/// Add a buildpack to those of an app, at the end or before another
#[derive(Args)]
#[command(
    after_help = "Examples:\n  buildpacks:add shop slipway/procfile\n  buildpacks:add shop docker://docker.io/paketobuildpacks/nodejs:8 --index 1"
)]
pub(super) struct Add {
    pub(super) app: AppName,
    buildpack: String,
    /// Before which one
    #[arg(short, long, value_name = "N")]
    index: Option<usize>,
}

/// Remove a buildpack from those of an app
#[derive(Args)]
#[command(
    after_help = "Examples:\n  buildpacks:remove shop slipway/procfile\n  buildpacks:remove shop --index 2"
)]
pub(super) struct Remove {
    pub(super) app: AppName,
    #[arg(required_unless_present = "index", conflicts_with = "index")]
    buildpack: Option<String>,
    /// Which one
    #[arg(short, long, value_name = "N")]
    index: Option<usize>,
}

/// Remove all buildpacks that are set for an app
#[derive(Args)]
#[command(after_help = "Example:\n  buildpacks:clear shop")]
pub(super) struct Clear {
    pub(super) app: AppName,
}

impl List {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let list = env.ctx.apps.ledger().buildpacks(&self.app)?;
        if self.json {
            return env.print_json(&list).await;
        }
        show(env, &self.app, &list).await;
        Ok(())
    }
}

impl Set {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let buildpack = checked(env, &self.app, &self.buildpack).await?;
        let index = self.index;
        edit(env, &self.app, BuildpacksEdit::Set { buildpack, index }).await
    }
}

impl Add {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let buildpack = checked(env, &self.app, &self.buildpack).await?;
        let index = self.index;
        edit(env, &self.app, BuildpacksEdit::Add { buildpack, index }).await
    }
}

impl Remove {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        let change = match (self.buildpack, self.index) {
            (Some(text), _) => BuildpacksEdit::Remove(parsed(&text)?.to_string()),
            (None, index) => BuildpacksEdit::RemoveAt(index.unwrap_or_default()),
        };
        edit(env, &self.app, change).await
    }
}

impl Clear {
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<(), Failure> {
        edit(env, &self.app, BuildpacksEdit::Clear).await
    }
}

async fn edit(env: &mut Env<'_>, app: &AppName, edit: BuildpacksEdit) -> Result<(), Failure> {
    env.still_may()?;
    let changed = env
        .ctx
        .apps
        .edit_buildpacks(app, edit, &env.caller.user)
        .await;
    let list =
        changed.map_err(|error| Failure::from(error).hint(&format!("Type: buildpacks {app}")))?;
    show(env, app, &list).await;
    if !list.is_empty() {
        env.narrate(&format!("The next push of `{app}` is built with them."))
            .await;
    }
    Ok(())
}

async fn show(env: &mut Env<'_>, app: &AppName, list: &[String]) {
    if list.is_empty() {
        env.narrate(&format!(
            "No buildpacks are set for `{app}`: its project.toml or .buildpacks names them, or detection chooses."
        ))
        .await;
    }
    let rows = (1..)
        .zip(list)
        .map(|(place, one)| vec![format!("{place}."), one.clone()]);
    env.print(&output::columns(&rows.collect::<Vec<_>>())).await;
}

/// As it is kept, once it has been fetched: what cannot be had now is not set.
async fn checked(env: &mut Env<'_>, app: &AppName, text: &str) -> Result<String, Failure> {
    env.ctx.apps.ledger().app(app)?;
    let uri = parsed(text)?;
    if !matches!(uri, SourceUri::Installed { .. }) {
        env.narrate(&output::step(&format!("Looking at {uri}")))
            .await;
    }
    if matches!(&uri, SourceUri::Git { rev: None, .. }) {
        env.narrate(&output::detail(
            "Each build takes what its branch has then; to keep to one version, name a #tag or #commit.",
        ))
        .await;
    }
    let (builder, sources) = (env.ctx.builder.clone(), env.ctx.sources.clone());
    let kept = uri.to_string();
    let checked = tokio::task::spawn_blocking(move || sources.check(&builder, &uri));
    match checked.await.map_err(Failure::ours)? {
        Ok(()) => Ok(kept),
        Err(error) => Err(Failure::new(chain(&error)).hint(&installed(env))),
    }
}

fn parsed(text: &str) -> Result<SourceUri, Failure> {
    let uri = SourceUri::parse(text, None);
    uri.map_err(|error| Failure::new(error.to_string()).status(USAGE))
}

fn installed(env: &Env<'_>) -> String {
    format!("This server has: {}", env.ctx.sources.names().join(", "))
}
