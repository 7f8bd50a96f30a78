//! Plans of disks as tables.

use super::content::FileSystem;
use super::error::Refusal;
use super::facts;
use super::fixtures::*;
use super::foreign::Foreign;
use super::guid::Guid;
use super::plan::{DiskPlan, Place, Wish, plan};
use super::verity::RootHash;
use super::volume::HashPlace;
use super::volume::Volume;
use crate::guest::architecture::Architecture;
use crate::sys::mount::MountAttributes;

const WRITABLE: Wish<'static> =
    Wish { read_only: false, root_hash: None, hash_file: false, host: Some(Architecture::X86_64) };

fn ext4() -> Vec<u8> {
    file_system(FileSystem::Ext4, PARTITION)
}

fn squashfs() -> Vec<u8> {
    file_system(FileSystem::Squashfs, PARTITION)
}

fn planned(disk: &[u8], wish: Wish<'_>) -> Result<DiskPlan, Refusal> {
    plan(&facts::read(disk), wish)
}

/// Where, which partition, whether it is writable.
type Mounts<'a> = &'a [(&'a str, u32, bool)];

/// What is mounted where, by partition, and whether it is writable.
fn mounts(plan: &DiskPlan) -> Vec<(&'static str, u32, bool)> {
    let one =
        |place: &'static str, volume: &Volume| (place, volume.partition.unwrap_or(0), !volume.read_only);
    let root = plan.root.iter().map(|volume| one("", volume));
    root.chain(plan.below.iter().map(|(place, volume)| one(place.path(), volume))).collect()
}

#[test]
fn which_partition_goes_where() {
    let gpt = || Disk::new(512);
    let rows: [(&str, Disk, Mounts<'_>); 13] = [
        ("one root", gpt().with(ROOT, "", 0, &ext4()), &[("", 1, true)]),
        ("read-only by its flag", gpt().with(ROOT, "", READ_ONLY, &ext4()), &[("", 1, false)]),
        ("read-only by its kind", gpt().with(ROOT, "", 0, &squashfs()), &[("", 1, false)]),
        (
            "the newest",
            gpt().with(ROOT, "os_9", 0, &ext4()).with(ROOT, "os_10", 0, &ext4()).with(
                ROOT,
                "os_2",
                0,
                &ext4(),
            ),
            &[("", 2, true)],
        ),
        (
            "the first of two that are as new",
            gpt().with(ROOT, "os", 0, &ext4()).with(ROOT, "os", 0, &ext4()),
            &[("", 1, true)],
        ),
        (
            "not one that is not to be found",
            gpt().with(ROOT, "os_9", NO_AUTO, &ext4()).with(ROOT, "os_1", 0, &ext4()),
            &[("", 2, true)],
        ),
        (
            "the host's before the ones that it runs too, these before others",
            gpt().with(ROOT_ARM64, "os_9", 0, &ext4()).with(ROOT_X86, "os_8", 0, &ext4()).with(
                ROOT,
                "os_7",
                0,
                &ext4(),
            ),
            &[("", 3, true)],
        ),
        ("a foreign one where there is no other", gpt().with(ROOT_ARM64, "", 0, &ext4()), &[("", 1, true)]),
        (
            "all of them",
            gpt()
                .with(ESP, "", 0, &file_system(FileSystem::Vfat, 0))
                .with(BOOT, "", 0, &ext4())
                .with(TMP, "", 0, &ext4())
                .with(VAR, "", 0, &ext4())
                .with(HOME, "", READ_ONLY, &ext4())
                .with(ROOT, "", 0, &ext4())
                .with(USR, "", 0, &squashfs())
                .with(OTHER, "", 0, &ext4()),
            &[
                ("", 6, true),
                ("usr", 7, false),
                ("home", 5, false),
                ("var", 4, true),
                ("var/tmp", 3, true),
                ("boot", 2, true),
                ("efi", 1, true),
            ],
        ),
        ("/usr alone", gpt().with(USR, "", 0, &squashfs()), &[("usr", 1, false)]),
        ("data of Linux, alone", gpt().with(ESP, "", 0, &[]).with(LINUX, "", 0, &ext4()), &[("", 2, true)]),
        (
            "data of Linux beside a root",
            gpt().with(LINUX, "", 0, &ext4()).with(ROOT, "", 0, &ext4()),
            &[("", 2, true)],
        ),
        ("in sectors of 4096", Disk::new(4096).with(ROOT, "", 0, &ext4()), &[("", 1, true)]),
    ];
    for (name, disk, expected) in rows {
        let plan = planned(&disk.finish(), WRITABLE).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(mounts(&plan), expected, "{name}");
        assert_eq!(plan.notes, [] as [&str; 0], "{name}");
    }
}

#[test]
fn mbr_partitions() {
    let linux = |bootable: bool| (0x83, bootable, ext4());
    let rows = [
        ("one", vec![linux(false)], Ok(1)),
        ("the one to boot from", vec![linux(false), linux(true), linux(false)], Ok(2)),
        ("two", vec![linux(false), linux(false)], Err(Refusal::SeveralRoots { numbers: vec![1, 2] })),
        (
            "two to boot from",
            vec![linux(true), linux(true)],
            Err(Refusal::SeveralRoots { numbers: vec![1, 2] }),
        ),
        ("none", vec![(0x07, true, ext4())], Err(Refusal::NoRoot { encrypted: None })),
    ];
    for (name, partitions, expected) in rows {
        let found = planned(&mbr(512, &partitions), WRITABLE).map(|plan| mounts(&plan));
        assert_eq!(found, expected.map(|number| vec![("", number, true)]), "{name}");
    }
}

#[test]
fn how_it_is_mounted() {
    let rows: [(FileSystem, bool, &[&str]); 9] = [
        (FileSystem::Ext4, false, &["errors=remount-ro"]),
        (FileSystem::Ext4, true, &["errors=remount-ro", "noload"]),
        (FileSystem::Xfs, false, &["nouuid"]),
        (FileSystem::Xfs, true, &["nouuid", "norecovery"]),
        (FileSystem::Btrfs, false, &[]),
        (FileSystem::Btrfs, true, &["rescue=nologreplay"]),
        (FileSystem::Squashfs, true, &[]),
        (FileSystem::Erofs, true, &[]),
        (FileSystem::F2fs, true, &["norecovery"]),
    ];
    for (kind, read_only, options) in rows {
        let disk = file_system(kind, 64 << 10);
        let plan = planned(&disk, Wish { read_only, ..WRITABLE }).unwrap();
        let root = plan.root.unwrap();
        assert_eq!((root.options.as_slice(), root.read_only), (options, read_only), "{kind:?}");
        assert_eq!(root.attributes, MountAttributes::MOUNT_ATTR_NODEV, "{kind:?}");
        assert_eq!((root.offset, root.length), (0, 70 << 10), "{kind:?}");
    }
    let disk = Disk::new(512).with(ROOT, "", GROW, &ext4()).with(TMP, "", 0, &ext4()).with(
        ESP,
        "",
        0,
        &file_system(FileSystem::Vfat, 0),
    );
    let plan = planned(&disk.finish(), WRITABLE).unwrap();
    assert!(plan.root.unwrap().grow);
    let nosuid = MountAttributes::MOUNT_ATTR_NODEV | MountAttributes::MOUNT_ATTR_NOSUID;
    let nothing = nosuid | MountAttributes::MOUNT_ATTR_NOEXEC | MountAttributes::MOUNT_ATTR_NOSYMFOLLOW;
    let attributes: Vec<_> = plan.below.iter().map(|(place, volume)| (*place, volume.attributes)).collect();
    assert_eq!(attributes, [(Place::Tmp, nosuid), (Place::Esp, nothing)]);
    assert_eq!(plan.below[1].1.options, ["umask=0077"]);
}

#[test]
fn what_is_refused() {
    let one = |kind: Guid, content: &[u8]| Disk::new(512).with(kind, "", 0, content).finish();
    let two = |kind: Guid, content: &[u8]| {
        Disk::new(512).with(ROOT, "", 0, &ext4()).with(kind, "", 0, content).finish()
    };
    let luks = magic(b"LUKS\xba\xbe\0\x02");
    let mut several = file_system(FileSystem::Btrfs, PARTITION);
    several[0x1_0088] = 2;
    let truncated = {
        let mut disk = one(ROOT, &ext4());
        disk.truncate((1 << 20) + 1000);
        disk
    };
    let large = |size| file_system(FileSystem::Ext4, size);
    let rows = [
        ("zeroes", vec![0; 1 << 20], "it has neither a partition table nor a file system that is known"),
        ("qcow2", magic(b"QFI\xfb\0\0\0\x03"), "it is a qcow2 disk of QEMU, and no raw disk"),
        ("no root", one(OTHER, &ext4()), "it has no partition that is a root"),
        ("encrypted", one(ROOT, &luks), "partition 1 is encrypted"),
        ("encrypted disk", luks.clone(), "the disk is encrypted"),
        ("encrypted /home", two(HOME, &luks), "partition 2 is encrypted"),
        ("empty /var", two(VAR, &[]), "partition 2 holds no file system that is known"),
        ("verity as root", one(ROOT, b"verity\0\0"), "partition 1 holds hashes of dm-verity"),
        (
            "several roots",
            Disk::new(512).with(LINUX, "", 0, &ext4()).with(LINUX, "", 0, &ext4()).finish(),
            "any of its partitions 1, 2 could be the root",
        ),
        (
            "uncommon",
            one(ROOT, &file_system(FileSystem::Other(""), 0)),
            "partition 1 holds a file system iso9660, which no distribution is installed to",
        ),
        ("several devices", one(ROOT, &several), "the file system of partition 1 lies on 2 devices"),
        ("truncated", truncated, "it is truncated: the last 128 KiB of partition 1 are missing"),
        (
            "truncated file system",
            large(1 << 20),
            "it is truncated: the disk has 70 KiB of a file system ext4 of 1 MiB",
        ),
        (
            "file system larger than its partition",
            one(ROOT, &large(256 << 10)),
            "it is truncated: partition 1 has 128 KiB of a file system ext4 of 256 KiB",
        ),
        (
            "two architectures",
            two(USR_ARM64, &ext4()),
            "its partitions 1 and 2, the root and /usr, are for different architectures",
        ),
    ];
    for (name, disk, message) in rows {
        match planned(&disk, WRITABLE) {
            Err(refusal) => {
                assert_eq!(refusal.to_string(), message, "{name}");
                assert!(refusal.hint().is_some() || name == "two architectures", "{name}");
            }
            Ok(plan) => panic!("{name}: {plan:?}"),
        }
    }
    assert_eq!(planned(b"PK\x03\x04", WRITABLE), Err(Refusal::Foreign(Foreign::Other("a zip archive"))));
}

#[test]
fn what_boots_nothing_may_hold_anything() {
    for content in [magic(b"LUKS\xba\xbe\0\x02"), Vec::new(), file_system(FileSystem::Other(""), 0)] {
        let disk = Disk::new(512).with(ROOT, "", 0, &ext4()).with(ESP, "", 0, &content).finish();
        assert_eq!(mounts(&planned(&disk, WRITABLE).unwrap()), [("", 1, true)]);
    }
}

#[test]
fn a_backup_table_is_told() {
    let mut disk = Disk::new(512).with(ROOT, "", 0, &ext4()).finish();
    disk[512..1024].fill(0);
    let plan = planned(&disk, WRITABLE).unwrap();
    assert_eq!(mounts(&plan), [("", 1, true)]);
    assert_eq!(plan.notes, ["its partition table is damaged; the copy at its end is used"]);
}

#[test]
fn verity() {
    let text = format!("{}{}", "11".repeat(16), "22".repeat(16));
    let hash: RootHash = text.parse().unwrap();
    let wish = Wish { root_hash: Some(&hash), ..WRITABLE };
    let hashes = magic(b"verity\0\0\x01");
    let (data_id, hash_id, other) = (Guid([0x11; 16]), Guid([0x22; 16]), Guid([0x33; 16]));
    let disk = |root: Guid, verity: Guid, content: &[u8]| {
        Disk::new(512)
            .with_id(ROOT, other, "os_9", 0, &ext4())
            .with_id(ROOT, root, "os_1", 0, &ext4())
            .with_id(ROOT_VERITY, verity, "", 0, content)
            .finish()
    };
    // The hash names its partition, whatever is newer.
    let plan = planned(&disk(data_id, hash_id, &hashes), wish).unwrap();
    assert_eq!(mounts(&plan), [("", 2, false)]);
    let verified = plan.root.unwrap().verity.unwrap();
    let place = HashPlace::Disk { offset: (1 << 20) + 2 * PARTITION, length: PARTITION };
    assert_eq!(verified.place, place);
    assert_eq!(verified.root_hash, hash);
    let rows = [
        ("another root", disk(other, hash_id, &hashes), Refusal::NothingToVerify),
        ("other hashes", disk(data_id, other, &hashes), Refusal::NoHashes { number: 2 }),
        ("no hashes in it", disk(data_id, hash_id, &ext4()), Refusal::NoHashes { number: 2 }),
        ("no partitions", ext4(), Refusal::NothingToVerify),
    ];
    for (name, disk, refusal) in rows {
        assert_eq!(planned(&disk, wish), Err(refusal), "{name}");
    }
    // A file of hashes is of a whole file system.
    let by_file = Wish { hash_file: true, ..wish };
    let mut whole = ext4();
    whole.resize(128 << 10, 0);
    let plan = planned(&whole, by_file).unwrap();
    assert_eq!(mounts(&plan), [("", 0, false)]);
    assert_eq!(plan.root.unwrap().verity.unwrap().place, HashPlace::File);
    assert_eq!(planned(&disk(data_id, hash_id, &hashes), by_file), Err(Refusal::HashesOfPartitions));
    // Without a hash nothing is verified, and nothing is written either.
    let plan = planned(&disk(data_id, hash_id, &hashes), WRITABLE).unwrap();
    assert_eq!(mounts(&plan), [("", 1, false)]);
    assert_eq!(
        plan.notes,
        ["partition 1 has hashes to verify it by, and is not verified: no root hash is known"]
    );
}
