//! Signals as files, and as a new program should find them.

use std::{
    io, mem,
    os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

/// Blocks the signals and gives a signalfd for them.
pub(crate) fn block(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: the set lives on the stack; the descriptor is new and ours.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        let fd: RawFd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }
}

pub(crate) fn read(signals: BorrowedFd<'_>) -> Vec<i32> {
    const SIZE: usize = mem::size_of::<libc::signalfd_siginfo>();
    let mut seen = Vec::new();
    let mut info = [0u8; SIZE];
    while let Ok(SIZE) = rustix::io::read(signals, &mut info) {
        // ssi_signo is the first field.
        let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
        seen.extend(i32::try_from(number));
    }
    seen
}

pub(crate) fn drain(signals: BorrowedFd<'_>) {
    _ = read(signals);
}

/// Nobody's ignored signals are inherited (nohup leaves SIGHUP so). SIGPIPE stays as Rust has it.
pub(crate) fn reset() {
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| *signal != libc::SIGPIPE) {
        // SAFETY: no handler is installed; those that cannot be set are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Just before exec: nothing blocked, nothing ignored.
pub(crate) fn unblock() {
    // SAFETY: the set lives on the stack.
    unsafe {
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}
