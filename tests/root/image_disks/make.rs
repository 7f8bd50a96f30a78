//! Trees, file systems and disks that tests make, and the loop devices of them.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use spinney::image::disk::{self, DiskOptions};

use crate::command::run;
use crate::harness::{Context, TestResult};

/// Loop devices whose files are below `directory`.
pub(super) fn loop_devices(directory: &Path) -> Vec<PathBuf> {
    let devices = std::fs::read_dir("/sys/block").unwrap().flatten().map(|entry| entry.path());
    let below = |device: &PathBuf| {
        std::fs::read_to_string(device.join("loop/backing_file"))
            .is_ok_and(|file| Path::new(&file).starts_with(directory))
    };
    devices.filter(below).collect()
}

/// Waits until none is left: the kernel clears them when it gets round to it.
pub(super) fn no_loop_devices(directory: &Path) -> TestResult {
    let deadline = std::time::Instant::now() + crate::command::PATIENCE;
    while !loop_devices(directory).is_empty() {
        if std::time::Instant::now() > deadline {
            return Err(format!("left: {:?}", loop_devices(directory)).into());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
}

/// A tree with a file `etc/os-release` that says `name`.
pub(super) fn small_tree(context: &Context, name: &str) -> PathBuf {
    let tree = context.subdirectory(&format!("tree-{name}"));
    for directory in ["etc", "usr/bin", "home", "boot"] {
        std::fs::create_dir_all(tree.join(directory)).unwrap();
    }
    std::fs::write(tree.join("etc/os-release"), format!("ID={name}\n")).unwrap();
    tree
}

/// A file system of `tree` in the file `image`, which is made.
pub(super) fn make_file_system(kind: &str, tree: &Path, image: &Path) -> TestResult {
    let size = match kind {
        "xfs" => 300 << 20,
        "btrfs" => 120 << 20,
        _ => 16 << 20,
    };
    let mut command;
    match kind {
        "squashfs" => {
            command = Command::new("mksquashfs");
            command.arg(tree).arg(image).args(["-quiet", "-no-progress"]);
        }
        "erofs" => {
            command = Command::new("mkfs.erofs");
            command.arg("--quiet").arg(image).arg(tree);
        }
        "xfs" => {
            std::fs::File::create(image)?.set_len(size)?;
            command = Command::new("mkfs.xfs");
            command.args(["-q", "-f"]).arg(image);
        }
        "btrfs" => {
            std::fs::File::create(image)?.set_len(size)?;
            command = Command::new("mkfs.btrfs");
            command.args(["-q", "-f", "-r"]).arg(tree).arg(image);
        }
        ext => {
            std::fs::File::create(image)?.set_len(size)?;
            command = Command::new(format!("mkfs.{ext}"));
            command.args(["-q", "-F", "-d"]).arg(tree).arg(image);
        }
    }
    run(&mut command).ok()?;
    if kind == "xfs" {
        // mkfs.xfs copies no tree: written through the mount that is under test anyway.
        let mount = disk::mount(image, &DiskOptions::default())?;
        run(Command::new("cp").arg("-a").arg(tree.join(".")).arg(path_of(&mount))).ok()?;
    }
    Ok(())
}

/// A path below which other processes see the mount, for as long as it is there.
pub(super) fn path_of(mount: &disk::DiskMount) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}/.", std::process::id(), mount.fd().as_raw_fd()))
}

/// A partition of a disk that a test makes: its line for sfdisk(8), and the file that is its content.
pub(super) struct Part<'a>(pub(super) &'a str, pub(super) Option<&'a Path>);

pub(super) const MIB: u64 = 1 << 20;

/// Makes the disk `image` with a table of kind `label`.
pub(super) fn make_disk(image: &Path, label: &str, sector: u64, parts: &[Part<'_>]) -> TestResult {
    let mut script = format!("label: {label}\n");
    let mut at = MIB;
    let mut contents = Vec::new();
    for Part(line, content) in parts {
        let size =
            content.map_or(Ok(MIB), |path| path.metadata().map(|data| data.len().next_multiple_of(MIB)))?;
        script += &format!("start={}, size={}, {line}\n", at / sector, size / sector);
        contents.extend(content.map(|path| (at, path)));
        at += size;
    }
    let disk = File::create(image)?;
    disk.set_len(at + MIB)?;
    // sfdisk(8) asks the device for the size of its sectors; a file has those of 512.
    let sectors = sector.to_string();
    let device = match sector {
        512 => None,
        _ => {
            let mut losetup = Command::new("losetup");
            losetup.args(["--find", "--show", "--sector-size", &sectors]).arg(image);
            Some(run(&mut losetup).ok()?)
        }
    };
    let written = write_table(device.as_deref().map_or(image, |device| Path::new(device.trim())), &script);
    if let Some(device) = &device {
        run(Command::new("losetup").arg("--detach").arg(device.trim())).ok()?;
    }
    written?;
    for (offset, path) in contents {
        disk.write_all_at(&std::fs::read(path)?, offset)?;
    }
    Ok(())
}

pub(super) fn write_table(disk: &Path, script: &str) -> TestResult {
    let mut sfdisk = Command::new("sfdisk");
    sfdisk.args(["--quiet", "--no-reread", "--no-tell-kernel"]).arg(disk);
    let mut sfdisk = sfdisk.stdin(Stdio::piped()).spawn()?;
    sfdisk.stdin.take().ok_or("no stdin")?.write_all(script.as_bytes())?;
    if sfdisk.wait()?.success() { Ok(()) } else { Err(script.to_owned().into()) }
}

/// What `file` below the mount holds.
pub(super) fn says(mount: &disk::DiskMount, file: &str) -> String {
    std::fs::read_to_string(path_of(mount).join(file)).unwrap_or_else(|error| format!("{file}: {error}"))
}
