//! Disks of QEMU, read to their end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spinney::transfer::qcow2;

fuzz_target!(|bytes: &[u8]| {
    let _ = qcow2::check(bytes);
});
