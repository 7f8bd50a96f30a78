//! Files that are no raw disk, told by their first bytes: what people have instead of one.

use super::source::Source;

/// What a file is that is not a raw disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// Compressed by gzip, or alike.
    Gzip,
    /// Compressed by xz.
    Xz,
    /// Compressed by zstd.
    Zstd,
    /// Compressed by bzip2.
    Bzip2,
    /// An archive of tar.
    Tar,
    /// A disk of QEMU, version 2 or 3.
    Qcow2,
    /// Something that is not taken here, by its name: `a VMDK disk of VMware`.
    Other(&'static str),
}

impl Foreign {
    /// What `source`, a file or the first 64 KiB of one, is.
    pub fn of(source: &(impl Source + ?Sized)) -> Option<Self> {
        let mut start = [0; 512];
        let length = usize::try_from(source.length()).unwrap_or(usize::MAX).min(start.len());
        source.read(0, &mut start[..length]).ok()?;
        let named = MAGIC.iter().find(|(offset, magic, _)| start[*offset..].starts_with(magic));
        if let Some((.., foreign)) = named {
            return Some(*foreign);
        }
        if is_tar(&start) {
            return Some(if is_ova(&start) {
                Self::Other("an OVA archive of a virtual machine")
            } else {
                Self::Tar
            });
        }
        None
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "a gzip file",
            Self::Xz => "an xz file",
            Self::Zstd => "a zstd file",
            Self::Bzip2 => "a bzip2 file",
            Self::Tar => "a tar archive",
            Self::Qcow2 => "a qcow2 disk of QEMU",
            Self::Other(name) => name,
        }
    }
}

/// Where in a file which magic number is: file(1) knows them, and the formats' own documents.
const MAGIC: [(usize, &[u8], Foreign); 22] = [
    (0, b"\x1f\x8b", Foreign::Gzip),
    (0, b"\xfd7zXZ\0", Foreign::Xz),
    (0, b"\x28\xb5\x2f\xfd", Foreign::Zstd),
    (0, b"BZh", Foreign::Bzip2),
    (0, b"QFI\xfb\0\0\0\x01", Foreign::Other("a qcow disk of QEMU, version 1")),
    (0, b"QFI\xfb", Foreign::Qcow2),
    (0, b"QED\0", Foreign::Other("a QED disk of QEMU")),
    (0, b"KDMV", Foreign::Other("a VMDK disk of VMware")),
    (0, b"COWD", Foreign::Other("a VMDK disk of VMware")),
    (0, b"# Disk DescriptorFile", Foreign::Other("the description of a VMDK disk of VMware")),
    (0, b"vhdxfile", Foreign::Other("a VHDX disk of Hyper-V")),
    (0, b"conectix", Foreign::Other("a VHD disk of Hyper-V")),
    (64, b"\x7f\x10\xda\xbe", Foreign::Other("a VDI disk of VirtualBox")),
    (0, b"PK\x03\x04", Foreign::Other("a zip archive")),
    (0, b"PK\x05\x06", Foreign::Other("a zip archive")),
    (0, b"7z\xbc\xaf\x27\x1c", Foreign::Other("a 7z archive")),
    (0, b"Rar!\x1a\x07", Foreign::Other("a RAR archive")),
    (0, b"\x04\x22\x4d\x18", Foreign::Other("an lz4 file")),
    (0, b"LZIP", Foreign::Other("an lzip file")),
    (0, b"\x5d\0\0", Foreign::Other("an lzma file")),
    (0, b"!<arch>\n", Foreign::Other("an ar archive, such as a .deb package")),
    (0, b"\xed\xab\xee\xdb", Foreign::Other("an RPM package")),
];

/// Whether this is the header of an entry of tar, of any age: its checksum holds.
fn is_tar(start: &[u8; 512]) -> bool {
    let field = &start[148..156];
    let digits: String = field
        .iter()
        .map(|byte| char::from(*byte))
        .skip_while(|c| *c == ' ')
        .take_while(char::is_ascii_digit)
        .collect();
    let sum: u32 = start
        .iter()
        .enumerate()
        .map(|(at, byte)| match at {
            148..156 => u32::from(b' '),
            _ => u32::from(*byte),
        })
        .sum();
    start[0] != 0 && u32::from_str_radix(&digits, 8) == Ok(sum)
}

/// An Open Virtualization archive begins with its description (DSP0243).
fn is_ova(start: &[u8; 512]) -> bool {
    let name = start[..100].split(|byte| *byte == 0).next().unwrap_or_default();
    name.ends_with(b".ovf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_first_bytes() {
        for (offset, magic, expected) in MAGIC {
            let mut file = vec![0; 1024];
            file[offset..offset + magic.len()].copy_from_slice(magic);
            assert_eq!(Foreign::of(file.as_slice()), Some(expected), "{expected:?}");
        }
        for (name, expected) in
            [("etc/", Foreign::Tar), ("vm.ovf", Foreign::Other("an OVA archive of a virtual machine"))]
        {
            let mut archive = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            archive.append_data(&mut header, name, &[][..]).unwrap();
            assert_eq!(Foreign::of(archive.into_inner().unwrap().as_slice()), Some(expected), "{name}");
        }
        for none in [&[][..], &[0; 3], &[0; 4096], &[0xff; 600]] {
            assert_eq!(Foreign::of(none), None);
        }
        assert_eq!(Foreign::of(&b"BZh91AY"[..]), Some(Foreign::Bzip2));
    }
}
