//! Which compressions there are, and how each is told: by its first bytes, by a file's ending, by its word.

use std::fmt;
use std::str::FromStr;

use crate::settings::ValueError;

/// How bytes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// xz.
    Xz,
    /// zstd (RFC 8878).
    Zstd,
    /// bzip2.
    Bzip2,
}

/// As many bytes tell which it is.
pub const MAGIC: usize = 8;

/// Compressions that are known and not done: their first bytes, and what they are called.
const OTHERS: [(&[u8], &str); 8] = [
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"LZIP", "lzip"),
    (b"\x89LZO\0", "lzop"),
    (b"\x1f\x9d", "compress (.Z)"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"PK\x03\x04", "zip"),
    (b"Rar!\x1a\x07", "RAR"),
];

impl Compression {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Xz, Self::Gzip, Self::Bzip2, Self::Zstd];

    /// By the first bytes of a file.
    ///
    /// # Errors
    /// The name of a compression that is known but not done.
    pub fn of(start: &[u8]) -> Result<Self, &'static str> {
        if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
            return Err(name);
        }
        let known = Self::ALL.into_iter().find(|compression| compression.begins(start));
        Ok(known.unwrap_or(Self::None))
    }

    /// Whether `start` are the first bytes of something so compressed. Nothing begins as what is not compressed.
    fn begins(self, start: &[u8]) -> bool {
        start.len() >= 4 && self.may_begin(start)
    }

    /// The same, of bytes that may be too few to tell.
    pub(super) fn may_begin(self, start: &[u8]) -> bool {
        let is = |magic: &[u8]| magic.iter().zip(start).all(|(byte, there)| byte == there);
        match self {
            Self::None => false,
            Self::Gzip => is(b"\x1f\x8b"),
            Self::Xz => is(b"\xfd7zXZ\0"),
            // Or a frame that is to be skipped, as pzstd begins with one (RFC 8878, 3.1.2).
            Self::Zstd => {
                is(b"\x28\xb5\x2f\xfd")
                    || start.first().is_none_or(|first| is(&[0x50 | first & 15, 0x2a, 0x4d, 0x18]))
            }
            Self::Bzip2 => is(b"BZh") && start.get(3).is_none_or(|level| (b'1'..=b'9').contains(level)),
        }
    }

    /// By the ending of a file's name, and what is before it: `root.tar.gz` is a `root.tar`, `root.tgz` too.
    pub fn of_name(name: &str) -> (Self, String) {
        const ENDINGS: [(&str, Compression, &str); 13] = [
            (".gz", Compression::Gzip, ""),
            (".xz", Compression::Xz, ""),
            (".zst", Compression::Zstd, ""),
            (".zstd", Compression::Zstd, ""),
            (".bz2", Compression::Bzip2, ""),
            (".tgz", Compression::Gzip, ".tar"),
            (".taz", Compression::Gzip, ".tar"),
            (".txz", Compression::Xz, ".tar"),
            (".tzst", Compression::Zstd, ".tar"),
            (".tzstd", Compression::Zstd, ".tar"),
            (".tbz2", Compression::Bzip2, ".tar"),
            (".tbz", Compression::Bzip2, ".tar"),
            (".tb2", Compression::Bzip2, ".tar"),
        ];
        let found = ENDINGS.iter().find_map(|(ending, compression, instead)| {
            let stem = name.strip_suffix(ending).filter(|stem| !stem.is_empty())?;
            Some((*compression, format!("{stem}{instead}")))
        });
        found.unwrap_or((Self::None, name.to_owned()))
    }

    /// What a file's name ends with.
    pub fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
            Self::Bzip2 => ".bz2",
        }
    }
}

/// As importctl's `--format=` has it.
impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "uncompressed",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        })
    }
}

impl FromStr for Compression {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refuse = || ValueError::new(text, "is not known", "one of: uncompressed, xz, gzip, bzip2, zstd");
        Self::ALL.into_iter().find(|compression| compression.to_string() == text).ok_or_else(refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_their_first_bytes() {
        let rows: [(&[u8], Result<Compression, &str>); 11] = [
            (b"\x1f\x8b\x08\x00", Ok(Compression::Gzip)),
            (b"\xfd7zXZ\0\0\x04", Ok(Compression::Xz)),
            (b"\x28\xb5\x2f\xfd\x24", Ok(Compression::Zstd)),
            (b"\x50\x2a\x4d\x18\x04", Ok(Compression::Zstd)),
            (b"BZh91AY", Ok(Compression::Bzip2)),
            (b"BZhello", Ok(Compression::None)),
            (b"etc/", Ok(Compression::None)),
            (b"", Ok(Compression::None)),
            (b"\x04\x22\x4d\x18", Err("lz4")),
            (b"PK\x03\x04", Err("zip")),
            (b"\x1f\x9d\x90", Err("compress (.Z)")),
        ];
        for (start, expected) in rows {
            assert_eq!(Compression::of(start), expected, "{start:x?}");
        }
    }

    #[test]
    fn by_a_name() {
        let rows = [
            ("root.tar.gz", Compression::Gzip, "root.tar"),
            ("root.tgz", Compression::Gzip, "root.tar"),
            ("root.tar.zst", Compression::Zstd, "root.tar"),
            ("disk.raw.xz", Compression::Xz, "disk.raw"),
            ("root.tar", Compression::None, "root.tar"),
            (".gz", Compression::None, ".gz"),
            ("", Compression::None, ""),
        ];
        for (name, compression, stem) in rows {
            assert_eq!(Compression::of_name(name), (compression, stem.to_owned()), "{name}");
        }
    }

    #[test]
    fn words() {
        for compression in Compression::ALL {
            assert_eq!(compression.to_string().parse(), Ok(compression));
        }
        assert!("lz4".parse::<Compression>().is_err());
    }
}
