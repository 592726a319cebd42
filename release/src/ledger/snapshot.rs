//! A copy of the ledger while others use it, and a moment in which nobody writes to it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{BUSY_TIMEOUT, Doing as _, LedgerError, make_private};

/// Copies the ledger's file, of any schema, to `into`: a new file for its owner alone. `meanwhile` runs while nothing can
/// be recorded, so what it sees of the rest of the world belongs to this copy. Others wait for as long as it takes.
pub fn snapshot<T>(
    ledger: &Path,
    into: &Path,
    meanwhile: impl FnOnce() -> T,
) -> Result<T, LedgerError> {
    let doing = "copy the ledger";
    make_private(into);
    let name = into
        .to_str()
        .ok_or_else(|| rusqlite::Error::InvalidPath(into.to_owned()))
        .doing(doing)?;
    // Rolled back when it is dropped.
    let turn = existing(ledger)?;
    turn.execute_batch("BEGIN IMMEDIATE").doing(doing)?;
    existing(ledger)?
        .execute("VACUUM INTO ?1", [name])
        .doing(doing)?;
    Ok(meanwhile())
}

fn existing(ledger: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let doing = "open the ledger";
    let connection = Connection::open_with_flags(ledger, flags).doing(doing)?;
    connection.busy_timeout(BUSY_TIMEOUT).doing(doing)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, sync::mpsc, thread, time::Duration};

    use super::*;
    use crate::Ledger;

    #[test]
    fn nothing_is_recorded_in_the_meantime_and_everything_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let (file, copy) = (dir.path().join("ledger.db"), dir.path().join("copy.db"));
        let ledger = Ledger::open(&file).unwrap();
        ledger
            .create_app(&"before".parse().unwrap(), "ann")
            .unwrap();
        let (done, is_done) = mpsc::channel();
        thread::scope(|scope| {
            let waits = snapshot(&file, &copy, || {
                scope.spawn(|| {
                    ledger.create_app(&"after".parse().unwrap(), "ann").unwrap();
                    done.send(()).unwrap();
                });
                // Nobody can show that something never happens; this would show that it did.
                is_done.recv_timeout(Duration::from_millis(100)).is_err()
            });
            assert!(waits.unwrap());
        });
        let names = |ledger: Ledger| -> Vec<String> {
            let apps = ledger.apps().unwrap();
            apps.iter().map(|app| app.name.to_string()).collect()
        };
        assert_eq!(names(ledger), ["after", "before"]);
        let mode = copy.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(names(Ledger::open(&copy).unwrap()), ["before"]);
    }

    #[test]
    fn no_ledger_is_made_where_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.db");
        assert!(snapshot(&file, &dir.path().join("copy.db"), || ()).is_err());
        assert!(!file.exists());
    }
}
