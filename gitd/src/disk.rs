//! The room on the disk that a platform needs to go on.

use std::{io, path::Path};

/// With less, a build or the database may fail.
pub(crate) const FREE_BYTES_MIN: u64 = 2 << 30;

/// For those who are not root.
pub(crate) fn free_bytes(at: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(at)?;
    Ok(stat.f_bavail * stat.f_frsize)
}
