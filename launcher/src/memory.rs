//! Memory: an allocator that never frees, because the process that we become starts from nothing; and the functions that
//! the compiler calls by name.

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::UnsafeCell,
    ptr,
};

/// What is asked of the kernel at a time.
const CHUNK_BYTES: usize = 256 * 1024;

struct Bump(UnsafeCell<(usize, usize)>);

// SAFETY: there is one thread.
unsafe impl Sync for Bump {}

#[global_allocator]
static MEMORY: Bump = Bump(UnsafeCell::new((0, 0)));

// SAFETY: hands out disjoint parts of fresh memory, aligned as asked.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: one thread, and no reference outlives this call.
        let (next, end) = unsafe { &mut *self.0.get() };
        let mut at = next.next_multiple_of(layout.align());
        if *next == 0 || end.saturating_sub(at) < layout.size() {
            let bytes = layout
                .size()
                .saturating_add(layout.align())
                .max(CHUNK_BYTES);
            let chunk = launcher::map(bytes) as usize;
            if chunk == 0 {
                return ptr::null_mut();
            }
            *end = chunk + bytes;
            at = chunk.next_multiple_of(layout.align());
        }
        *next = at + layout.size();
        at as *mut u8
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

// Byte by byte, and volatile: otherwise the compiler sees what a loop does and calls the function that it is in.

#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    for at in 0..length {
        // SAFETY: the caller gives `length` bytes at both.
        unsafe { to.add(at).write_volatile(*from.add(at)) };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    if (to as usize) < from as usize {
        // SAFETY: as promised by the caller; going up, what is still to be read is not yet written.
        return unsafe { memcpy(to, from, length) };
    }
    for at in (0..length).rev() {
        // SAFETY: the caller gives `length` bytes at both.
        unsafe { to.add(at).write_volatile(*from.add(at)) };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    for at in 0..length {
        // SAFETY: the caller gives `length` bytes.
        unsafe { to.add(at).write_volatile(byte as u8) };
    }
    to
}

#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
    for at in 0..length {
        // SAFETY: the caller gives `length` bytes at both.
        let (a, b) = unsafe { (a.add(at).read_volatile(), b.add(at).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, length: usize) -> i32 {
    // SAFETY: as promised by the caller.
    unsafe { memcmp(a, b, length) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller's text ends with a NUL.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}
