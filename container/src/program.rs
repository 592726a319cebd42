//! Which file a command line means, inside a sandbox.

use std::{
    ffi::OsStr,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, CWD, Mode, OFlags, ResolveFlags, access, openat2},
    io::Errno,
};

/// As many as the kernel follows from script to script, and what it reads of each (BINPRM_BUF_SIZE).
const SCRIPTS_MAX: usize = 5;
const HEAD_BYTES: u64 = 256;

/// A command without a slash is looked for in the sandbox's own PATH.
pub(crate) fn find(command: &str, env: &[(String, String)]) -> PathBuf {
    if command.contains('/') {
        return command.into();
    }
    let path = env
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or("/usr/bin:/bin", |(_, value)| value);
    let found = path
        .split(':')
        .map(|dir| Path::new(dir).join(command))
        .find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok());
    found.unwrap_or_else(|| command.into())
}

/// Refuses a program, or a script's interpreter, that is reached through a link of /proc. Until the exec `/proc/self/exe`
/// is our own binary on the host, and whoever executes that may change it there: as an ordinary user we own it. Nobody
/// else is in the sandbox yet who could exchange a file after it was looked at.
pub(crate) fn check(program: &Path) -> io::Result<()> {
    let mut program = program.to_owned();
    for _ in 0..SCRIPTS_MAX {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat2(
            CWD,
            &program,
            flags,
            Mode::empty(),
            ResolveFlags::NO_MAGICLINKS,
        )?;
        let mut head = Vec::new();
        std::fs::File::from(file)
            .take(HEAD_BYTES)
            .read_to_end(&mut head)?;
        match interpreter(&head) {
            Some(path) => program = path.to_owned(),
            None => return Ok(()),
        }
    }
    Err(Errno::LOOP.into())
}

/// `#! /bin/sh -e`
fn interpreter(head: &[u8]) -> Option<&Path> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| b" \t\0".contains(byte));
    let word = words.find(|word| !word.is_empty())?;
    Some(Path::new(OsStr::from_bytes(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_its_interpreter() {
        for (head, expected) in [
            ("#!/bin/sh", Some("/bin/sh")),
            ("#! \t/bin/sh -e\nmore", Some("/bin/sh")),
            ("#!/bin/sh\0x", Some("/bin/sh")),
            ("#!\n/bin/sh", None),
            ("#!", None),
            ("\x7fELF", None),
        ] {
            assert_eq!(interpreter(head.as_bytes()), expected.map(Path::new));
        }
    }
}
