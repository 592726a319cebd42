//! Apps and their formation: how many instances of each process type are wanted.

use std::collections::BTreeMap;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, params};

use super::{Doing as _, Ledger, LedgerError, now, users};
use crate::{AppName, ProcessType, ReleaseNumber, UserName};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Never reused: names paths on disk (`repos/<id>.git`, `logs/<id>`), so that a name never does.
    pub id: i64,
    pub name: AppName,
    /// Seconds since the Unix epoch.
    pub created_at: u64,
    pub current: Option<ReleaseNumber>,
    /// A user's name.
    pub owner: String,
    /// While there is one, the app gets no new release.
    pub lock: Option<Lock>,
    /// Visitors read this instead of the app; empty for the usual words.
    pub maintenance: Option<String>,
    /// The branch whose pushes deploy; `None`: the platform's.
    pub deploy_branch: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    pub by: String,
    /// Seconds since the Unix epoch.
    pub at: u64,
    pub reason: Option<String>,
}

const COLUMNS: &str = "id, name, created_at, current, owner, locked_by, locked_at, lock_reason, maintenance, deploy_branch";

impl Ledger {
    /// By name.
    pub fn apps(&self) -> Result<Vec<App>, LedgerError> {
        let doing = "list the apps";
        let connection = self.lock();
        let mut query = connection
            .prepare(&format!("SELECT {COLUMNS} FROM apps ORDER BY name"))
            .doing(doing)?;
        let rows = query.query_map([], app).doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }

    pub fn app(&self, name: &AppName) -> Result<App, LedgerError> {
        find(&self.lock(), name)
    }

    /// Which app has the name.
    pub fn app_id(&self, name: &AppName) -> Result<Option<i64>, LedgerError> {
        self.lock()
            .query_row(
                "SELECT id FROM apps WHERE name = ?1",
                [name.as_str()],
                |row| row.get(0),
            )
            .optional()
            .doing("look the app up")
    }

    /// Whether there was an app with this id, and is no more.
    pub fn is_gone(&self, id: i64) -> Result<bool, LedgerError> {
        let given = "SELECT 1 FROM sqlite_sequence WHERE name = 'apps' AND ?1 BETWEEN 1 AND seq";
        let was_there = self
            .lock()
            .query_row(given, [id], |_| Ok(()))
            .optional()
            .doing("look the app up")?
            .is_some();
        Ok(was_there && self.app_name(id)?.is_none())
    }

    /// Which name the app has by now. `None`: it is gone.
    pub fn app_name(&self, id: i64) -> Result<Option<AppName>, LedgerError> {
        self.lock()
            .query_row("SELECT name FROM apps WHERE id = ?1", [id], |row| {
                parsed(row, 0)
            })
            .optional()
            .doing("look the app up")
    }

    /// `by` becomes its owner, if there is a user of that name.
    pub(crate) fn create_app(&self, name: &AppName, by: &str) -> Result<App, LedgerError> {
        let created_at = now();
        let mut connection = self.lock();
        let connection = connection.transaction().doing("create the app")?;
        let inserted = connection.execute(
            "INSERT INTO apps (name, created_at, created_by, owner) VALUES (?1, ?2, ?3, ?3)",
            params![name.as_str(), created_at.cast_signed(), by],
        );
        unless_taken(inserted, || LedgerError::NameTaken(name.clone()))
            .and_then(|result| result.doing("create the app"))?;
        let id = connection.last_insert_rowid();
        connection
            .execute(
                "INSERT INTO grants (app, user, role) SELECT ?1, name, 'owner' FROM users WHERE name = ?2",
                params![id, by],
            )
            .doing("make the creator the app's owner")?;
        connection.commit().doing("create the app")?;
        Ok(App {
            id,
            name: name.clone(),
            created_at,
            current: None,
            owner: by.to_owned(),
            lock: None,
            maintenance: None,
            deploy_branch: None,
        })
    }

    pub(crate) fn rename_app(&self, id: i64, name: &AppName) -> Result<(), LedgerError> {
        let renamed = self.lock().execute(
            "UPDATE apps SET name = ?2 WHERE id = ?1",
            params![id, name.as_str()],
        );
        unless_taken(renamed, || LedgerError::NameTaken(name.clone()))
            .and_then(|result| result.doing("rename the app"))?;
        Ok(())
    }

    /// The owner before becomes an operator.
    pub fn set_owner(&self, app: &AppName, owner: &UserName) -> Result<(), LedgerError> {
        let doing = "transfer the app";
        let mut connection = self.lock();
        let transaction = connection.transaction().doing(doing)?;
        let app = find(&transaction, app)?;
        users::must_exist(&transaction, owner)?;
        transaction
            .execute(
                "UPDATE grants SET role = 'operator' WHERE app = ?1 AND user = ?2",
                params![app.id, app.owner],
            )
            .and_then(|_| {
                transaction.execute(
                    "INSERT INTO grants (app, user, role) VALUES (?1, ?2, 'owner')
                 ON CONFLICT (app, user) DO UPDATE SET role = 'owner'",
                    params![app.id, owner.as_str()],
                )
            })
            .and_then(|_| {
                transaction.execute(
                    "UPDATE apps SET owner = ?2 WHERE id = ?1",
                    params![app.id, owner.as_str()],
                )
            })
            .doing(doing)?;
        transaction.commit().doing(doing)
    }

    /// `None`: the platform's branch again.
    pub fn set_deploy_branch(
        &self,
        app: &AppName,
        branch: Option<&str>,
    ) -> Result<(), LedgerError> {
        self.set(app, "deploy_branch", branch)
    }

    /// The time is now.
    pub fn lock_app(
        &self,
        app: &AppName,
        by: &str,
        reason: Option<&str>,
    ) -> Result<(), LedgerError> {
        let connection = self.lock();
        let app = find(&connection, app)?;
        connection
            .execute(
                "UPDATE apps SET locked_by = ?2, locked_at = ?3, lock_reason = ?4 WHERE id = ?1",
                params![app.id, by, now().cast_signed(), reason],
            )
            .doing("lock the app")?;
        Ok(())
    }

    pub fn unlock_app(&self, app: &AppName) -> Result<(), LedgerError> {
        self.set(app, "locked_by", None::<&str>)
    }

    pub(crate) fn set_maintenance(
        &self,
        app: &AppName,
        text: Option<&str>,
    ) -> Result<(), LedgerError> {
        self.set(app, "maintenance", text)
    }

    fn set(
        &self,
        app: &AppName,
        column: &'static str,
        value: impl rusqlite::ToSql,
    ) -> Result<(), LedgerError> {
        let connection = self.lock();
        let app = find(&connection, app)?;
        connection
            .execute(
                &format!("UPDATE apps SET {column} = ?2 WHERE id = ?1"),
                params![app.id, value],
            )
            .doing("change the app")?;
        Ok(())
    }

    /// With its releases, formation, builds, grants and deploy keys.
    pub(crate) fn destroy_app(&self, id: i64) -> Result<(), LedgerError> {
        self.lock()
            .execute("DELETE FROM apps WHERE id = ?1", [id])
            .doing("destroy the app")?;
        self.people_changed();
        Ok(())
    }

    /// Wanted instances per process type. Types that were never deployed are absent.
    pub fn formation(&self, app: &AppName) -> Result<BTreeMap<ProcessType, u32>, LedgerError> {
        let doing = "read the formation";
        let connection = self.lock();
        let app = find(&connection, app)?;
        let mut query = connection
            .prepare("SELECT process_type, quantity FROM formation WHERE app = ?1")
            .doing(doing)?;
        let rows = query
            .query_map([app.id], |row| Ok((parsed(row, 0)?, row.get(1)?)))
            .doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }

    pub(crate) fn set_formation(
        &self,
        app: i64,
        quantities: &BTreeMap<ProcessType, u32>,
    ) -> Result<(), LedgerError> {
        let doing = "change the formation";
        let mut connection = self.lock();
        let transaction = connection.transaction().doing(doing)?;
        for (process_type, quantity) in quantities {
            transaction
                .execute(
                    "INSERT INTO formation (app, process_type, quantity) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET quantity = excluded.quantity",
                    params![app, process_type.as_str(), quantity],
                )
                .doing(doing)?;
        }
        transaction.commit().doing(doing)
    }
}

pub(super) fn find(connection: &Connection, name: &AppName) -> Result<App, LedgerError> {
    connection
        .prepare(&format!("SELECT {COLUMNS} FROM apps WHERE name = ?1"))
        .and_then(|mut query| query.query_row([name.as_str()], app).optional())
        .doing("look the app up")?
        .ok_or_else(|| LedgerError::NoApp(name.clone()))
}

fn app(row: &Row<'_>) -> rusqlite::Result<App> {
    Ok(App {
        id: row.get(0)?,
        name: parsed(row, 1)?,
        created_at: row.get::<_, i64>(2)?.cast_unsigned(),
        current: row
            .get::<_, Option<i64>>(3)?
            .and_then(|number| ReleaseNumber::new(number.cast_unsigned())),
        owner: row.get(4)?,
        lock: lock(row)?,
        maintenance: row.get(8)?,
        deploy_branch: row.get(9)?,
    })
}

fn lock(row: &Row<'_>) -> rusqlite::Result<Option<Lock>> {
    let Some(by) = row.get(5)? else {
        return Ok(None);
    };
    Ok(Some(Lock {
        by,
        at: row
            .get::<_, Option<i64>>(6)?
            .unwrap_or_default()
            .cast_unsigned(),
        reason: row.get(7)?,
    }))
}

/// A name that must be the only one of its kind is somebody else's: `taken`.
pub(super) fn unless_taken<T>(
    result: rusqlite::Result<T>,
    taken: impl FnOnce() -> LedgerError,
) -> Result<rusqlite::Result<T>, LedgerError> {
    match result {
        Err(rusqlite::Error::SqliteFailure(error, _))
            if error.code == ErrorCode::ConstraintViolation =>
        {
            Err(taken())
        }
        result => Ok(result),
    }
}

/// A text column that somebody else's hand may have damaged.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    row.get::<_, String>(column)?.parse().map_err(|error| {
        let kind = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
    })
}
