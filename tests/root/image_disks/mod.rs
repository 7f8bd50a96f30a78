//! Disk images: what of them is mounted where, what is refused and how, and that nothing is left of it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use spinney::image::disk::{self, DiskOptions};

use crate::command::run;
use crate::harness::{Context, Row, Test, TestResult};

mod machines;
mod make;
mod qemu;
mod verity;

use make::{
    MIB, Part, loop_devices, make_disk, make_file_system, no_loop_devices, path_of, says, small_tree,
};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 13] = [
        ("bare_file_systems", bare_file_systems),
        ("partitions", partitions),
        ("dirty_journals_stay", dirty_journals_stay),
        ("refusals", refusals),
        ("block_devices", block_devices),
        ("many_at_once", many_at_once),
        ("qcow2_as_qemu_reads_it", qemu::qcow2_as_qemu_reads_it),
        ("machines", machines::machines),
        ("usr_alone", machines::usr_alone),
        ("boots", machines::boots),
        ("killed", machines::killed),
        ("refused_machines", machines::refused),
        ("verity", verity::verity),
    ];
    rows.map(|(name, test)| Test::new(format!("image_disks::{name}"), test)).into()
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
            let mount = disk::mount(&image, &DiskOptions { read_only, ..DiskOptions::default() })
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

/// Partitions of all kinds, in tables of all kinds, each where it belongs.
fn partitions(context: &Context) -> TestResult {
    let at = |name: &str| context.directory.join(name);
    let root = small_tree(context, "root");
    std::fs::create_dir(root.join("var"))?;
    make_file_system("ext4", &root, &at("root"))?;
    let usr = small_tree(context, "usr");
    std::fs::write(usr.join("which"), "usr")?;
    make_file_system("squashfs", &usr, &at("usr"))?;
    let home = small_tree(context, "home");
    std::fs::write(home.join("which"), "home")?;
    make_file_system("erofs", &home, &at("home"))?;
    let var = small_tree(context, "var");
    std::fs::write(var.join("which"), "var")?;
    make_file_system("btrfs", &var, &at("var"))?;
    run(Command::new("mkfs.vfat").arg("-C").arg(at("esp")).arg("8192")).ok()?;
    let uuid = |guid: &str| format!("type={guid}");
    let (root_type, usr_type) =
        (uuid("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"), uuid("8484680C-9521-48C6-9C11-B0720656F69E"));
    let (home_type, var_type) =
        (uuid("933AC7E1-2EB4-4F13-B844-0E14E2AEF915"), uuid("4D21B016-B534-45C2-A9FB-5C16E091FD2D"));
    let esp_type = uuid("C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
    let image = at("disk.raw");
    for sector in [512, 4096] {
        let parts = [
            Part(&esp_type, Some(&at("esp"))),
            Part(&var_type, Some(&at("var"))),
            Part(&home_type, Some(&at("home"))),
            Part(&usr_type, Some(&at("usr"))),
            Part(&root_type, Some(&at("root"))),
        ];
        make_disk(&image, "gpt", sector, &parts)?;
        for damaged in [false, true] {
            if damaged {
                File::options().write(true).open(&image)?.write_all_at(&[0; 40], sector)?;
            }
            let mount = disk::mount(&image, &DiskOptions::default())?;
            let found =
                ["etc/os-release", "usr/which", "home/which", "var/which"].map(|file| says(&mount, file));
            assert_eq!(found, ["ID=root\n", "usr", "home", "var"], "{sector}");
            std::fs::write(path_of(&mount).join("written"), "")?;
            std::fs::write(path_of(&mount).join("var/written"), "")?;
            for read_only in ["usr/x", "home/x"] {
                assert!(std::fs::write(path_of(&mount).join(read_only), "").is_err(), "{read_only}");
            }
            // This kernel may have no FAT: nothing boots from it.
            let notes: Vec<&String> = mount.notes().iter().filter(|note| !note.contains("/efi")).collect();
            assert_eq!(notes.len(), usize::from(damaged), "{notes:?}");
            drop(mount);
            no_loop_devices(&context.directory)?;
        }
    }
    // /usr alone: the rest is in memory.
    make_disk(&image, "gpt", 512, &[Part(&usr_type, Some(&at("usr")))])?;
    let mount = disk::mount(&image, &DiskOptions::default())?;
    std::fs::write(path_of(&mount).join("written"), "")?;
    assert_eq!((says(&mount, "usr/which").as_str(), mount.is_read_only()), ("usr", false));
    drop(mount);
    make_disk(&image, "dos", 512, &[Part("type=7", None), Part("type=83", Some(&at("root")))])?;
    assert_eq!(says(&disk::mount(&image, &DiskOptions::default())?, "etc/os-release"), "ID=root\n");
    let two = [Part("type=83", Some(&at("usr"))), Part("type=83, bootable", Some(&at("root")))];
    make_disk(&image, "dos", 512, &two)?;
    assert_eq!(says(&disk::mount(&image, &DiskOptions::default())?, "etc/os-release"), "ID=root\n");
    no_loop_devices(&context.directory)
}

/// What was mounted when it was copied has a journal to replay: read-only use does not, and changes no byte.
fn dirty_journals_stay(context: &Context) -> TestResult {
    let tree = small_tree(context, "dirty");
    for kind in ["ext4", "xfs", "btrfs"] {
        let (image, copy) = (context.directory.join(kind), context.directory.join(format!("{kind}.copy")));
        make_file_system(kind, &tree, &image)?;
        let mount = disk::mount(&image, &DiskOptions::default())?;
        std::fs::write(path_of(&mount).join("new"), "new")?;
        let synced = File::open(path_of(&mount).join("new"))?;
        synced.sync_all()?;
        run(Command::new("cp").arg("--sparse=always").arg(&image).arg(&copy)).ok()?;
        drop((synced, mount));
        let before = checksum(&copy)?;
        let read_only = DiskOptions { read_only: true, ..DiskOptions::default() };
        let mount = disk::mount(&copy, &read_only).map_err(|error| format!("{kind}: {error:?}"))?;
        assert_eq!(says(&mount, "etc/os-release"), "ID=dirty\n", "{kind}");
        // Twice at once, as two machines would.
        let other = disk::mount(&copy, &read_only).map_err(|error| format!("{kind}: {error:?}"))?;
        assert_eq!(says(&other, "etc/os-release"), "ID=dirty\n", "{kind}");
        drop((mount, other));
        no_loop_devices(&context.directory)?;
        assert_eq!(checksum(&copy)?, before, "{kind}");
        let mount = disk::mount(&copy, &DiskOptions::default())?;
        assert_eq!(says(&mount, "new"), "new", "{kind}");
    }
    no_loop_devices(&context.directory)
}

/// Of the data in the file and where it lies; holes are not read.
fn checksum(path: &Path) -> Result<u64, crate::harness::Stop> {
    use std::hash::{DefaultHasher, Hasher};
    let (file, mut hasher, mut at) = (File::open(path)?, DefaultHasher::new(), 0);
    while let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(data))?;
        let mut bytes = vec![0; usize::try_from(end - data)?];
        file.read_exact_at(&mut bytes, data)?;
        hasher.write_u64(data);
        hasher.write(&bytes);
        at = end;
    }
    Ok(hasher.finish())
}

/// What cannot be used: one line, a hint, nothing left.
fn refusals(context: &Context) -> TestResult {
    let at = |name: &str| context.directory.join(name);
    let tree = small_tree(context, "refused");
    make_file_system("ext4", &tree, &at("ext4"))?;
    let whole = std::fs::read(at("ext4"))?;
    std::fs::write(at("truncated"), &whole[..whole.len() / 2])?;
    let luks = at("luks");
    File::create(&luks)?.set_len(32 * MIB)?;
    let mut cryptsetup = Command::new("cryptsetup")
        .args([
            "luksFormat",
            "--batch-mode",
            "--pbkdf=pbkdf2",
            "--pbkdf-force-iterations=1000",
            "--key-file=-",
        ])
        .arg(&luks)
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    cryptsetup.stdin.take().ok_or("no stdin")?.write_all(b"secret")?;
    if !cryptsetup.wait()?.success() {
        // A kernel without dm-crypt or its ciphers: the header is what counts.
        File::options().write(true).open(&luks)?.write_all_at(b"LUKS\xba\xbe\0\x02", 0)?;
    }
    run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(at("qcow2")).arg("16M")).ok()?;
    File::create(at("empty"))?;
    File::create(at("zeroes"))?.set_len(MIB)?;
    let generic = [Part("type=83", Some(&at("ext4"))), Part("type=83", Some(&at("ext4")))];
    make_disk(&at("two"), "dos", 512, &generic)?;
    make_disk(&at("gpt"), "gpt", 512, &[Part("type=linux", Some(&luks))])?;
    let rows = [
        ("truncated", "it is truncated: the disk has 8 MiB of a file system ext4 of 16 MiB"),
        ("luks", "the disk is encrypted"),
        ("gpt", "partition 1 is encrypted"),
        ("qcow2", "it is a qcow2 disk of QEMU, and no raw disk"),
        ("empty", "it has neither a partition table nor a file system that is known"),
        ("zeroes", "it has neither a partition table nor a file system that is known"),
        ("two", "any of its partitions 1, 2 could be the root"),
    ];
    for (name, why) in rows {
        match disk::mount(&at(name), &DiskOptions::default()) {
            Err(error) => {
                assert_eq!(error.to_string(), format!("cannot use disk image {}: {why}", at(name).display()));
                assert!(error.hint().is_some(), "{name}");
            }
            Ok(_) => return Err(format!("{name} was mounted").into()),
        }
    }
    // What its superblock promises is not there: the kernel says so.
    let mut broken = whole;
    broken[4096..].fill(0xff);
    std::fs::write(at("broken"), broken)?;
    let error = disk::mount(&at("broken"), &DiskOptions::default()).map(drop).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot mount the ext4 file system of {}", at("broken").display()));
    let error = disk::mount(Path::new("/dev/null"), &DiskOptions::default()).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "/dev/null is neither a file nor a block device");
    no_loop_devices(&context.directory)
}

/// A whole disk as a device, its partitions unknown to the kernel; what is in use is left alone.
fn block_devices(context: &Context) -> TestResult {
    let at = |name: &str| context.directory.join(name);
    make_file_system("ext4", &small_tree(context, "device"), &at("ext4"))?;
    let image = at("disk");
    make_disk(&image, "gpt", 512, &[Part("type=linux", Some(&at("ext4")))])?;
    let device = run(Command::new("losetup").args(["--find", "--show"]).arg(&image)).ok()?;
    let device = Path::new(device.trim());
    let detach = || run(Command::new("losetup").arg("--detach").arg(device)).ok();
    let outcome = (|| {
        for read_only in [true, false] {
            let mount = disk::mount(device, &DiskOptions { read_only, ..DiskOptions::default() })?;
            assert_eq!(says(&mount, "etc/os-release"), "ID=device\n");
            if !read_only {
                // Nobody else may have it while it is written.
                let error = disk::mount(device, &DiskOptions::default()).map(drop).unwrap_err();
                let expected = format!(
                    "{} is in use: something of it is mounted, or another program has it",
                    device.display()
                );
                assert_eq!(error.to_string(), expected);
            }
        }
        Ok(())
    })();
    detach()?;
    outcome.and_then(|()| no_loop_devices(&context.directory))
}

/// More at once than there are free devices, from several processes that race for them.
fn many_at_once(context: &Context) -> TestResult {
    let image = context.directory.join("squashfs");
    make_file_system("squashfs", &small_tree(context, "many"), &image)?;
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let image = image.clone();
            std::thread::spawn(move || -> Result<Vec<disk::DiskMount>, disk::Error> {
                let options = DiskOptions { read_only: true, ..DiskOptions::default() };
                (0..8).map(|_| disk::mount(&image, &options)).collect()
            })
        })
        .collect();
    let mut mounts = Vec::new();
    for thread in threads {
        mounts.extend(thread.join().map_err(|_| "panicked".to_owned())??);
    }
    assert_eq!(mounts.len(), 32);
    assert!(mounts.iter().all(|mount| says(mount, "etc/os-release") == "ID=many\n"));
    drop(mounts);
    no_loop_devices(&context.directory)
}
