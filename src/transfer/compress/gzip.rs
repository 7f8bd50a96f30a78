//! A block of a gz (RFC 1952): raw deflate data that begins with the window of the block before it, and ends at a byte.

use std::io;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// How far back deflate looks (RFC 1951).
pub(super) const WINDOW: usize = 32 << 10;

/// Before the data: deflate, no name, no time, no system.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The data of `block` after `window`, ended if it is the last one.
pub(super) fn block(window: &[u8], block: &[u8], is_last: bool) -> io::Result<Vec<u8>> {
    let mut deflate = Compress::new(Compression::default(), false);
    if !window.is_empty() {
        deflate.set_dictionary(window).map_err(io::Error::other)?;
    }
    // Data that does not shrink grows by five bytes for each 16 KiB or so.
    let mut out = Vec::with_capacity(block.len() + block.len() / 1000 + 64);
    let flush = if is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    loop {
        let read = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let rest = block.get(read..).unwrap_or_default();
        let status = deflate.compress_vec(rest, &mut out, flush).map_err(io::Error::other)?;
        let all_read = deflate.total_in() == block.len() as u64;
        match status {
            Status::StreamEnd => return Ok(out),
            // With room left, nothing is held back.
            Status::Ok | Status::BufError if all_read && !is_last && out.len() < out.capacity() => {
                return Ok(out);
            }
            Status::Ok | Status::BufError => out.reserve(4096),
        }
    }
}

/// After the data: what `crc` has seen.
pub(super) fn trailer(crc: &Crc) -> [u8; 8] {
    let mut trailer = [0; 8];
    trailer[..4].copy_from_slice(&crc.sum().to_le_bytes());
    // Modulo 2^32, as is its own count.
    trailer[4..].copy_from_slice(&crc.amount().to_le_bytes());
    trailer
}
