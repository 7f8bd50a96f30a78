//! Bytes of strangers, read without trust in their lengths, and bytes of ours.

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `count` bytes; `None` if there are not as many.
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// A byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// A number of two bytes.
    pub fn short(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A number of four bytes.
    pub fn long(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }
}

/// The length of something of ours as one byte; what is too long for it has none.
pub fn short_length(bytes: &[u8]) -> Option<u8> {
    u8::try_from(bytes.len()).ok()
}

/// The length of something of ours as two bytes.
pub fn length(bytes: &[u8]) -> Option<u16> {
    u16::try_from(bytes.len()).ok()
}

/// A domain name as labels (RFC 1035, 3.1), not compressed; `None` if it is none.
pub fn labels(domain: &str) -> Option<Vec<u8>> {
    const LONGEST_LABEL: usize = 63;
    const LONGEST: usize = 255;
    let mut bytes = Vec::with_capacity(domain.len() + 2);
    for label in domain.trim_end_matches('.').split('.') {
        if label.is_empty() || label.len() > LONGEST_LABEL {
            return None;
        }
        bytes.push(short_length(label.as_bytes())?);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    (bytes.len() <= LONGEST).then_some(bytes)
}

/// The Internet's checksum (RFC 1071) of `parts` in a row, each but the last of an even length.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u64 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let word = match pair {
                [high, low] => [*high, *low],
                [high] => [*high, 0],
                _ => [0, 0],
            };
            sum += u64::from(u16::from_be_bytes(word));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
