//! The events of several machines, as they happen to any of them.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::Error;
use super::event_stream::{EventStream, Heard};
use crate::sys::SysError;
use crate::sys::timeout::until;

/// Event streams that are waited for together.
#[derive(Debug, Default)]
pub struct Several {
    streams: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    stream: EventStream,
    /// There may be more in what has been read than was asked for.
    unread: bool,
}

/// What came.
#[derive(Debug)]
pub enum Came {
    /// Something happened to the machine of this name. After [`Heard::End`] it is not listened to any more.
    Heard(String, Heard),
    /// Its events cannot be had any more.
    Failed(String, Error),
    /// The other fd that was waited for is ready.
    Other,
    /// The deadline.
    Deadline,
    /// There is nobody to listen to.
    Nobody,
}

impl Several {
    /// Listens to one more.
    pub fn add(&mut self, stream: EventStream) {
        self.streams.push(Member { stream, unread: true });
    }

    /// Whether `name` is listened to.
    pub fn has(&self, name: &str) -> bool {
        self.streams.iter().any(|member| member.stream.name() == name)
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Waits for something, or for one of `others` to become readable.
    ///
    /// # Errors
    /// When poll(2) fails.
    pub fn next(&mut self, others: &[BorrowedFd<'_>], deadline: Option<Instant>) -> Result<Came, Error> {
        loop {
            for index in 0..self.streams.len() {
                if let Some(came) = self.take(index) {
                    return Ok(came);
                }
            }
            if self.streams.is_empty() && others.is_empty() {
                return Ok(Came::Nobody);
            }
            if self.wait(others, deadline)? {
                return Ok(Came::Other);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline)
                && !self.streams.iter().any(|member| member.unread)
            {
                return Ok(Came::Deadline);
            }
        }
    }

    /// What the stream has ready, if anything.
    fn take(&mut self, index: usize) -> Option<Came> {
        let member = self.streams.get_mut(index).filter(|member| member.unread)?;
        let name = member.stream.name().to_owned();
        match member.stream.next(Some(Duration::ZERO)) {
            Ok(Heard::Nothing) => {
                member.unread = false;
                None
            }
            Ok(Heard::End) => {
                self.streams.remove(index);
                Some(Came::Heard(name, Heard::End))
            }
            Ok(heard) => Some(Came::Heard(name, heard)),
            Err(error) => {
                self.streams.remove(index);
                Some(Came::Failed(name, error))
            }
        }
    }

    /// Waits until one is ready; says whether it is one of `others`.
    fn wait(&mut self, others: &[BorrowedFd<'_>], deadline: Option<Instant>) -> Result<bool, Error> {
        let streams = self.streams.iter().map(|member| member.stream.as_fd());
        let mut fds: Vec<PollFd<'_>> = others
            .iter()
            .copied()
            .chain(streams)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let timeout = deadline.map(until);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => {
                let source = SysError::new("poll", format!("{} fds", fds.len()), errno);
                return Err(Error::System { action: "wait for machines", source });
            }
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let (of_others, of_streams) = ready.split_at(others.len());
        for (member, ready) in self.streams.iter_mut().zip(of_streams) {
            member.unread |= ready;
        }
        Ok(of_others.contains(&true))
    }
}
