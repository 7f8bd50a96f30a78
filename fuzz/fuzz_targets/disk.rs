//! Disks: tables of partitions, file systems' magic numbers, and what would be mounted of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spinney::image::disk::{facts, gpt, plan};

fuzz_target!(|bytes: &[u8]| {
    let _ = plan::plan(&facts::read(bytes), plan::Wish::default());
    // Without the protective MBR, which few inputs have.
    for sector in [512, 4096] {
        let _ = gpt::read(bytes, sector);
    }
});
