//! The lines before a pack: pkt-lines, ref updates, capabilities, shallow boundaries, push options.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slipway_fuzz::commands(data));
