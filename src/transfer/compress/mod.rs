//! Bytes to compressed ones, on all processors, the same however many those are.
//!
//! xz and zstd have threads of their own. gz and bz2 are cut into blocks, which are compressed side by side and written in
//! order: a gz of one member, each block going on with the window of the one before, as pigz makes it; a bz2 of several
//! streams, as pbzip2 makes it. All of them are what every decompressor reads.
//!
//! | file | what it owns |
//! |---|---|
//! | `blocks` | blocks side by side |
//! | `gzip` | a block of a gz |

use std::fmt;
use std::io::{self, Write};

use super::compression::Compression;

mod blocks;
mod gzip;

use blocks::Blocks;

/// The most threads of xz: each takes 94 MiB (xz(1), -6).
const XZ_THREADS: usize = 4;

/// The levels that the programs have by themselves; xz(1), zstd(1).
const XZ_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// Compresses what is written to it.
pub struct Compressor<W: Write>(Inner<W>);

enum Inner<W: Write> {
    None(W),
    Blocks(Box<Blocks<W>>),
    Xz(Box<liblzma::write::XzEncoder<W>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, W>>),
}

impl<W: Write> fmt::Debug for Compressor<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compressor")
    }
}

impl<W: Write> Compressor<W> {
    /// Compresses to `sink` on as many threads as there are processors for us.
    ///
    /// # Errors
    /// Where there are no threads or memory.
    pub fn new(format: Compression, sink: W) -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self::on(format, sink, threads)
    }

    fn on(format: Compression, sink: W, threads: usize) -> io::Result<Self> {
        Ok(Self(match format {
            Compression::None => Inner::None(sink),
            Compression::Gzip => Inner::Blocks(Box::new(Blocks::gzip(sink, threads)?)),
            Compression::Bzip2 => Inner::Blocks(Box::new(Blocks::bzip2(sink, threads)?)),
            Compression::Xz => {
                let stream = liblzma::stream::MtStreamBuilder::new()
                    .preset(XZ_LEVEL)
                    .check(liblzma::stream::Check::Crc64)
                    .threads(u32::try_from(threads.min(XZ_THREADS)).unwrap_or(1))
                    .encoder()?;
                Inner::Xz(Box::new(liblzma::write::XzEncoder::new_stream(sink, stream)))
            }
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(sink, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                // One is other bytes than none, but no others than many.
                encoder.multithread(u32::try_from(threads).unwrap_or(1))?;
                Inner::Zstd(Box::new(encoder))
            }
        }))
    }

    /// Ends it, and gives back where it went.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Inner::None(sink) => Ok(sink),
            Inner::Blocks(blocks) => blocks.finish(),
            Inner::Xz(encoder) => encoder.finish(),
            Inner::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::None(sink) => sink.write(bytes),
            Inner::Blocks(blocks) => blocks.write(bytes),
            Inner::Xz(encoder) => encoder.write(bytes),
            Inner::Zstd(encoder) => encoder.write(bytes),
        }
    }

    /// Nothing is held back that could be written; what is in a block is not.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::transfer::decompress::Decoder;

    fn compressed(format: Compression, data: &[u8], threads: usize) -> Vec<u8> {
        let mut compressor = Compressor::on(format, Vec::new(), threads).unwrap();
        // Pieces that end nowhere near a block's end.
        for piece in data.chunks(77_777) {
            compressor.write_all(piece).unwrap();
        }
        compressor.finish().unwrap()
    }

    #[test]
    fn there_and_back_and_the_same_on_any_number_of_threads() {
        let data: Vec<u8> = (0..2_500_000_u64).flat_map(|at| u8::try_from(at * at / 7 % 251)).collect();
        for format in Compression::ALL {
            for data in [&data[..], &data[..1], b""] {
                let one = compressed(format, data, 1);
                assert!(one == compressed(format, data, 3), "{format}, {} bytes", data.len());
                let mut back = Vec::new();
                Decoder::new("it", &one[..]).unwrap().read_to_end(&mut back).unwrap();
                assert!(back == data, "{format}, {} bytes", data.len());
            }
        }
    }

    #[test]
    fn a_gz_has_one_member() {
        let data = vec![b'x'; 1 << 20];
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&compressed(Compression::Gzip, &data, 2)[..])
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back.len(), data.len());
    }

    /// Takes some bytes, and no more.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_is_full_ends_it() {
        let mut state = 1_u32;
        let noise: Vec<u8> = (0..4 << 20)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        for format in Compression::ALL {
            let mut compressor = Compressor::on(format, Full(100_000), 2).unwrap();
            let written = compressor.write_all(&noise).and_then(|()| compressor.finish().map(drop));
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull, "{format}");
        }
    }
}
