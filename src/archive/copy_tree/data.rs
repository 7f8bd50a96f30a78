//! The data of a file: shared where the file systems can, else moved, holes staying holes.

use std::os::fd::OwnedFd;

use rustix::fs::Stat;
use rustix::io::Errno;

use super::Copier;
use crate::archive::error::Error;
use crate::archive::notes::Reason;
use crate::archive::sparse::Map;
use crate::sys::{FdPath, SysError, sys};

/// What is moved between two questions whether to go on.
const CHUNK: u64 = 8 << 20;

/// What is moved at once where the kernel does not do it alone.
const BUFFER: usize = 256 << 10;

impl Copier<'_> {
    /// Lets `copy` share all data of `source`, where that can be.
    pub(super) fn share(&mut self, source: &OwnedFd, copy: &OwnedFd, size: u64) -> Result<bool, Error> {
        if !self.shares {
            return Ok(false);
        }
        match rustix::fs::ioctl_ficlone(copy, source) {
            Ok(()) => {
                self.counts.bytes += size;
                (self.progress)(size)?;
                Ok(true)
            }
            // A full disk is one for copies too, and says so then. Files of one kind cannot be shared, swap files for one.
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS) => {
                self.shares = false;
                Ok(false)
            }
            Err(_) => Ok(false),
        }
    }

    pub(super) fn data(
        &mut self,
        source: &OwnedFd,
        copy: &OwnedFd,
        stat: &Stat,
        size: u64,
    ) -> Result<(), Error> {
        // Blocks are of 512 bytes here whatever the file system's are (stat(2)).
        let may_have_holes = u64::try_from(stat.st_blocks).unwrap_or(0) < size.div_ceil(512);
        let map = if may_have_holes { Map::of(source, size) } else { None };
        let whole = [(0, size)];
        let mut buffer = Vec::new();
        for (offset, length) in map.as_ref().map_or(whole.as_slice(), Map::pieces) {
            let (mut at, end) = (*offset, offset + length);
            while at < end {
                let most = (end - at).min(CHUNK);
                let moved = match self.move_some(source, copy, at, most, &mut buffer)? {
                    0 => {
                        self.notes.add(Reason::Changed, &self.path);
                        break;
                    }
                    moved => moved,
                };
                at += moved;
                self.counts.bytes += moved;
                (self.progress)(moved)?;
            }
        }
        let cut = rustix::fs::ftruncate(copy, size);
        sys("ftruncate", cut, || format!("{}, {size}", FdPath::of(copy))).map_err(self.failed())
    }

    /// Moves up to `most` bytes at `at`: within the kernel, or through `buffer` once that has been refused.
    fn move_some(
        &self,
        source: &OwnedFd,
        copy: &OwnedFd,
        at: u64,
        most: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<u64, Error> {
        let length = usize::try_from(most).unwrap_or(BUFFER);
        while buffer.is_empty() {
            let (mut from, mut to) = (at, at);
            match rustix::fs::copy_file_range(source, Some(&mut from), copy, Some(&mut to), length) {
                Ok(0) => buffer.resize(BUFFER, 0),
                Ok(moved) => return Ok(moved as u64),
                Err(Errno::INTR) => {}
                Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)) => {
                    let source = SysError::new("copy_file_range", FdPath::of(copy).to_string(), errno);
                    return Err(self.failed()(source));
                }
                // Between file systems before Linux 5.19, and with some that never could.
                Err(_) => buffer.resize(BUFFER, 0),
            }
        }
        let length = length.min(buffer.len());
        let count = loop {
            match rustix::io::pread(source, &mut buffer[..length], at) {
                Err(Errno::INTR) => {}
                read => {
                    break sys("pread", read, || FdPath::of(source).to_string()).map_err(self.failed())?;
                }
            }
        };
        let mut written = 0;
        while written < count {
            match rustix::io::pwrite(copy, &buffer[written..count], at + written as u64) {
                Err(Errno::INTR) => {}
                wrote => {
                    written +=
                        sys("pwrite", wrote, || FdPath::of(copy).to_string()).map_err(self.failed())?;
                }
            }
        }
        Ok(count as u64)
    }
}
