//! A new data folder out of a backup. It is made beside its place, checked, and renamed: a crash or a bad file leaves no
//! half platform that somebody could start.

use std::{
    ffi::OsString,
    fs,
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use container::{
    Store,
    archive::{ArchiveError, ArchiveReader},
    store::original_owner,
};
use release::Ledger;

use super::{
    ABOUT, About, BackupError, Doing as _, FORMAT, KEPT, LEDGER, REPOS, STORE, workplace::Workplace,
};

/// Makes the platform of the backup in `data`, which is absent or empty. An older one's ledger gets the schema of today.
pub fn restore(backup: impl Read + Send, data: &Path) -> Result<About, BackupError> {
    let (archive, about) = ArchiveReader::open(backup, ABOUT).map_err(|error| match error {
        ArchiveError::Foreign(_) => BackupError::Foreign(error),
        error => BackupError::Unusable(error),
    })?;
    let about = About::read(&about)?;
    let data = new_place(data)?;
    let unfinished = unfinished(&data)?;
    archive
        .unpack(unfinished.path(), known, &original_owner)
        .map_err(BackupError::Unusable)?;
    check_ledger(&unfinished.path().join(LEDGER))?;
    let store = unfinished.path().join(STORE);
    fs::create_dir_all(&store).doing("make", &store)?;
    Store::settle(&store)?;
    unfinished.become_folder(&data)?;
    Ok(about)
}

impl About {
    fn read(json: &[u8]) -> Result<Self, BackupError> {
        let foreign = |_| BackupError::Foreign(ArchiveError::Foreign(ABOUT.to_owned()));
        // First what every format has.
        let value: serde_json::Value = serde_json::from_slice(json).map_err(foreign)?;
        if value["format"]
            .as_u64()
            .is_some_and(|format| format > FORMAT.into())
        {
            let version = value["slipway"].as_str().unwrap_or("of another version");
            return Err(BackupError::Newer(version.chars().take(40).collect()));
        }
        serde_json::from_value(value).map_err(foreign)
    }
}

/// Nothing else of a backup is unpacked.
fn known(name: &Path) -> Option<PathBuf> {
    let Some(Component::Normal(first)) = name.components().next() else {
        return None;
    };
    let mut all = [LEDGER, REPOS, STORE].iter().chain(KEPT);
    all.any(|known| first == *known).then(|| name.to_owned())
}

fn check_ledger(file: &Path) -> Result<(), BackupError> {
    if !file.is_file() {
        return Err(BackupError::DamagedLedger("there is none".to_owned()));
    }
    match Ledger::open(file)?.check()? {
        Some(damage) => Err(BackupError::DamagedLedger(damage)),
        None => Ok(()),
    }
}

/// Beside its place, so that it can be renamed.
fn unfinished(data: &Path) -> Result<Workplace, BackupError> {
    let mut name = OsString::from(".");
    name.push(data.file_name().unwrap_or_default());
    name.push(".restoring");
    Workplace::claim(data.with_file_name(name))
}

/// Absent or empty, and without links in its name; the folders above it are made.
fn new_place(data: &Path) -> Result<PathBuf, BackupError> {
    if fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(BackupError::NotEmpty(data.to_owned()));
    }
    let existed = data.exists();
    fs::create_dir_all(data).doing("make", data)?;
    let resolved = data.canonicalize().doing("resolve", data)?;
    if !existed {
        // It stands there when it is whole.
        fs::remove_dir(&resolved).doing("remove", &resolved)?;
    }
    if resolved.file_name().is_none() {
        let source = io::ErrorKind::InvalidInput.into();
        return Err(BackupError::Io {
            doing: "restore into",
            path: resolved,
            source,
        });
    }
    Ok(resolved)
}
