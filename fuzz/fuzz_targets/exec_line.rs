//! The command line of an SSH client.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slipway_fuzz::exec_line(data));
