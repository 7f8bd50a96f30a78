//! Compressed clusters.

use std::io;

use flate2::{Decompress, FlushDecompress};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::Fault;
use super::header::{Compression, Header};
use crate::image::disk::source::Source;

/// The logarithm of the largest window of zstd: four times the largest cluster, and no more memory than that.
const WINDOW: u32 = 23;

/// Why a cluster is not to be had.
#[derive(Debug)]
pub enum Unread {
    /// It is damaged.
    Fault(Fault),
    /// It cannot be read.
    Read(io::Error),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Decompresses clusters, one after another.
#[derive(Debug)]
pub struct Decompressor {
    compression: Compression,
    deflate: Decompress,
    stored: Vec<u8>,
    cluster: Vec<u8>,
}

impl Decompressor {
    /// One for the disk with that header.
    pub fn new(header: &Header) -> Self {
        Self {
            compression: header.compression,
            deflate: Decompress::new(false),
            stored: Vec::new(),
            cluster: vec![0; header.cluster_size()],
        }
    }

    /// The cluster that is stored at `offset` in at most `length` bytes.
    ///
    /// # Errors
    /// When it is damaged, or cannot be read.
    pub fn decompress(
        &mut self,
        source: &(impl Source + ?Sized),
        offset: u64,
        length: usize,
    ) -> Result<&[u8], Unread> {
        self.stored.resize(length, 0);
        source.read(offset, &mut self.stored)?;
        let whole = match self.compression {
            Compression::Deflate => self.inflate(),
            Compression::Zstd => self.unzstd().unwrap_or(false),
        };
        if whole { Ok(&self.cluster) } else { Err(Unread::Fault(Fault::Damaged)) }
    }

    /// Says whether a whole cluster came of it; what follows in the input is another's.
    fn inflate(&mut self) -> bool {
        self.deflate.reset(false);
        let done = self.deflate.decompress(&self.stored, &mut self.cluster, FlushDecompress::Finish);
        done.is_ok() && self.deflate.total_out() == self.cluster.len() as u64
    }

    fn unzstd(&mut self) -> io::Result<bool> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW))?;
        let mut input = InBuffer::around(&self.stored);
        let size = self.cluster.len();
        let mut output = OutBuffer::around(self.cluster.as_mut_slice());
        while output.pos() < size {
            let before = (input.pos(), output.pos());
            decoder.run(&mut input, &mut output)?;
            if before == (input.pos(), output.pos()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
