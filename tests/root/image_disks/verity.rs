//! Disks that dm-verity vouches for. Where the kernel has no device mapper they are refused, with a word that says so.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use super::machines::{ROOT, script};
use super::make::{Part, make_disk, no_loop_devices};
use crate::command::run;
use crate::harness::{Context, Stop, TestResult};

const ROOT_VERITY: &str = "type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5";

/// What is nowhere else on the disk.
const CANARY: &str = "the canary of the test of dm-verity";

/// `half` of a root hash as the identifier of a partition.
fn guid(half: &str) -> String {
    [&half[..8], &half[8..12], &half[12..16], &half[16..20], &half[20..]].join("-")
}

/// Changes the byte at the beginning of the canary, or at `offset`.
fn flip(image: &Path, offset: u64) -> TestResult {
    let disk = File::options().read(true).write(true).open(image)?;
    let mut byte = [0];
    disk.read_exact_at(&mut byte, offset)?;
    disk.write_all_at(&[byte[0] ^ 1], offset)?;
    disk.sync_all()?;
    Ok(())
}

fn devices() -> Vec<String> {
    let blocks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let names = blocks.filter_map(|block| fs::read_to_string(block.path().join("dm/name")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with("spinney-")).collect()
}

pub(super) fn verity(context: &Context) -> TestResult {
    if run(Command::new("sh").args(["-c", "command -v veritysetup sfdisk mke2fs"])).status != 0 {
        return Err(Stop::Skip("no veritysetup, sfdisk or mke2fs".to_owned()));
    }
    let (tree, at) = (context.subdirectory("tree"), |name: &str| context.directory.join(name));
    run(Command::new("cp").arg("-a").arg(context.tree("busybox")?.join(".")).arg(&tree)).ok()?;
    fs::write(tree.join("canary"), CANARY)?;
    // A verified device has blocks of 4 KiB: no file system on it may have smaller ones.
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-b", "4096", "-d"]).arg(&tree).arg(at("root")).arg("32M");
    run(&mut make).ok()?;
    let said = run(Command::new("veritysetup").arg("format").args([at("root"), at("hashes")])).ok()?;
    let hash = said.lines().find_map(|line| line.strip_prefix("Root hash:")).ok_or("no root hash")?.trim();
    let image = at("disk.raw");
    let (data, hashes) =
        (format!("{ROOT}, uuid={}", guid(&hash[..32])), format!("{ROOT_VERITY}, uuid={}", guid(&hash[32..])));
    make_disk(&image, "gpt", 512, &[Part(&data, Some(&at("root"))), Part(&hashes, Some(&at("hashes")))])?;
    let canary = |bytes: &[u8]| bytes.windows(CANARY.len()).position(|window| window == CANARY.as_bytes());
    let canary = canary(&fs::read(&image)?).ok_or("no canary")? as u64;
    let read = |options: &[&str]| script(context, &image, options, "cat /canary");
    fs::write(at("disk.roothash"), format!("{hash}\n"))?;
    let verified = read(&["-x"]);
    if verified.status == 125 && verified.stderr.contains("device mapper") {
        no_loop_devices(&context.directory)?;
        return Err(Stop::Skip("no device mapper; it says so".to_owned()));
    }
    for options in [&["-x"][..], &["--read-only"], &["-x", "--private-users=no"]] {
        let ended = read(options);
        assert_eq!((ended.status, ended.stdout.as_str()), (0, CANARY), "{options:?}: {ended:#?}");
    }
    // The device is mounted, and gone with the machine.
    let shown = script(
        context,
        &image,
        &["-x"],
        "grep -c ' - ext4 /dev/dm-\\| - ext4 /dev/mapper/' /proc/self/mountinfo; true",
    );
    assert_eq!((shown.status, devices()), (0, Vec::new()), "{shown:#?}");
    no_loop_devices(&context.directory)?;
    // A byte of a file is another one: nobody gets to see it.
    flip(&image, canary)?;
    let ended = read(&["-x"]);
    let says = ended.stderr.contains("I/O error") || ended.stderr.contains("Input/output error");
    assert!(ended.status == 1 && ended.stdout.is_empty() && says, "{ended:#?}");
    // Without the root hash nothing vouches for it.
    fs::rename(at("disk.roothash"), at("roothash"))?;
    assert_eq!(read(&["-x"]).stdout, CANARY.replacen('t', "u", 1));
    fs::rename(at("roothash"), at("disk.roothash"))?;
    flip(&image, canary)?;
    assert_eq!(read(&["-x"]).stdout, CANARY);
    // A byte of the hashes is: the superblock and the blocks after it.
    let start = (1 << 20) + fs::metadata(at("root"))?.len().next_multiple_of(1 << 20);
    flip(&image, start + 4096 + 5)?;
    let ended = read(&["-x"]);
    assert!(ended.status != 0 && ended.stdout.is_empty(), "{ended:#?}");
    flip(&image, start + 4096 + 5)?;
    // Another root hash: there is no such partition.
    fs::write(at("disk.roothash"), "0".repeat(64))?;
    assert_eq!(read(&["-x"]).status, 125);
    fs::write(at("disk.roothash"), "no hash")?;
    assert_eq!(read(&["-x"]).status, 125);
    assert_eq!(devices(), Vec::<String>::new());
    no_loop_devices(&context.directory)
}
