//! Fields as they were before they were compressed.

use std::io::{Cursor, Read};

use liblzma::read::XzDecoder;
use liblzma::stream::Stream;

/// What an xz decoder may take: what its largest preset needs (xz(1), -9).
const XZ_MEMORY: u64 = 65 << 20;

/// Bits of an object's flags.
const XZ: u8 = 1;
const LZ4: u8 = 2;
const ZSTD: u8 = 4;

/// The bits that say that an object is compressed.
const COMPRESSED: u8 = XZ | LZ4 | ZSTD;

/// The beginning of `bytes`, decompressed as `flags` of its object say, at most `limit` bytes of it; whether there is more.
/// `None` for what is not what it says it is.
pub(super) fn decompress(flags: u8, bytes: Vec<u8>, limit: usize) -> Option<(Vec<u8>, bool)> {
    match flags & COMPRESSED {
        0 => {
            let more = bytes.len() > limit;
            let mut bytes = bytes;
            bytes.truncate(limit);
            Some((bytes, more))
        }
        XZ => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, 0).ok()?;
            bounded(XzDecoder::new_stream(Cursor::new(bytes), stream), limit)
        }
        LZ4 => lz4(&bytes, limit),
        ZSTD => bounded(zstd::stream::read::Decoder::with_buffer(Cursor::new(bytes)).ok()?, limit),
        _ => None,
    }
}

/// Eight bytes of size, then a block.
fn lz4(bytes: &[u8], limit: usize) -> Option<(Vec<u8>, bool)> {
    /// A byte of a block is never more than this many of its contents (lz4 block format, match lengths).
    const MOST: usize = 255;
    let (size, block) = bytes.split_first_chunk()?;
    let size = usize::try_from(u64::from_le_bytes(*size)).ok()?;
    if size > block.len().saturating_mul(MOST) {
        return None;
    }
    if size <= limit {
        return Some((lz4_flex::block::decompress(block, size).ok()?, false));
    }
    // A block cannot be read in part: that there is one is all that can be said.
    Some((Vec::new(), true))
}

fn bounded(reader: impl Read, limit: usize) -> Option<(Vec<u8>, bool)> {
    let most = u64::try_from(limit).ok()?.saturating_add(1);
    let mut contents = Vec::new();
    reader.take(most).read_to_end(&mut contents).ok()?;
    let more = contents.len() > limit;
    contents.truncate(limit);
    Some((contents, more))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn with_size(size: usize, block: &[u8]) -> Vec<u8> {
        [&u64::try_from(size).unwrap().to_le_bytes(), block].concat()
    }

    #[test]
    fn each_kind() {
        let text = b"MESSAGE=".iter().copied().chain(std::iter::repeat_n(b'x', 992)).collect::<Vec<u8>>();
        let lz4 = lz4_flex::block::compress(&text);
        let zstd = zstd::stream::encode_all(text.as_slice(), 3).unwrap();
        type Row<'a> = (&'a str, u8, Vec<u8>, usize, Option<(&'a [u8], bool)>);
        let rows: &[Row<'_>] = &[
            ("none", 0, text.clone(), 4096, Some((&text, false))),
            ("none, cut", 0, text.clone(), 12, Some((&text[..12], true))),
            ("xz", 1, xz(&text), 4096, Some((&text, false))),
            ("xz, just so", 1, xz(&text), 1000, Some((&text, false))),
            ("xz, cut", 1, xz(&text), 12, Some((&text[..12], true))),
            ("xz, damaged", 1, xz(&text)[..40].to_vec(), 4096, None),
            ("lz4", 2, with_size(1000, &lz4), 4096, Some((&text, false))),
            ("lz4, cut", 2, with_size(1000, &lz4), 12, Some((&[], true))),
            ("lz4 that lies", 2, with_size(usize::MAX, &lz4), usize::MAX, None),
            ("lz4 that lies a little", 2, with_size(999, &lz4), 4096, None),
            ("lz4 without a size", 2, vec![1, 2, 3], 4096, None),
            ("zstd", 4, zstd.clone(), 4096, Some((&text, false))),
            ("zstd, cut", 4, zstd.clone(), 12, Some((&text[..12], true))),
            ("zstd, damaged", 4, zstd[..10].to_vec(), 4096, None),
            ("two at once", 3, zstd, 4096, None),
            ("another flag", 8, text.clone(), 4096, Some((&text, false))),
        ];
        for (name, flags, bytes, limit, expected) in rows {
            let found = decompress(*flags, bytes.clone(), *limit);
            assert_eq!(found.as_ref().map(|(text, more)| (text.as_slice(), *more)), *expected, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_the_limit(flags in 0_u8..8, bytes: Vec<u8>) {
            if let Some((found, _)) = decompress(flags, bytes, 64) {
                proptest::prop_assert!(found.len() <= 64);
            }
        }
    }
}
