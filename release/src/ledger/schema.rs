//! What the ledger's file looks like. A change of it is a new migration at the end; old ones are never edited.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{Doing as _, LedgerError};

/// `user_version` counts how many of these a file has had.
const MIGRATIONS: &[&str] = &[
    FIRST,
    OPERATORS_SETTINGS,
    PEOPLE,
    BUILDPACKS,
    "ALTER TABLE apps ADD COLUMN deploy_branch TEXT;",
    BUILDS_QUEUE,
];

/// Apps, releases, builds, and keys that may do everything.
pub(super) const FIRST: &str = "
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
";

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

/// Users, roles, teams, certificate authorities, and the audit log.
const PEOPLE: &str = "
    CREATE TABLE users (
        name TEXT PRIMARY KEY,
        admin INTEGER NOT NULL CHECK (admin IN (0, 1)),
        created_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    -- Until now every key could do everything.
    INSERT INTO users SELECT name, 1, min(added_at) FROM keys GROUP BY name;

    ALTER TABLE keys RENAME TO keys_before;
    CREATE TABLE keys (
        fingerprint TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        public TEXT NOT NULL,
        added_at INTEGER NOT NULL,
        expires_at INTEGER,
        -- A user's, or one app's with a role.
        user TEXT REFERENCES users (name) ON DELETE CASCADE,
        app INTEGER REFERENCES apps (id) ON DELETE CASCADE,
        role TEXT CHECK (role IN ('viewer', 'deployer', 'operator')),
        CHECK ((user IS NULL) <> (app IS NULL)),
        CHECK ((app IS NULL) = (role IS NULL))
    ) STRICT, WITHOUT ROWID;
    INSERT INTO keys (fingerprint, name, public, added_at, user)
        SELECT fingerprint, name, public, added_at, name FROM keys_before;
    DROP TABLE keys_before;

    CREATE TABLE teams (
        name TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE members (
        team TEXT NOT NULL REFERENCES teams (name) ON DELETE CASCADE,
        user TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
        PRIMARY KEY (team, user)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE grants (
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        user TEXT REFERENCES users (name) ON DELETE CASCADE,
        team TEXT REFERENCES teams (name) ON DELETE CASCADE,
        role TEXT NOT NULL CHECK (role IN ('viewer', 'deployer', 'operator', 'owner')),
        CHECK ((user IS NULL) <> (team IS NULL)),
        UNIQUE (app, user),
        UNIQUE (app, team)
    ) STRICT;
    INSERT INTO grants (app, user, role)
        SELECT id, owner, 'owner' FROM apps WHERE owner IN (SELECT name FROM users);

    CREATE TABLE authorities (
        fingerprint TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        public TEXT NOT NULL,
        added_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE revocations (
        what TEXT PRIMARY KEY,
        revoked_at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    -- Names, not references: what was done stays written when the user, the key or the app has gone.
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        user TEXT NOT NULL,
        key TEXT NOT NULL,
        address TEXT NOT NULL,
        app TEXT,
        app_id INTEGER,
        what TEXT NOT NULL,
        result TEXT
    ) STRICT;
    CREATE INDEX audit_of_app ON audit (app_id);

    CREATE TRIGGER audit_is_final
    BEFORE UPDATE ON audit
    WHEN OLD.result IS NOT NULL OR NEW.result IS NULL
        OR (OLD.app_id IS NOT NULL AND NEW.app_id IS NOT OLD.app_id)
        OR (OLD.id, OLD.at, OLD.user, OLD.key, OLD.address, OLD.app, OLD.what)
            IS NOT (NEW.id, NEW.at, NEW.user, NEW.key, NEW.address, NEW.app, NEW.what)
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

    -- REPLACE deletes without a word to the trigger below.
    CREATE TRIGGER audit_is_not_replaced
    BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;

    CREATE TRIGGER audit_stays
    BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
";

/// Those that an operator has set, in their order.
const BUILDPACKS: &str = "
    CREATE TABLE buildpacks (
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        place INTEGER NOT NULL CHECK (place > 0),
        buildpack TEXT NOT NULL,
        PRIMARY KEY (app, place)
    ) STRICT, WITHOUT ROWID;
";

/// Builds that wait for their turn or lose it to another.
const BUILDS_QUEUE: &str = "
    ALTER TABLE builds RENAME TO old_builds;

    CREATE TABLE builds (
        app INTEGER NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        status TEXT NOT NULL
            CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'superseded')),
        git_commit TEXT NOT NULL,
        started_by TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        running_at INTEGER,
        ended_at INTEGER,
        release INTEGER,
        reason TEXT,
        PRIMARY KEY (app, number)
    ) STRICT, WITHOUT ROWID;

    INSERT INTO builds (app, number, status, git_commit, started_by, started_at, running_at, ended_at, release, reason)
    SELECT app, number, status, git_commit, started_by, started_at, started_at, ended_at, release, reason FROM old_builds;

    DROP TABLE old_builds;
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
