//! The last failed build of each app, kept for a look inside: `failed/<app id>/<build number>`, for a day, or until a build of
//! the app succeeds. Under `<number>.open` while somebody is in it, which keeps others out, and under `<number>.left` when it
//! is nobody's any more at the end of that. When the disk gets full, the oldest go first.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use builder::Builder;

use crate::disk::{FREE_BYTES_MIN, free_bytes};

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

    /// The record of the build has gone.
    pub(crate) fn forget_build(&self, app: i64, build: u64) {
        let place = self.place(app, build);
        [place.with_extension(OPEN), place]
            .iter()
            .filter(|path| path.exists())
            .for_each(|path| self.put_away(path));
    }

    /// Before a build, and now and then. Those that somebody is in stay.
    pub(crate) fn make_room(&self) {
        let free = match free_bytes(&self.dir) {
            Ok(free) if free < FREE_BYTES_MIN => free,
            _ => return,
        };
        let kept = self.all().filter_map(|path| Kept::at(path, &self.builder));
        for path in too_many(kept.collect(), FREE_BYTES_MIN - free) {
            tracing::warn!(path = %path.display(), free, "the disk is nearly full: a kept failed build goes");
            self.put_away(&path);
        }
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

/// One that nobody is in.
#[derive(Debug)]
struct Kept {
    path: PathBuf,
    since: SystemTime,
    bytes: u64,
}

impl Kept {
    fn at(path: PathBuf, builder: &Builder) -> Option<Self> {
        if found(&path)?.is_open {
            return None;
        }
        let since = fs::metadata(&path).and_then(|metadata| metadata.modified());
        Some(Self {
            since: since.ok()?,
            bytes: builder.failed_bytes(&path),
            path,
        })
    }
}

/// The oldest, until those that go have given back what is missing.
fn too_many(mut kept: Vec<Kept>, missing_bytes: u64) -> Vec<PathBuf> {
    kept.sort_by_key(|kept| kept.since);
    let mut given_back = 0;
    let mut go = Vec::new();
    for kept in kept {
        if given_back >= missing_bytes {
            break;
        }
        given_back += kept.bytes;
        go.push(kept.path);
    }
    go
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

    #[test]
    fn the_oldest_go_until_there_is_room() {
        let check = |missing: u64, expected: &[&str]| {
            let kept = [("/new", 30, 5), ("/old", 10, 5), ("/middle", 20, 5)];
            let kept = kept.map(|(path, since, bytes)| Kept {
                path: path.into(),
                since: SystemTime::UNIX_EPOCH + Duration::from_secs(since),
                bytes,
            });
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(too_many(kept.into(), missing), expected, "{missing}");
        };
        check(0, &[]);
        check(1, &["/old"]);
        check(5, &["/old"]);
        check(6, &["/old", "/middle"]);
        check(99, &["/old", "/middle", "/new"]);
    }
}
