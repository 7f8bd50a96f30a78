//! The file that an export goes to: hidden until it is whole and on disk, or stdout.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::Failure;
use crate::sys::files::{open_at, open_directory, remove_file_at};
use crate::transfer::Error;

/// Where an export goes.
#[derive(Debug)]
pub struct Target {
    shown: String,
    file: File,
    /// Of a file, how it gets its name.
    place: Option<Place>,
}

#[derive(Debug)]
struct Place {
    directory: OwnedFd,
    hidden: OsString,
    name: OsString,
    replace: bool,
    done: bool,
}

impl Target {
    /// Stdout.
    pub fn stdout() -> Result<Self, Failure> {
        let file = rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)
            .map_err(|errno| Error::of_writing("stdout", errno.into()))?;
        Ok(Self { shown: "stdout".to_owned(), file: file.into(), place: None })
    }

    /// A file; one that is there is replaced only if `replace`, and only when the new one is whole.
    pub fn file(path: &Path, replace: bool) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let refused = || Failure::refused(format!("{shown} is no name of a file"), "name a file to be made");
        let path = std::path::absolute(path).map_err(|error| Error::of_writing(&shown, error))?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(refused()) };
        let failed = |error| Error::of_writing(&shown, io::Error::other(error));
        let directory = open_directory(parent).map_err(failed)?;
        match rustix::fs::statat(&directory, name, AtFlags::empty()).map(|stat| stat.st_mode) {
            Ok(mode) if rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Directory => {
                return Err(Failure::refused(format!("{shown} is a directory"), "name a file to be made"));
            }
            Ok(_) if !replace => return Err(exists(&path)),
            _ => {}
        }
        let random = crate::sys::random().map_err(failed)?;
        let hidden = OsString::from(format!(".#export.{random:016x}"));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = open_at(&directory, &hidden, flags, Mode::from_raw_mode(0o666)).map_err(failed)?;
        let place = Place { directory, hidden, name: name.to_owned(), replace, done: false };
        Ok(Self { shown, file: file.into(), place: Some(place) })
    }

    /// What messages call it.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// It as a file that has no name yet; `None` for stdout, which may be anything.
    pub fn as_file(&self) -> Option<&File> {
        self.place.as_ref().map(|_| &self.file)
    }

    /// What is written to it.
    pub fn sink(&self) -> &File {
        &self.file
    }

    /// Brings it to disk and gives it its name. Gives its size, if it has one.
    pub fn finish(mut self) -> Result<u64, Failure> {
        let shown = self.shown.clone();
        let failed = |error| Failure::from(Error::of_writing(&shown, error));
        self.file.flush().map_err(failed)?;
        let Some(place) = &mut self.place else { return Ok(0) };
        let size = self.file.metadata().map_err(failed)?.len();
        self.file.sync_all().map_err(failed)?;
        let flags = if place.replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match rustix::fs::renameat_with(&place.directory, &place.hidden, &place.directory, &place.name, flags)
        {
            Ok(()) => place.done = true,
            Err(Errno::EXIST) => return Err(exists(Path::new(&shown))),
            Err(errno) => return Err(failed(errno.into())),
        }
        rustix::fs::fsync(&place.directory).map_err(|errno| failed(errno.into()))?;
        Ok(size)
    }
}

fn exists(path: &Path) -> Failure {
    Failure::refused(format!("{} exists", path.display()), "give another name, or --force to replace it")
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.done {
            // Nobody knows its name.
            let _ = remove_file_at(&self.directory, &self.hidden);
        }
    }
}

/// A path's last component as text, as far as it is text.
pub fn file_name(path: &Path) -> String {
    String::from_utf8_lossy(path.file_name().map(OsStr::as_bytes).unwrap_or_default()).into_owned()
}

/// Whether `path` stands for stdout.
pub fn is_stdout(path: Option<&PathBuf>) -> bool {
    path.is_none_or(|path| path == Path::new("-"))
}
