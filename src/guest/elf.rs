//! What the kernel and the dynamic linker will read of an ELF file: machine, class, interpreter, needed libraries.
//!
//! Pure: the file is given by a function that reads bytes at an offset, so that a two-megabyte init costs three small
//! reads. Every offset and length in the file is hostile; a table that points outside is treated as absent. Field names
//! and layouts are those of elf(5).

/// Most of a string table that is looked at.
const MAX_STRINGS: u64 = 256 * 1024;
/// Most program headers and dynamic entries that are looked at.
const MAX_ENTRIES: u64 = 1024;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;

/// How wide the words of an ELF file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// ELFCLASS32.
    Bits32,
    /// ELFCLASS64.
    Bits64,
}

/// Which end of a word comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// ELFDATA2LSB.
    Little,
    /// ELFDATA2MSB.
    Big,
}

/// The identity of an ELF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Word width.
    pub class: Class,
    /// Byte order.
    pub order: ByteOrder,
    /// `e_machine` (EM_*).
    pub machine: u16,
    /// `e_flags`, whose meaning is the machine's.
    pub flags: u32,
    program_headers: Table,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Table {
    offset: u64,
    entry_size: u64,
    count: u64,
}

/// What the dynamic linker reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Linkage {
    /// PT_INTERP: the dynamic linker; none for a static program.
    pub interpreter: Option<String>,
    /// DT_NEEDED: the names of the libraries.
    pub needed: Vec<String>,
}

/// Reads up to the given number of bytes at an offset; fewer at the end of the file.
pub type ReadAt<'a> = dyn FnMut(u64, usize) -> Vec<u8> + 'a;

impl Header {
    /// Reads the header from the first bytes of a file; `None` if it is no ELF file.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..4)? != b"\x7fELF" {
            return None;
        }
        let class = match bytes.get(4)? {
            1 => Class::Bits32,
            2 => Class::Bits64,
            _ => return None,
        };
        let order = match bytes.get(5)? {
            1 => ByteOrder::Little,
            2 => ByteOrder::Big,
            _ => return None,
        };
        let words = Words { bytes, class, order };
        // e_phoff, e_flags, e_phentsize, e_phnum by class.
        let (phoff, flags, phentsize, phnum) = match class {
            Class::Bits32 => (28, 36, 42, 44),
            Class::Bits64 => (32, 48, 54, 56),
        };
        Some(Self {
            class,
            order,
            machine: words.u16(18)?,
            flags: words.u32(flags).unwrap_or(0),
            program_headers: Table {
                offset: words.word(phoff).unwrap_or(0),
                entry_size: words.u16(phentsize).unwrap_or(0).into(),
                count: words.u16(phnum).unwrap_or(0).into(),
            },
        })
    }

    /// Follows the program headers to the interpreter and the needed libraries.
    pub fn linkage(&self, read_at: &mut ReadAt<'_>) -> Linkage {
        let mut linkage = Linkage::default();
        let segments = self.segments(read_at);
        for segment in &segments {
            match segment.kind {
                PT_INTERP => {
                    // PATH_MAX bounds what the kernel accepts (fs/binfmt_elf.c).
                    let bytes = read_at(segment.offset, to_len(segment.file_size.min(4096)));
                    linkage.interpreter = Some(string_at(&bytes, 0));
                }
                PT_DYNAMIC => linkage.needed = self.needed(segment, &segments, read_at).unwrap_or_default(),
                _ => {}
            }
        }
        linkage
    }

    fn segments(&self, read_at: &mut ReadAt<'_>) -> Vec<Segment> {
        let Table { offset, entry_size, count } = self.program_headers;
        let bytes = read_at(offset, to_len(entry_size * count.min(MAX_ENTRIES)));
        let step = to_len(entry_size);
        if step == 0 {
            return Vec::new();
        }
        bytes.chunks_exact(step).filter_map(|entry| self.segment(entry)).collect()
    }

    fn segment(&self, entry: &[u8]) -> Option<Segment> {
        let words = self.words(entry);
        // p_type, then p_flags is second in 64 bits and seventh in 32.
        let (offset, address, file_size) = match self.class {
            Class::Bits32 => (4, 8, 16),
            Class::Bits64 => (8, 16, 32),
        };
        Some(Segment {
            kind: words.u32(0)?,
            offset: words.word(offset)?,
            address: words.word(address)?,
            file_size: words.word(file_size)?,
        })
    }

    fn needed(
        &self,
        dynamic: &Segment,
        segments: &[Segment],
        read_at: &mut ReadAt<'_>,
    ) -> Option<Vec<String>> {
        let word = match self.class {
            Class::Bits32 => 4,
            Class::Bits64 => 8,
        };
        let bytes = read_at(dynamic.offset, to_len(dynamic.file_size.min(MAX_ENTRIES * 16)));
        let (mut names, mut table, mut size) = (Vec::new(), None, 0);
        for entry in bytes.chunks_exact(2 * word) {
            let words = self.words(entry);
            let value = words.word(word)?;
            match words.word(0)? {
                DT_NULL => break,
                DT_NEEDED => names.push(value),
                DT_STRTAB => table = Some(value),
                DT_STRSZ => size = value,
                _ => {}
            }
        }
        // DT_STRTAB is an address in memory; the PT_LOAD that maps it says where that is in the file.
        let table = table?;
        let load = segments.iter().find(|segment| segment.kind == PT_LOAD && segment.maps(table))?;
        let offset = load.offset.checked_add(table - load.address)?;
        let strings = read_at(offset, to_len(size.min(MAX_STRINGS)));
        Some(names.into_iter().map(|name| string_at(&strings, to_len(name))).collect())
    }

    fn words<'a>(&self, bytes: &'a [u8]) -> Words<'a> {
        Words { bytes, class: self.class, order: self.order }
    }
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    file_size: u64,
}

impl Segment {
    fn maps(&self, address: u64) -> bool {
        address.checked_sub(self.address).is_some_and(|distance| distance < self.file_size)
    }
}

/// Numbers of the file's class and byte order.
struct Words<'a> {
    bytes: &'a [u8],
    class: Class,
    order: ByteOrder,
}

impl Words<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.array(at)?;
        Some(match self.order {
            ByteOrder::Little => u16::from_le_bytes(bytes),
            ByteOrder::Big => u16::from_be_bytes(bytes),
        })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.array(at)?;
        Some(match self.order {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        })
    }

    fn word(&self, at: usize) -> Option<u64> {
        if self.class == Class::Bits32 {
            return self.u32(at).map(u64::from);
        }
        let bytes = self.array(at)?;
        Some(match self.order {
            ByteOrder::Little => u64::from_le_bytes(bytes),
            ByteOrder::Big => u64::from_be_bytes(bytes),
        })
    }
}

fn to_len(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// The NUL-terminated string at `offset`; empty if that is outside.
fn string_at(bytes: &[u8], offset: usize) -> String {
    let bytes = bytes.get(offset..).unwrap_or_default();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A little-endian 64-bit program of `machine` that needs `libraries`: one PT_LOAD over the whole file at 0x10000.
    pub(crate) fn program(machine: u16, interpreter: Option<&str>, libraries: &[&str]) -> Vec<u8> {
        const BASE: u64 = 0x10000;
        let mut strings = vec![0];
        let mut dynamic = Vec::new();
        for library in libraries {
            dynamic.extend([DT_NEEDED, strings.len() as u64]);
            strings.extend(library.bytes().chain([0]));
        }
        let strings_at = 64 + 3 * 56;
        let interpreter_at = strings_at + strings.len();
        let interpreter: Vec<u8> = interpreter.map_or(vec![], |path| path.bytes().chain([0]).collect());
        let dynamic_at = interpreter_at + interpreter.len();
        dynamic.extend([DT_STRTAB, BASE + strings_at as u64, DT_STRSZ, strings.len() as u64, DT_NULL, 0]);
        let end = dynamic_at + dynamic.len() * 8;

        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend(2_u16.to_le_bytes());
        file.extend(machine.to_le_bytes());
        file.resize(32, 0);
        file.extend(64_u64.to_le_bytes());
        file.resize(54, 0);
        file.extend(56_u16.to_le_bytes());
        file.extend(3_u16.to_le_bytes());
        file.resize(64, 0);
        let second = if interpreter.is_empty() { 0 } else { PT_INTERP };
        for (kind, at, size) in [
            (PT_LOAD, 0, end),
            (second, interpreter_at, interpreter.len()),
            (PT_DYNAMIC, dynamic_at, dynamic.len() * 8),
        ] {
            file.extend(kind.to_le_bytes());
            file.extend(0_u32.to_le_bytes());
            for word in [at as u64, BASE + at as u64, 0, size as u64, size as u64, 0] {
                file.extend(word.to_le_bytes());
            }
        }
        file.extend(strings);
        file.extend(interpreter);
        file.extend(dynamic.iter().flat_map(|word| word.to_le_bytes()));
        file
    }

    fn linkage(file: &[u8]) -> Option<Linkage> {
        let header = Header::parse(file)?;
        Some(header.linkage(&mut |offset, length| {
            let start = to_len(offset).min(file.len());
            file[start..start.saturating_add(length).min(file.len())].to_vec()
        }))
    }

    #[test]
    fn headers() {
        let class32_big = {
            let mut bytes = vec![0; 52];
            bytes[..6].copy_from_slice(b"\x7fELF\x01\x02");
            bytes[19] = 20;
            bytes
        };
        type Row<'a> = (&'a str, &'a [u8], Option<(Class, ByteOrder, u16)>);
        let table: [Row<'_>; 6] = [
            ("x86-64", &program(62, None, &[]), Some((Class::Bits64, ByteOrder::Little, 62))),
            ("32 bits, big endian", &class32_big, Some((Class::Bits32, ByteOrder::Big, 20))),
            ("empty", b"", None),
            ("script", b"#!/bin/sh\n", None),
            ("cut off", b"\x7fELF\x02\x01\x01", None),
            ("bad class", b"\x7fELF\x09\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0", None),
        ];
        for (name, bytes, expected) in table {
            let parsed = Header::parse(bytes).map(|header| (header.class, header.order, header.machine));
            assert_eq!(parsed, expected, "{name}");
        }
    }

    #[test]
    fn linkages() {
        let file = program(62, Some("/lib64/ld-linux-x86-64.so.2"), &["libsystemd-core-257.so", "libc.so.6"]);
        let expected = Linkage {
            interpreter: Some("/lib64/ld-linux-x86-64.so.2".into()),
            needed: vec!["libsystemd-core-257.so".into(), "libc.so.6".into()],
        };
        assert_eq!(linkage(&file), Some(expected));
        assert_eq!(linkage(&program(62, None, &[])), Some(Linkage::default()));
    }

    #[test]
    fn no_file_makes_it_panic_or_read_for_ever() {
        let file = program(62, Some("/lib/ld.so"), &["libc.so.6"]);
        for length in 0..file.len() {
            linkage(&file[..length]);
        }
        for at in 0..file.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut broken = file.clone();
                broken[at] = value;
                linkage(&broken);
            }
        }
    }

    #[test]
    fn our_own_program_is_read() {
        let file = std::fs::read("/proc/self/exe").unwrap();
        let needed = linkage(&file).unwrap().needed;
        assert!(needed.iter().any(|name| name.starts_with("libc.")), "{needed:?}");
    }
}
