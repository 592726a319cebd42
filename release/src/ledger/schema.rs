//! What the ledger's file looks like. A change of it is a new migration at the end; old ones are never edited.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{Doing as _, LedgerError};

/// `user_version` counts how many of these a file has had.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE apps (
        -- AUTOINCREMENT: an id names directories, and is never given twice.
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        created_at INTEGER NOT NULL,
        created_by TEXT NOT NULL,
        current INTEGER
    ) STRICT;

    CREATE TABLE releases (
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        number INTEGER NOT NULL CHECK (number > 0),
        status TEXT NOT NULL CHECK (status IN ('pending', 'succeeded', 'failed')),
        reason TEXT,
        image TEXT,
        config TEXT NOT NULL,
        description TEXT NOT NULL,
        created_by TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        git_commit TEXT,
        git_ref TEXT,
        ref_settled INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (app, number)
    ) STRICT, WITHOUT ROWID;

    CREATE TRIGGER releases_content_is_final
    BEFORE UPDATE OF app, number, image, config, description, created_by, created_at, git_commit, git_ref ON releases
    BEGIN SELECT RAISE(ABORT, 'the content of a release is final'); END;

    CREATE TRIGGER releases_outcome_is_final
    BEFORE UPDATE OF status, reason ON releases WHEN OLD.status <> 'pending'
    BEGIN SELECT RAISE(ABORT, 'the outcome of a release is final'); END;

    CREATE TRIGGER releases_stay_while_their_app_does
    BEFORE DELETE ON releases WHEN EXISTS (SELECT 1 FROM apps WHERE id = OLD.app)
    BEGIN SELECT RAISE(ABORT, 'releases are append-only'); END;

    CREATE TABLE formation (
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        process_type TEXT NOT NULL,
        quantity INTEGER NOT NULL CHECK (quantity >= 0),
        PRIMARY KEY (app, process_type)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE builds (
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('running', 'succeeded', 'failed', 'cancelled')),
        git_commit TEXT NOT NULL,
        started_by TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        ended_at INTEGER,
        release INTEGER,
        reason TEXT,
        PRIMARY KEY (app, number)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE keys (
        fingerprint TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        public TEXT NOT NULL,
        added_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
", OPERATORS_SETTINGS];

/// What operators set beside config and scale.
const OPERATORS_SETTINGS: &str = "
    ALTER TABLE apps ADD COLUMN owner TEXT NOT NULL DEFAULT '';
    UPDATE apps SET owner = created_by;
    ALTER TABLE apps ADD COLUMN locked_by TEXT;
    ALTER TABLE apps ADD COLUMN locked_at INTEGER;
    ALTER TABLE apps ADD COLUMN lock_reason TEXT;
    -- The words of its page; empty for the usual ones. NULL: requests go to the app.
    ALTER TABLE apps ADD COLUMN maintenance TEXT;

    -- Became current without a restart: instances of the release before it go on.
    ALTER TABLE releases ADD COLUMN quiet INTEGER NOT NULL DEFAULT 0;
    CREATE TRIGGER releases_quiet_is_final
    BEFORE UPDATE OF quiet ON releases
    BEGIN SELECT RAISE(ABORT, 'the content of a release is final'); END;

    CREATE TABLE domains (
        host TEXT PRIMARY KEY,
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        added_by TEXT NOT NULL,
        added_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Instances that are wanted and were stopped by hand.
    CREATE TABLE stopped (
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        slot TEXT NOT NULL,
        PRIMARY KEY (app, slot)
    ) STRICT, WITHOUT ROWID;

    -- Of one process type, or of all (''). NULL: as the platform has it.
    CREATE TABLE limits (
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        process_type TEXT NOT NULL,
        cpu_milli INTEGER,
        memory_bytes INTEGER,
        PRIMARY KEY (app, process_type)
    ) STRICT, WITHOUT ROWID;

    -- NULL: as the platform has it; without a path, a bound port is healthy.
    CREATE TABLE checks (
        app INTEGER PRIMARY KEY REFERENCES apps (id) ON DELETE CASCADE,
        path TEXT,
        timeout_ms INTEGER,
        interval_ms INTEGER,
        boot_ms INTEGER
    ) STRICT;
";

pub(super) fn migrate(connection: &mut Connection, file: &Path) -> Result<(), LedgerError> {
    let doing = "bring the ledger's schema up to date";
    // Two that start at once take turns.
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .doing(doing)?;
    let found: i64 = transaction
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .doing(doing)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    let pending = usize::try_from(found)
        .ok()
        .and_then(|found| MIGRATIONS.get(found..));
    let Some(pending) = pending else {
        return Err(LedgerError::Newer {
            path: file.to_owned(),
            found,
            known,
        });
    };
    for migration in pending {
        transaction.execute_batch(migration).doing(doing)?;
    }
    transaction
        .pragma_update(None, "user_version", known)
        .doing(doing)?;
    transaction.commit().doing(doing)
}
