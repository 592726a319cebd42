//! The SSH public keys that open the door: of users, and of machines that deploy one app.

use rusqlite::{Row, params};

use super::{Doing as _, Ledger, LedgerError, apps::parsed};
use crate::{Role, UserName};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `SHA256:…` as OpenSSH prints it.
    pub fingerprint: String,
    /// What its holder calls it, for example `laptop`.
    pub name: String,
    pub holder: Holder,
    /// One line as in authorized_keys.
    pub public: String,
    /// Seconds since the Unix epoch, as `expires_at`.
    pub added_at: u64,
    pub expires_at: Option<u64>,
}

/// Whose key it is, and so what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// What the user may.
    User(String),
    /// A deploy key: one role on one app, whatever the app is called by now.
    App { id: i64, role: Role },
}

impl Ledger {
    pub fn keys(&self) -> Result<Vec<Key>, LedgerError> {
        let doing = "list the keys";
        let connection = self.lock();
        let mut query = connection
            .prepare(
                "SELECT fingerprint, name, user, app, role, public, added_at, expires_at FROM keys
                 ORDER BY name, fingerprint",
            )
            .doing(doing)?;
        let rows = query.query_map([], key).doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }

    /// `false`: it is there already, and whoever has it keeps it.
    pub fn add_key(&self, key: &Key) -> Result<bool, LedgerError> {
        let (user, app, role) = match &key.holder {
            Holder::User(name) => (Some(name), None, None),
            Holder::App { id, role } => (None, Some(id), Some(role.as_str())),
        };
        let added = self
            .lock()
            .execute(
                "INSERT INTO keys (fingerprint, name, user, app, role, public, added_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
                params![
                    key.fingerprint,
                    key.name,
                    user,
                    app,
                    role,
                    key.public,
                    key.added_at.cast_signed(),
                    key.expires_at.map(u64::cast_signed),
                ],
            )
            .doing("add the key")?;
        self.people_changed();
        Ok(added > 0)
    }

    /// `false`: there is none.
    pub fn remove_key(&self, fingerprint: &str) -> Result<bool, LedgerError> {
        self.keeping_an_admin("remove the key", |transaction| {
            let removed =
                transaction.execute("DELETE FROM keys WHERE fingerprint = ?1", [fingerprint]);
            Ok(removed.doing("remove the key")? > 0)
        })
    }

    /// Of an administrator, who is made one. A key that somebody has stays theirs, and makes them one.
    pub fn add_admin_key(&self, user: &UserName, key: &Key) -> Result<(), LedgerError> {
        self.add_user(user, true)?;
        self.add_key(key)?;
        self.lock()
            .execute(
                "UPDATE users SET admin = 1 WHERE name = (SELECT user FROM keys WHERE fingerprint = ?1)",
                [&key.fingerprint],
            )
            .doing("make the key's user an administrator")?;
        self.people_changed();
        Ok(())
    }
}

fn key(row: &Row<'_>) -> rusqlite::Result<Key> {
    let holder = match row.get(2)? {
        Some(user) => Holder::User(user),
        None => Holder::App {
            id: row.get(3)?,
            role: parsed(row, 4)?,
        },
    };
    Ok(Key {
        fingerprint: row.get(0)?,
        name: row.get(1)?,
        holder,
        public: row.get(5)?,
        added_at: row.get::<_, i64>(6)?.cast_unsigned(),
        expires_at: row.get::<_, Option<i64>>(7)?.map(i64::cast_unsigned),
    })
}
