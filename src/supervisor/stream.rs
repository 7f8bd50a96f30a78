//! Our own stdin or stdout, read and written without ever waiting.
//!
//! O_NONBLOCK belongs to the open file description, which we share with the shell that started us and with whatever else
//! writes to the same place: setting it breaks them. So a terminal or a pipe is opened anew, a socket is asked not to wait
//! call by call, a regular file never waits; only where none of that works is the flag set, and taken back in the end.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::sys::{FdPath, SysResult, sys};

/// Which way a stream goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the user to us.
    Input,
    /// From us to the user.
    Output,
}

/// What became of a read or a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// So many bytes, more than none.
    Bytes(usize),
    /// Nothing now; poll will say when.
    Later,
    /// Nothing ever again: the end of the input, or nobody is there any more (EPIPE, a terminal that hung up). The errno
    /// if there was one.
    End(Option<Errno>),
}

/// One end of our standard input or output.
#[derive(Debug)]
pub struct Stream {
    fd: OwnedFd,
    wait: Wait,
}

/// How it is kept from waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// It does not wait: a file description of our own with O_NONBLOCK, or a regular file.
    Never,
    /// A socket: MSG_DONTWAIT.
    Asked,
    /// We set O_NONBLOCK on the shared description and owe it back.
    Flagged,
}

impl Stream {
    /// Takes `shared`, our standard input or output, which itself is left as it is.
    pub fn open(shared: BorrowedFd<'_>, direction: Direction) -> SysResult<Self> {
        let status = sys("fstat", rustix::fs::fstat(shared), || FdPath(shared).to_string())?;
        let duplicate = || {
            sys("fcntl", rustix::io::fcntl_dupfd_cloexec(shared, 3), || {
                format!("{}, F_DUPFD_CLOEXEC, 3", FdPath(shared))
            })
        };
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Socket => return Ok(Self { fd: duplicate()?, wait: Wait::Asked }),
            FileType::RegularFile => return Ok(Self { fd: duplicate()?, wait: Wait::Never }),
            _ => {}
        }
        let access = match direction {
            Direction::Input => OFlags::RDONLY,
            Direction::Output => OFlags::WRONLY,
        };
        let path = format!("/proc/self/fd/{}", shared.as_raw_fd());
        let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        // Fails on a terminal that belongs to another user (EACCES, as after su), or with no /proc.
        if let Ok(fd) = rustix::fs::open(path, flags, Mode::empty()) {
            return Ok(Self { fd, wait: Wait::Never });
        }
        let fd = duplicate()?;
        let flags = sys("fcntl", rustix::fs::fcntl_getfl(&fd), || format!("{}, F_GETFL", FdPath::of(&fd)))?;
        if flags.contains(OFlags::NONBLOCK) {
            return Ok(Self { fd, wait: Wait::Never });
        }
        sys("fcntl", rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK), || {
            format!("{}, F_SETFL, |O_NONBLOCK", FdPath::of(&fd))
        })?;
        Ok(Self { fd, wait: Wait::Flagged })
    }

    /// Reads what is there.
    pub fn read(&self, buffer: &mut [u8]) -> Transfer {
        let result = rustix::io::retry_on_intr(|| match self.wait {
            Wait::Asked => {
                rustix::net::recv(&self.fd, &mut *buffer, RecvFlags::DONTWAIT).map(|(length, _)| length)
            }
            Wait::Never | Wait::Flagged => rustix::io::read(&self.fd, &mut *buffer),
        });
        match result {
            Ok(0) => Transfer::End(None),
            result => transfer(result),
        }
    }

    /// Writes what can be taken. Expects SIGPIPE to be ignored or blocked, as Rust's runtime leaves it.
    pub fn write(&self, bytes: &[u8]) -> Transfer {
        transfer(rustix::io::retry_on_intr(|| match self.wait {
            Wait::Asked => rustix::net::send(&self.fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Wait::Never | Wait::Flagged => rustix::io::write(&self.fd, bytes),
        }))
    }
}

fn transfer(result: Result<usize, Errno>) -> Transfer {
    match result {
        Ok(length) => Transfer::Bytes(length),
        Err(Errno::AGAIN) => Transfer::Later,
        Err(errno) => Transfer::End(Some(errno)),
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.wait == Wait::Flagged
            && let Ok(flags) = rustix::fs::fcntl_getfl(&self.fd)
        {
            // Nothing can be done about a failure here, and nothing is lost but politeness.
            let _ = rustix::fs::fcntl_setfl(&self.fd, flags - OFlags::NONBLOCK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_nonblocking(fd: &impl AsFd) -> bool {
        rustix::fs::fcntl_getfl(fd).expect("flags").contains(OFlags::NONBLOCK)
    }

    #[test]
    fn pipes_do_not_wait_and_stay_as_they_are() {
        let (reader, writer) = rustix::pipe::pipe().expect("pipe");
        let input = Stream::open(reader.as_fd(), Direction::Input).expect("input");
        let output = Stream::open(writer.as_fd(), Direction::Output).expect("output");
        assert_eq!((input.wait, output.wait), (Wait::Never, Wait::Never));
        assert!(!is_nonblocking(&reader) && !is_nonblocking(&writer));
        let mut buffer = [0; 16];
        assert_eq!(input.read(&mut buffer), Transfer::Later);
        assert_eq!(output.write(b"hello"), Transfer::Bytes(5));
        assert_eq!(input.read(&mut buffer), Transfer::Bytes(5));
        while output.write(&[0; 4096]) != Transfer::Later {}
        drop((reader, input));
        assert_eq!(output.write(b"x"), Transfer::End(Some(Errno::PIPE)));
    }

    #[test]
    fn sockets_do_not_wait_and_stay_as_they_are() {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("pair");
        let input = Stream::open(ours.as_fd(), Direction::Input).expect("input");
        let output = Stream::open(ours.as_fd(), Direction::Output).expect("output");
        assert_eq!(input.read(&mut [0; 4]), Transfer::Later);
        assert!(!is_nonblocking(&ours));
        drop(theirs);
        assert_eq!(input.read(&mut [0; 4]), Transfer::End(None));
        assert_eq!(output.write(b"x"), Transfer::End(Some(Errno::PIPE)));
    }

    #[test]
    fn a_file_is_read_on_from_where_it_is() {
        let mut file = tempfile::tempfile().expect("tempfile");
        std::io::Write::write_all(&mut file, b"skipped, read").expect("write");
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(9)).expect("seek");
        let input = Stream::open(file.as_fd(), Direction::Input).expect("input");
        let mut buffer = [0; 16];
        assert_eq!(input.read(&mut buffer), Transfer::Bytes(4));
        assert_eq!(&buffer[..4], b"read");
        assert_eq!(input.read(&mut buffer), Transfer::End(None));
    }

    #[test]
    fn a_flag_that_was_set_is_taken_back() {
        // An eventfd cannot be opened anew.
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).expect("eventfd");
        let input = Stream::open(event.as_fd(), Direction::Input).expect("input");
        assert_eq!(input.wait, Wait::Flagged);
        assert!(is_nonblocking(&event));
        assert_eq!(input.read(&mut [0; 8]), Transfer::Later);
        drop(input);
        assert!(!is_nonblocking(&event));
    }
}
