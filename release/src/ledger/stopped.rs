//! Instances that were stopped by hand and stay so until they are started by hand.

use std::collections::BTreeSet;

use rusqlite::params;

use super::{Doing as _, Ledger, LedgerError, apps::parsed};
use crate::formation::Slot;

impl Ledger {
    pub(crate) fn stopped(&self, app: i64) -> Result<BTreeSet<Slot>, LedgerError> {
        let doing = "list the stopped instances";
        let connection = self.lock();
        let mut query = connection
            .prepare("SELECT slot FROM stopped WHERE app = ?1")
            .doing(doing)?;
        let rows = query.query_map([app], |row| parsed(row, 0)).doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }

    pub(crate) fn set_stopped(&self, app: i64, slots: &BTreeSet<Slot>) -> Result<(), LedgerError> {
        let doing = "note the stopped instances";
        let mut connection = self.lock();
        let transaction = connection.transaction().doing(doing)?;
        transaction
            .execute("DELETE FROM stopped WHERE app = ?1", [app])
            .doing(doing)?;
        for slot in slots {
            transaction
                .execute(
                    "INSERT INTO stopped (app, slot) VALUES (?1, ?2)",
                    params![app, slot.to_string()],
                )
                .doing(doing)?;
        }
        transaction.commit().doing(doing)
    }
}
