//! dm-verity: a root hash, and the partitions that it names.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::CWD;

use super::error::Error;
use super::guid::Guid;
use crate::settings::ValueError;
use crate::sys::files::read_at;
use crate::sys::in_root::absent_is_none;

/// The root hash of dm-verity: it vouches for every block of a file system.
#[derive(Clone, PartialEq, Eq)]
pub struct RootHash(Vec<u8>);

impl RootHash {
    /// The identifier of the partition that it vouches for: its first half (Discoverable Partitions Specification).
    pub fn data_id(&self) -> Guid {
        Guid(self.0.first_chunk().copied().unwrap_or_default())
    }

    /// The identifier of the partition with the hashes: its last half.
    pub fn hash_id(&self) -> Guid {
        Guid(self.0.last_chunk().copied().unwrap_or_default())
    }
}

impl FromStr for RootHash {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refuse =
            || ValueError::new(text, "is no root hash", "64 hexadecimal digits, or as many as the hash has");
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        // Halves of it are GUIDs; no hash that dm-verity takes is longer than 512 bits.
        if !rest.is_empty() || !(16..=64).contains(&pairs.len()) {
            return Err(refuse());
        }
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes = pairs.iter().map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
        bytes.collect::<Option<Vec<u8>>>().map(Self).ok_or_else(refuse)
    }
}

impl fmt::Display for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a disk is verified by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verify {
    /// The root hash; without one, a file `NAME.roothash` beside `NAME.raw` is looked for.
    pub root_hash: Option<RootHash>,
    /// Where the hashes of a disk that is one file system are; without, they are in `NAME.verity` beside it.
    pub hashes: Option<PathBuf>,
    /// A signature of the root hash, which the kernel is to check.
    pub signature: Option<Vec<u8>>,
}

impl Verify {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The file `NAME.verity` beside the image `NAME.raw`, if it is there (systemd-nspawn(1), `--verity-data=`).
pub(super) fn hashes_beside(image: &Path) -> Option<PathBuf> {
    let path = image.with_extension("verity");
    let is_raw = image.extension().is_some_and(|extension| extension == "raw");
    (is_raw && rustix::fs::stat(&path).is_ok()).then_some(path)
}

/// Longest file that is read for a root hash.
const LIMIT: usize = 4096;

/// The root hash in the file `NAME.roothash` beside the image `NAME.raw`, as systemd-nspawn(1) reads it.
///
/// # Errors
/// When there is one and it cannot be read, or holds none.
pub(super) fn beside(image: &Path) -> Result<Option<RootHash>, Error> {
    let path = image.with_extension("roothash");
    if image.extension().is_none_or(|extension| extension != "raw") {
        return Ok(None);
    }
    let read = absent_is_none(read_at(CWD, &path, LIMIT)).map_err(|source| refused(&path, source))?;
    let Some(bytes) = read else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    text.trim().parse().map(Some).map_err(|source| refused(&path, source))
}

fn refused(path: &Path, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::RootHash { path: path.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "4f68bce3e8cd4db196e7fbcaf984b7092c7357edebd246d9aec123d437ec2bf5";

    #[test]
    fn root_hashes() {
        let hash: RootHash = HASH.parse().unwrap();
        assert_eq!(hash.data_id(), Guid::constant("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"));
        assert_eq!(hash.hash_id(), Guid::constant("2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"));
        assert_eq!(hash.to_string(), HASH);
        let long = "ab".repeat(65);
        for bad in ["", "4f68", &HASH[1..], &HASH.replace('4', "x"), &long] {
            assert!(bad.parse::<RootHash>().is_err(), "{bad}");
        }
    }

    #[test]
    fn files_beside_images() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("a.raw");
        assert_eq!(beside(&image).unwrap(), None);
        std::fs::write(directory.path().join("a.roothash"), format!("{HASH}\n")).unwrap();
        assert_eq!(beside(&image).unwrap().unwrap().to_string(), HASH);
        assert_eq!(beside(&directory.path().join("a")).unwrap(), None);
        std::fs::write(directory.path().join("a.roothash"), "no hash").unwrap();
        assert!(beside(&image).is_err());
    }
}
