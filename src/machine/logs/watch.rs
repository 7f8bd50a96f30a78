//! Being told that something was written.
//!
//! inotify(7) tells it for directories and for files that are written with write(2). systemd-journald writes by mmap and
//! makes itself heard a quarter of a second later: whoever follows a journal looks in between ([`LOOK`]).

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::sys::{FdPath, SysError, SysResult, sys};

/// How often a journal is looked at that nobody tells us of. A look reads the head of each file: some microseconds.
pub const LOOK: Duration = Duration::from_millis(40);

/// So many events are read at a time.
const EVENTS_MAX: usize = 4096;

/// A watch on directories.
#[derive(Debug)]
pub struct Watch {
    inotify: OwnedFd,
}

/// What was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Woken {
    /// Names came or went, so that directories are to be looked at.
    pub names: bool,
    /// The n-th of the other fds has something to say.
    pub other: Option<usize>,
}

impl Watch {
    /// A watch on nothing.
    ///
    /// # Errors
    /// When the user has too many.
    pub fn new() -> SysResult<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Ok(Self {
            inotify: sys("inotify_init1", inotify::init(flags), || "IN_CLOEXEC|IN_NONBLOCK".to_owned())?,
        })
    }

    /// Watches `directory` as well. One that is watched already is no more than once.
    ///
    /// # Errors
    /// When the user has too many watches.
    pub fn add(&self, directory: &impl AsFd) -> SysResult<()> {
        use inotify::WatchFlags;
        let mask = WatchFlags::CREATE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::ONLYDIR;
        // The directory that the fd stands for: nothing of the guest's is resolved.
        let link = format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd());
        let watched = inotify::add_watch(&self.inotify, &*link, mask).map(drop);
        sys("inotify_add_watch", watched, || FdPath::of(directory).to_string())
    }

    /// Waits until something happens to a directory or on one of `others`, or until `timeout` is over.
    ///
    /// # Errors
    /// When the kernel has no memory.
    pub fn wait(&self, others: &[PollFd<'_>], timeout: Duration) -> SysResult<Woken> {
        let mut fds = vec![PollFd::new(&self.inotify, PollFlags::IN)];
        fds.extend(others.iter().cloned());
        match poll(&mut fds, Some(&crate::sys::timeout::timeout(timeout))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("poll", format!("{} fds", fds.len()), errno)),
        }
        let other = fds.iter().skip(1).position(|fd| !fd.revents().is_empty());
        Ok(Woken { names: self.drain(), other })
    }

    /// Reads what was told; whether names came or went.
    fn drain(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut names = false;
        // A guest that makes events without end does not hold us up.
        for _ in 0..EVENTS_MAX {
            let Ok(event) = reader.next() else { break };
            names |= !event.events().contains(inotify::ReadFlags::MODIFY);
        }
        names
    }
}
