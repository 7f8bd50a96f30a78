//! Which cluster of the disk lies where in the file: two levels of tables.

use super::Fault;
use super::header::{Header, be64};
use crate::image::disk::source::Source;

/// Bits 9 to 55 of an entry: where something lies.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// The lowest bit of an entry in version 3: reads as zero, whatever lies there.
const ZERO: u64 = 1;

const COMPRESSED: u64 = 1 << 62;

/// Where a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cluster {
    /// Nowhere: it is zero.
    Zero,
    /// In the file as it is.
    Plain {
        /// Where.
        offset: u64,
    },
    /// In the file, compressed.
    Compressed {
        /// Where.
        offset: u64,
        /// How many bytes it has at most: what follows may be the next one's.
        length: usize,
    },
}

/// The clusters of a disk, one after another. Those that a whole table leaves out come as one.
#[derive(Debug)]
pub struct Map<'a, S: ?Sized> {
    source: &'a S,
    header: Header,
    first: Vec<u8>,
    second: Vec<u8>,
    /// Which entry of the first table `second` is of.
    loaded: Option<u64>,
    /// How far it is on the disk.
    at: u64,
    /// How many bytes of the file may still be named: each is named once in a disk that QEMU has written.
    budget: u64,
}

impl<'a, S: Source + ?Sized> Map<'a, S> {
    /// The clusters of the disk in `source`.
    ///
    /// # Errors
    /// When its first table is not there.
    pub fn new(source: &'a S, header: &Header) -> Result<Self, Fault> {
        let size = usize::try_from(header.first_entries * 8).map_err(|_| Fault::Tables)?;
        // Before room is made for it.
        if header.first_table.checked_add(size as u64).is_none_or(|end| end > source.length()) {
            return Err(Fault::Truncated);
        }
        let mut first = vec![0; size];
        source.read(header.first_table, &mut first).map_err(|_| Fault::Truncated)?;
        let second = vec![0; header.cluster_size()];
        Ok(Self { source, header: *header, first, second, loaded: None, at: 0, budget: source.length() })
    }

    /// The next cluster: where on the disk it begins, how long it is there, and where it is.
    ///
    /// # Errors
    /// [`Fault::Tables`], [`Fault::Truncated`] and [`Fault::MoreThanItHolds`].
    #[allow(clippy::should_implement_trait, reason = "it can fail")]
    pub fn next(&mut self) -> Result<Option<(u64, usize, Cluster)>, Fault> {
        let bits = self.header.cluster_bits;
        loop {
            let offset = self.at;
            if offset >= self.header.length {
                return Ok(None);
            }
            let cluster = offset >> bits;
            let (first, second) = (cluster >> (bits - 3), cluster & ((1 << (bits - 3)) - 1));
            if !self.load(first)? {
                // All that the missing table would stand for.
                self.at = (first + 1) << (2 * bits - 3);
                continue;
            }
            let left = self.header.length - offset;
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(self.header.cluster_size());
            self.at = offset + (1 << bits);
            let entry = usize::try_from(second * 8).map_or(0, |at| be64(&self.second, at));
            return Ok(Some((offset, length, self.cluster(entry, length)?)));
        }
    }

    /// Reads the second table that entry `number` of the first names; says whether there is one.
    fn load(&mut self, number: u64) -> Result<bool, Fault> {
        let entry = usize::try_from(number * 8).map_or(0, |at| be64(&self.first, at));
        let offset = entry & OFFSET;
        if offset == 0 {
            return Ok(false);
        }
        if self.loaded != Some(number) {
            let size = self.header.cluster_size();
            self.aligned(offset)?;
            self.spend(size as u64)?;
            self.source.read(offset, &mut self.second).map_err(|_| Fault::Truncated)?;
            self.loaded = Some(number);
        }
        Ok(true)
    }

    /// What an entry of a second table stands for, of which `length` bytes are the disk's.
    fn cluster(&mut self, entry: u64, length: usize) -> Result<Cluster, Fault> {
        if entry & COMPRESSED != 0 {
            return self.compressed(entry);
        }
        let offset = entry & OFFSET;
        let zero = self.header.version >= 3 && entry & ZERO != 0;
        if zero || offset == 0 {
            return Ok(Cluster::Zero);
        }
        self.aligned(offset)?;
        if offset.checked_add(length as u64).is_none_or(|end| end > self.source.length()) {
            return Err(Fault::Truncated);
        }
        self.spend(length as u64)?;
        Ok(Cluster::Plain { offset })
    }

    /// Where a compressed one lies is said in bytes, how long it is in sectors of 512, the first of which counts even where
    /// it begins in the middle.
    fn compressed(&mut self, entry: u64) -> Result<Cluster, Fault> {
        const SECTOR: u64 = 512;
        let width = 62 - (self.header.cluster_bits - 8);
        let offset = entry & ((1 << width) - 1);
        let sectors = ((entry & (COMPRESSED - 1)) >> width) + 1;
        let length = sectors * SECTOR - offset % SECTOR;
        // The last sector of a file may be short.
        let left =
            self.source.length().checked_sub(offset).filter(|left| *left > 0).ok_or(Fault::Truncated)?;
        let length = length.min(left);
        // What it has for certain: all but what may be the next one's.
        self.spend(length.saturating_sub(SECTOR - 1).max(1))?;
        Ok(Cluster::Compressed { offset, length: usize::try_from(length).map_err(|_| Fault::Tables)? })
    }

    fn aligned(&self, offset: u64) -> Result<(), Fault> {
        if offset.is_multiple_of(1 << self.header.cluster_bits) { Ok(()) } else { Err(Fault::Tables) }
    }

    fn spend(&mut self, bytes: u64) -> Result<(), Fault> {
        self.budget = self.budget.checked_sub(bytes).ok_or(Fault::MoreThanItHolds)?;
        Ok(())
    }
}
