//! Builds: what was pushed, by whom, and how it ended.

use rusqlite::{OptionalExtension as _, Row, params, types};

use super::{Doing as _, Ledger, LedgerError, apps::find, now};
use crate::{AppName, ReleaseNumber};

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildStatus {
    /// Behind other deploys of its app.
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    /// Another push has taken its place.
    Superseded,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Counts up per app from 1.
    pub number: u64,
    pub status: BuildStatus,
    pub commit: String,
    pub by: String,
    /// When it was pushed. Seconds since the Unix epoch, as the other times.
    pub started_at: u64,
    /// When its turn came.
    pub running_at: Option<u64>,
    pub ended_at: Option<u64>,
    pub release: Option<ReleaseNumber>,
    /// One line, when no release came of it.
    pub reason: Option<String>,
}

/// Why a build that the end of the server cut off has failed.
pub(super) const INTERRUPTED: &str = "interrupted: the server ended while it was under way";
const COLUMNS: &str =
    "number, status, git_commit, started_by, started_at, running_at, ended_at, release, reason";

impl Ledger {
    /// Makes a build record; its log is the caller's file, named after the number.
    pub fn build_queued(
        &self,
        app: &AppName,
        commit: &str,
        by: &str,
    ) -> Result<Build, LedgerError> {
        let connection = self.lock();
        let app = find(&connection, app)?;
        connection
            .query_row(
                &format!(
                    "INSERT INTO builds (app, number, status, git_commit, started_by, started_at)
                     SELECT ?1, coalesce(max(number), 0) + 1, 'queued', ?2, ?3, ?4 FROM builds WHERE app = ?1
                     RETURNING {COLUMNS}"
                ),
                params![app.id, commit, by, now().cast_signed()],
                build,
            )
            .doing("note that a build is wanted")
    }

    /// Its turn has come.
    pub fn build_running(&self, app: &AppName, number: u64) -> Result<(), LedgerError> {
        let connection = self.lock();
        let found = find(&connection, app)?;
        let changed = connection
            .execute(
                "UPDATE builds SET status = 'running', running_at = ?3 WHERE app = ?1 AND number = ?2",
                [found.id, number.cast_signed(), now().cast_signed()],
            )
            .doing("note the build's start")?;
        known(app, number, changed)
    }

    pub fn build_ended(
        &self,
        app: &AppName,
        number: u64,
        status: BuildStatus,
        release: Option<ReleaseNumber>,
        reason: Option<&str>,
    ) -> Result<(), LedgerError> {
        let connection = self.lock();
        let found = find(&connection, app)?;
        let changed = connection
            .execute(
                "UPDATE builds SET status = ?3, ended_at = ?4, release = ?5, reason = ?6
                 WHERE app = ?1 AND number = ?2",
                params![
                    found.id,
                    number.cast_signed(),
                    status.as_str(),
                    now().cast_signed(),
                    release.map(|release| release.get().cast_signed()),
                    reason,
                ],
            )
            .doing("note the build's end")?;
        known(app, number, changed)
    }

    /// The one with this number, or the newest. `None`: nothing was built yet.
    pub fn build(&self, app: &AppName, number: Option<u64>) -> Result<Option<Build>, LedgerError> {
        let connection = self.lock();
        let found = find(&connection, app)?;
        let row = connection
            .prepare(&format!(
                "SELECT {COLUMNS} FROM builds WHERE app = ?1 AND number = coalesce(?2, number)
                 ORDER BY number DESC LIMIT 1"
            ))
            .and_then(|mut query| {
                let number = number.map(u64::cast_signed);
                query.query_row(params![found.id, number], build).optional()
            })
            .doing("look the build up")?;
        match (row, number) {
            (None, Some(number)) => Err(LedgerError::NoBuild {
                app: app.clone(),
                number,
            }),
            (row, _) => Ok(row),
        }
    }

    /// Newest first.
    pub fn builds(&self, app: &AppName, limit: usize) -> Result<Vec<Build>, LedgerError> {
        let doing = "list the builds";
        let connection = self.lock();
        let app = find(&connection, app)?;
        let mut query = connection
            .prepare(&format!(
                "SELECT {COLUMNS} FROM builds WHERE app = ?1 ORDER BY number DESC LIMIT ?2"
            ))
            .doing(doing)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = query.query_map([app.id, limit], build).doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }

    /// Forgets all builds that have ended but the newest `keep`; the numbers of those forgotten. The newest of all
    /// stays in any case: numbers are not given twice.
    pub fn prune_builds(&self, app: &AppName, keep: u64) -> Result<Vec<u64>, LedgerError> {
        let doing = "forget old builds";
        let connection = self.lock();
        let app = find(&connection, app)?;
        let mut query = connection
            .prepare(
                "DELETE FROM builds WHERE app = ?1 AND ended_at IS NOT NULL AND number NOT IN
                     (SELECT number FROM builds WHERE app = ?1 ORDER BY number DESC LIMIT ?2)
                 RETURNING number",
            )
            .doing(doing)?;
        let keep = i64::try_from(keep.max(1)).unwrap_or(i64::MAX);
        let rows = query
            .query_map([app.id, keep], |row| {
                Ok(row.get::<_, i64>(0)?.cast_unsigned())
            })
            .doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }
}

impl BuildStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::Queued,
            Self::Running,
            Self::Succeeded,
            Self::Failed,
            Self::Cancelled,
            Self::Superseded,
        ];
        all.into_iter().find(|status| status.as_str() == text)
    }
}

fn known(app: &AppName, number: u64, changed: usize) -> Result<(), LedgerError> {
    match changed {
        0 => Err(LedgerError::NoBuild {
            app: app.clone(),
            number,
        }),
        _ => Ok(()),
    }
}

fn build(row: &Row<'_>) -> rusqlite::Result<Build> {
    let maybe = |column: usize| -> rusqlite::Result<Option<u64>> {
        let value: Option<i64> = row.get(column)?;
        Ok(value.map(i64::cast_unsigned))
    };
    let status = BuildStatus::parse(row.get_ref(1)?.as_str()?).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(1, types::Type::Text, "an unknown status".into())
    })?;
    Ok(Build {
        number: row.get::<_, i64>(0)?.cast_unsigned(),
        status,
        commit: row.get(2)?,
        by: row.get(3)?,
        started_at: row.get::<_, i64>(4)?.cast_unsigned(),
        running_at: maybe(5)?,
        ended_at: maybe(6)?,
        release: maybe(7)?.and_then(ReleaseNumber::new),
        reason: row.get(8)?,
    })
}
