//! Which of our standard streams a command in a machine gets as they are, and which by a pipe that we pump.
//!
//! A pipe or a socket is a way for bytes and nothing more. A regular file too, for a root that is nobody on the host: it
//! could open it anew by /proc/self/fd, but only with the rights of that nobody. A terminal is more: whoever has it reads
//! what is typed, changes its settings, and speaks in its owner's name (TIOCSTI). A directory is a way to all of the host
//! (fchdir(2), `..`; CVE-2024-21626 of runc), and no program has a use for it here.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use super::pump::Pump;
use crate::machine::Error;
use crate::supervisor::stream::{Direction, Stream};
use crate::sys::{FdPath, SysResult, sys};

/// What becomes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// The command gets it.
    Pass,
    /// The command gets a pipe.
    Pump,
    /// There is no command.
    Refuse,
}

/// The streams of a command.
#[derive(Debug)]
pub(super) struct Streams {
    /// What its stdin, stdout and stderr will be; `None` for ours.
    pub(super) given: [Option<OwnedFd>; 3],
    /// What we have to do meanwhile.
    pub(super) pumps: Vec<Pump>,
}

const NAMES: [&str; 3] = ["stdin", "stdout", "stderr"];

impl Streams {
    /// Looks at our own streams. `private_users` says that the machine's root is nobody on the host.
    ///
    /// # Errors
    /// [`Error::Stream`] for a directory.
    pub(super) fn of_ours(private_users: bool) -> Result<Self, Error> {
        let ours = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        let mut streams = Self { given: [None, None, None], pumps: Vec::new() };
        for (index, (stream, name)) in ours.into_iter().zip(NAMES).enumerate() {
            let failed = || Error::system("look at our standard streams");
            let stat = match rustix::fs::fstat(stream) {
                // Closed: stays so.
                Err(Errno::BADF) => continue,
                stat => sys("fstat", stat, || FdPath(stream).to_string()).map_err(failed())?,
            };
            match fate(FileType::from_raw_mode(stat.st_mode), stat.st_rdev, private_users) {
                Fate::Pass => open_to_all(stream),
                Fate::Refuse => return Err(Error::Stream { name }),
                Fate::Pump => {
                    let direction = if index == 0 { Direction::Input } else { Direction::Output };
                    let (theirs, pump) = pumped(stream, direction).map_err(failed())?;
                    streams.pumps.push(pump);
                    if let Some(given) = streams.given.get_mut(index) {
                        *given = Some(theirs);
                    }
                }
            }
        }
        Ok(streams)
    }

    /// Nothing to read, nothing that is kept.
    ///
    /// # Errors
    /// When there is no /dev/null.
    pub(super) fn null() -> Result<Self, Error> {
        use rustix::fs::{CWD, Mode, OFlags};
        let null = || crate::sys::files::open_at(CWD, "/dev/null", OFlags::RDWR, Mode::empty()).map(Some);
        let given = || Ok([null()?, null()?, null()?]);
        let given = given().map_err(Error::system("open /dev/null"))?;
        Ok(Self { given, pumps: Vec::new() })
    }
}

/// /dev/null (Documentation/admin-guide/devices.txt).
const NULL: u64 = libc::makedev(1, 3);

fn fate(kind: FileType, device: u64, private_users: bool) -> Fate {
    match kind {
        FileType::Fifo | FileType::Socket => Fate::Pass,
        FileType::RegularFile if private_users => Fate::Pass,
        FileType::CharacterDevice if device == NULL => Fate::Pass,
        FileType::Directory | FileType::Symlink => Fate::Refuse,
        // Disks, other devices, eventfds: bytes of them are all that the machine is to have.
        _ => Fate::Pump,
    }
}

/// Lets whoever has a pipe open it anew, as `echo x >/dev/stderr` does: a pipe belongs to the user who made it, who is
/// nobody in the machine. It has no name by which others could.
fn open_to_all(stream: BorrowedFd<'_>) {
    const PIPEFS: i64 = 0x5049_5045; // linux/magic.h, PIPEFS_MAGIC
    if rustix::fs::fstatfs(stream).is_ok_and(|stat| i128::from(stat.f_type) == i128::from(PIPEFS)) {
        // Only a convenience.
        let _ = crate::sys::files::change_mode(stream, 0o666);
    }
}

/// The command's end of a pipe, and what moves the bytes.
fn pumped(ours: BorrowedFd<'_>, direction: Direction) -> SysResult<(OwnedFd, Pump)> {
    let (reader, writer) =
        sys("pipe2", rustix::pipe::pipe_with(PipeFlags::CLOEXEC), || "O_CLOEXEC".to_owned())?;
    open_to_all(reader.as_fd());
    let user = Stream::open(ours, direction)?;
    Ok(match direction {
        Direction::Input => (reader, Pump::from_user(user, Stream::open(writer.as_fd(), Direction::Output)?)),
        Direction::Output => (writer, Pump::to_user(Stream::open(reader.as_fd(), Direction::Input)?, user)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates() {
        let tty = rustix::fs::makedev(136, 0);
        let table = [
            ("pipe", FileType::Fifo, 0, Fate::Pass, Fate::Pass),
            ("socket", FileType::Socket, 0, Fate::Pass, Fate::Pass),
            ("file", FileType::RegularFile, 0, Fate::Pass, Fate::Pump),
            ("/dev/null", FileType::CharacterDevice, NULL, Fate::Pass, Fate::Pass),
            ("terminal", FileType::CharacterDevice, tty, Fate::Pump, Fate::Pump),
            ("disk", FileType::BlockDevice, NULL, Fate::Pump, Fate::Pump),
            ("directory", FileType::Directory, 0, Fate::Refuse, Fate::Refuse),
            ("symlink (O_PATH)", FileType::Symlink, 0, Fate::Refuse, Fate::Refuse),
            ("eventfd", FileType::Unknown, 0, Fate::Pump, Fate::Pump),
        ];
        for (name, kind, device, private, shared) in table {
            assert_eq!((fate(kind, device, true), fate(kind, device, false)), (private, shared), "{name}");
        }
    }
}
