//! Keys of those whose signatures are believed, out of files of several kinds.

use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustix::fs::{CWD, OFlags};
use rustix::io::Errno;

use super::Error;
use super::signify;
use crate::sys::files::{open_at, read_all};

/// Where the host keeps the keys of images (importctl(1), "signature"): under the names of systemd before and since 258.
const HOST_KEYRINGS: [&str; 4] = [
    "/etc/systemd/import-pubring.pgp",
    "/etc/systemd/import-pubring.gpg",
    "/usr/lib/systemd/import-pubring.pgp",
    "/usr/lib/systemd/import-pubring.gpg",
];

/// Overrides these, as it does for systemd (its docs/ENVIRONMENT.md).
const HOST_KEYRING_VARIABLE: &str = "SYSTEMD_OPENPGP_KEYRING";

/// The keyring of Debian's maintainers has 30 MiB.
const LIMIT: usize = 64 << 20;

const ARMOUR_BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const ARMOUR_END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    /// Keyrings as gpgv takes them.
    pub(super) openpgp: Vec<Vec<u8>>,
    /// Keys of signify and minisign.
    pub(super) signify: Vec<signify::Key>,
    /// The files they are from.
    pub(super) files: Vec<String>,
    /// Which OpenPGP keys, by fingerprint; none: any of them.
    pub(super) fingerprints: Vec<String>,
}

/// What a file of keys has.
#[derive(Debug, PartialEq, Eq)]
enum Content {
    OpenPgp(Vec<u8>),
    Signify(signify::Key),
    None,
}

impl Keys {
    /// Reads `paths`, or the keyrings of the host if there are none. `name` is what they are wanted for.
    ///
    /// # Errors
    /// When there is no key, or a file cannot be read.
    pub(super) fn load(paths: &[PathBuf], name: &str) -> Result<Self, Error> {
        let mut keys = Self::default();
        if !paths.is_empty() {
            paths.iter().try_for_each(|path| keys.add(path, true))?;
            return Ok(keys);
        }
        let host: Vec<PathBuf> = match std::env::var_os(HOST_KEYRING_VARIABLE) {
            Some(path) => vec![path.into()],
            None => HOST_KEYRINGS.map(PathBuf::from).to_vec(),
        };
        host.iter().try_for_each(|path| keys.add(path, false))?;
        if keys.files.is_empty() {
            let looked = host.iter().map(|path| path.display().to_string()).collect();
            return Err(Error::NoKeys { name: name.to_owned(), looked });
        }
        Ok(keys)
    }

    fn add(&mut self, path: &Path, wanted: bool) -> Result<(), Error> {
        let read = open_at(CWD, path, OFlags::RDONLY, rustix::fs::Mode::empty())
            .and_then(|file| read_all(file, LIMIT));
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) if error.errno() == Errno::NOENT && !wanted => return Ok(()),
            Err(source) => return Err(Error::KeyFile { path: path.to_owned(), source }),
        };
        match content(bytes) {
            Content::OpenPgp(keyring) => self.openpgp.push(keyring),
            Content::Signify(key) => self.signify.push(key),
            Content::None => return Err(Error::NotAKey { path: path.to_owned() }),
        }
        self.files.push(path.display().to_string());
        Ok(())
    }
}

/// What a file of keys has, by how it begins.
fn content(bytes: Vec<u8>) -> Content {
    if let Ok(text) = std::str::from_utf8(&bytes) {
        if text.contains(ARMOUR_BEGIN) {
            return dearmour(text).map_or(Content::None, Content::OpenPgp);
        }
        return signify::Key::parse(text).map_or(Content::None, Content::Signify);
    }
    // A packet of a public key (RFC 9580, sections 4.2 and 5.5.1.1), or a keybox.
    let is_packet = matches!(bytes.first(), Some(0x98..=0x9b | 0xc6));
    let is_keybox = bytes.get(8..12) == Some(b"KBXf");
    if is_packet || is_keybox { Content::OpenPgp(bytes) } else { Content::None }
}

/// The bytes of all armoured blocks of public keys (RFC 9580, section 6.2): gpgv takes no armour.
fn dearmour(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for block in text.split(ARMOUR_BEGIN).skip(1) {
        let (block, _) = block.split_once(ARMOUR_END)?;
        let lines = block.lines().skip(1).map(str::trim).skip_while(|line| !line.is_empty());
        // Of the checksum at the end there is no need: a key is known by what it signs.
        let data: String = lines.take_while(|line| !line.starts_with('=')).collect();
        bytes.extend(BASE64_STANDARD.decode(data).ok()?);
    }
    (!bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents() {
        let block = |data: &str| format!("{ARMOUR_BEGIN}\nVersion: x\n\n{data}\n=abcd\n{ARMOUR_END}\n");
        let rows: [(&str, Vec<u8>, Content); 10] = [
            ("armoured", block("mAEC\nAw==").into(), Content::OpenPgp(vec![0x98, 1, 2, 3])),
            (
                "two",
                format!("text\n{}{}", block("mAEC"), block("Aw==").replace('\n', "\r\n")).into(),
                Content::OpenPgp(vec![0x98, 1, 2, 3]),
            ),
            ("cut off", block("mAEC").replace(ARMOUR_END, "").into(), Content::None),
            ("no base64", block("m!").into(), Content::None),
            ("a private key", block("mAEC").replace("PUBLIC", "PRIVATE").into(), Content::None),
            ("binary", vec![0x99, 0xff, 2], Content::OpenPgp(vec![0x99, 0xff, 2])),
            (
                "keybox",
                b"\0\0\0 \x01\x01\0\x02KBXf\xff".to_vec(),
                Content::OpenPgp(b"\0\0\0 \x01\x01\0\x02KBXf\xff".to_vec()),
            ),
            ("other bytes", vec![0x1f, 0x8b, 0xff], Content::None),
            ("text", b"hello\n".to_vec(), Content::None),
            ("empty", Vec::new(), Content::None),
        ];
        for (what, bytes, expected) in rows {
            assert_eq!(content(bytes), expected, "{what}");
        }
    }
}
