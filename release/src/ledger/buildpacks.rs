//! The buildpacks that are set for an app.

use rusqlite::{Connection, params};

use super::{Doing as _, Ledger, LedgerError, apps::find};
use crate::{AppName, BuildpacksEdit, DeployError};

impl Ledger {
    /// In their order; none: what the app itself says, or detection.
    pub fn buildpacks(&self, app: &AppName) -> Result<Vec<String>, LedgerError> {
        let connection = self.lock();
        let app = find(&connection, app)?;
        of_app(&connection, app.id)
    }

    /// Returns the list as it is now.
    pub(crate) fn edit_buildpacks(
        &self,
        app: &AppName,
        edit: BuildpacksEdit,
    ) -> Result<Vec<String>, DeployError> {
        let mut connection = self.lock();
        let transaction = connection.transaction().doing(CHANGE)?;
        let found = find(&transaction, app)?;
        let list = edit.apply(app, of_app(&transaction, found.id)?)?;
        write(&transaction, found.id, &list)?;
        transaction.commit().doing(CHANGE)?;
        Ok(list)
    }

    pub(crate) fn copy_buildpacks(&self, of: &AppName, to: &AppName) -> Result<(), LedgerError> {
        let mut connection = self.lock();
        let transaction = connection.transaction().doing(CHANGE)?;
        let list = of_app(&transaction, find(&transaction, of)?.id)?;
        write(&transaction, find(&transaction, to)?.id, &list)?;
        transaction.commit().doing(CHANGE)
    }
}

const CHANGE: &str = "change the buildpacks";

fn of_app(connection: &Connection, app: i64) -> Result<Vec<String>, LedgerError> {
    let doing = "list the buildpacks";
    let mut query = connection
        .prepare("SELECT buildpack FROM buildpacks WHERE app = ?1 ORDER BY place")
        .doing(doing)?;
    let rows = query.query_map([app], |row| row.get(0)).doing(doing)?;
    rows.collect::<rusqlite::Result<_>>().doing(doing)
}

fn write(connection: &Connection, app: i64, list: &[String]) -> Result<(), LedgerError> {
    connection
        .execute("DELETE FROM buildpacks WHERE app = ?1", [app])
        .doing(CHANGE)?;
    for (place, buildpack) in (1_i64..).zip(list) {
        connection
            .execute(
                "INSERT INTO buildpacks (app, place, buildpack) VALUES (?1, ?2, ?3)",
                params![app, place, buildpack],
            )
            .doing(CHANGE)?;
    }
    Ok(())
}
