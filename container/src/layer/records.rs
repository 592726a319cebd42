//! Which digests trees and files have that nobody has written to since they were hashed, so that nobody needs to hash them
//! again. A record may be missing, and then something is hashed once too often; it may never be wrong.
//!
//! One is believed only when all of it is as it was ([`Fingerprint`]), in the same run of the machine (after a crash, what is
//! on disk may be older than its time stamps), and not from the future. One is made only where the next change of any file
//! will get another time: where the file system tells any two changes apart, or where the last one is old enough. That is
//! git's rule for what is "racily clean". All of this is about changes behind the hashing: nobody may write during it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{
    Plan,
    clock::Clock,
    fingerprint::{Files, Fingerprint},
};
use crate::Digest;

/// The oldest go first.
const RECORDS_MAX: usize = 1024;
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Ticks are 10 ms at most.
const TICK_MAX: Duration = Duration::from_secs(1);

/// A file of records, read once and written when that is asked for.
#[derive(Debug, Default)]
pub struct Records {
    /// None where nothing is recorded.
    path: Option<PathBuf>,
    known: Mutex<Vec<Record>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    fingerprint: Digest,
    digest: Digest,
    /// Nanoseconds since the Unix epoch, from before it was looked at.
    made: u128,
}

/// The file: behind the digest of its text.
#[derive(Serialize, Deserialize)]
struct Written {
    /// Of the run of this machine.
    boot: String,
    records: Vec<Record>,
}

impl Records {
    /// A file that is not there, torn, or of another run of the machine has no records.
    pub fn open(path: &Path) -> Self {
        Self {
            known: Mutex::new(read(path).unwrap_or_default()),
            path: Some(path.to_owned()),
        }
    }

    /// The diffID of a layer, hashed only when it has to be.
    pub fn diff_id(&self, plan: &Plan) -> io::Result<Digest> {
        let fingerprint = plan.fingerprint();
        if let Some(known) = fingerprint.as_ref().and_then(|one| self.find(one)) {
            return Ok(known);
        }
        let diff_id = plan.diff_id()?;
        if let Some(fingerprint) = &fingerprint {
            self.add(fingerprint, diff_id);
        }
        Ok(diff_id)
    }

    /// The diffID of a layer, or the digest of a file.
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<Digest> {
        let now = nanoseconds(SystemTime::now());
        let known = self.known();
        let record = known
            .iter()
            .find(|record| record.fingerprint == fingerprint.digest)?;
        (record.made <= now).then_some(record.digest)
    }

    /// The fingerprint was taken first, and the content hashed, or written, behind that.
    pub fn add(&self, fingerprint: &Fingerprint, digest: Digest) {
        let files = fingerprint.files.as_ref();
        let is_told =
            |files: &Files| will_differ(files.newest, fingerprint.begun, Clock::of(&files.near));
        if self.path.is_none() || !files.is_none_or(is_told) {
            return;
        }
        let record = Record {
            fingerprint: fingerprint.digest,
            digest,
            made: nanoseconds(fingerprint.begun),
        };
        let mut known = self.known();
        known.retain(|old| old.fingerprint != record.fingerprint);
        known.insert(0, record);
        known.truncate(RECORDS_MAX);
    }

    /// For the next to open them. What a crash leaves is whole: the old file or the new one.
    pub fn save(&self) -> io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let written = Written {
            boot: boot()?,
            records: self.known().clone(),
        };
        let text = serde_json::to_string(&written)?;
        let part = path.with_extension("part");
        fs::write(&part, format!("{}\n{text}", Digest::of(text.as_bytes())))?;
        fs::rename(&part, path)
    }

    fn known(&self) -> MutexGuard<'_, Vec<Record>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the next change of a file will get another time than `newest`, the last of all, as it was seen after `begun`.
fn will_differ(newest: (i64, i64), begun: SystemTime, clock: Clock) -> bool {
    let (seconds, nanoseconds_of) = newest;
    let newest = (i128::from(seconds) * 1_000_000_000).saturating_add(nanoseconds_of.into());
    let begun = i128::try_from(nanoseconds(begun)).unwrap_or(i128::MAX);
    match clock {
        Clock::Fine => newest <= begun,
        Clock::Coarse => newest + TICK_MAX.as_nanos().cast_signed() < begun,
        Clock::Unknown => false,
    }
}

fn read(path: &Path) -> Option<Vec<Record>> {
    if fs::metadata(path).ok()?.len() > FILE_BYTES_MAX {
        return None;
    }
    let file = fs::read_to_string(path).ok()?;
    let (digest, text) = file.split_once('\n')?;
    if digest.parse::<Digest>().ok()? != Digest::of(text.as_bytes()) {
        return None;
    }
    let written: Written = serde_json::from_str(text).ok()?;
    (written.boot == boot().ok()?).then_some(written.records)
}

fn boot() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
}

fn nanoseconds(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_change_unseen_is_not_recorded() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        for (newest, begun, clock, expected) in [
            ((100, 0), at(100), Clock::Fine, true),
            ((100, 1), at(100), Clock::Fine, false),
            ((100, 0), at(100), Clock::Coarse, false),
            ((100, 0), at(101), Clock::Coarse, false),
            ((99, 999_999_999), at(101), Clock::Coarse, true),
            ((100, 0), at(200), Clock::Unknown, false),
            ((200, 0), at(100), Clock::Fine, false),
            ((i64::MAX, 0), at(100), Clock::Coarse, false),
            ((-5, 0), at(0), Clock::Coarse, true),
        ] {
            let told = will_differ(newest, begun, clock);
            assert_eq!(told, expected, "{newest:?} {begun:?} {clock:?}");
        }
    }

    #[test]
    fn a_record_of_the_future_or_of_another_run_of_the_machine_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, path) = (dir.path().join("file"), dir.path().join("records"));
        fs::write(&file, "content").unwrap();
        let digest = Digest::of(b"content");
        let fingerprint = Fingerprint::of_file(&file).unwrap();
        let records = Records::open(&path);
        let record = |made| Record {
            fingerprint: fingerprint.digest,
            digest,
            made,
        };
        let now = nanoseconds(SystemTime::now());
        for (made, expected) in [(now, Some(digest)), (now + 60_000_000_000, None)] {
            *records.known() = vec![record(made)];
            records.save().unwrap();
            assert_eq!(Records::open(&path).find(&fingerprint), expected);
        }
        let written = Written {
            boot: "another".to_owned(),
            records: vec![record(now)],
        };
        let text = serde_json::to_string(&written).unwrap();
        fs::write(&path, format!("{}\n{text}", Digest::of(text.as_bytes()))).unwrap();
        assert_eq!(Records::open(&path).find(&fingerprint), None);
    }

    #[test]
    fn the_oldest_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(&dir.path().join("records"));
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let mut fingerprint = Fingerprint::of_file(&file).unwrap();
        fingerprint.files = None;
        for number in 0..=RECORDS_MAX {
            fingerprint.digest = Digest::of(&number.to_le_bytes());
            records.add(&fingerprint, fingerprint.digest);
        }
        assert_eq!(records.known().len(), RECORDS_MAX);
        records.save().unwrap();
        assert!(fs::metadata(dir.path().join("records")).unwrap().len() < FILE_BYTES_MAX);
        fingerprint.digest = Digest::of(&0usize.to_le_bytes());
        assert_eq!(records.find(&fingerprint), None);
    }
}
