//! Users: who may log in, and who of them administers the platform.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};

use super::{Doing as _, Ledger, LedgerError, now};
use crate::UserName;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    /// May do everything.
    pub admin: bool,
    /// Seconds since the Unix epoch.
    pub created_at: u64,
}

impl Ledger {
    /// By name.
    pub fn users(&self) -> Result<Vec<User>, LedgerError> {
        let doing = "list the users";
        let connection = self.lock();
        let mut query = connection
            .prepare("SELECT name, admin, created_at FROM users ORDER BY name")
            .doing(doing)?;
        let rows = query.query_map([], user).doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }

    /// `false`: there is one of that name.
    pub fn add_user(&self, name: &UserName, admin: bool) -> Result<bool, LedgerError> {
        let added = self
            .lock()
            .execute(
                "INSERT INTO users (name, admin, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                params![name.as_str(), admin, now().cast_signed()],
            )
            .doing("add the user")?;
        self.people_changed();
        Ok(added > 0)
    }

    pub fn set_admin(&self, name: &UserName, admin: bool) -> Result<(), LedgerError> {
        self.keeping_an_admin("change the user", |transaction| {
            let changed = transaction.execute(
                "UPDATE users SET admin = ?2 WHERE name = ?1",
                params![name.as_str(), admin],
            );
            some(changed.doing("change the user")?, name)
        })
    }

    /// With the user's keys, roles and memberships.
    pub fn remove_user(&self, name: &UserName) -> Result<(), LedgerError> {
        self.keeping_an_admin("remove the user", |transaction| {
            let removed = transaction.execute("DELETE FROM users WHERE name = ?1", [name.as_str()]);
            some(removed.doing("remove the user")?, name)
        })
    }

    /// Undoes a change that leaves nobody who could undo it: no administrator with a key that still opens the door.
    pub(super) fn keeping_an_admin<T>(
        &self,
        doing: &'static str,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut connection = self.lock();
        let transaction = connection.transaction().doing(doing)?;
        let before = admin_keys(&transaction).doing(doing)?;
        let changed = change(&transaction)?;
        if before > 0 && admin_keys(&transaction).doing(doing)? == 0 {
            return Err(LedgerError::LastAdmin);
        }
        transaction.commit().doing(doing)?;
        self.people_changed();
        Ok(changed)
    }
}

fn admin_keys(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
    transaction.query_row(
        "SELECT count(*) FROM keys JOIN users ON users.name = keys.user
         WHERE users.admin AND (expires_at IS NULL OR expires_at > ?1)",
        [now().cast_signed()],
        |row| row.get(0),
    )
}

pub(super) fn must_exist(
    transaction: &Transaction<'_>,
    name: &UserName,
) -> Result<(), LedgerError> {
    transaction
        .query_row(
            "SELECT 1 FROM users WHERE name = ?1",
            [name.as_str()],
            |_| Ok(()),
        )
        .optional()
        .doing("look the user up")?
        .ok_or_else(|| LedgerError::NoUser(name.clone()))
}

fn some(rows: usize, name: &UserName) -> Result<(), LedgerError> {
    match rows {
        0 => Err(LedgerError::NoUser(name.clone())),
        _ => Ok(()),
    }
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        name: row.get(0)?,
        admin: row.get(1)?,
        created_at: row.get::<_, i64>(2)?.cast_unsigned(),
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::{Holder, Key, ledger::schema};

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    fn key(user: &str, fingerprint: &str) -> Key {
        Key {
            fingerprint: fingerprint.into(),
            name: "laptop".into(),
            holder: Holder::User(user.into()),
            public: "ssh-ed25519 AAAA".into(),
            added_at: 1,
            expires_at: None,
        }
    }

    #[test]
    fn somebody_can_always_administer() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
        for (user, admin) in [("ann", true), ("bob", true), ("eve", false)] {
            assert!(ledger.add_user(&name(user), admin).unwrap());
        }
        assert!(!ledger.add_user(&name("ann"), false).unwrap());
        assert!(ledger.add_key(&key("ann", "SHA256:1")).unwrap());
        assert!(!ledger.add_key(&key("eve", "SHA256:1")).unwrap());
        let expired = Key {
            expires_at: Some(2),
            ..key("bob", "SHA256:2")
        };
        assert!(ledger.add_key(&expired).unwrap());
        let last = |result: Result<_, LedgerError>| {
            assert!(matches!(result, Err(LedgerError::LastAdmin)), "{result:?}");
        };
        last(ledger.set_admin(&name("ann"), false));
        last(ledger.remove_user(&name("ann")));
        last(ledger.remove_key("SHA256:1").map(|_| ()));
        assert_eq!(ledger.users().unwrap().len(), 3);
        assert_eq!(ledger.keys().unwrap().len(), 2);

        assert!(ledger.add_key(&key("bob", "SHA256:3")).unwrap());
        let before = ledger.people_version();
        ledger.remove_user(&name("ann")).unwrap();
        assert_ne!(ledger.people_version(), before);
        assert_eq!(ledger.keys().unwrap().len(), 2, "her key has gone with her");
        assert!(matches!(
            ledger.remove_user(&name("ann")),
            Err(LedgerError::NoUser(_))
        ));
        assert!(!ledger.remove_key("SHA256:1").unwrap());
    }

    #[test]
    fn keys_from_before_there_were_users_still_do_everything() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.db");
        let connection = Connection::open(&file).unwrap();
        connection.execute_batch(schema::FIRST).unwrap();
        connection
            .execute_batch(
                "INSERT INTO keys VALUES ('SHA256:1', 'ann', 'ssh-ed25519 A', 5), ('SHA256:2', 'ann', 'ssh-ed25519 B', 3);
                 INSERT INTO apps (name, created_at, created_by) VALUES ('shop', 1, 'ann'), ('old', 1, 'gone');
                 PRAGMA user_version = 1;",
            )
            .unwrap();
        drop(connection);
        let ledger = Ledger::open(&file).unwrap();
        let users = ledger.users().unwrap();
        assert_eq!(users.len(), 1);
        assert!(users[0].admin && users[0].created_at == 3);
        let keys = ledger.keys().unwrap();
        assert_eq!(keys.len(), 2);
        assert!(
            keys.iter()
                .all(|key| key.holder == Holder::User("ann".into()))
        );
        assert_eq!(ledger.grants(&"shop".parse().unwrap()).unwrap().len(), 1);
        assert_eq!(ledger.grants(&"old".parse().unwrap()).unwrap().len(), 0);
    }
}
