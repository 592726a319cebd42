//! Limits that were set for an app's processes.

use rusqlite::params;

use super::{
    Doing as _, Ledger, LedgerError,
    apps::{find, parsed},
};
use crate::{AppLimits, AppName, limits::LimitsSet};

/// Stands for all process types; no process type is called so.
const EVERY: &str = "";

impl Ledger {
    pub fn limits(&self, app: &AppName) -> Result<AppLimits, LedgerError> {
        let doing = "read the limits";
        let connection = self.lock();
        let app = find(&connection, app)?;
        let mut query = connection
            .prepare("SELECT process_type, cpu_milli, memory_bytes FROM limits WHERE app = ?1")
            .doing(doing)?;
        let mut rows = query.query([app.id]).doing(doing)?;
        let mut limits = AppLimits::default();
        while let Some(row) = rows.next().doing(doing)? {
            let set = LimitsSet {
                cpu_milli: row.get(1).doing(doing)?,
                memory_bytes: row
                    .get::<_, Option<i64>>(2)
                    .doing(doing)?
                    .map(i64::cast_unsigned),
            };
            if row.get_ref(0).doing(doing)?.as_str() == Ok(EVERY) {
                limits.every = set;
            } else {
                limits.of_type.insert(parsed(row, 0).doing(doing)?, set);
            }
        }
        Ok(limits)
    }

    pub(crate) fn set_limits(&self, app: &AppName, limits: &AppLimits) -> Result<(), LedgerError> {
        let doing = "set the limits";
        let mut connection = self.lock();
        let transaction = connection.transaction().doing(doing)?;
        let app = find(&transaction, app)?;
        transaction
            .execute("DELETE FROM limits WHERE app = ?1", [app.id])
            .doing(doing)?;
        let of_type = limits
            .of_type
            .iter()
            .map(|(name, set)| (name.as_str(), set));
        for (process_type, set) in of_type.chain([(EVERY, &limits.every)]) {
            transaction
                .execute(
                    "INSERT INTO limits (app, process_type, cpu_milli, memory_bytes) VALUES (?1, ?2, ?3, ?4)",
                    params![app.id, process_type, set.cpu_milli, set.memory_bytes.map(u64::cast_signed)],
                )
                .doing(doing)?;
        }
        transaction.commit().doing(doing)
    }
}
