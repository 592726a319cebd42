//! The audit log: every change, who made it, and how it ended. Rows are added and never change or go; the one thing
//! that is filled in later is how it ended. The [`super::schema`] enforces it.

use rusqlite::{OptionalExtension as _, Row, params};

use super::{Doing as _, Ledger, LedgerError, now};
use crate::AppName;

/// What somebody is about to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry<'a> {
    pub user: &'a str,
    /// `SHA256:…` of the key.
    pub key: &'a str,
    /// Address and port.
    pub from: &'a str,
    pub app: Option<&'a AppName>,
    /// Never with a value of config.
    pub what: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    pub id: i64,
    /// Seconds since the Unix epoch.
    pub at: u64,
    pub user: String,
    pub key: String,
    pub from: String,
    /// As it was called then.
    pub app: Option<String>,
    pub what: String,
    /// `None`: under way, or cut off by a crash.
    pub result: Option<String>,
}

/// How a change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The caller may not.
    Refused,
    Failed(String),
}

impl Ledger {
    /// Before the change, so that none is without a record. Returns the record's id.
    pub fn audit_begin(&self, entry: &AuditEntry<'_>) -> Result<i64, LedgerError> {
        self.lock()
            .query_row(
                "INSERT INTO audit (at, user, key, address, app, app_id, what)
                 VALUES (?1, ?2, ?3, ?4, ?5, (SELECT id FROM apps WHERE name = ?5), ?6) RETURNING id",
                params![
                    now().cast_signed(),
                    entry.user,
                    entry.key,
                    entry.from,
                    entry.app.map(AppName::as_str),
                    entry.what,
                ],
                |row| row.get(0),
            )
            .doing("write the audit log")
    }

    pub fn audit_end(&self, id: i64, outcome: &Outcome) -> Result<(), LedgerError> {
        let result = match outcome {
            Outcome::Done => "ok",
            Outcome::Refused => "refused",
            Outcome::Failed(why) => why,
        };
        // An app that the change has just made has an id now.
        self.lock()
            .execute(
                "UPDATE audit SET result = ?2, app_id = coalesce(app_id, (SELECT id FROM apps WHERE name = app))
                 WHERE id = ?1",
                params![id, result],
            )
            .doing("write the audit log")?;
        Ok(())
    }

    /// The last `count`, newest first: all, or those of an app, also from when it had another name. Of a name that no
    /// app has: of all apps that had it.
    pub fn audit(
        &self,
        app: Option<&AppName>,
        count: usize,
    ) -> Result<Vec<AuditRecord>, LedgerError> {
        let doing = "read the audit log";
        let connection = self.lock();
        let name = app.map(AppName::as_str);
        let id: Option<i64> = connection
            .query_row("SELECT id FROM apps WHERE name = ?1", [name], |row| {
                row.get(0)
            })
            .optional()
            .doing(doing)?;
        let mut query = connection
            .prepare(
                "SELECT id, at, user, key, address, app, what, result FROM audit
                 WHERE ?1 IS NULL OR CASE WHEN ?2 IS NULL THEN app = ?1 ELSE app_id = ?2 END
                 ORDER BY id DESC LIMIT ?3",
            )
            .doing(doing)?;
        let limit = i64::try_from(count).unwrap_or(i64::MAX);
        let rows = query
            .query_map(params![name, id, limit], record)
            .doing(doing)?;
        rows.collect::<rusqlite::Result<_>>().doing(doing)
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    Ok(AuditRecord {
        id: row.get(0)?,
        at: row.get::<_, i64>(1)?.cast_unsigned(),
        user: row.get(2)?,
        key: row.get(3)?,
        from: row.get(4)?,
        app: row.get(5)?,
        what: row.get(6)?,
        result: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(app: Option<&'a AppName>, what: &'a str) -> AuditEntry<'a> {
        AuditEntry {
            user: "ann",
            key: "SHA256:1",
            from: "192.0.2.1:5",
            app,
            what,
        }
    }

    #[test]
    fn what_is_written_stays_written() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
        let begun = ledger.audit_begin(&entry(None, "users:add bob")).unwrap();
        assert_eq!(ledger.audit(None, 9).unwrap()[0].result, None);
        let refused = |sql: &str| {
            let error = ledger.lock().execute_batch(sql).unwrap_err();
            assert!(error.to_string().contains("append-only"), "{sql}: {error}");
        };
        refused("UPDATE audit SET user = 'eve', result = 'ok'");
        refused("UPDATE audit SET what = 'x'");
        refused("DELETE FROM audit");
        ledger.audit_end(begun, &Outcome::Refused).unwrap();
        refused("UPDATE audit SET result = 'ok'");
        refused("UPDATE audit SET result = NULL");
        refused("UPDATE audit SET at = 0");
        refused("DELETE FROM audit WHERE id = 1");
        refused(
            "INSERT OR REPLACE INTO audit SELECT 1, 0, 'eve', key, address, app, app_id, what, 'ok' FROM audit",
        );
        assert!(ledger.audit_end(begun, &Outcome::Done).is_err());
        let record = ledger.audit(None, 9).unwrap().remove(0);
        assert_eq!(
            (record.user.as_str(), record.result.as_deref()),
            ("ann", Some("refused"))
        );
    }

    #[test]
    fn an_app_is_followed_by_what_it_is_and_not_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("ledger.db")).unwrap();
        let shop: AppName = "shop".parse().unwrap();
        let whats = || -> Vec<String> {
            let records = ledger.audit(Some(&shop), 9).unwrap().into_iter();
            records.map(|record| record.what).collect()
        };
        let done = |what| {
            let id = ledger.audit_begin(&entry(Some(&shop), what)).unwrap();
            ledger.audit_end(id, &Outcome::Done).unwrap();
        };
        let creation = ledger.audit_begin(&entry(Some(&shop), "create")).unwrap();
        let first = ledger.create_app(&shop, "ann").unwrap();
        ledger.audit_end(creation, &Outcome::Done).unwrap();
        done("scale");
        assert_eq!(whats(), ["scale", "create"]);
        ledger.destroy_app(first.id).unwrap();
        assert_eq!(whats(), ["scale", "create"]);
        ledger.create_app(&shop, "eve").unwrap();
        assert!(whats().is_empty(), "it is another app");
        done("restart");
        assert_eq!(whats(), ["restart"]);
        assert_eq!(ledger.audit(None, 2).unwrap().len(), 2);
    }
}
