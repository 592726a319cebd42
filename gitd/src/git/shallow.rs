//! The `shallow` file: commits whose parents nobody pushed, so that every reader takes them for first commits.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
};

use gix_hash::ObjectId;

use super::Repo;

impl Repo {
    pub(crate) fn shallow(&self) -> io::Result<Vec<ObjectId>> {
        match fs::read(self.path().join("shallow")) {
            Ok(text) => Ok(text
                .split(|&byte| byte == b'\n')
                .filter_map(|line| ObjectId::from_hex(line).ok())
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Durable when it returns. Pushes to one repository may overlap: the lock file keeps them apart, as it does in git.
    pub(crate) fn add_shallow(&self, commits: &[ObjectId]) -> io::Result<()> {
        if commits.is_empty() {
            return Ok(());
        }
        let path = self.path().join("shallow");
        let lock = self.path().join("shallow.lock");
        let mut file = File::create_new(&lock)?;
        let mut write = || {
            let all: BTreeSet<ObjectId> = self
                .shallow()?
                .into_iter()
                .chain(commits.iter().copied())
                .collect();
            for id in all {
                writeln!(file, "{id}")?;
            }
            file.sync_all()?;
            fs::rename(&lock, &path)
        };
        write().inspect_err(|_| _ = fs::remove_file(&lock))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_add_up() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let repo = Repo::init(dir.path().join("1.git"), "main").expect("made");
        let id = |byte| ObjectId::from_bytes_or_panic(&[byte; 20]);
        assert!(repo.shallow().expect("reads").is_empty());
        repo.add_shallow(&[id(2), id(1)]).expect("writes");
        repo.add_shallow(&[id(2), id(3)]).expect("writes");
        repo.add_shallow(&[]).expect("writes");
        assert_eq!(repo.shallow().expect("reads"), [id(1), id(2), id(3)]);
    }
}
