//! Disks of QEMU as raw ones: qcow2, versions 2 and 3 (docs/interop/qcow2.rst of QEMU).
//!
//! An image comes from anybody. Every number in it is checked before it is used, tables are read a cluster at a time, and
//! no more is copied than the file holds: one whose tables name the same data again and again is refused, or a small file
//! would fill the disk. What is zero is not written: the raw disk has holes there.
//!
//! | file | what it owns |
//! |---|---|
//! | [`header`] | the header, and what it asks for that is not done |
//! | [`map`] | which cluster of the disk lies where in the file |
//! | [`cluster`] | compressed clusters |

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

pub mod cluster;
pub mod header;
pub mod map;

use super::context::{Context, Event};
use super::error::Error;
use crate::image::disk::source::{DiskFile, Source};
use crate::sys::{FdPath, SysError, SysResult, sys};
use cluster::Decompressor;
use header::Header;
use map::{Cluster, Map};

/// How much is copied at once.
const COPY: usize = 1 << 20;

/// What is looked at for zeroes, and left as a hole: a block of the file systems that hold images.
const BLOCK: usize = 4096;

/// Why a disk of QEMU is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Fault {
    #[error("it is no qcow2 disk")]
    NoQcow2,
    #[error("it is of version {0}")]
    Version(u32),
    #[error("it is based on another disk")]
    BackingFile,
    #[error("it is encrypted")]
    Encrypted,
    #[error("its data is in another file")]
    ExternalData,
    #[error("it was marked as corrupt")]
    MarkedCorrupt,
    #[error("it has features that are unknown here (bits {0:#x})")]
    Features(u64),
    #[error("it is compressed in a way that is unknown here ({0})")]
    Compression(u8),
    #[error("a number in its header is out of bounds: {0}")]
    Header(&'static str),
    #[error("it is truncated")]
    Truncated,
    #[error("its tables are damaged")]
    Tables,
    #[error("its tables name more data than it holds")]
    MoreThanItHolds,
    #[error("a compressed part of it is damaged")]
    Damaged,
}

impl Fault {
    /// The next step.
    pub fn hint(self) -> &'static str {
        match self {
            Self::NoQcow2 => "qemu-img info says what it is",
            Self::BackingFile | Self::Encrypted | Self::ExternalData => {
                "qemu-img convert -O raw makes a raw disk of it, given all that it needs"
            }
            Self::Version(_) | Self::Features(_) | Self::Compression(_) => {
                "qemu-img convert -O raw makes a raw disk of it, if it knows them"
            }
            Self::MarkedCorrupt | Self::Tables | Self::MoreThanItHolds => "qemu-img check says more",
            Self::Header(_) | Self::Truncated | Self::Damaged => "fetch or copy it again",
        }
    }
}

/// Why a conversion stopped.
#[derive(Debug)]
enum Stop {
    Fault(Fault),
    Read(io::Error),
    Write(SysError),
    Cancelled(Box<Error>),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Writes the disk in `source`, a qcow2 file that can be read anywhere, as a raw one to `target`, an empty file; gives its
/// length. `name` is what messages call the source.
///
/// # Errors
/// What is wrong with it ([`Error::Qcow2`]), or a failed call. What was written stays.
pub fn convert(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    name: &str,
    context: &Context,
) -> Result<u64, Error> {
    let read = |source: io::Error| Error::Read { name: name.to_owned(), source };
    let file =
        DiskFile::new(source.try_clone_to_owned().map_err(read)?).map_err(|errno| read(errno.into()))?;
    convert_from(&file, &mut File(target), context).map_err(|stop| match stop {
        Stop::Fault(fault) => Error::Qcow2 { name: name.to_owned(), fault },
        Stop::Read(source) => read(source),
        Stop::Write(source) => Error::Write { name: name.to_owned(), source },
        Stop::Cancelled(error) => *error,
    })
}

/// Reads all of the disk in `source` and keeps nothing: for a fuzzer, and to check.
///
/// # Errors
/// What is wrong with it.
pub fn check(source: &[u8]) -> Result<u64, Fault> {
    match convert_from(source, &mut Nowhere, &Context::silent()) {
        Ok(length) => Ok(length),
        Err(Stop::Fault(fault)) => Err(fault),
        Err(_) => Err(Fault::Truncated),
    }
}

/// Where a raw disk is written.
trait Sink {
    fn set_length(&mut self, length: u64) -> SysResult<()>;
    fn write(&mut self, offset: u64, data: &[u8]) -> SysResult<()>;
}

struct File<'a>(BorrowedFd<'a>);

impl Sink for File<'_> {
    fn set_length(&mut self, length: u64) -> SysResult<()> {
        sys("ftruncate", rustix::fs::ftruncate(self.0, length), || format!("{}, {length}", FdPath(self.0)))
    }

    fn write(&mut self, mut offset: u64, mut data: &[u8]) -> SysResult<()> {
        while !data.is_empty() {
            match rustix::io::pwrite(self.0.as_fd(), data, offset) {
                Ok(length) => {
                    data = &data[length..];
                    offset += length as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    let call = format!("{}, {} bytes at {offset}", FdPath(self.0), data.len());
                    return Err(SysError::new("pwrite", call, errno));
                }
            }
        }
        Ok(())
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn set_length(&mut self, _: u64) -> SysResult<()> {
        Ok(())
    }

    fn write(&mut self, _: u64, _: &[u8]) -> SysResult<()> {
        Ok(())
    }
}

fn convert_from(
    source: &(impl Source + ?Sized),
    sink: &mut impl Sink,
    context: &Context,
) -> Result<u64, Stop> {
    let header = Header::read(source)?;
    context.tell(Event::Stage { what: "converting the disk".to_owned(), total: Some(header.length) });
    sink.set_length(header.length).map_err(Stop::Write)?;
    let mut copier = Copier {
        source,
        sink,
        context,
        decompressor: Decompressor::new(&header),
        buffer: vec![0; COPY.max(header.cluster_size())],
        run: None,
        told: 0,
    };
    let mut map = Map::new(source, &header)?;
    while let Some((offset, length, cluster)) = map.next()? {
        copier.take(offset, length, cluster)?;
    }
    copier.flush()?;
    copier.tell(header.length, 1);
    Ok(header.length)
}

/// Clusters that follow each other in the file and on the disk alike.
#[derive(Debug, Clone, Copy)]
struct Run {
    from: u64,
    to: u64,
    length: usize,
}

struct Copier<'a, S: ?Sized, W> {
    source: &'a S,
    sink: &'a mut W,
    context: &'a Context,
    decompressor: Decompressor,
    buffer: Vec<u8>,
    run: Option<Run>,
    told: u64,
}

impl<S: Source + ?Sized, W: Sink> Copier<'_, S, W> {
    /// Takes `cluster`, of which `length` bytes are the disk's from `to` on.
    fn take(&mut self, to: u64, length: usize, cluster: Cluster) -> Result<(), Stop> {
        self.context.check().map_err(|error| Stop::Cancelled(Box::new(error)))?;
        match cluster {
            Cluster::Zero => self.flush()?,
            Cluster::Plain { offset } => {
                match &mut self.run {
                    Some(run)
                        if run.from + run.length as u64 == offset
                            && run.to + run.length as u64 == to
                            && run.length + length <= self.buffer.len() =>
                    {
                        run.length += length;
                    }
                    _ => {
                        self.flush()?;
                        self.run = Some(Run { from: offset, to, length });
                    }
                }
                return Ok(());
            }
            Cluster::Compressed { offset, length: stored } => {
                self.flush()?;
                let data = self.decompressor.decompress(self.source, offset, stored).map_err(fault_or)?;
                write_sparse(self.sink, to, data.get(..length).ok_or(Fault::Damaged)?)?;
            }
        }
        self.tell(to + length as u64, COPY as u64);
        Ok(())
    }

    /// Tells that all up to `end` of the disk is there, if that is `least` bytes more than it told before.
    fn tell(&mut self, end: u64, least: u64) {
        let more = end.saturating_sub(self.told);
        if more >= least {
            self.context.tell(Event::Moved(more));
            self.told = end;
        }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        let Some(run) = self.run.take() else { return Ok(()) };
        let data = self.buffer.get_mut(..run.length).ok_or(Fault::Tables)?;
        self.source.read(run.from, data).map_err(|error| fault_or(error.into()))?;
        write_sparse(self.sink, run.to, data)?;
        self.tell(run.to + run.length as u64, COPY as u64);
        Ok(())
    }
}

/// What reading gave: a file that ends too early is the image's fault, anything else the host's.
fn fault_or(error: cluster::Unread) -> Stop {
    match error {
        cluster::Unread::Fault(fault) => Stop::Fault(fault),
        cluster::Unread::Read(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Stop::Fault(Fault::Truncated)
        }
        cluster::Unread::Read(error) => Stop::Read(error),
    }
}

/// Writes what of `data` is not zero.
fn write_sparse(sink: &mut impl Sink, offset: u64, data: &[u8]) -> Result<(), Stop> {
    let is_zero = |block: &&[u8]| block.iter().all(|byte| *byte == 0);
    let mut blocks = data.chunks(BLOCK).peekable();
    let mut at = 0;
    while let Some(block) = blocks.peek() {
        if is_zero(block) {
            at += block.len();
            blocks.next();
            continue;
        }
        let from = at;
        while let Some(block) = blocks.next_if(|block| !is_zero(block)) {
            at += block.len();
        }
        sink.write(offset + from as u64, &data[from..at]).map_err(Stop::Write)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
