//! The ledger: apps, config, releases, builds, and who may do what, in SQLite. The running world is derived from it, never the other
//! way round.
//!
//! Releases are append-only, which the [`schema`] enforces: a release that has succeeded or failed never changes again.

mod apps;
mod buildpacks;
mod builds;
mod checks;
mod domains;
mod limits;
mod releases;

mod access;
mod audit;
mod authorities;
mod keys;
mod teams;
mod users;

mod schema;
mod snapshot;
mod stopped;

use std::{
    fmt,
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::Connection;

use crate::{AppName, Domain, ReleaseNumber, TeamName, UserName};

pub use access::Grant;
pub use apps::{App, Lock};
pub use audit::{AuditEntry, AuditRecord, Outcome};
pub use authorities::{Authority, Revocation};
pub use builds::{Build, BuildStatus};
pub use keys::{Holder, Key};
pub(crate) use releases::{NewRelease, default_quantity};
pub use releases::{Release, ReleaseStatus};
pub use snapshot::snapshot;
pub use teams::Team;
pub use users::User;

/// How long a statement waits for another process that holds the file, for example a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// One connection behind a lock: every statement is short, and SQLite has one writer anyway.
pub struct Ledger {
    connection: Mutex<Connection>,
    people: AtomicU64,
}

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("there is no app `{0}`")]
    NoApp(AppName),
    #[error("the name `{0}` is taken")]
    NameTaken(AppName),
    #[error("the domain `{0}` is taken")]
    DomainTaken(Domain),
    #[error("`{app}` has no release {number}")]
    NoRelease { app: AppName, number: ReleaseNumber },
    #[error("`{app}` has no build {number}")]
    NoBuild { app: AppName, number: u64 },
    #[error("there is no user `{0}`")]
    NoUser(UserName),
    #[error("there is no team `{0}`")]
    NoTeam(TeamName),
    #[error("no administrator with a key would be left")]
    LastAdmin,
    #[error("{} was written by a newer slipway (schema {found}, this one knows {known})", path.display())]
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error("cannot {doing}")]
    Database {
        doing: &'static str,
        #[source]
        source: rusqlite::Error,
    },
}

/// Says what was being done.
trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, LedgerError>;
}

impl<T> Doing<T> for rusqlite::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, LedgerError> {
        self.map_err(|source| LedgerError::Database { doing, source })
    }
}

impl Ledger {
    /// Opens or makes the file, and brings its schema up to date.
    pub fn open(file: &Path) -> Result<Self, LedgerError> {
        make_private(file);
        let mut connection = Connection::open(file).doing("open the ledger")?;
        connection
            .busy_timeout(BUSY_TIMEOUT)
            .doing("open the ledger")?;
        // FULL: what a push was told is live must be live after a power cut.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            )
            .doing("open the ledger")?;
        schema::migrate(&mut connection, file)?;
        Ok(Self {
            connection: Mutex::new(connection),
            people: AtomicU64::new(0),
        })
    }

    /// Another number after each change of users, keys and certificate authorities, for whoever keeps a copy of them.
    pub fn people_version(&self) -> u64 {
        self.people.load(Ordering::Acquire)
    }

    fn people_changed(&self) {
        self.people.fetch_add(1, Ordering::Release);
    }

    /// Reads the whole file: `None` when it is whole, else the first thing that is wrong with it.
    pub fn check(&self) -> Result<Option<String>, LedgerError> {
        let found: String = self
            .lock()
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .doing("check the ledger")?;
        Ok((found != "ok").then_some(found))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while it was held has rolled its transaction back.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

/// It holds secrets, and SQLite's other files take their mode from it. What cannot be made here cannot be opened either.
fn make_private(file: &Path) {
    let mut options = OpenOptions::new();
    _ = options.append(true).create(true).mode(0o600).open(file);
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _};

    use container::Digest;

    use super::*;
    use crate::ConfigVars;

    struct World {
        dir: tempfile::TempDir,
        ledger: Ledger,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
            Self { dir, ledger }
        }

        fn reopened(&self) -> Ledger {
            Ledger::open(&self.dir.path().join("ledger.db")).unwrap()
        }

        fn app(&self, name: &str) -> App {
            self.ledger
                .create_app(&name.parse().unwrap(), "ann")
                .unwrap()
        }

        fn release(&self, app: &App, image: &[u8]) -> Release {
            let new = NewRelease {
                image: Some(Digest::of(image)),
                config: ConfigVars::from([("A".parse().unwrap(), "1".to_owned().into())]),
                description: "Deploy 1a2b3c4d".into(),
                by: "ann".into(),
                commit: Some("1a2b3c4d".into()),
                git_ref: Some("refs/heads/main".into()),
                quiet: false,
            };
            self.ledger.create_release(&app.name, new).unwrap()
        }

        fn succeed(&self, app: &App, release: &Release) {
            let types = ["web", "worker"].map(|name| name.parse().unwrap());
            self.ledger
                .release_succeeded(app.id, release.number, &types)
                .unwrap();
        }
    }

    #[test]
    fn a_release_is_pending_until_it_serves() {
        let world = World::new();
        let app = world.app("shop");
        let first = world.release(&app, b"1");
        assert_eq!(
            (first.number.get(), first.status),
            (1, ReleaseStatus::Pending)
        );
        assert_eq!(world.ledger.current(&app.name).unwrap(), None);
        world.succeed(&app, &first);
        let second = world.release(&app, b"2");
        world
            .ledger
            .release_failed(app.id, second.number, "web.1 crashed")
            .unwrap();
        let ledger = world.reopened();
        let releases = ledger.releases(&app.name, 10).unwrap();
        let shown: Vec<_> = releases
            .iter()
            .map(|release| {
                (
                    release.number.get(),
                    release.status,
                    release.reason.as_deref(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                (2, ReleaseStatus::Failed, Some("web.1 crashed")),
                (1, ReleaseStatus::Succeeded, None)
            ]
        );
        let current = ledger.current(&app.name).unwrap().unwrap();
        assert_eq!(current, releases[1]);
        for file in std::fs::read_dir(world.dir.path()).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(current.config[&"A".parse().unwrap()].as_str(), "1");
        let formation = ledger.formation(&app.name).unwrap();
        assert_eq!(formation.into_values().collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn a_release_never_changes() {
        let world = World::new();
        let app = world.app("shop");
        let release = world.release(&app, b"1");
        let refused = |sql: &str| {
            let error = world.ledger.lock().execute_batch(sql).unwrap_err();
            assert!(
                error.to_string().contains("final") || error.to_string().contains("append-only"),
                "{sql}: {error}"
            );
        };
        refused("UPDATE releases SET image = NULL");
        refused("UPDATE releases SET config = '{}'");
        refused("UPDATE releases SET number = 7");
        refused("DELETE FROM releases");
        world.succeed(&app, &release);
        refused("UPDATE releases SET status = 'pending'");
        refused("UPDATE releases SET status = 'failed'");
        refused("UPDATE releases SET reason = 'x'");
        // An outcome that came first stays.
        world
            .ledger
            .release_failed(app.id, release.number, "late")
            .unwrap();
        let current = world.ledger.current(&app.name).unwrap().unwrap();
        assert_eq!(current.status, ReleaseStatus::Succeeded);
    }

    #[test]
    fn an_app_that_goes_takes_its_records_and_not_its_id() {
        let world = World::new();
        let app = world.app("shop");
        let release = world.release(&app, b"1");
        world.succeed(&app, &release);
        world.ledger.build_queued(&app.name, "1a2b", "ann").unwrap();
        world.ledger.destroy_app(app.id).unwrap();
        assert!(matches!(
            world.ledger.app(&app.name),
            Err(LedgerError::NoApp(_))
        ));
        let again = world.app("shop");
        assert_ne!(again.id, app.id);
        let gone = [app.id, again.id, again.id + 1].map(|id| world.ledger.is_gone(id).unwrap());
        assert_eq!(gone, [true, false, false]);
        assert!(world.ledger.releases(&app.name, 10).unwrap().is_empty());
        assert!(world.ledger.builds(&app.name, 10).unwrap().is_empty());
        assert!(matches!(
            world.ledger.create_app(&app.name, "bob"),
            Err(LedgerError::NameTaken(_))
        ));
    }

    #[test]
    fn what_was_interrupted_has_failed() {
        let world = World::new();
        let app = world.app("shop");
        let release = world.release(&app, b"1");
        world.succeed(&app, &release);
        world.release(&app, b"2");
        world.ledger.build_queued(&app.name, "1a2b", "ann").unwrap();
        let ledger = world.reopened();
        ledger.fail_interrupted().unwrap();
        let newest = ledger.releases(&app.name, 1).unwrap().remove(0);
        assert_eq!(
            (newest.status, newest.reason.as_deref()),
            (ReleaseStatus::Failed, Some("interrupted"))
        );
        let build = ledger.builds(&app.name, 1).unwrap().remove(0);
        assert_eq!(build.status, BuildStatus::Failed);
        assert!(build.ended_at.is_some());
        let current = ledger.current(&app.name).unwrap().unwrap();
        assert_eq!(current.number, release.number);
    }

    #[test]
    fn a_ref_is_to_be_moved_until_it_has_been() {
        let world = World::new();
        let app = world.app("shop");
        let release = world.release(&app, b"1");
        assert!(world.ledger.unsettled_refs().unwrap().is_empty());
        world.succeed(&app, &release);
        let refs = world.reopened().unsettled_refs().unwrap();
        assert_eq!(refs.len(), 1);
        assert_eq!(
            (refs[0].1.as_str(), refs[0].2.as_str()),
            ("refs/heads/main", "1a2b3c4d")
        );
        world.ledger.ref_settled(&app.name).unwrap();
        assert!(world.ledger.unsettled_refs().unwrap().is_empty());
    }

    #[test]
    fn the_formation_outlives_releases() {
        let world = World::new();
        let app = world.app("shop");
        let release = world.release(&app, b"1");
        world.succeed(&app, &release);
        let quantities = BTreeMap::from([("web".parse().unwrap(), 3)]);
        world.ledger.set_formation(app.id, &quantities).unwrap();
        let release = world.release(&app, b"2");
        world.succeed(&app, &release);
        let formation = world.ledger.formation(&app.name).unwrap();
        assert_eq!(formation.into_values().collect::<Vec<_>>(), [3, 0]);
    }

    #[test]
    fn before_the_current_one_is_the_last_that_worked() {
        let world = World::new();
        let app = world.app("shop");
        let before = || {
            let release = world.ledger.before_current(&app.name).unwrap();
            release.map(|release| release.number.get())
        };
        assert_eq!(before(), None);
        let first = world.release(&app, b"1");
        world.succeed(&app, &first);
        assert_eq!(before(), None);
        let failed = world.release(&app, b"2");
        world
            .ledger
            .release_failed(app.id, failed.number, "x")
            .unwrap();
        let third = world.release(&app, b"3");
        world.succeed(&app, &third);
        assert_eq!(before(), Some(1));
    }

    #[test]
    fn eight_threads_get_eight_numbers() {
        let world = World::new();
        let app = world.app("shop");
        let each = 25;
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..each).for_each(|_| _ = world.release(&app, b"1")));
            }
        });
        let releases = world.ledger.releases(&app.name, 1000).unwrap();
        let numbers: Vec<_> = releases
            .iter()
            .rev()
            .map(|release| release.number.get())
            .collect();
        assert_eq!(numbers, (1..=8 * each).collect::<Vec<u64>>());
    }

    #[test]
    fn a_newer_file_is_left_alone() {
        let world = World::new();
        world
            .ledger
            .lock()
            .execute_batch("PRAGMA user_version = 99")
            .unwrap();
        let error = Ledger::open(&world.dir.path().join("ledger.db")).unwrap_err();
        assert!(
            matches!(error, LedgerError::Newer { found: 99, .. }),
            "{error}"
        );
    }

    #[test]
    fn no_error_and_no_debug_shows_a_value() {
        let world = World::new();
        let app = world.app("shop");
        let release = world.release(&app, b"1");
        world.succeed(&app, &release);
        let shown = format!("{:?}", world.ledger.current(&app.name).unwrap());
        assert!(
            shown.contains("(hidden)") && !shown.contains("\"1\""),
            "{shown}"
        );
    }
}
