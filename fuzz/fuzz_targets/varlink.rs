#![no_main]

#[path = "../survives.rs"]
#[allow(dead_code, reason = "the other targets have the rest of it")]
mod survives;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| survives::varlink(bytes));
