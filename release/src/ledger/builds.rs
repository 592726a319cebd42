//! Builds: what was pushed, by whom, and how it ended.

use rusqlite::{Row, params, types};

use super::{Doing as _, Ledger, LedgerError, apps::find, now};
use crate::{AppName, ReleaseNumber};

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildStatus {
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Counts up per app from 1.
    pub number: u64,
    pub status: BuildStatus,
    pub commit: String,
    pub by: String,
    /// Seconds since the Unix epoch, as `ended_at`.
    pub started_at: u64,
    pub ended_at: Option<u64>,
    pub release: Option<ReleaseNumber>,
    /// One line, when it failed.
    pub reason: Option<String>,
}

const COLUMNS: &str =
    "number, status, git_commit, started_by, started_at, ended_at, release, reason";

impl Ledger {
    /// Starts a build record; its log is the caller's file, named after the number.
    pub fn build_started(
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
                     SELECT ?1, coalesce(max(number), 0) + 1, 'running', ?2, ?3, ?4 FROM builds WHERE app = ?1
                     RETURNING {COLUMNS}"
                ),
                params![app.id, commit, by, now().cast_signed()],
                build,
            )
            .doing("note the build's start")
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
        if changed == 0 {
            return Err(LedgerError::NoBuild {
                app: app.clone(),
                number,
            });
        }
        Ok(())
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
}

impl BuildStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

fn build(row: &Row<'_>) -> rusqlite::Result<Build> {
    let status = match row.get_ref(1)?.as_str()? {
        "running" => BuildStatus::Running,
        "succeeded" => BuildStatus::Succeeded,
        "failed" => BuildStatus::Failed,
        "cancelled" => BuildStatus::Cancelled,
        _ => {
            let kind = types::Type::Text;
            return Err(rusqlite::Error::FromSqlConversionFailure(
                1,
                kind,
                "an unknown status".into(),
            ));
        }
    };
    Ok(Build {
        number: row.get::<_, i64>(0)?.cast_unsigned(),
        status,
        commit: row.get(2)?,
        by: row.get(3)?,
        started_at: row.get::<_, i64>(4)?.cast_unsigned(),
        ended_at: row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned),
        release: row
            .get::<_, Option<i64>>(6)?
            .and_then(|number| ReleaseNumber::new(number.cast_unsigned())),
        reason: row.get(7)?,
    })
}
