//! Why bytes are not believed.

use std::path::PathBuf;

use crate::sys::SysError;

/// Why bytes are not believed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("{name} is not what it should be: its {algorithm} is {found}, not {expected} ({source_of_it})")]
    Digest { name: String, algorithm: &'static str, expected: String, found: String, source_of_it: String },
    #[error("{name} has {found} bytes, not {expected}")]
    Size { name: String, expected: u64, found: u64 },
    #[error("there is no file of checksums for {name}: looked for {}", .looked.join(", "))]
    NoChecksum { name: String, looked: Vec<String> },
    #[error("nothing can be beside {name}, so there is no file of checksums for it")]
    NothingBeside { name: String },
    #[error("{file} is no list of checksums")]
    NoList { file: String },
    #[error("{file} has no checksum of {name}")]
    NotListed { name: String, file: String },
    #[error("{file} has no sha256 or sha512 of {name}, only weaker ones")]
    WeakList { name: String, file: String },
    #[error("{file} has two checksums of {name} that differ")]
    TwoSums { name: String, file: String },
    #[error("{name} is not signed: looked for {}", .looked.join(", "))]
    NoSignature { name: String, looked: Vec<String> },
    #[error("the signature of {name} does not hold: what was signed with key {key} is something else")]
    BadSignature { name: String, key: String },
    #[error("{name} is signed with key {key}, which is none of those in {}", .keys.join(", "))]
    UnknownKey { name: String, key: String, keys: Vec<String> },
    #[error("{name} is signed by {by}, not with the key {}", .wanted.join(" or "))]
    AnotherKey { name: String, by: String, wanted: Vec<String> },
    #[error("{name} is signed with key {key}, which has been revoked")]
    KeyRevoked { name: String, key: String },
    #[error("{name} is signed with key {key}, which has expired")]
    KeyExpired { name: String, key: String },
    #[error("the signature of {name} with key {key} has expired")]
    SignatureExpired { name: String, key: String },
    #[error("{name} is signed with key {key} in a way that is not known here")]
    Unsupported { name: String, key: String },
    #[error("what should be the signature of {name} is none")]
    NoSignatureInIt { name: String },
    #[error("there are no keys to check the signature of {name} with: looked for {}", .looked.join(", "))]
    NoKeys { name: String, looked: Vec<String> },
    #[error("{} has no keys in it", .path.display())]
    NotAKey { path: PathBuf },
    #[error("cannot read the keys in {}", .path.display())]
    KeyFile {
        path: PathBuf,
        #[source]
        source: SysError,
    },
    #[error("signatures cannot be checked: there is no gpgv here")]
    NoGpgv,
    #[error("signatures cannot be checked: {why}")]
    Gpgv { why: String },
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Digest { .. } | Self::Size { .. } => {
                "try again later: a server may be half way to a new version; if it stays so, do not trust it"
            }
            Self::NoChecksum { .. } | Self::NothingBeside { .. } => {
                "--sha256=DIGEST if you know it; --verify=no to believe it as it is"
            }
            Self::NoList { .. } | Self::NotListed { .. } | Self::WeakList { .. } | Self::TwoSums { .. } => {
                "--sha256=DIGEST if you know it from elsewhere; --verify=no to believe it as it is"
            }
            Self::NoSignature { .. } => {
                "--verify=checksum to believe a checksum alone; --sha256=DIGEST if you know it"
            }
            Self::BadSignature { .. } => "somebody changed it, or a new version is half way there: try later",
            Self::UnknownKey { .. } => {
                "--key=FILE with the distribution's key, if you know the one in the message to be it"
            }
            Self::KeyRevoked { .. } | Self::KeyExpired { .. } => {
                "the distribution may have a new key, or a newer image: --key=FILE with its keys of today"
            }
            Self::SignatureExpired { .. } => "take a newer image, and look at this host's clock",
            Self::Unsupported { .. } => "a newer gpgv may know it",
            Self::NoSignatureInIt { .. } => "is the address of the signature right?",
            Self::AnotherKey { .. } => {
                "if that is who signs it now, say so in /etc/spinney/images/, or give the key with --key=FILE"
            }
            Self::NoKeys { .. } => "--key=FILE with the distribution's keys; --verify=checksum to do without",
            Self::NotAKey { .. } => {
                "a file of public keys, as gpg --export writes it (--armor or not), or of signify or minisign"
            }
            Self::NoGpgv => "install the package gpgv (Fedora, openSUSE, Arch: gnupg2, gpg2, gnupg)",
            Self::KeyFile { .. } => "--key= takes files of public keys",
            Self::Gpgv { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
