//! What a client of `git upload-pack` says. The first byte chooses the protocol.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slipway_fuzz::fetch(data));
