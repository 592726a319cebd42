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
    /// All of them move when the commit is live; the first is the deploy branch's. None: the commit is live already, and is
    /// built again.
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
    pushers: Mutex<Vec<Pusher>>,
}

/// Somebody who wants it to go on.
#[derive(Debug)]
struct Pusher {
    caller: Arc<Caller>,
    /// Has detached: still wants it, wherever they are.
    stays: bool,
}

/// A pusher's wish that the deploy goes on. When the last is dropped, the deploy is cancelled.
#[derive(Debug)]
pub(crate) struct Hold {
    deploy: Arc<Deploy>,
    caller: Arc<Caller>,
}

impl Deploy {
    pub(crate) fn new(build: u64, order: Order, transcript: Transcript) -> Self {
        Self {
            build,
            order,
            transcript,
            cancel: Cancel::default(),
            first: Notify::new(),
            outcome: watch::Sender::new(None),
            pushers: Mutex::default(),
        }
    }

    /// `None`: it has been taken back already.
    pub(crate) fn hold(self: &Arc<Self>, caller: &Caller) -> Option<Hold> {
        let mut wanted_by = self.wanted_by();
        if self.cancel.why().is_some() {
            return None;
        }
        let caller = Arc::new(caller.clone());
        wanted_by.push(Pusher {
            caller: Arc::clone(&caller),
            stays: false,
        });
        Some(Hold {
            deploy: Arc::clone(self),
            caller,
        })
    }

    /// Those who want it by now, in the order they came.
    pub(crate) fn pushers(&self) -> Vec<Arc<Caller>> {
        let wanted_by = self.wanted_by();
        wanted_by
            .iter()
            .map(|pusher| Arc::clone(&pusher.caller))
            .collect()
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

    fn wanted_by(&self) -> MutexGuard<'_, Vec<Pusher>> {
        self.pushers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// The deploy goes on, whoever goes.
    pub(crate) fn keep(self) {
        let mut wanted_by = self.deploy.wanted_by();
        let known = (wanted_by.iter())
            .any(|other| other.stays && other.caller.holder == self.caller.holder);
        let ours = wanted_by.iter_mut().find(|pusher| self.is(pusher));
        if let Some(pusher) = ours {
            // Once for each: nobody makes the list long by detaching again and again.
            pusher.stays = !known;
        }
    }

    fn is(&self, pusher: &Pusher) -> bool {
        Arc::ptr_eq(&pusher.caller, &self.caller)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut wanted_by = self.deploy.wanted_by();
        wanted_by.retain(|pusher| pusher.stays || !self.is(pusher));
        // Of one that has ended, nothing is left to cancel.
        if wanted_by.is_empty() && !self.deploy.has_ended() {
            self.deploy.cancel.set(Why::Left);
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
