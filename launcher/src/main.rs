//! `/cnb/lifecycle/launcher`: [`launcher::launch`], with what a program needs that stands on nothing: a beginning, memory,
//! and an end.

#![no_std]
#![no_main]

extern crate alloc;

mod memory;

use alloc::format;

use launcher::{Start, exit, launch, write_error};

/// # Safety
/// Called once, by `_start`, with the stack pointer that the kernel gave the process.
#[unsafe(no_mangle)]
unsafe extern "C" fn launcher_start(stack: *const usize) -> ! {
    // SAFETY: see above.
    let start = unsafe { Start::read(stack) };
    let Err(failure) = launch(start.argv, start.env);
    write_error(format!("launcher: {}\n", failure.text).as_bytes());
    exit(failure.status)
}

/// A bug; there is nothing to unwind to.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    write_error(b"launcher: internal error\n");
    exit(82)
}
