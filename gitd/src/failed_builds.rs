//! The last failed build of each app, kept for a look inside: `failed/<app id>/<build number>`, for a day, or until a build of
//! the app succeeds. Under `<number>.open` while somebody is in it, which keeps others out, and under `<number>.left` when it
//! is nobody's any more at the end of that.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use builder::Builder;

const KEPT_FOR: Duration = Duration::from_hours(24);
const OPEN: &str = "open";
const LEFT: &str = "left";

pub(crate) struct FailedBuilds {
    dir: PathBuf,
    builder: Arc<Builder>,
}

/// A failed build that somebody is in.
pub(crate) struct Entered {
    pub(crate) dir: PathBuf,
    place: PathBuf,
    builder: Arc<Builder>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) build: u64,
    /// Somebody is in it.
    pub(crate) is_open: bool,
}

impl FailedBuilds {
    pub(crate) fn new(dir: PathBuf, builder: Arc<Builder>) -> Self {
        Self { dir, builder }
    }

    /// Where a build goes when it fails.
    pub(crate) fn place(&self, app: i64, build: u64) -> PathBuf {
        self.of_app(app).join(build.to_string())
    }

    /// The newest.
    pub(crate) fn find(&self, app: i64) -> Option<Found> {
        let all = entries(&self.of_app(app)).into_iter();
        all.filter_map(|path| found(&path))
            .max_by_key(|found| found.build)
    }

    /// After a build that was kept: the one before it goes. `false`: this one was not kept.
    pub(crate) fn keep_only(&self, app: i64, build: u64) -> bool {
        let place = self.place(app, build);
        if !place.exists() {
            return false;
        }
        for path in entries(&self.of_app(app)) {
            if path != place {
                self.put_away(&path);
            }
        }
        true
    }

    /// A build has succeeded, or the app is gone.
    pub(crate) fn forget(&self, app: i64) {
        let dir = self.of_app(app);
        entries(&dir).iter().for_each(|path| self.put_away(path));
        // It is not there, or somebody is still in one; then it stays empty.
        _ = fs::remove_dir(dir);
    }

    /// Moved while somebody is in it: only one may be.
    pub(crate) fn enter(&self, app: i64, build: u64) -> io::Result<Entered> {
        let place = self.place(app, build);
        let dir = place.with_extension(OPEN);
        fs::rename(&place, &dir)?;
        Ok(Entered {
            dir,
            place,
            builder: Arc::clone(&self.builder),
        })
    }

    /// At a start nobody is in any.
    pub(crate) fn settle(&self) {
        for path in self.all() {
            if path.extension().is_some_and(|extension| extension == OPEN) {
                // Fails when there is a newer one of the same number, which cannot be.
                _ = fs::rename(&path, path.with_extension(""));
            }
        }
        self.remove_old();
    }

    /// Those that have been kept long enough.
    pub(crate) fn remove_old(&self) {
        let is_old = |path: &Path| {
            let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
            let age = modified.map(|at| at.elapsed().unwrap_or_default());
            age.is_ok_and(|age| age > KEPT_FOR)
        };
        for path in self.all() {
            if is_old(&path) || path.extension().is_some_and(|extension| extension == LEFT) {
                self.put_away(&path);
            }
        }
    }

    fn put_away(&self, path: &Path) {
        if found(path).is_some_and(|found| found.is_open) {
            // Whoever is in it removes it.
            _ = fs::rename(path, path.with_extension(LEFT));
        } else {
            discard(&self.builder, path);
        }
    }

    fn all(&self) -> impl Iterator<Item = PathBuf> {
        entries(&self.dir).into_iter().flat_map(|app| entries(&app))
    }

    fn of_app(&self, app: i64) -> PathBuf {
        self.dir.join(app.to_string())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if fs::rename(&self.dir, &self.place).is_err() {
            let left = self.dir.with_extension(LEFT);
            if left.exists() {
                discard(&self.builder, &left);
            }
        }
    }
}

fn discard(builder: &Builder, path: &Path) {
    if let Err(error) = builder.forget_failed(path) {
        tracing::warn!(%error, path = %path.display(), "cannot remove a failed build");
    }
}

fn found(path: &Path) -> Option<Found> {
    let build = path.file_stem()?.to_str()?.parse().ok()?;
    let is_open = match path.extension().and_then(|extension| extension.to_str()) {
        None => false,
        Some(OPEN) => true,
        Some(_) => return None,
    };
    Some(Found { build, is_open })
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_who_is_in_it() {
        let check = |path: &str, expected| {
            let found = found(Path::new(path)).map(|found| (found.build, found.is_open));
            assert_eq!(found, expected, "{path}");
        };
        check("/failed/1/7", Some((7, false)));
        check("/failed/1/7.open", Some((7, true)));
        check("/failed/1/7.left", None);
        check("/failed/1/x", None);
    }
}
