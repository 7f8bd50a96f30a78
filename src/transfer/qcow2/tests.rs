//! Disks of QEMU made byte by byte.

use std::io::Write;

use super::*;

const CLUSTER: usize = 65536;

/// A disk of three clusters, the second of which has data; `change` is made to its file.
fn disk(version: u8, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut file = vec![0; 4 * CLUSTER];
    file[..4].copy_from_slice(b"QFI\xfb");
    file[7] = version;
    file[23] = 16;
    put(&mut file, 24, 3 * CLUSTER as u64);
    file[39] = 1;
    put(&mut file, 40, CLUSTER as u64);
    if version == 3 {
        file[103] = 112;
    }
    put(&mut file, CLUSTER, (1 << 63) | (2 * CLUSTER as u64));
    put(&mut file, 2 * CLUSTER + 8, (1 << 63) | (3 * CLUSTER as u64));
    file[3 * CLUSTER..].fill(7);
    change(&mut file);
    file
}

fn put(file: &mut [u8], offset: usize, number: u64) {
    file[offset..offset + 8].copy_from_slice(&number.to_be_bytes());
}

#[derive(Default)]
struct Memory(Vec<u8>, Vec<(u64, usize)>);

impl Sink for Memory {
    fn set_length(&mut self, length: u64) -> SysResult<()> {
        self.0.resize(usize::try_from(length).unwrap(), 0);
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> SysResult<()> {
        let at = usize::try_from(offset).unwrap();
        self.0[at..at + data.len()].copy_from_slice(data);
        self.1.push((offset, data.len()));
        Ok(())
    }
}

fn converted(file: &[u8]) -> Memory {
    let mut memory = Memory::default();
    convert_from(file, &mut memory, &Context::silent()).unwrap();
    memory
}

#[test]
fn plain_clusters() {
    for version in [2, 3] {
        let raw = converted(&disk(version, |_| {}));
        assert_eq!(raw.0, [vec![0; CLUSTER], vec![7; CLUSTER], vec![0; CLUSTER]].concat(), "{version}");
        assert_eq!(raw.1, [(CLUSTER as u64, CLUSTER)], "{version}");
    }
    // Clusters in a row are one write, zeroes in them are holes.
    let two = disk(3, |file| {
        file.resize(5 * CLUSTER, 9);
        file[4 * CLUSTER..][..BLOCK].fill(0);
        put(file, 2 * CLUSTER + 16, 4 * CLUSTER as u64);
    });
    let (first, rest) = (CLUSTER as u64, CLUSTER - BLOCK);
    assert_eq!(converted(&two).1, [(first, CLUSTER), (first * 2 + BLOCK as u64, rest)]);
    // A zero flag counts in version 3 only, where it hides data.
    let zero = |version| disk(version, |file| put(file, 2 * CLUSTER + 8, (3 * CLUSTER as u64) | 1));
    assert_eq!(converted(&zero(3)).1, []);
    assert_eq!(converted(&zero(2)).1.len(), 1);
}

#[test]
fn disks_that_end_in_a_cluster() {
    let raw = converted(&disk(3, |file| {
        put(file, 24, 2 * CLUSTER as u64 - 512);
        file.truncate(4 * CLUSTER - 512);
    }));
    assert_eq!((raw.0.len(), raw.1), (2 * CLUSTER - 512, vec![(CLUSTER as u64, CLUSTER - 512)]));
}

#[test]
fn compressed_clusters() {
    let data: Vec<u8> = (0..CLUSTER).map(|at| u8::try_from(at / 256).unwrap()).collect();
    let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    deflate.write_all(&data).unwrap();
    let zstd = zstd::encode_all(data.as_slice(), 3).unwrap();
    for (name, stored, kind) in [("deflate", deflate.finish().unwrap(), 0), ("zstd", zstd, 1)] {
        let file = disk(3, |file| {
            if kind == 1 {
                file[79] = 8;
                file[104] = 1;
            }
            // In the middle of a sector, with something else behind it.
            let at = 3 * CLUSTER + 100;
            file[at..at + stored.len()].copy_from_slice(&stored);
            let sectors = (100 + stored.len()).div_ceil(512) as u64 - 1;
            put(file, 2 * CLUSTER + 8, 1 << 62 | sectors << 54 | at as u64);
        });
        assert_eq!(&converted(&file).0[CLUSTER..2 * CLUSTER], data, "{name}");
        let mut damaged = file;
        damaged[3 * CLUSTER + 100] ^= 0xff;
        assert_eq!(check(&damaged), Err(Fault::Damaged), "{name}");
    }
}

#[test]
fn what_is_refused() {
    type Change = fn(&mut Vec<u8>);
    let rows: [(&str, Change, Fault); 20] = [
        ("magic", |file| file[0] = 0, Fault::NoQcow2),
        ("version 4", |file| file[7] = 4, Fault::Version(4)),
        ("backing file", |file| put(file, 8, 1), Fault::BackingFile),
        ("encrypted", |file| file[35] = 2, Fault::Encrypted),
        ("external data", |file| file[79] = 4, Fault::ExternalData),
        ("corrupt", |file| file[79] = 2, Fault::MarkedCorrupt),
        ("extended entries", |file| file[79] = 16, Fault::Features(16)),
        ("features", |file| file[72] = 0x80, Fault::Features(1 << 63)),
        ("compression", |file| (file[79], file[104]) = (8, 2), Fault::Compression(2)),
        ("small clusters", |file| file[23] = 8, Fault::Header("the size of clusters")),
        ("large clusters", |file| file[23] = 22, Fault::Header("the size of clusters")),
        ("a disk without end", |file| file[24..32].fill(0xff), Fault::Header("the size of the disk")),
        ("a large disk", |file| put(file, 24, 1 << 62), Fault::Header("the size of its first table")),
        ("few entries", |file| put(file, 24, 1 << 40), Fault::Header("the size of its first table")),
        ("first table askew", |file| put(file, 40, 1), Fault::Header("the place of its first table")),
        ("first table away", |file| put(file, 40, 1 << 40), Fault::Truncated),
        ("second table away", |file| put(file, CLUSTER, 1 << 40), Fault::Truncated),
        ("second table askew", |file| put(file, CLUSTER, 512), Fault::Tables),
        ("data away", |file| put(file, 2 * CLUSTER + 8, 1 << 40), Fault::Truncated),
        ("truncated", |file| file.truncate(4 * CLUSTER - 1), Fault::Truncated),
    ];
    for (name, change, fault) in rows {
        assert_eq!(check(&disk(3, change)), Err(fault), "{name}");
        assert!(!fault.hint().is_empty());
    }
    assert_eq!(check(&[]), Err(Fault::NoQcow2));
    assert_eq!(check(&disk(3, |file| file[79] = 1)), Ok(3 * CLUSTER as u64), "dirty");
}

#[test]
fn small_files_make_no_large_disks() {
    // A disk of 512 MiB, each cluster of which is the same one of the file.
    let bomb = disk(3, |file| {
        put(file, 24, 8192 * CLUSTER as u64);
        for entry in 0..8192 {
            put(file, 2 * CLUSTER + 8 * entry, 3 * CLUSTER as u64);
        }
    });
    assert_eq!(check(&bomb), Err(Fault::MoreThanItHolds));
    // A first table that names one second table again and again.
    let bomb = disk(3, |file| {
        put(file, 24, 100 * 8192 * CLUSTER as u64);
        file[39] = 100;
        for entry in 0..100 {
            put(file, CLUSTER + 8 * entry, 2 * CLUSTER as u64);
        }
        file[2 * CLUSTER..].fill(0);
    });
    assert_eq!(check(&bomb), Err(Fault::MoreThanItHolds));
}

#[test]
fn cancelled_disks_stop() {
    let context = Context::silent();
    context.cancel();
    let stop = convert_from(disk(3, |_| {}).as_slice(), &mut Nowhere, &context).map(drop).unwrap_err();
    assert!(matches!(stop, Stop::Cancelled(_)), "{stop:?}");
}

mod any {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn change_is_read_or_refused(
            version in 2_u8..4,
            writes in proptest::collection::vec((0_usize..200, any::<u8>()), 0..6),
            tables in proptest::collection::vec((0_usize..64, any::<u8>()), 0..6),
        ) {
            let file = disk(version, |file| {
                writes.iter().for_each(|(at, byte)| file[*at] = *byte);
                tables.iter().for_each(|(at, byte)| {
                    file[CLUSTER + at] = *byte;
                    file[2 * CLUSTER + at] = *byte;
                });
            });
            let _ = check(&file);
        }
    }
}
