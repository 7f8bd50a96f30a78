//! What a user, or the catalogue, wants of a download before it is believed.

use std::path::PathBuf;
use std::str::FromStr;

use crate::settings::ValueError;
use crate::transfer::Digest;

/// What a download is held to (`--verify=`, importctl(1)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Nothing.
    No,
    /// A checksum, as it stands in a file beside it.
    Checksum,
    /// A checksum file that is signed, or a signature of its own.
    Signature,
}

/// What is wanted of a download.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// What it is held to; `None` is [`Mode::Checksum`] for https, [`Mode::Signature`] for http, over which anybody
    /// between can change both, and [`Mode::No`] for files of this host and stdin. A digest that is known is enough for
    /// any of these.
    pub mode: Option<Mode>,
    /// The digest it must have (`--sha256=`): nothing else is asked then, unless `mode` wants more by name.
    pub sha256: Option<Digest>,
    /// How many bytes it must have, where a list says so.
    pub size: Option<u64>,
    /// Nobody asks for the digest of what nothing is held against: it is not computed then. Hashing is a twentieth of all the work of
    /// importing a file.
    pub unhashed: bool,
    /// Where the checksum file is; empty: looked for beside it, under the names that are usual.
    pub checksums: Vec<String>,
    /// Where the signature is, of the checksum file if there is one, of the file itself if not; empty: looked for.
    pub signatures: Vec<String>,
    /// Whose signature is believed: files of OpenPGP keys (armoured or not), or of signify(1) or minisign(1) keys. Empty:
    /// the keyring of the host, systemd's (importctl(1)).
    pub keys: Vec<PathBuf>,
    /// Which of these keys, by the fingerprints of the primary ones in capitals; empty: any. A keyring may have all keys of
    /// a distro, and only one of them signs images.
    pub fingerprints: Vec<String>,
}

impl Verification {
    /// Nothing is wanted.
    pub fn none() -> Self {
        Self { mode: Some(Mode::No), ..Self::default() }
    }

    /// It must have this digest.
    pub fn digest(sha256: Digest) -> Self {
        Self { sha256: Some(sha256), ..Self::default() }
    }
}

impl FromStr for Mode {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "no" => Ok(Self::No),
            "checksum" => Ok(Self::Checksum),
            "signature" => Ok(Self::Signature),
            _ => Err(ValueError::new(text, "is no way to verify", "no, checksum or signature")),
        }
    }
}
