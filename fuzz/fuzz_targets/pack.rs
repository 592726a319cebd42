//! The bytes of a pack, whose checksum is made right.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slipway_fuzz::pack(data));
