//! Bytes as members: what GNU tar, bsdtar, star, Go and busybox write. Everything in it may be a lie; nothing is believed
//! beyond the limits of [`super::entry`].

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::block::{BLOCK, at_most};
use super::entry::{Entry, HEADER_LIMIT, Kind, NAME_LIMIT, Time};
use super::error::{BadStream, Error};
use super::input::{FromReader, Input};
use super::shared::{Lender, Shared};
use super::sparse::{Map, MapReader, PIECES_LIMIT};

mod said;

use said::{Said, Sparse};

/// What a stream may still have after its end marker before we stop reading: GNU tar fills its last record.
const AFTER_END: u64 = 1 << 20;

/// GNU tar's type of a label of the archive as a whole.
const LABEL: u8 = b'V';

/// Reads an archive. The data of a member must be taken from the source before the next one is asked for:
/// [`Reader::left`] says how much there is.
#[derive(Debug)]
pub struct Reader<I> {
    source: I,
    /// Data of the current member that nobody took, without padding.
    left: u64,
    /// What the data of the current member were in all.
    stored: u64,
    first: bool,
    /// What holds for all members that do not say otherwise.
    global: Said,
}

impl<I: Input> Reader<I> {
    /// Reads from `source`.
    pub fn new(source: I) -> Self {
        Self { source, left: 0, stored: 0, first: true, global: Said::default() }
    }

    /// The next member; `None` at the end of the archive.
    ///
    /// # Errors
    /// When the stream breaks off, is damaged, or goes beyond the limits.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Error> {
        self.finish_data()?;
        let mut said = self.global.clone();
        // Of one member, in all its extended headers.
        let mut room = HEADER_LIMIT;
        loop {
            let Some(block) = self.source.block().map_err(|error| self.at_start(error))? else {
                return Err(if self.first { BadStream::NotTar } else { BadStream::Truncated }.into());
            };
            if block == [0; BLOCK] {
                self.source.drain(AFTER_END);
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            if !has_right_checksum(header) {
                return Err(if self.first {
                    BadStream::NotTar
                } else {
                    BadStream::Damaged("a header has the wrong checksum")
                }
                .into());
            }
            self.first = false;
            let size = header.entry_size().map_err(|_| BadStream::Damaged("a size is no number"))?;
            if matches!(
                header.entry_type(),
                EntryType::XHeader
                    | EntryType::XGlobalHeader
                    | EntryType::GNULongName
                    | EntryType::GNULongLink
            ) || header.entry_type().as_byte() == LABEL
            {
                let all = size.saturating_add(BLOCK as u64);
                room = room.checked_sub(all).ok_or(BadStream::Excessive("its headers are too long"))?;
            }
            match header.entry_type() {
                EntryType::XHeader => {
                    let records = self.small(size)?;
                    said.take(&records)?;
                }
                EntryType::GNULongName => said.path = Some(self.long_name(size)?),
                EntryType::GNULongLink => said.link = Some(self.long_name(size)?),
                EntryType::XGlobalHeader => {
                    let records = self.small(size)?;
                    self.global.take(&records)?;
                    said.take(&records)?;
                }
                // A label of the archive as a whole.
                kind if kind.as_byte() == LABEL => {
                    self.source.skip(size)?;
                    self.source.skip_padding(size)?;
                }
                _ => return self.member(header, said).map(Some),
            }
        }
    }

    /// Data of the current member that are still to be taken.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The source, for `length` bytes of data.
    ///
    /// # Errors
    /// When the member has not so many.
    pub fn data(&mut self, length: u64) -> Result<&mut I, Error> {
        self.left = self.left.checked_sub(length).ok_or(BadStream::Damaged("a sparse file lacks data"))?;
        Ok(&mut self.source)
    }

    fn finish_data(&mut self) -> Result<(), Error> {
        let (left, stored) = (std::mem::take(&mut self.left), std::mem::take(&mut self.stored));
        self.source.skip(left)?;
        self.source.skip_padding(stored)
    }

    /// What is shorter than a block is no tar.
    fn at_start(&self, error: Error) -> Error {
        match error {
            Error::Stream(BadStream::Truncated) if self.first => BadStream::NotTar.into(),
            error => error,
        }
    }

    fn member(&mut self, header: &Header, mut said: Said) -> Result<Entry, Error> {
        let damaged = |what| move |_: std::io::Error| BadStream::Damaged(what);
        let stored = match said.size {
            Some(size) => size,
            None => header.entry_size().map_err(damaged("a size is no number"))?,
        };
        let path = said.sparse.name.take().or(said.path.take());
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = said.link.take();
        let link =
            link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned)).unwrap_or_default();
        if path.len() > NAME_LIMIT || link.len() > NAME_LIMIT {
            return Err(BadStream::Excessive("a name is too long").into());
        }
        let entry_type = header.entry_type();
        let has_data = !matches!(
            entry_type,
            EntryType::Link | EntryType::Symlink | EntryType::Directory | EntryType::Fifo
        );
        // Old archives have hard links with a size and no data, pax ones may have both: like GNU tar we go by the type.
        self.left = if has_data { stored } else { 0 };
        self.stored = self.left;
        let kind = match entry_type {
            EntryType::GNUSparse => self.old_gnu_sparse(header)?,
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") && stored == 0 => {
                Kind::Directory
            }
            EntryType::Regular | EntryType::Continuous => self.file(&said.sparse, stored)?,
            EntryType::Link => Kind::HardLink { target: link },
            EntryType::Symlink => Kind::Symlink { target: link },
            EntryType::Directory => Kind::Directory,
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char | EntryType::Block => device(header)?,
            _ => Kind::Unknown,
        };
        let id = |said: Option<u64>, header: Result<u64, std::io::Error>| -> Result<u32, Error> {
            let id = match said {
                Some(id) => id,
                None => header.map_err(damaged("an owner is no number"))?,
            };
            Ok(u32::try_from(id).map_err(|_| BadStream::Damaged("an owner is no ID"))?)
        };
        Ok(Entry {
            path,
            kind,
            mode: header.mode().map_err(damaged("permissions are no number"))? & 0o7777,
            uid: id(said.uid, header.uid())?,
            gid: id(said.gid, header.gid())?,
            modified: match said.modified {
                Some(time) => time,
                None => seconds(header.mtime().map_err(damaged("a time is no number"))?),
            },
            accessed: said.accessed,
            attributes: said.attributes.into_list(),
        })
    }

    fn file(&mut self, sparse: &Sparse, stored: u64) -> Result<Kind, Error> {
        let wrong = || Error::from(BadStream::Damaged("the map of a sparse file is wrong"));
        let Some(size) = sparse.real_size else { return Ok(Kind::File { size: stored, map: None }) };
        if sparse.major.is_none() {
            let (pairs, rest) = sparse.numbers.as_chunks::<2>();
            let pieces: Vec<_> = pairs.iter().map(|[offset, length]| (*offset, *length)).collect();
            let map = Map::new(pieces, size).filter(|map| rest.is_empty() && map.data() == stored);
            return Ok(Kind::File { size, map: Some(map.ok_or_else(wrong)?) });
        }
        let mut reader = MapReader::default();
        loop {
            self.left = self.left.checked_sub(BLOCK as u64).ok_or_else(wrong)?;
            let block = self.source.bytes(BLOCK)?;
            if let Some(map) = reader.take(&block, size) {
                let map = map.filter(|map| map.data() == self.left).ok_or_else(wrong)?;
                return Ok(Kind::File { size, map: Some(map) });
            }
        }
    }

    /// Four pieces in the header itself, more in blocks after it.
    fn old_gnu_sparse(&mut self, header: &Header) -> Result<Kind, Error> {
        let wrong = || Error::from(BadStream::Damaged("the map of a sparse file is wrong"));
        let gnu = header.as_gnu().ok_or_else(wrong)?;
        let size = gnu.real_size().map_err(|_| wrong())?;
        let mut pieces = Vec::new();
        let mut take = |some: &[GnuSparseHeader]| -> Result<(), Error> {
            for piece in some.iter().filter(|piece| !piece.is_empty()) {
                pieces.push((piece.offset().map_err(|_| wrong())?, piece.length().map_err(|_| wrong())?));
            }
            if pieces.len() > PIECES_LIMIT { Err(wrong()) } else { Ok(()) }
        };
        take(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut extension = GnuExtSparseHeader::new();
            // Not counted among the data of the member.
            extension.as_mut_bytes().copy_from_slice(&self.source.bytes(BLOCK)?);
            take(extension.sparse())?;
            more = extension.is_extended();
        }
        let map = Map::new(pieces, size).filter(|map| map.data() == self.left).ok_or_else(wrong)?;
        Ok(Kind::File { size, map: Some(map) })
    }

    fn long_name(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut name = self.small(size)?;
        if let Some(end) = name.iter().position(|byte| *byte == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    fn small(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let length = usize::try_from(size).ok().filter(|_| size <= HEADER_LIMIT);
        let length = length.ok_or(BadStream::Excessive("a header is too long"))?;
        let bytes = self.source.bytes(length)?;
        self.source.skip_padding(size)?;
        Ok(bytes)
    }
}

impl<R: Lender> Reader<FromReader<R>> {
    /// The next bytes of data of the current member, `most` at most, where they came in.
    ///
    /// # Errors
    /// When the member has no more, or the stream ends.
    pub fn lend(&mut self, most: u64) -> Result<Shared, Error> {
        if self.left == 0 {
            return Err(BadStream::Damaged("a sparse file lacks data").into());
        }
        let bytes = self.source.lend(at_most(most.min(self.left), usize::MAX))?;
        self.left -= bytes.len() as u64;
        Ok(bytes)
    }
}

fn device(header: &Header) -> Result<Kind, BadStream> {
    let number = |number: Result<Option<u32>, std::io::Error>, field: std::ops::Range<usize>| match number {
        Ok(number) => Ok(number.unwrap_or(0)),
        // v7 headers end before these fields.
        Err(_) if header.as_bytes()[field].iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(0),
        Err(_) => Err(BadStream::Damaged("the number of a device is none")),
    };
    Ok(Kind::Device {
        is_block: header.entry_type() == EntryType::Block,
        major: number(header.device_major(), 329..337)?,
        minor: number(header.device_minor(), 337..345)?,
    })
}

fn seconds(time: u64) -> Time {
    // A negative one in base 256, as GNU tar writes it, comes as its two's complement.
    Time { seconds: time.cast_signed(), nanoseconds: 0 }
}

/// Whether the header's checksum is that of its bytes, unsigned or, as old tars had it, signed.
fn has_right_checksum(header: &Header) -> bool {
    let Ok(given) = header.cksum() else { return false };
    let bytes = header.as_bytes();
    let counted = |(index, byte): (usize, &u8)| if (148..156).contains(&index) { b' ' } else { *byte };
    let unsigned: u32 = bytes.iter().enumerate().map(counted).map(u32::from).sum();
    let signed: i32 = bytes.iter().enumerate().map(counted).map(|byte| i32::from(byte.cast_signed())).sum();
    given == unsigned || i64::from(given) == i64::from(signed)
}
