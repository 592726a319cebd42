//! Well-formed packs of objects that name each other, and of deltas upon each other.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slipway_fuzz::objects(data));
