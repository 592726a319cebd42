//! Releases: an image and a config under a number. Pending until its outcome is known, final from then on.

use std::collections::BTreeSet;

use container::Digest;
use rusqlite::{
    Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params, types,
};

use super::{
    App, Doing as _, Ledger, LedgerError,
    apps::{find, parsed},
    builds, now,
};
use crate::{AppName, ConfigVars, ProcessType, ReleaseNumber};

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseStatus {
    /// Created, not serving yet. Found at a start: interrupted, becomes `Failed`.
    Pending,
    Succeeded,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub number: ReleaseNumber,
    pub status: ReleaseStatus,
    /// One line, when it failed.
    pub reason: Option<String>,
    /// `None`: config was set before anything was deployed.
    pub image: Option<Digest>,
    pub config: ConfigVars,
    pub description: String,
    pub by: String,
    /// Seconds since the Unix epoch.
    pub created_at: u64,
    pub commit: Option<String>,
    /// It came without a restart: what had been started before went on.
    pub quiet: bool,
}

/// What a release is made of; the ledger adds number and time.
#[derive(Debug, Clone)]
pub(crate) struct NewRelease {
    pub(crate) image: Option<Digest>,
    pub(crate) config: ConfigVars,
    pub(crate) description: String,
    pub(crate) by: String,
    pub(crate) commit: Option<String>,
    pub(crate) git_ref: Option<String>,
    /// Nothing is started because of it: what starts later starts from it.
    pub(crate) quiet: bool,
}

/// Why a release that a crash of the platform cut off has failed.
const INTERRUPTED: &str = "interrupted";
const COLUMNS: &str =
    "number, status, reason, image, config, description, created_by, created_at, git_commit, quiet";

impl Ledger {
    /// Newest first.
    pub fn releases(&self, app: &AppName, limit: usize) -> Result<Vec<Release>, LedgerError> {
        let doing = "list the releases";
        let connection = self.lock();
        let app = find(&connection, app)?;
        let mut query = connection
            .prepare(&format!(
                "SELECT {COLUMNS} FROM releases WHERE app = ?1 ORDER BY number DESC LIMIT ?2"
            ))
            .doing(doing)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query.query_map([app.id, limit], release).doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }

    /// The commits of all releases that succeeded, by their numbers.
    pub fn release_commits(
        &self,
        app: &AppName,
    ) -> Result<Vec<(ReleaseNumber, String)>, LedgerError> {
        let doing = "list the releases' commits";
        let connection = self.lock();
        let app = find(&connection, app)?;
        let mut query = connection
            .prepare(
                "SELECT number, git_commit FROM releases
                 WHERE app = ?1 AND status = 'succeeded' AND git_commit IS NOT NULL ORDER BY number",
            )
            .doing(doing)?;
        let rows = query
            .query_map([app.id], |row| {
                let number = ReleaseNumber::new(row.get::<_, i64>(0)?.cast_unsigned());
                Ok(number.zip(Some(row.get(1)?)))
            })
            .doing(doing)?;
        let rows: Vec<Option<_>> = rows.collect::<rusqlite::Result<_>>().doing(doing)?;
        Ok(rows.into_iter().flatten().collect())
    }

    pub fn current(&self, app: &AppName) -> Result<Option<Release>, LedgerError> {
        let connection = self.lock();
        let app = find(&connection, app)?;
        app.current
            .map(|number| find_release(&connection, &app, number))
            .transpose()
    }

    /// The config that the next release starts from.
    pub fn config(&self, app: &AppName) -> Result<ConfigVars, LedgerError> {
        Ok(self
            .current(app)?
            .map_or_else(ConfigVars::new, |release| release.config))
    }

    pub fn release(&self, app: &AppName, number: ReleaseNumber) -> Result<Release, LedgerError> {
        let connection = self.lock();
        let app = find(&connection, app)?;
        find_release(&connection, &app, number)
    }

    /// Releases before the current one whose instances do as well, because what followed came without a restart.
    pub(crate) fn as_good_as_current(
        &self,
        app: &App,
    ) -> Result<BTreeSet<ReleaseNumber>, LedgerError> {
        let doing = "look the releases up";
        let connection = self.lock();
        let current = app.current.map_or(0, ReleaseNumber::get).cast_signed();
        let mut query = connection
            .prepare(
                "SELECT number, quiet FROM releases
                 WHERE app = ?1 AND number <= ?2 AND status = 'succeeded' ORDER BY number DESC",
            )
            .doing(doing)?;
        let mut rows = query.query([app.id, current]).doing(doing)?;
        let mut releases = BTreeSet::new();
        while let Some(row) = rows.next().doing(doing)? {
            let number: i64 = row.get(0).doing(doing)?;
            releases.extend(ReleaseNumber::new(number.cast_unsigned()));
            if !row.get::<_, bool>(1).doing(doing)? {
                break;
            }
        }
        releases.extend(app.current);
        Ok(releases)
    }

    /// The newest release with an image that succeeded before the current one.
    pub(crate) fn before_current(&self, app: &AppName) -> Result<Option<Release>, LedgerError> {
        let connection = self.lock();
        let app = find(&connection, app)?;
        let current = app.current.map_or(0, ReleaseNumber::get).cast_signed();
        connection
            .prepare(&format!(
                "SELECT {COLUMNS} FROM releases
                 WHERE app = ?1 AND number < ?2 AND status = 'succeeded' AND image IS NOT NULL
                 ORDER BY number DESC LIMIT 1"
            ))
            .and_then(|mut query| query.query_row([app.id, current], release).optional())
            .doing("look the release up")
    }

    /// Those of each app's newest releases that `keep` different images were made for, of the current and pending ones,
    /// and of the newest one if it failed: it may be tried again.
    pub fn images_kept(&self, keep: usize) -> Result<Vec<Digest>, LedgerError> {
        let doing = "list the images";
        let connection = self.lock();
        let mut query = connection
            .prepare(
                "WITH images AS (
                     SELECT app, image, row_number() OVER (PARTITION BY app ORDER BY max(number) DESC) AS age
                     FROM releases WHERE image IS NOT NULL AND status = 'succeeded' GROUP BY app, image
                 )
                 SELECT image FROM images WHERE age <= ?1
                 UNION
                 SELECT image FROM releases JOIN apps ON app = id
                 WHERE image IS NOT NULL AND (
                     status = 'pending' OR number = current
                     OR number = (SELECT max(number) FROM releases AS of_app WHERE of_app.app = id)
                 )",
            )
            .doing(doing)?;
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        let rows = query.query_map([keep], |row| parsed(row, 0)).doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }

    pub(crate) fn image_of(
        &self,
        app: i64,
        number: ReleaseNumber,
    ) -> Result<Option<Digest>, LedgerError> {
        let query =
            "SELECT image FROM releases WHERE app = ?1 AND number = ?2 AND image IS NOT NULL";
        self.lock()
            .prepare(query)
            .and_then(|mut query| {
                let key = [app, number.get().cast_signed()];
                query.query_row(key, |row| parsed(row, 0)).optional()
            })
            .doing("look the release up")
    }

    /// Gives it the next number, as pending.
    pub(crate) fn create_release(
        &self,
        app: &AppName,
        new: NewRelease,
    ) -> Result<Release, LedgerError> {
        let doing = "create the release";
        let mut connection = self.lock();
        let transaction = immediate(&mut connection, doing)?;
        let app = find(&transaction, app)?;
        let config = serde_json::to_string(&new.config)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
            .doing(doing)?;
        let number: i64 = transaction
            .query_row(
                "INSERT INTO releases
                     (app, number, status, image, config, description, created_by, created_at, git_commit, git_ref, quiet)
                 SELECT ?1, coalesce(max(number), 0) + 1, 'pending', ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
                 FROM releases WHERE app = ?1
                 RETURNING number",
                params![
                    app.id,
                    new.image.map(|image| image.to_string()),
                    config,
                    new.description,
                    new.by,
                    now().cast_signed(),
                    new.commit,
                    new.git_ref,
                    new.quiet,
                ],
                |row| row.get(0),
            )
            .doing(doing)?;
        let created = release_of(&transaction, app.id, number).doing(doing)?;
        transaction.commit().doing(doing)?;
        Ok(created)
    }

    /// The release serves: it has succeeded, is the current one, and its process types are part of the formation.
    pub(crate) fn release_succeeded(
        &self,
        app: i64,
        number: ReleaseNumber,
        types: &[ProcessType],
    ) -> Result<(), LedgerError> {
        let doing = "mark the release as succeeded";
        let mut connection = self.lock();
        let transaction = immediate(&mut connection, doing)?;
        let number = number.get().cast_signed();
        transaction
            .execute(
                "UPDATE releases SET status = 'succeeded' WHERE app = ?1 AND number = ?2",
                [app, number],
            )
            .doing(doing)?;
        transaction
            .execute("UPDATE apps SET current = ?2 WHERE id = ?1", [app, number])
            .doing(doing)?;
        for process_type in types {
            transaction
                .execute(
                    "INSERT INTO formation (app, process_type, quantity) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO NOTHING",
                    params![app, process_type.as_str(), default_quantity(process_type)],
                )
                .doing(doing)?;
        }
        transaction.commit().doing(doing)
    }

    pub(crate) fn release_failed(
        &self,
        app: i64,
        number: ReleaseNumber,
        reason: &str,
    ) -> Result<(), LedgerError> {
        self.lock()
            .execute(
                "UPDATE releases SET status = 'failed', reason = ?3
                 WHERE app = ?1 AND number = ?2 AND status = 'pending'",
                params![app, number.get().cast_signed(), reason],
            )
            .doing("mark the release as failed")?;
        Ok(())
    }

    /// At a start: nobody is working on these any more.
    pub(crate) fn fail_interrupted(&self) -> Result<(), LedgerError> {
        let doing = "mark what was interrupted as failed";
        let mut connection = self.lock();
        let transaction = immediate(&mut connection, doing)?;
        transaction
            .execute(
                "UPDATE releases SET status = 'failed', reason = ?1 WHERE status = 'pending'",
                [INTERRUPTED],
            )
            .doing(doing)?;
        transaction
            .execute(
                "UPDATE builds SET status = 'failed', reason = ?1, ended_at = ?2 WHERE status IN ('queued', 'running')",
                params![builds::INTERRUPTED, now().cast_signed()],
            )
            .doing(doing)?;
        transaction.commit().doing(doing)
    }

    /// Live releases whose ref has not been confirmed moved: (app, ref name, commit). For the start after a crash.
    pub fn unsettled_refs(&self) -> Result<Vec<(App, String, String)>, LedgerError> {
        let doing = "list the refs to move";
        let connection = self.lock();
        let mut query = connection
            .prepare(
                "SELECT apps.name, git_ref, git_commit
                 FROM apps JOIN releases ON app = id AND number = current
                 WHERE git_ref IS NOT NULL AND git_commit IS NOT NULL AND NOT ref_settled",
            )
            .doing(doing)?;
        let rows = query
            .query_map([], |row| Ok((parsed(row, 0)?, row.get(1)?, row.get(2)?)))
            .doing(doing)?;
        let rows: Vec<(AppName, String, String)> =
            rows.collect::<rusqlite::Result<_>>().doing(doing)?;
        rows.into_iter()
            .map(|(name, git_ref, commit)| Ok((find(&connection, &name)?, git_ref, commit)))
            .collect()
    }

    /// The ref of the app's current release has been moved.
    pub fn ref_settled(&self, app: &AppName) -> Result<(), LedgerError> {
        let connection = self.lock();
        let app = find(&connection, app)?;
        connection
            .execute(
                "UPDATE releases SET ref_settled = 1
                 WHERE app = ?1 AND number = (SELECT current FROM apps WHERE id = ?1)",
                [app.id],
            )
            .doing("note that the ref has moved")?;
        Ok(())
    }
}

/// On the first deploy, and for process types that are new (Heroku, Dokku).
pub(crate) fn default_quantity(process_type: &ProcessType) -> u32 {
    u32::from(process_type.is_web())
}

fn immediate<'a>(
    connection: &'a mut Connection,
    doing: &'static str,
) -> Result<Transaction<'a>, LedgerError> {
    connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .doing(doing)
}

fn find_release(
    connection: &Connection,
    app: &App,
    number: ReleaseNumber,
) -> Result<Release, LedgerError> {
    release_of(connection, app.id, number.get().cast_signed())
        .optional()
        .doing("look the release up")?
        .ok_or_else(|| LedgerError::NoRelease {
            app: app.name.clone(),
            number,
        })
}

fn release_of(connection: &Connection, app: i64, number: i64) -> rusqlite::Result<Release> {
    connection
        .prepare(&format!(
            "SELECT {COLUMNS} FROM releases WHERE app = ?1 AND number = ?2"
        ))?
        .query_row([app, number], release)
}

fn release(row: &Row<'_>) -> rusqlite::Result<Release> {
    let damaged = |column: usize, what: &str| {
        rusqlite::Error::FromSqlConversionFailure(column, types::Type::Text, what.into())
    };
    let number = row.get::<_, i64>(0)?.cast_unsigned();
    let status = match row.get_ref(1)?.as_str()? {
        "pending" => ReleaseStatus::Pending,
        "succeeded" => ReleaseStatus::Succeeded,
        "failed" => ReleaseStatus::Failed,
        _ => return Err(damaged(1, "an unknown status")),
    };
    let image: Option<String> = row.get(3)?;
    Ok(Release {
        number: ReleaseNumber::new(number).ok_or_else(|| damaged(0, "a release number of 0"))?,
        status,
        reason: row.get(2)?,
        image: image
            .map(|image| image.parse())
            .transpose()
            .map_err(|_| damaged(3, "an image that is no digest"))?,
        // The cause is left out: it might quote a value.
        config: serde_json::from_str(row.get_ref(4)?.as_str()?)
            .map_err(|_| damaged(4, "config vars that cannot be read"))?,
        description: row.get(5)?,
        by: row.get(6)?,
        created_at: row.get::<_, i64>(7)?.cast_unsigned(),
        commit: row.get(8)?,
        quiet: row.get(9)?,
    })
}
