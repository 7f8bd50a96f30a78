//! Being told of changes in directories (inotify(7)).

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify;
use rustix::io::Errno;

use super::{FdPath, SysError, SysResult, sys};

/// Room for some events: one is at most 16 bytes and a name of 255 (inotify(7)).
const BUFFER: usize = 4096;

/// Directories that are watched. Readable when something has changed in one.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// Watches nothing so far.
    ///
    /// # Errors
    /// EMFILE when the user has too many of them.
    pub fn new() -> SysResult<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        sys("inotify_init1", inotify::init(flags), || "IN_CLOEXEC|IN_NONBLOCK".to_owned()).map(Self)
    }

    /// Watches `directory` for names that come and go. Says whether it is there. Watching the same one twice is the same as once.
    ///
    /// # Errors
    /// EACCES when we may not read it, ENOSPC when the user has too many watches.
    pub fn add(&self, directory: &Path) -> SysResult<bool> {
        let flags = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF
            | inotify::WatchFlags::ONLYDIR;
        self.add_for(directory, flags)
    }

    /// Watches the file `path` for what is written to it, and for its end. Says whether it is there. Links are followed: a path of
    /// /proc/self/fd is the file that is open there.
    ///
    /// # Errors
    /// As [`Watch::add`].
    pub fn add_file(&self, path: &Path) -> SysResult<bool> {
        let flags =
            inotify::WatchFlags::MODIFY | inotify::WatchFlags::ATTRIB | inotify::WatchFlags::CLOSE_WRITE;
        self.add_for(path, flags)
    }

    fn add_for(&self, path: &Path, flags: inotify::WatchFlags) -> SysResult<bool> {
        match inotify::add_watch(&self.0, path, flags) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => {
                Err(SysError::new("inotify_add_watch", format!("{}, {path:?}", FdPath::of(&self.0)), errno))
            }
        }
    }

    /// Forgets all that was told so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn clear(&self) -> SysResult<()> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        loop {
            match reader.next() {
                Ok(_) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(SysError::new("read", FdPath::of(&self.0).to_string(), errno)),
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    #[test]
    fn names_that_come_are_told_once() {
        let directory = tempfile::tempdir().expect("tempdir");
        let watch = Watch::new().expect("inotify");
        let changed = || {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&now)).expect("poll") == 1
        };
        assert!(!watch.add(&directory.path().join("none")).expect("not there"));
        assert!(watch.add(directory.path()).expect("watch") && !changed());
        std::fs::create_dir(directory.path().join("new")).expect("mkdir");
        assert!(changed());
        watch.clear().expect("clear");
        assert!(!changed());
    }
}
