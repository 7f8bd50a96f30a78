//! Where bytes of a disk are read from: a file, a block device, or (in tests and under a fuzzer) a slice.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, SeekFrom};
use rustix::io::Errno;

/// Bytes that can be read from anywhere in them.
pub trait Source {
    /// How many there are.
    fn length(&self) -> u64;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] if that goes beyond the end.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;

    /// The `N` bytes at `offset`; `None` beyond the end, or if they cannot be read.
    fn array<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes).ok().map(|()| bytes)
    }
}

impl Source for [u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        let bytes = from.and_then(|bytes| bytes.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A range of another source.
#[derive(Debug)]
pub struct Part<'a, S: ?Sized> {
    /// What it is a part of.
    pub of: &'a S,
    /// Where it begins there.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

impl<S: Source + ?Sized> Source for Part<'_, S> {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.length);
        let start = end.and(self.offset.checked_add(offset)).ok_or(ErrorKind::UnexpectedEof)?;
        self.of.read(start, buffer)
    }
}

/// An open disk image, or a block device.
#[derive(Debug)]
pub struct DiskFile {
    fd: OwnedFd,
    length: u64,
}

impl DiskFile {
    /// Takes what `fd` refers to.
    ///
    /// # Errors
    /// [`Errno::NOTBLK`] if that is neither a regular file nor a block device.
    pub fn new(fd: OwnedFd) -> std::result::Result<Self, Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::BlockDevice => {}
            _ => return Err(Errno::NOTBLK),
        }
        // The size that stat(2) gives of a block device is 0.
        let length = rustix::fs::seek(&fd, SeekFrom::End(0))?;
        Ok(Self { fd, length })
    }

    /// The file.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }
}

impl Source for DiskFile {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, offset: u64, mut buffer: &mut [u8]) -> Result<()> {
        let mut at = offset;
        while !buffer.is_empty() {
            match rustix::io::pread(self.fd.as_fd(), &mut *buffer, at) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    buffer = &mut buffer[length..];
                    at += length as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::from(errno)),
            }
        }
        Ok(())
    }
}
