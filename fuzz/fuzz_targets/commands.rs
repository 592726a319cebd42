//! The lines before a pack

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slipway_fuzz:: pkt-lines, ref updates, capabilities, shallow boundaries, push options.:commands(data));
