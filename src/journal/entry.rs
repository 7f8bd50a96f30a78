//! An entry: its fields, and its place among all others.

use std::cmp::Ordering;
use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

/// A 128-bit id, as systemd writes it: 32 digits without dashes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id([u8; 16]);

impl Id {
    /// The id at `at` of `bytes`; zeroes where there is none.
    pub(super) fn at(bytes: &[u8], at: usize) -> Self {
        Self(bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let plain: String = text.chars().filter(|c| *c != '-').collect();
        let digits = plain.len() == 32 && plain.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u128::from_str_radix(&plain, 16) {
            Ok(number) if digits => Ok(Self(number.to_be_bytes())),
            _ => Err(()),
        }
    }
}

/// When an entry was written, and by whose count: all that is needed to put entries in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Whose sequence numbers these are.
    pub seqnum_id: Id,
    /// Its number.
    pub seqnum: u64,
    /// Microseconds since 1970.
    pub realtime: u64,
    /// Microseconds since the boot.
    pub monotonic: u64,
    /// The boot.
    pub boot_id: Id,
    /// Stands for its fields.
    pub xor_hash: u64,
}

impl Stamp {
    /// The order of entries of several files: by the writer's count where there is one for both, else by the clock of a
    /// boot that they share, else by the time of day. Two that are equal are one.
    pub fn order(&self, other: &Self) -> Ordering {
        if self.seqnum_id == other.seqnum_id && self.seqnum != other.seqnum {
            return self.seqnum.cmp(&other.seqnum);
        }
        if self.boot_id == other.boot_id && self.monotonic != other.monotonic {
            return self.monotonic.cmp(&other.monotonic);
        }
        self.realtime.cmp(&other.realtime).then(self.xor_hash.cmp(&other.xor_hash))
    }

    /// Whether an entry that is new to us comes after `last`, the newest that was seen. The count is no help: what
    /// systemd-journald moves from /run to /var gets new numbers.
    pub fn is_after(&self, last: &Self) -> bool {
        if self.boot_id == last.boot_id {
            self.monotonic > last.monotonic
        } else {
            self.realtime > last.realtime
        }
    }
}

/// One field: `NAME=value`, the value being any bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    bytes: Rc<[u8]>,
    name: usize,
    cut: bool,
}

/// systemd accepts no longer name of a field.
const NAME_MAX: usize = 64;

impl Field {
    /// Takes `NAME=value`; `cut` says that it goes on. `None` if the name is none: upper-case letters, digits and
    /// underscores, not beginning with a digit.
    pub(super) fn new(bytes: &[u8], cut: bool) -> Option<Self> {
        let name = bytes.iter().take(NAME_MAX + 1).position(|byte| *byte == b'=')?;
        let (first, rest) = bytes.get(..name)?.split_first()?;
        let valid = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'_' | b'0'..=b'9');
        if !valid(first) || first.is_ascii_digit() || !rest.iter().all(valid) {
            return None;
        }
        Some(Self { bytes: bytes.into(), name, cut })
    }

    /// A field of our own making.
    pub fn made(name: &str, value: &[u8]) -> Self {
        let bytes = [name.as_bytes(), b"=", value].concat();
        Self { bytes: bytes.into(), name: name.len(), cut: false }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        std::str::from_utf8(self.bytes.get(..self.name).unwrap_or_default()).unwrap_or_default()
    }

    /// Its value.
    pub fn value(&self) -> &[u8] {
        self.bytes.get(self.name + 1..).unwrap_or_default()
    }

    /// The value goes on, and is too large to be shown.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// What it takes of memory.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={:?}", self.name(), String::from_utf8_lossy(self.value()))
    }
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it was written.
    pub stamp: Stamp,
    /// Its fields, in the order of the file. A name may be there several times.
    pub fields: Vec<Field>,
}

impl Entry {
    /// The first value of the field `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|field| field.name() == name).map(Field::value)
    }

    /// Whether a field `name` has `value`.
    pub fn has(&self, name: &str, value: &[u8]) -> bool {
        self.fields.iter().any(|field| field.value() == value && field.name() == name)
    }

    /// Its place, in the words that journalctl takes for `--cursor=`.
    pub fn cursor(&self) -> String {
        let Stamp { seqnum_id, seqnum, realtime, monotonic, boot_id, xor_hash } = self.stamp;
        format!("s={seqnum_id};i={seqnum:x};b={boot_id};m={monotonic:x};t={realtime:x};x={xor_hash:x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let text = "00112233445566778899aabbccddeeff";
        let id: Id = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!("00112233-4455-6677-8899-aabbccddeeff".parse(), Ok(id));
        for bad in ["", "0", "00112233445566778899aabbccddeefg", "+0112233445566778899aabbccddeeff"] {
            assert_eq!(bad.parse::<Id>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn names_of_fields() {
        let long = format!("{}=x", "A".repeat(NAME_MAX));
        let too_long = format!("{}=x", "A".repeat(NAME_MAX + 1));
        let rows: &[(&str, Option<(&str, &str)>)] = &[
            ("MESSAGE=a=b", Some(("MESSAGE", "a=b"))),
            ("_PID=", Some(("_PID", ""))),
            ("A1=x", Some(("A1", "x"))),
            (&long, Some((&long[..NAME_MAX], "x"))),
            (&too_long, None),
            ("1A=x", None),
            ("=x", None),
            ("message=x", None),
            ("MES SAGE=x", None),
            ("MESSAGE", None),
            ("", None),
        ];
        for (bytes, expected) in rows {
            let field = Field::new(bytes.as_bytes(), false);
            let found = field.as_ref().map(|field| (field.name(), field.value()));
            assert_eq!(found, expected.map(|(name, value)| (name, value.as_bytes())), "{bytes}");
        }
    }

    #[test]
    fn order() {
        let id = |byte| Id([byte; 16]);
        let stamp = |writer, seqnum, boot, monotonic, realtime, xor_hash| Stamp {
            seqnum_id: id(writer),
            seqnum,
            boot_id: id(boot),
            monotonic,
            realtime,
            xor_hash,
        };
        let base = stamp(1, 5, 1, 50, 500, 9);
        let rows = [
            ("itself", base, Ordering::Equal),
            ("by the count, against all clocks", stamp(1, 6, 1, 40, 400, 9), Ordering::Less),
            ("by the boot's clock, against the time of day", stamp(2, 1, 1, 60, 400, 9), Ordering::Less),
            ("by the time of day", stamp(2, 9, 2, 90, 400, 9), Ordering::Greater),
            ("by contents", stamp(2, 9, 1, 50, 500, 8), Ordering::Greater),
            ("a copy", stamp(2, 9, 1, 50, 500, 9), Ordering::Equal),
        ];
        for (name, other, expected) in rows {
            assert_eq!(base.order(&other), expected, "{name}");
            assert_eq!(other.order(&base), expected.reverse(), "{name}");
        }
        assert!(!base.is_after(&base));
        assert!(stamp(1, 1, 1, 51, 0, 0).is_after(&base));
        assert!(stamp(1, 1, 2, 0, 501, 0).is_after(&base));
    }
}
