//! The SSH public keys that may push and administer.

use rusqlite::params;

use super::{Doing as _, Ledger, LedgerError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `SHA256:…` as OpenSSH prints it.
    pub fingerprint: String,
    /// The user it belongs to, for `by`.
    pub name: String,
    /// One line as in authorized_keys.
    pub public: String,
    /// Seconds since the Unix epoch.
    pub added_at: u64,
}

impl Ledger {
    pub fn keys(&self) -> Result<Vec<Key>, LedgerError> {
        let doing = "list the keys";
        let connection = self.lock();
        let mut query = connection
            .prepare(
                "SELECT fingerprint, name, public, added_at FROM keys ORDER BY name, fingerprint",
            )
            .doing(doing)?;
        let rows = query
            .query_map([], |row| {
                Ok(Key {
                    fingerprint: row.get(0)?,
                    name: row.get(1)?,
                    public: row.get(2)?,
                    added_at: row.get::<_, i64>(3)?.cast_unsigned(),
                })
            })
            .doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }

    /// `false`: it is there already.
    pub fn add_key(&self, key: &Key) -> Result<bool, LedgerError> {
        let added = self
            .lock()
            .execute(
                "INSERT INTO keys (fingerprint, name, public, added_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                params![key.fingerprint, key.name, key.public, key.added_at.cast_signed()],
            )
            .doing("add the key")?;
        Ok(added > 0)
    }

    /// By name or fingerprint; the fingerprints removed.
    pub fn remove_key(&self, which: &str) -> Result<Vec<String>, LedgerError> {
        let doing = "remove the key";
        let connection = self.lock();
        let mut query = connection
            .prepare("DELETE FROM keys WHERE name = ?1 OR fingerprint = ?1 RETURNING fingerprint")
            .doing(doing)?;
        let rows = query.query_map([which], |row| row.get(0)).doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }
}
