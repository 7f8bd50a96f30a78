//! Disk images: what of them is mounted where, what is refused and how, and that nothing is left of it.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use spinney::image::disk::{self, DiskOptions};

use crate::command::run;
use crate::harness::{Context, Row, Test, TestResult};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 1] = [("bare_file_systems", bare_file_systems)];
    rows.map(|(name, test)| Test::new(format!("image_disks::{name}"), test)).into()
}

/// Loop devices whose files are below `directory`.
fn loop_devices(directory: &Path) -> Vec<PathBuf> {
    let devices = std::fs::read_dir("/sys/block").unwrap().flatten().map(|entry| entry.path());
    let below = |device: &PathBuf| {
        std::fs::read_to_string(device.join("loop/backing_file"))
            .is_ok_and(|file| Path::new(&file).starts_with(directory))
    };
    devices.filter(below).collect()
}

/// Waits until none is left: the kernel clears them when it gets round to it.
fn no_loop_devices(directory: &Path) -> TestResult {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !loop_devices(directory).is_empty() {
        if std::time::Instant::now() > deadline {
            return Err(format!("left: {:?}", loop_devices(directory)).into());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    Ok(())
}

/// A tree with a file `etc/os-release` that says `name`.
fn small_tree(context: &Context, name: &str) -> PathBuf {
    let tree = context.subdirectory(&format!("tree-{name}"));
    for directory in ["etc", "usr/bin", "home", "boot"] {
        std::fs::create_dir_all(tree.join(directory)).unwrap();
    }
    std::fs::write(tree.join("etc/os-release"), format!("ID={name}\n")).unwrap();
    tree
}

/// A file system of `tree` in the file `image`, which is made.
fn make_file_system(kind: &str, tree: &Path, image: &Path) -> TestResult {
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
fn path_of(mount: &disk::DiskMount) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{}/.", std::process::id(), mount.fd().as_raw_fd()))
}

/// Each file system that an OS is installed to, on the whole of an image.
fn bare_file_systems(context: &Context) -> TestResult {
    let tree = small_tree(context, "bare");
    let rows = [
        ("ext4", true),
        ("ext3", true),
        ("ext2", true),
        ("xfs", true),
        ("btrfs", true),
        ("squashfs", false),
        ("erofs", false),
    ];
    for (kind, writable) in rows {
        let image = context.directory.join(format!("{kind}.raw"));
        make_file_system(kind, &tree, &image)?;
        for read_only in [true, false] {
            let mount = disk::mount(&image, &DiskOptions { read_only })
                .map_err(|error| format!("{kind}: {error:?}"))?;
            let said = std::fs::read_to_string(path_of(&mount).join("etc/os-release"))?;
            assert_eq!(said, "ID=bare\n", "{kind}");
            assert_eq!(mount.is_read_only(), read_only || !writable, "{kind}");
            let written = std::fs::write(path_of(&mount).join("written"), "").is_ok();
            assert_eq!(written, !read_only && writable, "{kind}, read-only: {read_only}");
            assert_eq!(loop_devices(&context.directory).len(), 1, "{kind}");
        }
        no_loop_devices(&context.directory)?;
    }
    Ok(())
}
