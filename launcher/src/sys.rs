//! The dozen system calls of a launch, directly: a C library would be most of the program, and start slower.

use alloc::{vec, vec::Vec};
use core::fmt;

#[cfg_attr(target_arch = "x86_64", path = "sys/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "sys/aarch64.rs")]
mod arch;
mod start;

use self::arch::{call, number};
pub use self::start::Start;

/// A failed call's number (errno(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(i32);

impl Errno {
    pub(crate) const NOENT: Self = Self(2);
    const INTR: Self = Self(4);
    const ACCES: Self = Self(13);
    const INVAL: Self = Self(22);
    /// Also what we say of a file, or an output, that is larger than we read.
    const FBIG: Self = Self(27);
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "Operation not permitted",
            2 => "No such file or directory",
            7 => "Argument list too long",
            8 => "Exec format error",
            12 => "Cannot allocate memory",
            13 => "Permission denied",
            20 => "Not a directory",
            21 => "Is a directory",
            22 => "Invalid argument",
            27 => "the file or output is too large",
            36 => "File name too long",
            40 => "Too many levels of symbolic links",
            other => return write!(f, "error {other}"),
        })
    }
}

/// How a program ended (wait(2)).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Status(i32);

impl Status {
    pub(crate) fn is_success(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 & 0x7f {
            0 => write!(f, "exit status {}", (self.0 >> 8) & 0xff),
            signal => write!(f, "signal {signal}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Other,
}

const AT_FDCWD: usize = -100_isize as usize;
const O_RDONLY: usize = 0;
const O_CLOEXEC: usize = 0o2_000_000;
const O_DIRECTORY: usize = arch::O_DIRECTORY;
const X_OK: usize = 1;
const SIGCHLD: usize = 17;
const READ_BYTES: usize = 32 * 1024;
/// Where an exec.d program writes its variables.
const EXEC_D_FD: usize = 3;
/// getdents64(2): inode, offset, length of the entry, type, name.
const ENTRY_LENGTH_AT: usize = 16;
const ENTRY_NAME_AT: usize = 19;

/// The whole file, if it has at most `max` bytes.
pub(crate) fn read(path: &[u8], max: usize) -> Result<Vec<u8>, Errno> {
    let fd = open(path, O_RDONLY)?;
    let content = read_all(fd, max);
    close(fd);
    content
}

/// Names of a directory's entries, in no order.
pub(crate) fn names(dir: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    let fd = open(dir, O_RDONLY | O_DIRECTORY)?;
    let mut names = Vec::new();
    let mut buffer = vec![0_u8; READ_BYTES];
    let result = loop {
        // SAFETY: the kernel writes into the buffer, up to its length.
        let length = unsafe {
            call(
                number::GETDENTS64,
                [fd, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0],
            )
        };
        match check(length) {
            Ok(0) => break Ok(names),
            Ok(length) => names.extend(entry_names(&buffer[..length])),
            Err(error) => break Err(error),
        }
    };
    close(fd);
    result
}

fn entry_names(mut entries: &[u8]) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    while entries.len() > ENTRY_NAME_AT {
        let length = u16::from_ne_bytes([entries[ENTRY_LENGTH_AT], entries[ENTRY_LENGTH_AT + 1]]);
        let (entry, rest) =
            entries.split_at(usize::from(length).clamp(ENTRY_NAME_AT, entries.len()));
        let name = entry[ENTRY_NAME_AT..]
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        if !matches!(name, b"" | b"." | b"..") {
            names.push(name.to_vec());
        }
        entries = rest;
    }
    names
}

/// Of what a path leads to; `None` when that is nothing.
pub(crate) fn kind(path: &[u8]) -> Option<Kind> {
    let path = c_string(path).ok()?;
    let mut stat = [0_u64; arch::STAT_BYTES / 8];
    // SAFETY: the path ends with a NUL, and the kernel writes one `struct stat`, for which there is room.
    let result = unsafe {
        call(
            number::NEWFSTATAT,
            [
                AT_FDCWD,
                path.as_ptr() as usize,
                stat.as_mut_ptr() as usize,
                0,
                0,
            ],
        )
    };
    check(result).ok()?;
    Some(match arch::mode(&stat) & 0o170_000 {
        0o100_000 => Kind::File,
        0o040_000 => Kind::Directory,
        _ => Kind::Other,
    })
}

pub(crate) fn is_executable(path: &[u8]) -> bool {
    let Ok(path) = c_string(path) else {
        return false;
    };
    // SAFETY: the path ends with a NUL.
    check(unsafe {
        call(
            number::FACCESSAT,
            [AT_FDCWD, path.as_ptr() as usize, X_OK, 0, 0],
        )
    })
    .is_ok()
}

pub(crate) fn chdir(path: &[u8]) -> Result<(), Errno> {
    let path = c_string(path)?;
    // SAFETY: the path ends with a NUL.
    check(unsafe { call(number::CHDIR, [path.as_ptr() as usize, 0, 0, 0, 0]) }).map(drop)
}

/// Becomes `program`; returns when it cannot.
pub(crate) fn execute(program: &[u8], argv: &[Vec<u8>], env: &[Vec<u8>]) -> Errno {
    let strings = (c_string(program), c_strings(argv), c_strings(env));
    let (Ok(program), Ok(argv), Ok(env)) = strings else {
        return Errno::INVAL;
    };
    execute_prepared(&program, &pointers(&argv), &pointers(&env))
}

/// Neither allocates nor returns but with an error, so that a forked child may call it.
fn execute_prepared(program: &[u8], argv: &[usize], env: &[usize]) -> Errno {
    let args = [
        program.as_ptr() as usize,
        argv.as_ptr() as usize,
        env.as_ptr() as usize,
        0,
        0,
    ];
    // SAFETY: strings end with a NUL and lists with a null pointer; all live until the call returns.
    match check(unsafe { call(number::EXECVE, args) }) {
        Err(error) => error,
        Ok(_) => Errno::ACCES,
    }
}

/// Runs `program` to its end, with a pipe as its descriptor 3; what it wrote there, if that is at most `max` bytes.
pub(crate) fn capture(
    program: &[u8],
    env: &[Vec<u8>],
    max: usize,
) -> Result<(Status, Vec<u8>), Errno> {
    let (program, env) = (c_string(program)?, c_strings(env)?);
    let (argv, env) = ([program.as_ptr() as usize, 0], pointers(&env));
    let (reader, writer) = pipe()?;
    // SAFETY: no stack and no other memory is handed over: the child is a copy, as of fork(2).
    let child = check(unsafe { call(number::CLONE, [SIGCHLD, 0, 0, 0, 0]) });
    if child == Ok(0) {
        give_descriptor(writer);
        execute_prepared(&program, &argv, &env);
        exit(127);
    }
    close(writer);
    let output = child.and_then(|_| read_all(reader, max));
    // A program that goes on writing ends now.
    close(reader);
    let status = wait(child?)?;
    Ok((status, output?))
}

/// In the child: where the writer is that descriptor already, it only must not be closed on exec.
fn give_descriptor(writer: usize) {
    const F_SETFD: usize = 2;
    let args = [writer, EXEC_D_FD, 0, 0, 0];
    // SAFETY: descriptors are numbers; a wrong one is an error and no more.
    unsafe {
        if writer == EXEC_D_FD {
            call(number::FCNTL, [writer, F_SETFD, 0, 0, 0]);
        } else {
            call(number::DUP3, args);
        }
    }
}

fn wait(child: usize) -> Result<Status, Errno> {
    let mut status = 0_i32;
    loop {
        let args = [child, &raw mut status as usize, 0, 0, 0];
        // SAFETY: the kernel writes one int.
        match check(unsafe { call(number::WAIT4, args) }) {
            Err(Errno::INTR) => {}
            result => return result.map(|_| Status(status)),
        }
    }
}

fn pipe() -> Result<(usize, usize), Errno> {
    let mut fds = [0_i32; 2];
    // SAFETY: the kernel writes two ints.
    check(unsafe {
        call(
            number::PIPE2,
            [fds.as_mut_ptr() as usize, O_CLOEXEC, 0, 0, 0],
        )
    })?;
    Ok((fds[0] as usize, fds[1] as usize))
}

fn open(path: &[u8], flags: usize) -> Result<usize, Errno> {
    let path = c_string(path)?;
    // SAFETY: the path ends with a NUL.
    check(unsafe {
        call(
            number::OPENAT,
            [AT_FDCWD, path.as_ptr() as usize, flags | O_CLOEXEC, 0, 0],
        )
    })
}

fn close(fd: usize) {
    // SAFETY: the descriptor is ours, and not used again.
    unsafe { call(number::CLOSE, [fd, 0, 0, 0, 0]) };
}

fn read_all(fd: usize, max: usize) -> Result<Vec<u8>, Errno> {
    let mut content = Vec::new();
    let mut buffer = vec![0_u8; READ_BYTES];
    loop {
        // SAFETY: the kernel writes into the buffer, up to its length.
        let length = unsafe {
            call(
                number::READ,
                [fd, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0],
            )
        };
        match check(length) {
            Ok(0) => return Ok(content),
            Ok(length) => content.extend_from_slice(&buffer[..length]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        if content.len() > max {
            return Err(Errno::FBIG);
        }
    }
}

/// To standard error; what cannot be said is not.
pub fn write_error(text: &[u8]) {
    // SAFETY: the kernel reads the text, up to its length.
    unsafe { call(number::WRITE, [2, text.as_ptr() as usize, text.len(), 0, 0]) };
}

/// Fresh zeroed memory, page-aligned; null when there is none.
pub fn map(bytes: usize) -> *mut u8 {
    const PROT_READ_WRITE: usize = 3;
    const MAP_PRIVATE_ANONYMOUS: usize = 0x22;
    let args = [0, bytes, PROT_READ_WRITE, MAP_PRIVATE_ANONYMOUS, usize::MAX];
    // SAFETY: no address is asked for, so nothing that exists is replaced.
    match check(unsafe { call(number::MMAP, args) }) {
        Ok(address) => address as *mut u8,
        Err(_) => core::ptr::null_mut(),
    }
}

pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: ends the process.
        unsafe { call(number::EXIT_GROUP, [status as usize, 0, 0, 0, 0]) };
    }
}

fn check(result: isize) -> Result<usize, Errno> {
    if result < 0 {
        Err(Errno(-result as i32))
    } else {
        Ok(result as usize)
    }
}

fn c_string(bytes: &[u8]) -> Result<Vec<u8>, Errno> {
    if bytes.contains(&0) {
        return Err(Errno::INVAL);
    }
    Ok([bytes, &[0]].concat())
}

fn c_strings(list: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Errno> {
    list.iter().map(|bytes| c_string(bytes)).collect()
}

fn pointers(strings: &[Vec<u8>]) -> Vec<usize> {
    let pointers = strings.iter().map(|string| string.as_ptr() as usize);
    pointers.chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::ffi::OsStrExt as _};

    use super::*;

    #[test]
    fn files_and_directories() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).as_os_str().as_bytes().to_vec();
        fs::create_dir(dir.path().join("dir")).unwrap();
        std::os::unix::fs::symlink("dir", dir.path().join("link")).unwrap();
        let long = "n".repeat(255);
        for number in 0..500 {
            fs::write(
                dir.path().join(format!("dir/{number}-{}", &long[..250])),
                "",
            )
            .unwrap();
        }
        fs::write(dir.path().join("file"), vec![7; 100_000]).unwrap();
        assert_eq!(names(&at("dir")).unwrap().len(), 500);
        assert_eq!(names(&at("none")), Err(Errno::NOENT));
        assert_eq!(names(&at("file")), Err(Errno(20)));
        assert_eq!(read(&at("file"), 100_000).unwrap(), vec![7; 100_000]);
        assert_eq!(read(&at("file"), 99_999), Err(Errno::FBIG));
        assert_eq!(read(b"a\0b", 1), Err(Errno::INVAL));
        for (name, expected) in [
            ("file", Some(Kind::File)),
            ("dir", Some(Kind::Directory)),
            ("link", Some(Kind::Directory)),
            ("none", None),
        ] {
            assert_eq!(kind(&at(name)), expected, "{name}");
        }
        assert_eq!(kind(b"/dev/null"), Some(Kind::Other));
        assert!(
            is_executable(b"/bin/sh") && !is_executable(&at("file")) && !is_executable(&at("none"))
        );
        assert!(!map(4096).is_null());
    }
}
