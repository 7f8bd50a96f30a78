//! What a file of a tree is.

use std::os::fd::AsFd;

use rustix::fs::{self, FileType, Stat};

use crate::sys::{FdPath, SysResult, sys};

/// What fstat(2) says of a file.
#[derive(Debug, Clone, Copy)]
pub struct Metadata(pub(super) Stat);

impl Metadata {
    /// What the open file is.
    pub fn of(fd: &impl AsFd) -> SysResult<Self> {
        sys("fstat", fs::fstat(fd), || FdPath::of(fd).to_string()).map(Self)
    }

    /// Regular file, directory, symlink, ...
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.0.st_mode)
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Whether this is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind() == FileType::RegularFile
    }

    /// Whether this is a symlink.
    pub fn is_symlink(&self) -> bool {
        self.kind() == FileType::Symlink
    }

    /// Whether anybody may execute it.
    pub fn is_executable(&self) -> bool {
        self.0.st_mode & 0o111 != 0
    }

    /// Whether `self` and `other` are one file.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.0.st_dev, self.0.st_ino) == (other.0.st_dev, other.0.st_ino)
    }

    /// All that fstat(2) says.
    pub fn stat(&self) -> &Stat {
        &self.0
    }
}
