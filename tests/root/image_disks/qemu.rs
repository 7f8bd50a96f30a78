//! Disks of QEMU, as it writes them itself.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

use spinney::transfer::{self, qcow2};

use super::make::{MIB, make_file_system, small_tree};
use crate::command::run;
use crate::harness::{Context, TestResult};

/// Every kind of qcow2 that qemu-img writes is read as it reads it itself, holes included.
pub(super) fn qcow2_as_qemu_reads_it(context: &Context) -> TestResult {
    let at = |name: &str| context.directory.join(name);
    let raw = at("raw");
    make_file_system("ext4", &small_tree(context, "qemu"), &raw)?;
    let disk = File::options().write(true).open(&raw)?;
    // Data that cannot be compressed, data that can, a hole, and an end that is no whole cluster.
    let random: Vec<u8> =
        (0..3_000_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    disk.write_all_at(&random, 5 * MIB)?;
    disk.write_all_at(&[b'a'; 100_000], 9 * MIB + 512)?;
    disk.set_len(20 * MIB + 1536)?;
    disk.write_all_at(b"end", 20 * MIB + 1024)?;
    let rows: [&[&str]; 8] = [
        &["-o", "compat=0.10"],
        &["-o", "compat=1.1"],
        &["-o", "cluster_size=512"],
        &["-o", "cluster_size=2M"],
        &["-o", "preallocation=metadata"],
        &["-c"],
        &["-c", "-o", "compression_type=zstd"],
        &["-c", "-o", "compression_type=zstd,cluster_size=4k"],
    ];
    for options in rows {
        let (qcow2, ours) = (at("qcow2"), at("ours"));
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", "qcow2"]).args(options).arg(&raw).arg(&qcow2);
        run(&mut convert).ok()?;
        let (from, to) = (File::open(&qcow2)?, File::create(&ours)?);
        let length = qcow2::convert(from.as_fd(), to.as_fd(), "qcow2", &transfer::Context::silent())?;
        assert_eq!(length, 20 * MIB + 1536, "{options:?}");
        run(Command::new("cmp").arg(&raw).arg(&ours)).ok()?;
        let blocks = ours.metadata()?.blocks();
        assert!(blocks * 512 < 4 * MIB, "{options:?}: {blocks} blocks");
    }
    // What else there is, refused.
    let create = |options: &[&str], file: &str| {
        run(Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .args(options)
            .arg(at(file))
            .arg("16M"))
        .ok()
    };
    create(&["-o", "extended_l2=on"], "extended")?;
    create(&["-o", &format!("data_file={}", at("data").display())], "external")?;
    let base = at("raw").display().to_string();
    create(&["-b", &base, "-F", "raw"], "backed")?;
    let rows = [
        ("extended", "it has features that are unknown here (bits 0x10)"),
        ("external", "its data is in another file"),
        ("backed", "it is based on another disk"),
        ("raw", "it is no qcow2 disk"),
    ];
    for (name, why) in rows {
        let (from, to) = (File::open(at(name))?, File::create(at("ours"))?);
        let error = qcow2::convert(from.as_fd(), to.as_fd(), name, &transfer::Context::silent()).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read {name}: {why}"));
    }
    Ok(())
}
