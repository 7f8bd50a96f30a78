//! Identifiers of partitions: 16 bytes that a GPT has in an order of its own.

use std::fmt;

/// A GUID, its bytes in the order of its text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// That of a GPT: the first three groups are little endian (UEFI Specification, appendix A).
    pub const fn from_gpt(b: [u8; 16]) -> Self {
        Self([
            b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
            b[15],
        ])
    }

    /// The GUID that `text` is, 8-4-4-4-12 hexadecimal digits in small letters; anything else does not compile.
    pub const fn constant(text: &str) -> Self {
        let text = text.as_bytes();
        assert!(text.len() == 36, "a GUID has 36 characters");
        let (mut bytes, mut at, mut byte) = ([0; 16], 0, 0);
        while byte < 16 {
            if at == 8 || at == 13 || at == 18 || at == 23 {
                assert!(text[at] == b'-', "groups of a GUID are separated by dashes");
                at += 1;
            }
            bytes[byte] = digit(text[at]) << 4 | digit(text[at + 1]);
            (at, byte) = (at + 2, byte + 1);
        }
        Self(bytes)
    }

    /// Whether it is that of an entry that is not used.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

const fn digit(character: u8) -> u8 {
    match character {
        b'0'..=b'9' => character - b'0',
        b'a'..=b'f' => character - b'a' + 10,
        _ => panic!("no hexadecimal digit"),
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, byte)| {
            let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")
        })
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes() {
        let text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
        // As sfdisk writes it.
        let gpt = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
        assert_eq!(Guid::from_gpt(gpt), Guid::constant(text));
        assert_eq!(Guid::constant(text).to_string(), text);
        assert!(Guid::default().is_zero() && !Guid::constant(text).is_zero());
    }
}
