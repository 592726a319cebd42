//! Domains of apps' own: each belongs to one app.

use rusqlite::params;

use super::{
    Doing as _, Ledger, LedgerError,
    apps::{find, parsed, unless_taken},
    now,
};
use crate::{AppName, Domain};

impl Ledger {
    /// In alphabetical order.
    pub fn domains(&self, app: &AppName) -> Result<Vec<Domain>, LedgerError> {
        let doing = "list the domains";
        let connection = self.lock();
        let app = find(&connection, app)?;
        let mut query = connection
            .prepare("SELECT host FROM domains WHERE app = ?1 ORDER BY host")
            .doing(doing)?;
        let rows = query
            .query_map([app.id], |row| parsed(row, 0))
            .doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }

    pub(crate) fn add_domain(
        &self,
        app: &AppName,
        domain: &Domain,
        by: &str,
    ) -> Result<(), LedgerError> {
        let connection = self.lock();
        let app = find(&connection, app)?;
        let added = connection.execute(
            "INSERT INTO domains (host, app, added_by, added_at) VALUES (?1, ?2, ?3, ?4)",
            params![domain.as_str(), app.id, by, now().cast_signed()],
        );
        unless_taken(added, || LedgerError::DomainTaken(domain.clone()))
            .and_then(|result| result.doing("add the domain"))?;
        Ok(())
    }

    /// `false`: the app does not have it.
    pub(crate) fn remove_domain(
        &self,
        app: &AppName,
        domain: &Domain,
    ) -> Result<bool, LedgerError> {
        let connection = self.lock();
        let app = find(&connection, app)?;
        let removed = connection
            .execute(
                "DELETE FROM domains WHERE app = ?1 AND host = ?2",
                params![app.id, domain.as_str()],
            )
            .doing("remove the domain")?;
        Ok(removed > 0)
    }
}
