//! Where init leaves how the main process ended.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, unlinkat},
    io::Errno,
};

use crate::{
    Exit,
    sandbox::Lifetime,
    zygote::{Failed, Step},
};

pub(crate) enum ExitRecord {
    /// Of a bound sandbox: to whoever waits for it.
    Pipe(Option<OwnedFd>),
    /// Of a detached one: its directory, opened before the sandbox's world hides it, and its name there.
    File(OwnedFd, OsString),
}

impl ExitRecord {
    /// What an earlier sandbox left under the name is removed, so that it is not taken for ours.
    pub(crate) fn open(lifetime: &Lifetime, pipe: Option<OwnedFd>) -> Result<Self, Failed> {
        let Lifetime::Detached { exit_record, .. } = lifetime else {
            return Ok(Self::Pipe(pipe));
        };
        let step = || format!("prepare the exit record {}", exit_record.display());
        let directory = exit_record.parent().unwrap_or(Path::new("/"));
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, directory, flags, Mode::empty()).step(step)?;
        let name = exit_record.file_name().unwrap_or_default().to_owned();
        match unlinkat(&directory, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(Self::File(directory, name)),
            Err(error) => Err(error).step(step),
        }
    }

    pub(crate) fn write(self, exit: &Exit) -> io::Result<()> {
        let text = serde_json::to_vec(exit)?;
        match self {
            Self::Pipe(None) => Ok(()),
            Self::Pipe(Some(pipe)) => File::from(pipe).write_all(&text),
            Self::File(directory, name) => {
                let mut new = name.clone();
                new.push(".new");
                let flags = OFlags::CREATE
                    | OFlags::TRUNC
                    | OFlags::WRONLY
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let file = openat(&directory, &new, flags, Mode::from_raw_mode(0o640))?;
                File::from(file).write_all(&text)?;
                Ok(renameat(&directory, &new, &directory, &name)?)
            }
        }
    }

    /// Of a sandbox that could not be started: that its init ended is no news.
    pub(crate) fn forget(lifetime: &Lifetime) {
        if let Lifetime::Detached { exit_record, .. } = lifetime {
            _ = fs::remove_file(exit_record);
        }
    }
}
