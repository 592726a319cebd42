//! A layer's tar, out of a cache or an image.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| builder::fuzz::layer(data));
