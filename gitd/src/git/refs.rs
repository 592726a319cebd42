//! Branches and tags: read, and moved all or none.

use std::{
    fs::{self, File},
    io,
    path::Path,
    time::Duration,
};

use gix_hash::ObjectId;
use gix_lock::acquire::Fail;
use gix_ref::{
    FullName, Target,
    store::{WriteReflog, init::Options},
    transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog},
};

use super::{HASH, RefUpdate, Repo};

/// Another push holds the lock for as long as it takes to write a file.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Releases by number, as `refs/releases/v7`: written by the platform, seen by who fetches, hidden from who pushes.
pub(crate) const RELEASES: &str = "refs/releases/";
/// Commits whose deploy goes on without their pusher, by the number of the build; likewise.
pub(crate) const BUILDS: &str = "refs/builds/";
const HEAD: &str = "HEAD";

#[derive(Debug, thiserror::Error)]
pub enum RefError {
    #[error("`{0}` is not a valid ref name")]
    Name(String),
    #[error("`{name}` has moved to {}; fetch and push again", short(.now))]
    Moved { name: String, now: Option<ObjectId> },
    #[error("refs cannot be read")]
    Read(#[source] io::Error),
    #[error("`{name}` cannot be updated")]
    Write {
        name: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Repo {
    /// All refs with the object they name, in the order of their names.
    pub fn refs(&self) -> Result<Vec<(String, ObjectId)>, RefError> {
        let store = self.ref_store();
        let read =
            |e: Box<dyn std::error::Error + Send + Sync>| RefError::Read(io::Error::other(e));
        let platform = store.iter().map_err(|e| read(e.into()))?;
        let mut refs = Vec::new();
        for found in platform.all().map_err(RefError::Read)? {
            let found = found.map_err(|e| read(e.into()))?;
            if let Target::Object(id) = found.target {
                refs.push((found.name.as_bstr().to_string(), id));
            }
        }
        refs.sort_unstable();
        Ok(refs)
    }

    /// `None`: there is no such ref.
    pub fn read_ref(&self, name: &str) -> Result<Option<ObjectId>, RefError> {
        let name = full_name(name)?;
        let found = self
            .ref_store()
            .try_find(name.as_ref())
            .map_err(|e| RefError::Read(io::Error::other(e)))?;
        Ok(found.and_then(|found| found.target.try_id().map(ToOwned::to_owned)))
    }

    /// The branch that HEAD names, whether or not it is there.
    pub(crate) fn head(&self) -> Result<String, RefError> {
        let found = self
            .ref_store()
            .try_find(HEAD)
            .map_err(|e| RefError::Read(io::Error::other(e)))?;
        match found.map(|found| found.target) {
            Some(Target::Symbolic(name)) => Ok(name.as_bstr().to_string()),
            _ => Err(RefError::Read(io::ErrorKind::InvalidData.into())),
        }
    }

    /// `branch`: its full name.
    pub(crate) fn set_head(&self, branch: &str) -> Result<(), RefError> {
        let edit = RefEdit {
            change: Change::Update {
                log: LogChange::default(),
                expected: PreviousValue::Any,
                new: Target::Symbolic(full_name(branch)?),
            },
            name: full_name(HEAD)?,
            deref: false,
        };
        let wait = Fail::AfterDurationWithBackoff(LOCK_WAIT);
        let error = |source: Box<dyn std::error::Error + Send + Sync>| RefError::Write {
            name: HEAD.to_owned(),
            source,
        };
        let store = self.ref_store();
        let transaction = store.transaction();
        let prepared = transaction
            .prepare([edit], wait, wait)
            .map_err(|e| error(e.into()))?;
        prepared.commit(None).map_err(|e| error(e.into()))?;
        Ok(())
    }

    /// Sets the ref (`None`: deletes it) if it still is where it is expected (`None`: nowhere).
    pub fn set_ref(
        &self,
        name: &str,
        new: Option<ObjectId>,
        expected: Option<ObjectId>,
    ) -> Result<(), RefError> {
        self.move_refs(&[&RefUpdate {
            name: name.to_owned(),
            old: expected,
            new,
        }])
    }

    /// Of builds that no longer run. At a start.
    pub(crate) fn remove_build_refs(&self) -> Result<(), RefError> {
        let mut refs = self.refs()?;
        refs.retain(|(name, _)| name.starts_with(BUILDS));
        for (name, commit) in refs {
            self.set_ref(&name, None, Some(commit))?;
        }
        Ok(())
    }

    /// The update as it is now: a ref that has moved to a commit that the new one builds upon may move on from there;
    /// anywhere else, the pusher has not seen what would be lost.
    pub fn brought_up_to_date(&self, update: &RefUpdate) -> Result<RefUpdate, RefError> {
        let now = self.read_ref(&update.name)?;
        let builds_upon = |(new, now)| self.builds_upon(new, now);
        let onwards = update.new.zip(now).is_some_and(builds_upon);
        if now != update.old && !onwards {
            return Err(RefError::Moved {
                name: update.name.clone(),
                now,
            });
        }
        Ok(RefUpdate {
            old: now,
            ..update.clone()
        })
    }

    /// Moves all of the refs or, if one is not where its update expects it, none. Durable when it returns.
    pub fn move_refs(&self, updates: &[&RefUpdate]) -> Result<(), RefError> {
        let edits = updates
            .iter()
            .map(|update| edit(update))
            .collect::<Result<Vec<_>, _>>()?;
        let wait = Fail::AfterDurationWithBackoff(LOCK_WAIT);
        let store = self.ref_store();
        let prepared = store
            .transaction()
            .prepare(edits, wait, wait)
            .map_err(|error| self.refusal(updates, error.into()))?;
        prepared
            .commit(None)
            .map_err(|error| self.refusal(updates, error.into()))?;
        for update in updates {
            sync(&self.path().join(&update.name))
                .map_err(|error| write_error(update, error.into()))?;
        }
        Ok(())
    }

    /// Which of the updates stood in the way, as the pusher needs to know it.
    fn refusal(
        &self,
        updates: &[&RefUpdate],
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> RefError {
        for update in updates {
            match self.read_ref(&update.name) {
                Ok(now) if now != update.old => {
                    return RefError::Moved {
                        name: update.name.clone(),
                        now,
                    };
                }
                Ok(_) => {}
                Err(error) => return error,
            }
        }
        match updates.first() {
            Some(update) => write_error(update, source),
            None => RefError::Read(io::Error::other(source)),
        }
    }

    fn ref_store(&self) -> gix_ref::file::Store {
        let options = Options {
            write_reflog: WriteReflog::Disable,
            ..Default::default()
        };
        gix_ref::file::Store::at_opts(self.path().to_owned(), HASH, options)
    }
}

impl RefError {
    /// For the pusher; the causes, if they are ours, go to our log.
    pub(crate) fn reason(&self) -> String {
        if let Self::Read(_) | Self::Write { .. } = self {
            tracing::warn!(
                error = self as &dyn std::error::Error,
                "a ref was not moved"
            );
        }
        self.to_string()
    }
}

pub(crate) fn is_platforms(name: &str) -> bool {
    name.starts_with(RELEASES) || name.starts_with(BUILDS)
}

fn edit(update: &RefUpdate) -> Result<RefEdit, RefError> {
    let expected = match update.old {
        Some(old) => PreviousValue::MustExistAndMatch(Target::Object(old)),
        None => PreviousValue::MustNotExist,
    };
    let change = match update.new {
        Some(new) => Change::Update {
            log: LogChange::default(),
            expected,
            new: Target::Object(new),
        },
        // To delete what is not there is no change; git warns and goes on.
        None => Change::Delete {
            expected: update.old.map_or(PreviousValue::Any, |_| expected),
            log: RefLog::AndReference,
        },
    };
    Ok(RefEdit {
        change,
        name: full_name(&update.name)?,
        deref: false,
    })
}

fn full_name(name: &str) -> Result<FullName, RefError> {
    FullName::try_from(name).map_err(|_| RefError::Name(name.to_owned()))
}

fn write_error(update: &RefUpdate, source: Box<dyn std::error::Error + Send + Sync>) -> RefError {
    RefError::Write {
        name: update.name.clone(),
        source,
    }
}

/// The file, if it was not deleted, and the directory that names it.
fn sync(path: &Path) -> io::Result<()> {
    if let Ok(file) = File::open(path) {
        file.sync_all()?;
    }
    // Deleting the last ref of a directory deletes the directory.
    match path
        .ancestors()
        .skip(1)
        .find_map(|parent| File::open(parent).ok())
    {
        Some(parent) => parent.sync_all(),
        None => Ok(()),
    }
}

/// Lock files of a process that was killed would block their refs for ever.
pub(crate) fn remove_stale_locks(git_dir: &Path) {
    for name in ["HEAD.lock", "packed-refs.lock", "shallow.lock"] {
        _ = fs::remove_file(git_dir.join(name));
    }
    remove_locks_below(&git_dir.join("refs"));
}

fn remove_locks_below(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_locks_below(&path);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "lock")
        {
            _ = fs::remove_file(&path);
        }
    }
}

fn short(id: &Option<ObjectId>) -> String {
    match id {
        Some(id) => id.to_hex_with_len(8).to_string(),
        None => "nothing (it was deleted)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo() -> (tempfile::TempDir, Repo) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let repo = Repo::init(dir.path().join("1.git"), "main").expect("made");
        (dir, repo)
    }

    fn id(byte: u8) -> ObjectId {
        ObjectId::from_bytes_or_panic(&[byte; 20])
    }

    fn update(name: &str, old: Option<ObjectId>, new: Option<ObjectId>) -> RefUpdate {
        RefUpdate {
            name: name.to_owned(),
            old,
            new,
        }
    }

    #[test]
    fn a_ref_moves_only_from_where_it_is() {
        let (_dir, repo) = repo();
        let main = "refs/heads/main";
        assert_eq!(repo.read_ref(main).expect("reads"), None);
        repo.set_ref(main, Some(id(1)), None).expect("created");
        assert!(
            matches!(repo.set_ref(main, Some(id(2)), None), Err(RefError::Moved { now, .. }) if now == Some(id(1)))
        );
        assert!(matches!(
            repo.set_ref(main, Some(id(2)), Some(id(3))),
            Err(RefError::Moved { .. })
        ));
        assert!(matches!(
            repo.set_ref(main, None, Some(id(3))),
            Err(RefError::Moved { .. })
        ));
        repo.set_ref(main, Some(id(2)), Some(id(1))).expect("moved");
        assert_eq!(repo.refs().expect("reads"), vec![(main.to_owned(), id(2))]);
        repo.set_ref(main, None, Some(id(2))).expect("deleted");
        assert_eq!(repo.refs().expect("reads"), vec![]);
    }

    #[test]
    fn all_refs_move_or_none() {
        let (_dir, repo) = repo();
        repo.set_ref("refs/heads/b", Some(id(9)), None)
            .expect("created");
        let (a, b) = (
            update("refs/heads/a", None, Some(id(1))),
            update("refs/heads/b", Some(id(8)), Some(id(1))),
        );
        assert!(repo.move_refs(&[&a, &b]).is_err());
        assert_eq!(
            repo.refs().expect("reads"),
            vec![("refs/heads/b".to_owned(), id(9))]
        );
    }

    #[test]
    fn a_name_cannot_be_a_folder_and_a_ref() {
        let (_dir, repo) = repo();
        repo.set_ref("refs/heads/a", Some(id(1)), None)
            .expect("created");
        assert!(repo.set_ref("refs/heads/a/b", Some(id(1)), None).is_err());
        repo.set_ref("refs/heads/c/d", Some(id(1)), None)
            .expect("created");
        assert!(repo.set_ref("refs/heads/c", Some(id(1)), None).is_err());
        assert_eq!(repo.refs().expect("reads").len(), 2);
    }

    #[test]
    fn locks_that_a_killed_process_left_are_removed() {
        let (_dir, repo) = repo();
        repo.set_ref("refs/heads/x/main", Some(id(1)), None)
            .expect("created");
        fs::write(repo.path().join("refs/heads/x/main.lock"), "").expect("writes");
        repo.clean();
        repo.set_ref("refs/heads/x/main", Some(id(2)), Some(id(1)))
            .expect("moved");
    }
}
