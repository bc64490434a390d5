//! See the library's module of the same name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::lists::run(data));
