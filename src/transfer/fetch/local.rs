//! Files of this host, and stdin.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::Error;
use super::stream::{Gone, Outlet, Source};
use crate::sys::files::open_at;
use crate::sys::{FdPath, sys};
use crate::transfer::verify::{Check, Hashes};
use crate::transfer::{Error as TransferError, Incoming, Proof};

/// Something that is open.
#[derive(Debug)]
pub(super) struct Local {
    name: String,
    file: File,
    length: Option<u64>,
}

impl Local {
    /// Opens `path`: a file, a fifo or a block device.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        let file = open_at(CWD, path, OFlags::RDONLY | OFlags::NOCTTY, Mode::empty()).map_err(failed)?;
        let stat =
            sys("fstat", rustix::fs::fstat(&file), || FdPath::of(&file).to_string()).map_err(failed)?;
        let length = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Err(Error::Directory { path: path.to_owned() }),
            FileType::RegularFile => u64::try_from(stat.st_size).ok(),
            _ => None,
        };
        Ok(Self { name: path.display().to_string(), file: file.into(), length })
    }

    /// Stdin.
    pub(super) fn stdin() -> Result<Self, Error> {
        let failed = |source| Error::Read { name: "stdin".to_owned(), source };
        let fd =
            rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3).map_err(|errno| failed(errno.into()))?;
        Ok(Self { name: "stdin".to_owned(), file: fd.into(), length: None })
    }
}

impl Local {
    /// Whether it is a regular file: reading it does not wait for anybody.
    pub(super) fn is_regular(&self) -> bool {
        self.length.is_some()
    }

    /// Its name, and what is open.
    pub(super) fn into_parts(self) -> (String, File) {
        (self.name, self.file)
    }
}

impl Source for Local {
    /// Files have no hiccups: more would only be memory that nobody needs, each page of which the kernel zeroes first.
    const AHEAD: usize = 4;

    fn run(mut self, outlet: &mut Outlet) -> Result<(), crate::transfer::Error> {
        if outlet.begin(self.length).is_err() {
            return Ok(());
        }
        loop {
            let mut buffer = outlet.buffer();
            match self.file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    buffer.truncate(length);
                    if let Err(Gone) = outlet.send(buffer) {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Read { name: self.name, source }.into()),
            }
        }
    }
}

/// A regular file that nobody wants hashed, read by whoever takes its bytes: a thread between them would only copy these.
#[derive(Debug)]
pub(super) struct Unhashed {
    local: Local,
    check: Check,
    read: u64,
}

impl Unhashed {
    /// `check` has to be of its length only.
    pub(super) fn new(local: Local, check: Check) -> Self {
        Self { local, check, read: 0 }
    }
}

impl Read for Unhashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.local.file.read(buffer)?;
        self.read += count as u64;
        Ok(count)
    }
}

impl Incoming for Unhashed {
    fn name(&self) -> &str {
        &self.local.name
    }

    fn length(&self) -> Option<u64> {
        self.local.length
    }

    fn verify(mut self: Box<Self>) -> Result<Proof, TransferError> {
        let read = io::copy(&mut *self, &mut io::sink());
        read.map_err(|source| Error::Read { name: self.local.name.clone(), source })?;
        self.check.finish(&Hashes::default(), None, self.read)
    }
}
