//! What an app has on this disk besides the ledger and its images, by its id, which is never given twice.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

const REPOS: &str = "repos";
const BUILD_LOGS: &str = "builds";
const CACHES: &str = "cache";

/// What `with_extension` gives a folder on its way out.
const GONE: &str = "gone";

#[derive(Debug)]
pub(crate) struct AppFiles {
    data: PathBuf,
}

impl AppFiles {
    pub(crate) fn new(data: PathBuf) -> Self {
        Self { data }
    }

    pub(crate) fn repo(&self, app: i64) -> PathBuf {
        self.data.join(REPOS).join(format!("{app}.git"))
    }

    pub(crate) fn build_log(&self, app: i64, number: u64) -> PathBuf {
        self.build_logs(app).join(format!("{number}.log"))
    }

    /// Layers that builds of the app keep from one to the next.
    pub(crate) fn cache(&self, app: i64) -> PathBuf {
        self.data.join(CACHES).join(app.to_string())
    }

    /// Of an app that is gone.
    pub(crate) fn remove(&self, app: i64) -> io::Result<()> {
        for dir in [self.repo(app), self.build_logs(app), self.cache(app)] {
            remove(&dir)?;
        }
        Ok(())
    }

    /// What a server that was killed did not get to remove.
    pub(crate) fn remove_those_of(&self, is_gone: impl Fn(i64) -> bool) {
        for entries in [REPOS, BUILD_LOGS, CACHES].map(|dir| fs::read_dir(self.data.join(dir))) {
            for entry in entries.into_iter().flatten().flatten() {
                let path = entry.path();
                let id = path
                    .file_stem()
                    .and_then(|stem| stem.to_str()?.parse().ok());
                if id.is_some_and(&is_gone)
                    && let Err(error) = fs::remove_dir_all(&path)
                {
                    let path = path.display();
                    tracing::warn!(%path, %error, "cannot remove what an app left that is gone");
                }
            }
        }
    }

    fn build_logs(&self, app: i64) -> PathBuf {
        self.data.join(BUILD_LOGS).join(app.to_string())
    }
}

/// Out of the way first, in one step: whoever still works in there, as the tidying after a push does, makes nothing
/// new under the old name.
fn remove(dir: &Path) -> io::Result<()> {
    let gone = dir.with_extension(GONE);
    match fs::rename(dir, &gone) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => fs::remove_dir_all(&gone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apps_leave_that_are_gone() {
        let data = tempfile::tempdir().unwrap();
        let files = AppFiles::new(data.path().to_owned());
        let make = |dir: &Path| fs::create_dir_all(dir.join("within")).unwrap();
        for app in [1, 2, 3] {
            make(&files.repo(app));
            make(&files.build_logs(app));
            make(&files.cache(app));
        }
        make(&files.repo(2).with_extension(GONE));
        files.remove(1).unwrap();
        files.remove(1).unwrap();
        files.remove_those_of(|app| app == 2);
        for (dir, left) in [(REPOS, "3.git"), (BUILD_LOGS, "3"), (CACHES, "3")] {
            let entries = fs::read_dir(data.path().join(dir)).unwrap();
            let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, [left]);
        }
    }
}
