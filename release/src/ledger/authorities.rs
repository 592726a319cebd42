//! Certificate authorities whose user certificates open the door, and certificates that no longer do.

use rusqlite::params;

use super::{Doing as _, Ledger, LedgerError, now};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// `SHA256:…` of its key, as OpenSSH prints it.
    pub fingerprint: String,
    pub name: String,
    /// One line as in authorized_keys.
    pub public: String,
    /// Seconds since the Unix epoch.
    pub added_at: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// `serial:7`, `id:ann@laptop`, or `SHA256:…` of the certified key.
    pub what: String,
    /// Seconds since the Unix epoch.
    pub revoked_at: u64,
}

impl Ledger {
    pub fn authorities(&self) -> Result<Vec<Authority>, LedgerError> {
        let doing = "list the certificate authorities";
        let connection = self.lock();
        let mut query = connection
            .prepare("SELECT fingerprint, name, public, added_at FROM authorities ORDER BY name, fingerprint")
            .doing(doing)?;
        let rows = query
            .query_map([], |row| {
                Ok(Authority {
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
    pub fn add_authority(&self, authority: &Authority) -> Result<bool, LedgerError> {
        let added = self
            .lock()
            .execute(
                "INSERT INTO authorities (fingerprint, name, public, added_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO NOTHING",
                params![
                    authority.fingerprint,
                    authority.name,
                    authority.public,
                    authority.added_at.cast_signed()
                ],
            )
            .doing("add the certificate authority")?;
        self.people_changed();
        Ok(added > 0)
    }

    /// By name or fingerprint; `false`: there is none.
    pub fn remove_authority(&self, which: &str) -> Result<bool, LedgerError> {
        let removed = self
            .lock()
            .execute(
                "DELETE FROM authorities WHERE name = ?1 OR fingerprint = ?1",
                [which],
            )
            .doing("remove the certificate authority")?;
        self.people_changed();
        Ok(removed > 0)
    }

    pub fn revocations(&self) -> Result<Vec<Revocation>, LedgerError> {
        let doing = "list the revoked certificates";
        let connection = self.lock();
        let mut query = connection
            .prepare("SELECT what, revoked_at FROM revocations ORDER BY what")
            .doing(doing)?;
        let rows = query
            .query_map([], |row| {
                Ok(Revocation {
                    what: row.get(0)?,
                    revoked_at: row.get::<_, i64>(1)?.cast_unsigned(),
                })
            })
            .doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }

    /// `false`: it is revoked already.
    pub fn revoke_certificate(&self, what: &str) -> Result<bool, LedgerError> {
        let added = self
            .lock()
            .execute(
                "INSERT INTO revocations (what, revoked_at) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                params![what, now().cast_signed()],
            )
            .doing("revoke the certificate")?;
        self.people_changed();
        Ok(added > 0)
    }

    /// `false`: it was not revoked.
    pub fn unrevoke_certificate(&self, what: &str) -> Result<bool, LedgerError> {
        let removed = self
            .lock()
            .execute("DELETE FROM revocations WHERE what = ?1", [what])
            .doing("take the revocation back")?;
        self.people_changed();
        Ok(removed > 0)
    }
}
