//! `buildpack.toml` of whoever wrote it.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| builder::fuzz::buildpack_toml(data));
