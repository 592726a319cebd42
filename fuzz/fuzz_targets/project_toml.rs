//! `project.toml` of an app.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| builder::fuzz::project_toml(data));
