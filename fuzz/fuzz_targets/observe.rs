#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| endpoint_fuzz::observe::run(input));
