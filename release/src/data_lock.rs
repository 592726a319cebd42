//! One platform per data folder: two would each undo what the other does.

use std::{
    fs::File,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::DeployError;

/// One that was just told to end may still be at it.
const WAIT_MAX: Duration = Duration::from_secs(2);
const INTERVAL: Duration = Duration::from_millis(20);

/// Held until the file is closed, also by the end of the process, whatever ended it.
pub(crate) fn take(data: &Path) -> Result<File, DeployError> {
    let path = data.join("lock");
    let failed = |source| DeployError::Io {
        doing: "lock",
        path: path.clone(),
        source,
    };
    let file = File::create(&path).map_err(failed)?;
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => sleep(INTERVAL),
            Err(Errno::WOULDBLOCK) => return Err(DeployError::DataInUse(data.to_owned())),
            Err(error) => return Err(failed(error.into())),
        }
    }
}
