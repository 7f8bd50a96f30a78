use std::io::{BufReader, Write};

use super::*;
use crate::transfer;

/// Not compressible to nothing, and larger than all buffers.
fn sample() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..200_000).map(|at| if at % 3 == 0 { next() } else { b'x' }).collect()
}

fn compressed(format: Compression, data: &[u8]) -> Vec<u8> {
    match format {
        Compression::None => data.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            // As zstd(1) does; the library alone has none.
            encoder.include_checksum(true).unwrap();
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
    }
}

fn decompressed(data: &[u8], buffer: usize) -> Result<Vec<u8>, transfer::Error> {
    let read = || {
        let mut bytes = Vec::new();
        Decoder::new("it", BufReader::with_capacity(buffer, data))?.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error: io::Error| {
        *error
            .into_inner()
            .expect("an error of ours")
            .downcast::<transfer::Error>()
            .expect("one of transfers")
    })
}

const REAL: [Compression; 4] = [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Bzip2];

#[test]
fn members_one_after_another() {
    let data = sample();
    for format in Compression::ALL {
        let one = compressed(format, &data);
        let two = [one.clone(), compressed(format, b"the end")].concat();
        for buffer in [17, 65536] {
            assert!(decompressed(&one, buffer).unwrap() == data, "{format}");
            let expected =
                if format == Compression::None { two.clone() } else { [&data[..], b"the end"].concat() };
            assert!(decompressed(&two, buffer).unwrap() == expected, "{format}");
        }
    }
    for format in REAL {
        let padded =
            [compressed(format, b"a"), vec![0; 4096], compressed(format, b"b"), vec![0; 512]].concat();
        assert_eq!(decompressed(&padded, 100).unwrap(), b"ab", "{format}");
        assert_eq!(decompressed(&compressed(format, b""), 100).unwrap(), b"", "{format}");
    }
}

#[test]
fn every_boundary_of_a_buffer() {
    for format in REAL {
        let two = [compressed(format, b"one"), compressed(format, b"two")].concat();
        for buffer in 8..two.len() {
            assert_eq!(decompressed(&two, buffer).unwrap(), b"onetwo", "{format}, {buffer}");
        }
    }
}

#[test]
fn what_is_not_whole_is_refused() {
    let data = sample();
    let name = || "it".to_owned();
    for format in REAL {
        let whole = compressed(format, &data);
        for length in [20, whole.len() / 2, whole.len() - 1] {
            let found = decompressed(&whole[..length], 4096).unwrap_err();
            let transfer::Error::Decompress(found) = found else { panic!("{found:?}") };
            assert_eq!(found, Error::Truncated { name: name(), format }, "{length} of {}", whole.len());
        }
        let trailing = [whole.clone(), b"garbage".to_vec()].concat();
        let found = decompressed(&trailing, 4096).unwrap_err();
        assert!(matches!(&found, transfer::Error::Decompress(Error::Trailing { .. })), "{format}: {found:?}");
        let mut damaged = whole;
        let middle = damaged.len() / 2;
        for byte in &mut damaged[middle..middle + 64] {
            *byte ^= 0xff;
        }
        let found = decompressed(&damaged, 4096).map(|bytes| bytes.len()).unwrap_err();
        assert!(matches!(&found, transfer::Error::Decompress(Error::Damaged { .. })), "{format}: {found:?}");
    }
    let found = decompressed(b"\x04\x22\x4d\x18....", 100).unwrap_err();
    assert_eq!(found.to_string(), "it is compressed with lz4, which spinney does not decompress");
}

#[test]
fn bombs_of_memory_are_refused() {
    // A frame of zstd whose header asks for a window of 1 GiB: 2^(10 + 20) (RFC 8878, 3.1.1.1.2).
    let zstd = [b"\x28\xb5\x2f\xfd\x00".as_slice(), &[20 << 3], &[1, 0, 0]].concat();
    assert_eq!(
        decompressed(&zstd, 100).unwrap_err().to_string(),
        "it asks for more than 136 MiB of memory to decompress"
    );
    let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
    options.dict_size(512 << 20);
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma2(&options);
    // An encoder with that window takes gigabytes: its header alone is made, by a short one's.
    let stream = liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32);
    if let Ok(stream) = stream {
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(b"x").unwrap();
        let found = decompressed(&encoder.finish().unwrap(), 100).unwrap_err();
        assert!(matches!(&found, transfer::Error::Decompress(Error::Memory { .. })), "{found:?}");
    }
}

/// Breaks off with a fault of its own.
struct Broken<'a>(&'a [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the wire is cut")),
            count => Ok(count),
        }
    }
}

#[test]
fn a_broken_source_is_told_as_that() {
    for format in Compression::ALL {
        let data = compressed(format, &sample());
        let mut decoder = Decoder::new("it", BufReader::new(Broken(&data[..data.len() / 2]))).unwrap();
        let error = decoder.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "the wire is cut", "{format}");
        assert!(decoder.into_inner().is_some());
    }
}
