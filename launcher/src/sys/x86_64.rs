//! Linux on x86-64.

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
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2], in("r10") args[3], in("r8") args[4], in("r9") 0,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

pub(super) const O_DIRECTORY: usize = 0o200_000;
/// `struct stat`.
pub(super) const STAT_BYTES: usize = 144;

pub(super) fn mode(stat: &[u64; STAT_BYTES / 8]) -> u32 {
    stat[3] as u32
}

/// asm/unistd_64.h.
pub(super) mod number {
    pub(in super::super) const READ: usize = 0;
    pub(in super::super) const WRITE: usize = 1;
    pub(in super::super) const CLOSE: usize = 3;
    pub(in super::super) const MMAP: usize = 9;
    pub(in super::super) const CLONE: usize = 56;
    pub(in super::super) const EXECVE: usize = 59;
    pub(in super::super) const WAIT4: usize = 61;
    pub(in super::super) const FCNTL: usize = 72;
    pub(in super::super) const CHDIR: usize = 80;
    pub(in super::super) const GETDENTS64: usize = 217;
    pub(in super::super) const EXIT_GROUP: usize = 231;
    pub(in super::super) const OPENAT: usize = 257;
    pub(in super::super) const NEWFSTATAT: usize = 262;
    pub(in super::super) const FACCESSAT: usize = 269;
    pub(in super::super) const DUP3: usize = 292;
    pub(in super::super) const PIPE2: usize = 293;
}

/// Where the kernel begins: hands the stack's content to `start`, with the stack aligned as functions expect.
#[cfg(feature = "freestanding")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call launcher_start",
    "ud2",
);
