//! The parser of machine-id(5).

use std::fmt;

/// A machine ID: 16 bytes, written as 32 hexadecimal digits without dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MachineId(pub [u8; 16]);

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a tree's /etc/machine-id says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineIdState {
    /// An ID: the guest takes it over whatever we offer.
    Set(MachineId),
    /// The word `uninitialized`: this boot is a first boot.
    Uninitialized,
    /// An empty file: the init makes an ID at boot.
    Empty,
    /// No file.
    Missing,
    /// Something else.
    Invalid,
}

impl MachineIdState {
    /// Reads the contents of /etc/machine-id.
    pub fn parse(contents: &[u8]) -> Self {
        let line = contents.strip_suffix(b"\n").unwrap_or(contents);
        match line {
            b"" => Self::Empty,
            b"uninitialized" => Self::Uninitialized,
            digits => digits_to_id(digits).map_or(Self::Invalid, Self::Set),
        }
    }

    /// The ID if there is one.
    pub fn id(self) -> Option<MachineId> {
        match self {
            Self::Set(id) => Some(id),
            _ => None,
        }
    }
}

/// 32 hexadecimal digits, not all zero: the null ID is not valid.
fn digits_to_id(digits: &[u8]) -> Option<MachineId> {
    if digits.len() != 32 {
        return None;
    }
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    (id != [0; 16]).then_some(MachineId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents() {
        let id = MachineIdState::Set(MachineId([
            0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78, 0x87, 0x96, 0xa5, 0xb4, 0xc3, 0xd2, 0xe1, 0xf0,
        ]));
        let table = [
            ("0f1e2d3c4b5a69788796a5b4c3d2e1f0\n", id),
            ("0F1E2D3C4B5A69788796A5B4C3D2E1F0", id),
            ("uninitialized\n", MachineIdState::Uninitialized),
            ("", MachineIdState::Empty),
            ("\n", MachineIdState::Empty),
            ("00000000000000000000000000000000\n", MachineIdState::Invalid),
            ("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0\n", MachineIdState::Invalid),
            ("0f1e2d3c4b5a69788796a5b4c3d2e1fg\n", MachineIdState::Invalid),
            ("0f1e2d3c4b5a69788796a5b4c3d2e1f0\n\n", MachineIdState::Invalid),
            (" ", MachineIdState::Invalid),
        ];
        for (contents, expected) in table {
            assert_eq!(MachineIdState::parse(contents.as_bytes()), expected, "{contents:?}");
        }
        assert_eq!(id.id().unwrap().to_string(), "0f1e2d3c4b5a69788796a5b4c3d2e1f0");
    }
}
