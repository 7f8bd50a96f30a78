//! What extended headers say of a member, before its own header comes.

use crate::archive::entry::{ACL_ACCESS, ACL_DEFAULT, ATTRIBUTES_LIMIT, Time};
use crate::archive::error::{BadStream, Error};
use crate::archive::{acl, pax};

/// What extended headers said.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) modified: Option<Time>,
    pub(super) accessed: Option<Time>,
    pub(super) attributes: Attributes,
    pub(super) sparse: Sparse,
}

/// GNU tar's four ways of writing down holes, but the oldest.
#[derive(Debug, Clone, Default)]
pub(super) struct Sparse {
    /// 1.0: the map stands before the data.
    pub(super) major: Option<u64>,
    pub(super) real_size: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    /// 0.0 and 0.1: offsets and lengths one after another.
    pub(super) numbers: Vec<u64>,
}

/// Extended attributes, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct Attributes(Vec<(Vec<u8>, Vec<u8>)>);

impl Attributes {
    /// Names and values.
    pub(super) fn into_list(self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.0
    }

    /// Has `name` be `value`, in place of what was said before.
    fn set(&mut self, name: Vec<u8>, value: Vec<u8>) -> Result<(), Error> {
        // The kernel has no other ones: no name is so long or has such a byte (xattr(7)).
        if name.is_empty() || name.len() > 255 || name.contains(&0) {
            return Ok(());
        }
        if let Some((_, there)) = self.0.iter_mut().find(|(there, _)| *there == name) {
            *there = value;
            return Ok(());
        }
        if self.0.len() == ATTRIBUTES_LIMIT {
            return Err(BadStream::Excessive("a member has too many extended attributes").into());
        }
        self.0.push((name, value));
        Ok(())
    }

    fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|(there, _)| there == name)
    }
}

impl Said {
    /// Takes the records of an extended header.
    ///
    /// # Errors
    /// When they are damaged, or too many.
    pub(super) fn take(&mut self, records: &[u8]) -> Result<(), Error> {
        let damaged = || Error::from(BadStream::Damaged("an extended header is wrong"));
        for (key, value) in pax::parse(records).ok_or_else(damaged)? {
            let number = || pax::number(value).ok_or_else(damaged);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = Some(number()?),
                b"uid" => self.uid = Some(number()?),
                b"gid" => self.gid = Some(number()?),
                b"mtime" => self.modified = Some(pax::time(value).ok_or_else(damaged)?),
                b"atime" => self.accessed = Some(pax::time(value).ok_or_else(damaged)?),
                b"GNU.sparse.major" => self.sparse.major = Some(number()?).filter(|major| *major > 0),
                b"GNU.sparse.name" => self.sparse.name = Some(value.to_vec()),
                b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = Some(number()?),
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.numbers.push(number()?),
                b"GNU.sparse.map" => {
                    let numbers =
                        value.split(|byte| *byte == b',').map(pax::number).collect::<Option<Vec<_>>>();
                    self.sparse.numbers = numbers.ok_or_else(damaged)?;
                }
                b"SCHILY.acl.access" => self.acl(ACL_ACCESS, value)?,
                b"SCHILY.acl.default" => self.acl(ACL_DEFAULT, value)?,
                // As GNU tar --selinux has it: a text, which the kernel ends with a zero.
                b"RHT.security.selinux" => {
                    self.attributes.set(b"security.selinux".to_vec(), [value, b"\0"].concat())?;
                }
                _ => self.attribute(key, value)?,
            }
        }
        Ok(())
    }

    fn attribute(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            return self.attributes.set(percent_decoded(name), value.to_vec());
        }
        // bsdtar writes both, this one with less room for mistakes; but where it writes one, it may be either.
        if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.")
            && let name = percent_decoded(name)
            && !self.attributes.has(&name)
        {
            let damaged = || BadStream::Damaged("an extended attribute is no base64");
            return self.attributes.set(name, base64_decoded(value).ok_or_else(damaged)?);
        }
        Ok(())
    }

    fn acl(&mut self, name: &[u8], text: &[u8]) -> Result<(), Error> {
        // An empty one, which GNU tar writes for a directory without a default ACL, is none. One that cannot be read is
        // kept as it is, for the kernel to refuse, so that it is told.
        if text.is_empty() {
            return Ok(());
        }
        self.attributes.set(name.to_vec(), acl::from_text(text).unwrap_or_default())
    }
}

/// `name` with `%3D` and the like as what they stand for: a key ends at the first `=`, so GNU tar writes that one, and `%`
/// itself, as numbers; bsdtar all that is not plain.
fn percent_decoded(name: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let number = match (byte, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        if number.is_some() {
            rest = &after[2..];
        }
        decoded.push(number.unwrap_or(*byte));
    }
    decoded
}

/// Base64 (RFC 4648), padded or, as bsdtar writes it, not.
fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_end();
    let text = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for letter in group {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let whole = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        bits <<= 6 * (4 - group.len());
        bytes.extend(&bits.to_be_bytes()[1..=whole]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64() {
        let rows: [(&str, Option<&[u8]>); 9] = [
            ("", Some(b"")),
            ("Zg==", Some(b"f")),
            ("Zg", Some(b"f")),
            ("Zm8=", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9vYmE\n", Some(b"fooba")),
            ("+/+/", Some(&[0xfb, 0xff, 0xbf])),
            ("Zm9vY", None),
            ("Zm-v", None),
        ];
        for (text, expected) in rows {
            assert_eq!(base64_decoded(text.as_bytes()).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn names_of_attributes() {
        let rows: [(&str, &str); 5] = [
            ("user.plain", "user.plain"),
            ("user.a%3Db%25", "user.a=b%"),
            ("user.%", "user.%"),
            ("user.%zz%4", "user.%zz%4"),
            ("user.%c3%a4", "user.ä"),
        ];
        for (key, expected) in rows {
            assert_eq!(percent_decoded(key.as_bytes()), expected.as_bytes(), "{key}");
        }
    }

    #[test]
    fn attributes_of_all_writers() {
        let mut records = Vec::new();
        for (key, value) in [
            ("LIBARCHIVE.xattr.user.both", "b2xk"),
            ("SCHILY.xattr.user.both", "new"),
            ("LIBARCHIVE.xattr.user.both", "b2xk"),
            ("LIBARCHIVE.xattr.user.%3d", "AQ"),
            ("RHT.security.selinux", "a:b:c"),
            ("SCHILY.xattr.user.\0", "x"),
            ("SCHILY.xattr.", "x"),
        ] {
            pax::append(&mut records, key.as_bytes(), value.as_bytes());
        }
        let mut said = Said::default();
        said.take(&records).unwrap();
        let expected: [(&[u8], &[u8]); 3] =
            [(b"user.both", b"new"), (b"user.=", &[1]), (b"security.selinux", b"a:b:c\0")];
        assert_eq!(
            said.attributes.into_list(),
            expected.map(|(name, value)| (name.to_vec(), value.to_vec()))
        );
    }

    #[test]
    fn attributes_have_a_limit() {
        let mut records = Vec::new();
        for number in 0..=ATTRIBUTES_LIMIT {
            pax::append(&mut records, format!("SCHILY.xattr.user.{number}").as_bytes(), b"");
        }
        let error = Said::default().take(&records).unwrap_err();
        assert_eq!(error.to_string(), "the tar stream is refused: a member has too many extended attributes");
    }
}
