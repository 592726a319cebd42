//! How far a file system's time stamps can be trusted to tell two changes apart.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::fs::{Timespec, Timestamps, UTIME_OMIT, fstatfs, futimens};

/// Changes in a row that have to differ. They take microseconds, and no clock ticks that often.
const TRIES: usize = 16;

/// Whose last change (ctime) is the kernel's business alone, and follows each write: no network file systems, where
/// somebody else's clock counts and attributes are cached.
const TRUSTED: [i64; 6] = [
    0xef53,      // ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0x0102_1994, // tmpfs
    0xf2f5_2010, // F2FS
    0x794c_7630, // overlayfs, of the above
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// Every change of a file that somebody has looked at gets a time of its own (multigrain time stamps, Linux 6.13).
    Fine,
    /// Two changes within one tick cannot be told apart.
    Coarse,
    /// Nothing is known.
    Unknown,
}

impl Clock {
    /// Of the file system that `dir` lies on. Sets its time stamps to what they are.
    pub(super) fn of(dir: &Path) -> Self {
        let Ok(file) = File::open(dir) else {
            return Self::Unknown;
        };
        let is_trusted = fstatfs(&file).is_ok_and(|fs| TRUSTED.contains(&fs.f_type));
        if !is_trusted {
            Self::Unknown
        } else if (0..TRIES).all(|_| changes(&file) == Some(true)) {
            Self::Fine
        } else {
            Self::Coarse
        }
    }
}

/// Whether a change changes the time of the last change; `None` where we may not try.
fn changes(dir: &File) -> Option<bool> {
    let before = dir.metadata().ok()?;
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: before.mtime(),
            tv_nsec: before.mtime_nsec(),
        },
    };
    futimens(dir, &times).ok()?;
    Some(change(&dir.metadata().ok()?) != change(&before))
}

fn change(metadata: &fs::Metadata) -> (i64, i64) {
    (metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_own_file_systems_are_trusted() {
        assert_eq!(Clock::of(Path::new("/proc/self")), Clock::Unknown);
        assert_eq!(Clock::of(Path::new("/none")), Clock::Unknown);
        let dir = tempfile::tempdir().unwrap();
        let before = dir.path().metadata().unwrap();
        Clock::of(dir.path());
        let after = dir.path().metadata().unwrap();
        assert_eq!(before.mtime_nsec(), after.mtime_nsec());
        assert_eq!(before.mode(), after.mode());
    }
}
