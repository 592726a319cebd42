//! Who builds and deploys when: one deploy at a time to an app, in the order they came, and a few builds at a time on
//! the machine.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError},
};

use release::LedgerError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::deploy::{Deploy, Hold, Order, Why};

/// More side by side only take longer each.
const BUILDS_MAX_MIN: usize = 2;
/// Deploys of one app that wait for the one under way.
const WAITING_MAX: usize = 20;

pub(crate) struct Queue {
    state: StdMutex<State>,
    /// Told when a deploy has given up its seat, and when an app is open again.
    left: watch::Sender<()>,
    builds: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    /// By the app's id. The first of each has its turn.
    lines: HashMap<i64, VecDeque<Arc<Deploy>>>,
    /// Apps that are being renamed, destroyed, or given another branch.
    closed: Vec<i64>,
    stopped: bool,
}

/// A deploy's place in the queue of its app; the next one's turn comes when it is dropped.
pub(crate) struct Seat {
    queue: Arc<Queue>,
    deploy: Arc<Deploy>,
}

/// What a push has come to.
pub(crate) enum Entered {
    /// A deploy of its own, which is to be started.
    Own {
        seat: Seat,
        hold: Hold,
        ahead: Option<Ahead>,
    },
    /// One of the same commit, which is queued or runs already.
    Shared { deploy: Arc<Deploy>, hold: Hold },
}

/// What a deploy waits for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ahead {
    pub(crate) build: u64,
    pub(crate) by: String,
    /// Others between.
    pub(crate) more: usize,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{WAITING_MAX} deploys of `{0}` wait already; push again later, or with -o supersede")]
    Full(String),
    #[error("`{0}` is being changed; push again in a moment")]
    Closed(String),
    #[error("the server stops; push again when it is back")]
    Stopping,
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The app takes no deploys while this lives.
pub(crate) struct Closed {
    queue: Arc<Queue>,
    app: i64,
}

/// Where a push goes.
enum Place {
    Share(Arc<Deploy>, Hold),
    At {
        at: usize,
        superseded: Vec<Arc<Deploy>>,
    },
    Full,
}

impl Queue {
    pub(crate) fn new() -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self {
            state: StdMutex::default(),
            left: watch::Sender::new(()),
            builds: Arc::new(Semaphore::new(cores.max(BUILDS_MAX_MIN))),
        })
    }

    /// Finds the push its place. `begin` gives a deploy of its own a number. Blocking: it writes to the ledger, while
    /// nobody else enters.
    pub(crate) fn enter(
        self: &Arc<Self>,
        order: Order,
        begin: impl FnOnce(Order) -> Result<Deploy, LedgerError>,
    ) -> Result<Entered, Refused> {
        let mut state = self.state();
        let (app, name) = (order.app.id, order.app.name.to_string());
        if state.stopped {
            return Err(Refused::Stopping);
        }
        if state.closed.contains(&app) {
            return Err(Refused::Closed(name));
        }
        let none = VecDeque::new();
        let line = state.lines.get(&app).unwrap_or(&none);
        let (at, superseded) = match place(line, &order) {
            Place::Full => return Err(Refused::Full(name)),
            Place::Share(deploy, hold) => return Ok(Entered::Shared { deploy, hold }),
            Place::At { at, superseded } => (at, superseded),
        };
        let by = order.by.clone();
        let deploy = Arc::new(begin(order)?);
        // Nobody else knows of it yet, so nobody has taken it back.
        let hold = deploy.hold(&deploy.order.caller).ok_or(Refused::Stopping)?;
        for old in superseded {
            let (build, by) = (deploy.build, by.clone());
            old.cancel.set(Why::Superseded { build, by });
        }
        let line = state.lines.entry(app).or_default();
        line.insert(at, Arc::clone(&deploy));
        let ahead = ahead(line, at);
        if at == 0 {
            deploy.first.notify_one();
        }
        let seat = Seat {
            queue: Arc::clone(self),
            deploy,
        };
        Ok(Entered::Own { seat, hold, ahead })
    }

    /// The deploy of this build, if it is queued or runs; of no build in particular: the one that has its turn.
    pub(crate) fn find(&self, app: i64, build: Option<u64>) -> Option<Arc<Deploy>> {
        let state = self.state();
        let wanted = |deploy: &&Arc<Deploy>| build.is_none_or(|build| deploy.build == build);
        state.lines.get(&app)?.iter().find(wanted).cloned()
    }

    /// Nothing new is let in; what is under way goes on. Waits for others who have closed it.
    pub(crate) async fn close(self: &Arc<Self>, app: i64) -> Closed {
        let mut left = self.left.subscribe();
        while !self.close_now(app) {
            // The sender is ours.
            _ = left.changed().await;
        }
        Closed {
            queue: Arc::clone(self),
            app,
        }
    }

    fn close_now(&self, app: i64) -> bool {
        let mut state = self.state();
        let free = !state.closed.contains(&app);
        if free {
            state.closed.push(app);
        }
        free
    }

    /// Cancels everything; nothing new is let in.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        for deploy in state.lines.values().flatten() {
            deploy.cancel.set(Why::Stopping);
        }
    }

    /// Waits until nothing is under way.
    pub(crate) async fn empty(&self) {
        self.until(|state| state.lines.is_empty()).await;
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        let mut left = self.left.subscribe();
        while !reached(&self.state()) {
            // The sender is ours.
            _ = left.changed().await;
        }
    }

    pub(crate) fn build_slot_now(&self) -> Option<OwnedSemaphorePermit> {
        self.builds.clone().try_acquire_owned().ok()
    }

    /// `None` never comes: the semaphore is not closed.
    pub(crate) async fn build_slot(&self) -> Option<OwnedSemaphorePermit> {
        self.builds.clone().acquire_owned().await.ok()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    pub(crate) fn deploy(&self) -> &Arc<Deploy> {
        &self.deploy
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        let app = self.deploy.order.app.id;
        if let Some(line) = state.lines.get_mut(&app) {
            let was_first = line
                .front()
                .is_some_and(|first| Arc::ptr_eq(first, &self.deploy));
            line.retain(|other| !Arc::ptr_eq(other, &self.deploy));
            match line.front() {
                Some(next) if was_first => next.first.notify_one(),
                Some(_) => {}
                None => _ = state.lines.remove(&app),
            }
        }
        drop(state);
        self.queue.left.send_replace(());
    }
}

impl Closed {
    pub(crate) fn cancel(&self, why: &Why) {
        let state = self.queue.state();
        for deploy in state.lines.get(&self.app).into_iter().flatten() {
            deploy.cancel.set(why.clone());
        }
    }

    /// Waits until nothing of the app is under way.
    pub(crate) async fn empty(&self) {
        let queue = &self.queue;
        queue
            .until(|state| !state.lines.contains_key(&self.app))
            .await;
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        self.queue.state().closed.retain(|app| *app != self.app);
        self.queue.left.send_replace(());
    }
}

/// The same commit shares the deploy that is there. Another goes to the end, or, superseding, behind the first, which it
/// cancels, together with those that had superseded that one.
fn place(line: &VecDeque<Arc<Deploy>>, new: &Order) -> Place {
    let alive = |deploy: &&Arc<Deploy>| deploy.cancel.why().is_none();
    if new.options.supersede {
        let displaced =
            |(at, deploy): &(usize, &Arc<Deploy>)| *at == 0 || deploy.order.options.supersede;
        let displaced = line.iter().enumerate().filter(displaced);
        return Place::At {
            at: line.len().min(1),
            superseded: displaced
                .map(|(_, deploy)| deploy)
                .filter(alive)
                .cloned()
                .collect(),
        };
    }
    let same = |deploy: &&Arc<Deploy>| {
        let old = &deploy.order;
        let same_commit = old.commit == new.commit && old.updates == new.updates;
        same_commit && old.options.same_deploy(&new.options)
    };
    let shared = line
        .iter()
        .filter(same)
        .find_map(|deploy| Some((deploy, deploy.hold(&new.caller)?)));
    match shared {
        Some((deploy, hold)) => Place::Share(Arc::clone(deploy), hold),
        None if line.len() > WAITING_MAX => Place::Full,
        None => Place::At {
            at: line.len(),
            superseded: Vec::new(),
        },
    }
}

fn ahead(line: &VecDeque<Arc<Deploy>>, at: usize) -> Option<Ahead> {
    let first = line.front().filter(|_| at > 0)?;
    Some(Ahead {
        build: first.build,
        by: first.order.by.clone(),
        more: at - 1,
    })
}

#[cfg(test)]
mod tests {
    use gix_hash::ObjectId;

    use super::*;
    use crate::{
        git::{RefUpdate, Repo},
        push_options::PushOptions,
        transcript::Transcript,
    };

    struct World {
        dir: tempfile::TempDir,
        queue: Arc<Queue>,
        builds: std::cell::Cell<u64>,
    }

    impl World {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().expect("temporary directory"),
                queue: Queue::new(),
                builds: std::cell::Cell::new(0),
            }
        }

        fn order(&self, commit: u8, options: &[&str]) -> Order {
            let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
            let commit = ObjectId::from_bytes_or_panic(&[commit; 20]);
            Order {
                app: release::App {
                    id: 1,
                    name: "shop".parse().expect("a name"),
                    created_at: 0,
                    current: None,
                    owner: "ann".to_owned(),
                    lock: None,
                    maintenance: None,
                    deploy_branch: None,
                },
                repo: Repo::init(self.dir.path().join("1.git"), "main").expect("made"),
                commit,
                updates: vec![RefUpdate {
                    name: "refs/heads/main".to_owned(),
                    old: None,
                    new: Some(commit),
                }],
                by: format!("user{}", self.builds.get()),
                caller: crate::Caller {
                    user: "ann".to_owned(),
                    fingerprint: "SHA256:1".to_owned(),
                    remote: ([192, 0, 2, 1], 1).into(),
                    holder: release::Holder::User("ann".to_owned()),
                    admin: false,
                },
                options: PushOptions::parse(&options).expect("known"),
            }
        }

        fn try_push(&self, commit: u8, options: &[&str]) -> Result<Entered, Refused> {
            self.queue.enter(self.order(commit, options), |order| {
                self.builds.set(self.builds.get() + 1);
                let log = self.dir.path().join("log");
                Ok(Deploy::new(
                    self.builds.get(),
                    order,
                    Transcript::begin(log),
                ))
            })
        }

        /// A push that gets a deploy of its own.
        fn push(&self, commit: u8, options: &[&str]) -> (Seat, Hold, Option<Ahead>) {
            match self.try_push(commit, options) {
                Ok(Entered::Own { seat, hold, ahead }) => (seat, hold, ahead),
                _ => panic!("{commit} {options:?}"),
            }
        }
    }

    async fn is_first(seat: &Seat) -> bool {
        let first = seat.deploy().first.notified();
        tokio::time::timeout(std::time::Duration::ZERO, first)
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn one_at_a_time_in_order_and_each_knows_what_it_waits_for() {
        let world = World::new();
        let (one, _hold1, ahead) = world.push(1, &[]);
        assert_eq!(ahead, None);
        let (two, _hold2, ahead) = world.push(2, &[]);
        let by_first = |more| Ahead {
            build: 1,
            by: "user0".to_owned(),
            more,
        };
        assert_eq!(ahead, Some(by_first(0)));
        let (three, _hold3, ahead) = world.push(3, &[]);
        assert_eq!(ahead, Some(by_first(1)));
        assert!(is_first(&one).await && !is_first(&two).await && !is_first(&three).await);
        assert_eq!(
            world.queue.find(1, None).map(|deploy| deploy.build),
            Some(1)
        );
        assert_eq!(
            world.queue.find(1, Some(3)).map(|deploy| deploy.build),
            Some(3)
        );
        drop(two);
        assert!(!is_first(&three).await);
        drop(one);
        assert!(is_first(&three).await);
        drop(three);
        world.queue.empty().await;
        assert!(world.queue.find(1, None).is_none());
    }

    #[test]
    fn the_same_commit_shares_and_ends_with_its_last_pusher() {
        let world = World::new();
        let (one, hold, _) = world.push(1, &[]);
        let Ok(Entered::Shared {
            deploy,
            hold: second,
        }) = world.try_push(1, &[])
        else {
            panic!("not shared");
        };
        assert!(Arc::ptr_eq(&deploy, one.deploy()));
        let (_other, _hold, _) = world.push(1, &["no-cache"]);
        drop(hold);
        assert_eq!(deploy.cancel.why(), None);
        drop(second);
        assert_eq!(deploy.cancel.why(), Some(&Why::Left));
        let (again, hold, _) = world.push(1, &[]);
        hold.keep();
        assert_eq!(again.deploy().cancel.why(), None, "detached");
    }

    #[tokio::test]
    async fn superseding_takes_the_first_place_and_leaves_the_others() {
        let world = World::new();
        let (one, _hold1, _) = world.push(1, &[]);
        let (two, _hold2, _) = world.push(2, &[]);
        let (three, _hold3, ahead) = world.push(3, &["supersede"]);
        assert_eq!(ahead.map(|ahead| (ahead.build, ahead.more)), Some((1, 0)));
        let superseded = |build: u64| Why::Superseded {
            build,
            by: format!("user{}", build - 1),
        };
        assert_eq!(one.deploy().cancel.why(), Some(&superseded(3)));
        let (four, _hold4, _) = world.push(4, &["supersede"]);
        assert_eq!(three.deploy().cancel.why(), Some(&superseded(4)));
        assert_eq!(
            one.deploy().cancel.why(),
            Some(&superseded(3)),
            "the first reason stays"
        );
        assert_eq!(two.deploy().cancel.why(), None);
        drop((three, one));
        assert!(is_first(&four).await && !is_first(&two).await);
        drop(four);
        assert!(is_first(&two).await);
    }

    #[test]
    fn a_queue_is_bounded() {
        let world = World::new();
        let waiting: Vec<_> = (0..=20).map(|n| world.push(n, &[])).collect();
        assert!(matches!(world.try_push(99, &[]), Err(Refused::Full(_))));
        assert!(matches!(world.try_push(5, &[]), Ok(Entered::Shared { .. })));
        drop(waiting);
        _ = world.push(99, &[]);
    }

    #[tokio::test]
    async fn a_closed_or_stopped_queue_takes_nothing_and_cancels_what_it_has() {
        let world = World::new();
        let (one, _hold, _) = world.push(1, &[]);
        let deploy = Arc::clone(one.deploy());
        let closed = world.queue.close(1).await;
        assert_eq!(deploy.cancel.why(), None);
        closed.cancel(&Why::Destroyed("bob".to_owned()));
        assert_eq!(deploy.cancel.why(), Some(&Why::Destroyed("bob".to_owned())));
        assert!(matches!(world.try_push(2, &[]), Err(Refused::Closed(_))));
        tokio::join!(closed.empty(), async { drop(one) });
        drop(closed);
        let (two, _hold, _) = world.push(2, &[]);
        world.queue.stop();
        assert_eq!(two.deploy().cancel.why(), Some(&Why::Stopping));
        assert!(matches!(world.try_push(3, &[]), Err(Refused::Stopping)));
        drop(two);
        world.queue.empty().await;
    }
}
