//! A push to one app, at git's door: what becomes of each ref, and the watch over the deploy until it ends.

use std::{sync::Arc, time::Duration};

use release::{App, AppName};
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    Caller, Context, Gone,
    commands::lock_words,
    deploy::{self, Deploy, Hold, Order},
    errors::{chain, one_line},
    git::{Decision, Landed, Landing, RefUpdate, Repo, Sideband},
    output,
    push_options::PushOptions,
    queue::{Ahead, Entered, Refused},
    transcript::Transcript,
};

/// A cancelled deploy ends within this time; its pusher waits so long for the last words.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

pub struct AppLanding {
    pub(crate) ctx: Arc<Context>,
    pub(crate) app: App,
    pub(crate) repo: Repo,
    pub(crate) by: String,
    pub(crate) caller: Caller,
    pub(crate) gone: Gone,
}

impl Landing for AppLanding {
    type Options = PushOptions;

    fn options(&self, given: &[String]) -> Result<PushOptions, String> {
        PushOptions::parse(given)
    }

    fn unpack_turns(&self) -> Arc<Semaphore> {
        self.ctx.unpack_turns.of(&self.by)
    }

    fn decide(&self, update: &RefUpdate, options: &PushOptions) -> Decision {
        let branches = self.ctx.deploy_branches(&self.app);
        let deploys = update
            .name
            .strip_prefix("refs/heads/")
            .is_some_and(|branch| branches.contains(&branch));
        match (deploys, update.new) {
            (true, Some(_)) => match self.app.lock.as_ref().filter(|_| !options.plan) {
                Some(lock) => Decision::Refuse(one_line(&format!(
                    "`{}` is locked {}; when it may change again: apps:unlock {0}",
                    self.app.name,
                    lock_words(lock)
                ))),
                None => Decision::Deploy,
            },
            _ if options.plan => Decision::Refuse(format!(
                "`plan` changes nothing; push {} by itself with it",
                self.branch(&branches)
            )),
            (true, None) if self.app.current.is_some() => Decision::Refuse(format!(
                "this branch is what runs; to take the app away: apps:destroy {0} --confirm {0}",
                self.app.name
            )),
            (_, None) => Decision::Store { hint: None },
            (false, Some(_)) => {
                let hint = stored(&update.name, &self.branch(&branches));
                Decision::Store { hint: Some(hint) }
            }
        }
    }

    async fn deploy(
        &self,
        updates: Vec<RefUpdate>,
        options: &PushOptions,
        out: &Sideband,
    ) -> Result<Landed, String> {
        if options.detach && updates.len() > 1 {
            return Err(
                "`detach` and an atomic push of several refs exclude each other".to_owned(),
            );
        }
        let (deploy, hold) = self.enter(updates, options, out).await?;
        if options.detach {
            return self.detach(&deploy, hold, out).await;
        }
        self.watch(&deploy, hold, out).await.map(|()| Landed::Moved)
    }
}

impl AppLanding {
    /// What a push should name to deploy: of several branches, the one that is there, which HEAD names.
    fn branch(&self, branches: &[&str]) -> String {
        let head = self.repo.head().unwrap_or_default();
        let there = head.strip_prefix("refs/heads/");
        let branch = there.filter(|branch| branches.contains(branch));
        branch
            .or(branches.first().copied())
            .unwrap_or("main")
            .to_owned()
    }

    /// Into the queue, or to the deploy of the same commit that is there.
    async fn enter(
        &self,
        updates: Vec<RefUpdate>,
        options: &PushOptions,
        out: &Sideband,
    ) -> Result<(Arc<Deploy>, Hold), String> {
        let Some(commit) = updates.first().and_then(|update| update.new) else {
            return Err("there is nothing to deploy".to_owned());
        };
        let order = Order {
            app: self.app.clone(),
            repo: self.repo.clone(),
            commit,
            updates,
            by: self.by.clone(),
            caller: self.caller.clone(),
            options: options.clone(),
        };
        let ctx = Arc::clone(&self.ctx);
        // In one go: a deploy that has been entered runs, or it is taken back, also when the client goes this very moment.
        let entering = tokio::task::spawn_blocking(move || enter(&ctx, order)).await;
        let (deploy, hold, aside) = match entering {
            Ok(Ok(entered)) => entered,
            Ok(Err(Refused::Ledger(error))) => return Err(one_line(&chain(&error))),
            Ok(Err(refused)) => return Err(refused.to_string()),
            Err(_) => return Err("the push was lost".to_owned()),
        };
        if let Some(aside) = aside {
            out.line(&aside);
        }
        Ok((deploy, hold))
    }

    /// Until the deploy has ended, or the client has gone: then it is the last of those who want it, perhaps.
    async fn watch(&self, deploy: &Deploy, hold: Hold, out: &Sideband) -> Result<(), String> {
        let mut transcript = deploy.transcript.read();
        let told = async {
            while let Some(piece) = transcript.next().await {
                out.room().await;
                out.write(&piece);
            }
        };
        tokio::select! {
            () = told => {}
            () = self.gone.lost() => {
                // Nobody said that the deploy should end. The branch will move without its pusher.
                let line = output::step(&format!("The connection of {} was lost; the deploy goes on", self.by));
                deploy.transcript.write(format!("{line}\n").as_bytes());
                hold.keep();
                return Err("the connection was lost".to_owned());
            }
            () = self.gone.wait() => {
                drop(hold);
                // Nobody reads it, but for the server that stops.
                let ended = timeout(LAST_WORDS_MAX, deploy.outcome()).await;
                return ended.map_or_else(|_| Err("cancelled".to_owned()), |outcome| outcome.into_result());
            }
        }
        deploy.outcome().await.into_result()
    }

    /// The push ends here. The branch has not moved, so that is not what the client is told: what it sees made is a ref
    /// that names the commit until the branch does.
    async fn detach(&self, deploy: &Deploy, hold: Hold, out: &Sideband) -> Result<Landed, String> {
        let (build, app, git_ref) = (deploy.build, &self.app.name, deploy.git_ref());
        let made = self
            .repo
            .read_ref(&git_ref)
            .and_then(|old| self.repo.set_ref(&git_ref, Some(deploy.order.commit), old));
        made.map_err(|error| error.reason())?;
        hold.keep();
        if deploy.has_ended() {
            deploy::remove_ref(deploy);
            return deploy.outcome().await.into_result().map(|()| Landed::Moved);
        }
        let branch = deploy
            .order
            .updates
            .first()
            .map(|update| update.name.as_str());
        let branch = branch.unwrap_or_default().trim_start_matches("refs/heads/");
        out.line(&output::step(&format!(
            "Detached: build {build} of {app} goes on by itself"
        )));
        out.line(&output::detail(&format!(
            "{branch} moves when it is live. To watch it: builds:attach {app} {build}"
        )));
        let reason = format!(
            "not live yet: build {build} goes on; watch it with builds:attach {app} {build}"
        );
        Ok(Landed::Instead { git_ref, reason })
    }
}

/// The last is for this pusher alone; what everybody is told goes into the transcript. Blocking.
pub(crate) fn enter(
    ctx: &Arc<Context>,
    order: Order,
) -> Result<(Arc<Deploy>, Hold, Option<String>), Refused> {
    let (app, options) = (order.app.name.clone(), order.options.clone());
    match ctx.queue.enter(order, |order| begin(ctx, order))? {
        Entered::Shared { deploy, hold } => {
            let aside = output::step(&format!(
                "Build {} of {app}, pushed by {}, is of the same commit: sharing it",
                deploy.build, deploy.order.by
            ));
            Ok((deploy, hold, Some(aside)))
        }
        Entered::Own { seat, hold, ahead } => {
            let deploy = Arc::clone(seat.deploy());
            let line = ahead.map(|ahead| output::step(&waiting(&app, &ahead, &options)));
            if let Some(line) = &line {
                deploy.transcript.write(format!("{line}\n").as_bytes());
            }
            deploy::start(Arc::clone(ctx), seat);
            // Who detaches does not watch the transcript.
            Ok((deploy, hold, line.filter(|_| options.detach)))
        }
    }
}

/// A record with the next number, and a log.
fn begin(ctx: &Context, order: Order) -> Result<Deploy, release::LedgerError> {
    let (commit, app) = (order.commit.to_string(), &order.app);
    let build = ctx
        .apps
        .ledger()
        .build_queued(&app.name, &commit, &order.by)?;
    let transcript = Transcript::begin(ctx.files.build_log(app.id, build.number));
    Ok(Deploy::new(build.number, order, transcript))
}

/// Notes and the like are nothing to deploy.
fn stored(name: &str, branch: &str) -> String {
    let what = match name.strip_prefix("refs/tags/") {
        Some(tag) => format!("{tag}^{{}}"),
        None if name.starts_with("refs/heads/") => "HEAD".to_owned(),
        None => return format!("{name} is stored and not deployed."),
    };
    format!(
        "{name} is stored and not deployed. To deploy it, push it as {branch}: git push <remote> {what}:{branch}"
    )
}

fn waiting(app: &AppName, ahead: &Ahead, options: &PushOptions) -> String {
    let Ahead { build, by, more } = ahead;
    let build = format!("build {build} of {app}, pushed by {by}");
    if options.supersede {
        return format!("Superseding {build}");
    }
    let more = match more {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("Waiting for {build}{more}")
}
