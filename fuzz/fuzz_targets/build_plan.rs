//! What bin/detect writes, and how plans are brought together.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| builder::fuzz::build_plan(data));
