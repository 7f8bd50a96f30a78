//! What a disk image is verified by: `--root-hash=`, `--verity-data=`, `--root-hash-sig=` (systemd-nspawn(1)).

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::ValueError;

/// What a disk image is verified by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verity {
    /// The root hash, in hexadecimal digits; by default that of the file `NAME.roothash` beside the image.
    pub root_hash: Option<String>,
    /// Where the hashes of an image that is one file system are; by default in `NAME.verity` beside it.
    pub hashes: Option<PathBuf>,
    /// A signature of the root hash, which the kernel is to check.
    pub signature: Option<RootHashSignature>,
}

/// A signature of a root hash (PKCS#7, DER).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootHashSignature {
    /// In this file.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// Hexadecimal digits of 128 to 512 bits: halves of a root hash are GUIDs, and dm-verity takes no longer hash.
pub(super) fn parse_root_hash(text: &str) -> Result<String, ValueError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match digits && text.len().is_multiple_of(2) && (32..=128).contains(&text.len()) {
        true => Ok(text.to_ascii_lowercase()),
        false => {
            Err(ValueError::new(text, "is no root hash", "64 hexadecimal digits, or as many as the hash has"))
        }
    }
}

/// The bytes of `base64:DATA`; `None` for a path.
pub(super) fn parse_signature(text: &str) -> Result<Option<Vec<u8>>, ValueError> {
    let Some(data) = text.strip_prefix("base64:") else { return Ok(None) };
    match BASE64_STANDARD.decode(data) {
        Ok(bytes) if !bytes.is_empty() => Ok(Some(bytes)),
        _ => Err(ValueError::new(text, "is no signature", "the path of a file, or base64:DATA")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_hashes() {
        let hash = "ab".repeat(32);
        for (text, expected) in [
            (hash.as_str(), Ok(hash.as_str())),
            (&hash.to_uppercase(), Ok(&hash)),
            (&hash[..32], Ok(&hash[..32])),
            (&hash[..30], Err("is no root hash")),
            (&hash[..33], Err("is no root hash")),
            ("", Err("is no root hash")),
            (&"x".repeat(64), Err("is no root hash")),
            (&"ab".repeat(65), Err("is no root hash")),
        ] {
            let parsed = parse_root_hash(text);
            assert_eq!(parsed.as_deref().map_err(ValueError::problem), expected, "{text}");
        }
    }

    #[test]
    fn signatures() {
        assert_eq!(parse_signature("/keys/a.p7s"), Ok(None));
        assert_eq!(parse_signature("base64:YWI="), Ok(Some(b"ab".to_vec())));
        for text in ["base64:", "base64:?"] {
            assert_eq!(parse_signature(text).unwrap_err().problem(), "is no signature", "{text}");
        }
    }
}
