//! Files of captured frames as tcpdump and wireshark read them: the classic format, with nanoseconds (draft-ietf-opsawg-pcap,
//! sections 4 and 5), in the byte order of little-endian machines.

use std::time::Duration;

/// Says that times are in nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;

/// LINKTYPE_ETHERNET.
const ETHERNET: u32 = 1;

/// Most that is kept of a frame where nobody says otherwise: as tcpdump has it.
pub const SNAPLEN: u32 = 262_144;

/// What a file begins with.
pub fn header(snaplen: u32) -> [u8; 24] {
    let mut header = [0; 24];
    header[..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..6].copy_from_slice(&2_u16.to_le_bytes());
    header[6..8].copy_from_slice(&4_u16.to_le_bytes());
    header[16..20].copy_from_slice(&snaplen.to_le_bytes());
    header[20..].copy_from_slice(&ETHERNET.to_le_bytes());
    header
}

/// A frame that came so long after 1970 and was `length` bytes long; `data` is what of it is kept.
pub fn record(at: Duration, length: usize, data: &[u8]) -> Vec<u8> {
    // Times end in 2106, as the format does.
    let seconds = u32::try_from(at.as_secs()).unwrap_or(u32::MAX);
    let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let mut record = Vec::with_capacity(16 + data.len());
    for field in [seconds, at.subsec_nanos(), number(data.len()), number(length.max(data.len()))] {
        record.extend_from_slice(&field.to_le_bytes());
    }
    record.extend_from_slice(data);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes() {
        let expected =
            [&[0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0, 0, 4, 0, 1, 0, 0, 0]];
        assert_eq!(header(SNAPLEN)[..], expected.concat());
        let record = record(Duration::new(0x0102_0304, 5), 1500, b"abc");
        let expected = [4, 3, 2, 1, 5, 0, 0, 0, 3, 0, 0, 0, 0xdc, 5, 0, 0, b'a', b'b', b'c'];
        assert_eq!(record, expected);
    }
}
