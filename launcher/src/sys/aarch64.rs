//! Linux on 64-bit ARM.

use core::arch::asm;

/// A system call (syscall(2)); a result below zero is the number of an error. The sixth argument is always zero here.
///
/// # Safety
/// As the call with its arguments is.
pub(super) unsafe fn call(number: usize, args: [usize; 5]) -> isize {
    let result: isize;
    // SAFETY: the kernel keeps all registers but these; the caller vouches for the rest.
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] as isize => result,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], in("x4") args[4], in("x5") 0,
            options(nostack),
        );
    }
    result
}

pub(super) const O_DIRECTORY: usize = 0o40_000;
/// `struct stat`.
pub(super) const STAT_BYTES: usize = 128;

pub(super) fn mode(stat: &[u64; STAT_BYTES / 8]) -> u32 {
    stat[2] as u32
}

/// asm-generic/unistd.h.
pub(super) mod number {
    pub(in super::super) const DUP3: usize = 24;
    pub(in super::super) const FCNTL: usize = 25;
    pub(in super::super) const FACCESSAT: usize = 48;
    pub(in super::super) const CHDIR: usize = 49;
    pub(in super::super) const OPENAT: usize = 56;
    pub(in super::super) const CLOSE: usize = 57;
    pub(in super::super) const PIPE2: usize = 59;
    pub(in super::super) const GETDENTS64: usize = 61;
    pub(in super::super) const READ: usize = 63;
    pub(in super::super) const WRITE: usize = 64;
    pub(in super::super) const NEWFSTATAT: usize = 79;
    pub(in super::super) const EXIT_GROUP: usize = 94;
    pub(in super::super) const CLONE: usize = 220;
    pub(in super::super) const EXECVE: usize = 221;
    pub(in super::super) const MMAP: usize = 222;
    pub(in super::super) const WAIT4: usize = 260;
}

/// Where the kernel begins: hands the stack's content to `start`. The stack is aligned already.
#[cfg(feature = "freestanding")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl launcher_start",
    "brk #1",
);
