//! A buildpackage in a file: a tar of an OCI layout, with manifests, configuration and layers.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| builder::fuzz::buildpackage(data));
