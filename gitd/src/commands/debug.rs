//! `builds:debug`: a shell in the last build that failed, at the step that failed.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use builder::Look;
use clap::Args;
use release::{App, AppName};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    Env,
    attached::{Attachment, status, terminal_env},
};
use crate::{Context, errors::Failure, failed_builds::Entered, output};

/// Nobody looks longer at one thing; a shell that was forgotten holds memory.
const LOOK_MAX: Duration = Duration::from_hours(2);
/// When its app is destroyed, a look at it ends so much later.
const APP_CHECK: Duration = Duration::from_secs(1);

/// Look around in the last build that failed, at the step that failed
///
/// A shell in the build's sandbox, with the environment of the buildpack that failed, and with the app and the layers as it
/// left them; `/tmp/again` runs the step once more. What is changed stays for the next look. It is kept for a day, or until a
/// build succeeds. Behind `--` stands a line for the shell instead.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  builds:debug shop\n  builds:debug shop 7 -- 'cat ~/.npm/_logs/*'"
)]
pub(super) struct Debug {
    pub(super) app: AppName,
    /// The build's number; the last that failed when absent
    build: Option<u64>,
    /// No terminal for the shell, also when the client has one
    #[arg(long)]
    no_tty: bool,
    /// What to run instead of a shell that reads its input
    #[arg(last = true)]
    command: Vec<String>,
}

impl Debug {
    /// The exit status is the shell's own.
    pub(super) async fn run(self, env: &mut Env<'_>) -> Result<u8, Failure> {
        let app = env.ctx.apps.ledger().app(&self.app)?;
        let (build, entered) = self.enter(env, &app)?;
        env.narrate(&output::step(&heading(env, &app, build)?))
            .await;
        env.still_may()?;
        let (user, name) = (&env.caller.user, &self.app);
        let note = format!("Build {build} entered by user {user}");
        env.ctx.apps.note(name, &note);

        let config = env.ctx.apps.ledger().config(name)?;
        let terminal = terminal_env(&env.io, self.no_tty);
        let command = (!self.command.is_empty()).then(|| self.command.join(" "));
        let (attachment, stdio) = Attachment::new(&env.io, self.no_tty).map_err(Failure::ours)?;
        let (builder, dir) = (Arc::clone(&env.ctx.builder), entered.dir.clone());
        let look = move || {
            let vars = config.iter();
            let vars = vars.map(|(name, value)| (name.to_string(), value.as_str().to_owned()));
            let look = Look {
                env: &vars.collect::<BTreeMap<_, _>>(),
                terminal,
                command,
            };
            builder.look_inside(&dir, look, stdio)
        };
        let looking = spawn_blocking(look).await.map_err(Failure::ours)?;
        let (process, inside) = looking.map_err(Failure::ours)?;
        let pidfd = process.pidfd().try_clone_to_owned();
        let ending = tokio::spawn({
            let (ctx, pidfd) = (Arc::clone(env.ctx), pidfd.map_err(Failure::ours)?);
            async move { end_in_time(&ctx, app.id, &pidfd).await }
        });
        let exit = attachment.follow(env, process).await;
        ending.abort();
        // In this order: nobody else may enter before the sandbox has let go of it.
        drop(inside);
        drop(entered);
        Ok(status(&exit.map_err(Failure::ours)?))
    }

    fn enter(&self, env: &Env<'_>, app: &App) -> Result<(u64, Entered), Failure> {
        let Some(found) = env.ctx.failed_builds.find(app.id) else {
            let text = format!("no failed build of `{}` is kept", self.app);
            return Err(Failure::new(text).hint("One is, for a day, until a build succeeds."));
        };
        let build = found.build;
        if let Some(wanted) = self.build.filter(|wanted| *wanted != build) {
            let text = format!("build {wanted} of `{}` is not kept", self.app);
            return Err(Failure::new(text).hint(&format!("Build {build} is.")));
        }
        if found.is_open {
            let text = format!("somebody is in build {build} of `{}`", self.app);
            return Err(Failure::new(text).hint("When they have left: the same once more."));
        }
        match env.ctx.failed_builds.enter(app.id, build) {
            Ok(entered) => Ok((build, entered)),
            // Between the two somebody has entered it, or it was removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = format!(
                    "build {build} of `{}` is no longer there to enter",
                    self.app
                );
                Err(Failure::new(text).hint(&format!("See what is there now: builds {}", self.app)))
            }
            Err(error) => Err(Failure::ours(error)),
        }
    }
}

fn heading(env: &Env<'_>, app: &App, build: u64) -> Result<String, Failure> {
    let builds = env.ctx.apps.ledger().builds(&app.name, usize::MAX)?;
    let this = builds.into_iter().find(|one| one.number == build);
    let reason = this.and_then(|build| build.reason).unwrap_or_default();
    Ok(format!("Build {build} of {}: {reason}", app.name))
}

/// When the app has gone, or after the longest time.
async fn end_in_time(ctx: &Context, app: i64, process: &OwnedFd) {
    let end = Instant::now() + LOOK_MAX;
    // What cannot be looked up now can be later.
    while Instant::now() < end && !matches!(ctx.apps.ledger().app_name(app), Ok(None)) {
        sleep(APP_CHECK).await;
    }
    // It may just have ended.
    _ = pidfd_send_signal(process.as_fd(), Signal::KILL);
}
