//! A deploy while it is queued or runs: a thing of its own, which any number of connections watch.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gix_hash::ObjectId;
use release::{App, BuildStatus, ReleaseNumber};
use tokio::sync::{Notify, watch};

use super::cancel::{Cancel, Why};
use crate::{
    Caller,
    git::{BUILDS, RefUpdate, Repo},
    push_options::PushOptions,
    transcript::Transcript,
};

/// What is to be deployed, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) app: App,
    pub(crate) repo: Repo,
    pub(crate) commit: ObjectId,
    /// All of them move when the commit is live; the first is the deploy branch's.
    pub(crate) updates: Vec<RefUpdate>,
    pub(crate) by: String,
    pub(crate) caller: Caller,
    pub(crate) options: PushOptions,
}

/// How a deploy ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: BuildStatus,
    pub(crate) release: Option<ReleaseNumber>,
    /// Why the branch has not moved, in one line; also of a plan that succeeded.
    pub(crate) reason: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Deploy {
    /// The number of its build.
    pub(crate) build: u64,
    pub(crate) order: Order,
    pub(crate) transcript: Transcript,
    pub(crate) cancel: Cancel,
    /// Told when it is the first of its app's queue.
    pub(crate) first: Notify,
    outcome: watch::Sender<Option<Outcome>>,
    holds: Mutex<Holds>,
}

/// Who wants it to go on.
#[derive(Debug, Default)]
struct Holds {
    pushers: usize,
    /// Somebody has detached from it: it goes on without anybody.
    kept: bool,
}

/// A pusher's wish that the deploy goes on. When the last is dropped, the deploy is cancelled.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Deploy>);

impl Deploy {
    pub(crate) fn new(build: u64, order: Order, transcript: Transcript) -> Self {
        Self {
            build,
            order,
            transcript,
            cancel: Cancel::default(),
            first: Notify::new(),
            outcome: watch::Sender::new(None),
            holds: Mutex::default(),
        }
    }

    /// `None`: it has been taken back already.
    pub(crate) fn hold(self: &Arc<Self>) -> Option<Hold> {
        let mut holds = self.holds();
        if self.cancel.why().is_some() {
            return None;
        }
        holds.pushers += 1;
        Some(Hold(Arc::clone(self)))
    }

    /// The ref that names the commit until the branch does, for those who have detached.
    pub(crate) fn git_ref(&self) -> String {
        format!("{BUILDS}{}", self.build)
    }

    pub(crate) fn end(&self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
        self.transcript.end();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.outcome.borrow().is_some()
    }

    /// Waits for it.
    pub(crate) async fn outcome(&self) -> Outcome {
        let mut ended = self.outcome.subscribe();
        let ended = ended.wait_for(Option::is_some).await;
        ended
            .ok()
            .and_then(|outcome| outcome.clone())
            .unwrap_or_else(Outcome::lost)
    }

    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// The deploy goes on, whoever goes.
    pub(crate) fn keep(self) {
        self.0.holds().kept = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut holds = self.0.holds();
        holds.pushers -= 1;
        // Of one that has ended, nothing is left to cancel.
        if holds.pushers == 0 && !holds.kept && !self.0.has_ended() {
            self.0.cancel.set(Why::Left);
        }
    }
}

impl Outcome {
    /// A bug of ours ended it.
    pub(crate) fn lost() -> Self {
        Self {
            status: BuildStatus::Failed,
            release: None,
            reason: Some("the deploy ended without a result".to_owned()),
        }
    }

    /// For the pusher: whether the branch has moved.
    pub(crate) fn into_result(self) -> Result<(), String> {
        self.reason.map_or(Ok(()), Err)
    }
}
