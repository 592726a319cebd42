//! What release phases print, a file each, as it was printed.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use super::Logs;
use crate::ReleaseNumber;

/// Of one release phase; what comes after it is in the app's log only.
const BYTES_MAX: usize = 1 << 20;
/// Releases whose output is kept.
const KEPT: usize = 50;

/// Written line by line. A full disk costs the output, not the release.
#[derive(Debug)]
pub(crate) struct ReleaseOutput {
    file: Option<File>,
    room: usize,
}

impl Logs {
    pub(crate) fn keep_release_output(&self, app: i64, release: ReleaseNumber) -> ReleaseOutput {
        let dir = self.outputs_of(app);
        _ = fs::create_dir_all(&dir);
        forget_old(&dir);
        ReleaseOutput {
            file: File::create(name(&dir, release)).ok(),
            room: BYTES_MAX,
        }
    }

    /// `None`: there was no release phase, or its output is no longer kept.
    pub(crate) fn release_output(&self, app: i64, release: ReleaseNumber) -> Option<Vec<u8>> {
        fs::read(name(&self.outputs_of(app), release)).ok()
    }

    fn outputs_of(&self, app: i64) -> PathBuf {
        self.of_app(app).join("releases")
    }
}

impl ReleaseOutput {
    pub(crate) fn line(&mut self, line: &[u8]) {
        let Some(room) = self.room.checked_sub(line.len() + 1) else {
            self.room = 0;
            return;
        };
        self.room = room;
        let file = self.file.as_mut();
        _ = file.map(|file| file.write_all(&[line, b"\n"].concat()));
    }
}

fn name(dir: &Path, release: ReleaseNumber) -> PathBuf {
    dir.join(format!("{}.log", release.get()))
}

fn forget_old(dir: &Path) {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let number = |path: &Path| path.file_stem()?.to_str()?.parse::<u64>().ok();
    let mut kept: Vec<(u64, PathBuf)> = files
        .filter_map(|file| Some((number(&file.path())?, file.path())))
        .collect();
    kept.sort();
    // One more is about to come.
    let surplus = (kept.len() + 1).saturating_sub(KEPT);
    for (_, file) in kept.drain(..surplus) {
        _ = fs::remove_file(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_kept_whole_bounded_and_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(dir.path().to_owned());
        let release = |number| ReleaseNumber::new(number).unwrap();
        for number in 1..=60 {
            logs.keep_release_output(1, release(number)).line(b"one");
        }
        let mut output = logs.keep_release_output(1, release(61));
        for _ in 0..3 {
            output.line(&vec![b'x'; BYTES_MAX / 2]);
        }
        output.line(b"late");
        assert_eq!(logs.release_output(1, release(60)).unwrap(), b"one\n");
        assert_eq!(
            logs.release_output(1, release(61)).unwrap().len(),
            BYTES_MAX / 2 + 1
        );
        assert_eq!(logs.release_output(1, release(11)), None);
        assert_eq!(
            fs::read_dir(dir.path().join("1/releases")).unwrap().count(),
            KEPT
        );
    }
}
