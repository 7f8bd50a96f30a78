//! Many fds as one (epoll(7)): a part of a poll loop that has its own comes and goes of sockets shows the loop a single fd, and is
//! told which of them are ready instead of trying all.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{Timespec, epoll};

pub use rustix::event::epoll::EventFlags;

use super::{FdPath, SysResult, sys};

/// A set of fds. Readable when one of them is ready. An fd leaves it by being closed.
#[derive(Debug)]
pub struct EventSet(OwnedFd);

impl EventSet {
    /// An empty one.
    ///
    /// # Errors
    /// EMFILE.
    pub fn new() -> SysResult<Self> {
        sys("epoll_create1", epoll::create(epoll::CreateFlags::CLOEXEC), || "EPOLL_CLOEXEC".to_owned())
            .map(Self)
    }

    /// Adds `fd`, known as `key`, for `flags`.
    ///
    /// # Errors
    /// ENOMEM, ENOSPC (fs.epoll.max_user_watches).
    pub fn add(&self, fd: &impl AsFd, key: u64, flags: EventFlags) -> SysResult<()> {
        let data = epoll::EventData::new_u64(key);
        sys("epoll_ctl", epoll::add(&self.0, fd, data, flags), || {
            format!("{}, EPOLL_CTL_ADD, {}, {flags:?}", self.0.as_raw_fd(), FdPath::of(fd))
        })
    }

    /// Waits for other `flags` of `fd` from now on.
    ///
    /// # Errors
    /// ENOENT when it is not in the set.
    pub fn change(&self, fd: &impl AsFd, key: u64, flags: EventFlags) -> SysResult<()> {
        let data = epoll::EventData::new_u64(key);
        sys("epoll_ctl", epoll::modify(&self.0, fd, data, flags), || {
            format!("{}, EPOLL_CTL_MOD, {}, {flags:?}", self.0.as_raw_fd(), FdPath::of(fd))
        })
    }

    /// Which are ready now, at most `N` of them: their keys and what for. Never waits.
    pub fn ready<const N: usize>(&self) -> Vec<(u64, EventFlags)> {
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; N];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready = rustix::io::retry_on_intr(|| {
            epoll::wait(&self.0, &mut events, Some(&now))
                .map(|(ready, _)| ready.iter().map(|event| (event.data.u64(), event.flags)).collect())
        });
        // Of a set of ours with room of ours, nothing but EINTR can come.
        ready.unwrap_or_default()
    }
}

impl AsFd for EventSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_ready_is_told_by_key() {
        let set = EventSet::new().expect("epoll");
        let (one, mut other) = std::os::unix::net::UnixStream::pair().expect("pair");
        set.add(&one, 7, EventFlags::IN).expect("add");
        assert_eq!(set.ready::<4>(), []);
        other.write_all(b"x").expect("write");
        assert_eq!(set.ready::<4>(), [(7, EventFlags::IN)]);
        set.change(&one, 8, EventFlags::OUT).expect("change");
        assert_eq!(set.ready::<4>(), [(8, EventFlags::OUT)]);
        drop(one);
        assert_eq!(set.ready::<4>(), []);
    }
}
