//! How an app is asked whether it is healthy.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Doing as _, Ledger, LedgerError, apps::find};
use crate::{AppName, Checks};

impl Ledger {
    pub fn checks(&self, app: &AppName) -> Result<Checks, LedgerError> {
        let connection = self.lock();
        let app = find(&connection, app)?;
        let doing = "read the checks";
        let mut query = connection
            .prepare("SELECT path, timeout_ms, interval_ms, boot_ms FROM checks WHERE app = ?1")
            .doing(doing)?;
        let checks = query.query_row([app.id], checks).optional().doing(doing)?;
        Ok(checks.unwrap_or_default())
    }

    pub(crate) fn set_checks(&self, app: &AppName, checks: &Checks) -> Result<(), LedgerError> {
        let connection = self.lock();
        let app = find(&connection, app)?;
        let ms = |time: Option<Duration>| {
            time.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
        };
        connection
            .execute(
                "INSERT OR REPLACE INTO checks (app, path, timeout_ms, interval_ms, boot_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    app.id,
                    checks.path,
                    ms(checks.timeout),
                    ms(checks.interval),
                    ms(checks.boot)
                ],
            )
            .doing("set the checks")?;
        Ok(())
    }
}

fn checks(row: &Row<'_>) -> rusqlite::Result<Checks> {
    let time = |column| -> rusqlite::Result<Option<Duration>> {
        let ms: Option<i64> = row.get(column)?;
        Ok(ms.map(|ms| Duration::from_millis(ms.cast_unsigned())))
    };
    Ok(Checks {
        path: row.get(0)?,
        timeout: time(1)?,
        interval: time(2)?,
        boot: time(3)?,
    })
}
