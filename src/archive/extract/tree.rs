//! The directories that we are in, and what each gets when we leave it.
//!
//! No more is held than one path's worth of directories, so an archive may have any number. One that is entered again, after
//! it was left and got what it should, is looked at first and gets back what making names in it changes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, Stat, Timespec};
use rustix::io::Errno;

use super::Lower;
use super::level::metadata;
use crate::archive::entry::{ACL_ACCESS, ACL_DEFAULT};
use crate::archive::error::Error;
use crate::archive::metadata::{AsMade, Metadata, OMIT};
use crate::archive::names::{make_directory, open_directory};
use crate::archive::notes::{Notes, Reason};
use crate::sys::files::{change_mode, open_at};
use crate::sys::{FdPath, SysResult, attributes, sys};

/// What overlayfs knows opaque directories by in layered images, which are mounted with `userxattr` (`image::mstack`).
const OPAQUE: &[u8] = b"user.overlay.opaque";

/// The set-group-ID bit.
const SET_GID: u32 = 0o2000;

/// The tree being made.
pub(super) struct Tree<'a> {
    root: OwnedFd,
    root_end: End,
    levels: Vec<Level>,
    new_files: Option<AsMade>,
    lower: Option<Lower<'a>>,
    from_lower: bool,
}

/// A directory that we are in.
#[derive(Debug)]
struct Level {
    name: Vec<u8>,
    fd: OwnedFd,
    end: End,
}

/// What a directory gets when we leave it.
#[derive(Debug)]
enum End {
    /// What its member says.
    Said(Metadata),
    /// It has no member: what tar(1) makes of it.
    Implied,
    /// It has had all that: the permissions and default ACL that it must not have while files are made in it, and its time.
    Had { mode: Option<u32>, modified: Timespec, default_acl: Option<Vec<u8>> },
}

impl<'a> Tree<'a> {
    /// A tree in `directory`, which is empty, over what `lower` knows.
    pub(super) fn new(directory: BorrowedFd<'_>, lower: Option<Lower<'a>>) -> SysResult<Self> {
        let root = open_at(directory, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        // What its own parent gave it would be given on.
        for acl in [ACL_DEFAULT, ACL_ACCESS] {
            attributes::remove(&root, acl)?;
        }
        change_mode(&root, 0o700)?;
        let new_files = probe(&root)?;
        let (root_end, levels) = (End::Implied, Vec::new());
        Ok(Self { root, root_end, levels, new_files, lower, from_lower: false })
    }

    /// The directory that all is in.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory that we are in.
    pub(super) fn here(&self) -> BorrowedFd<'_> {
        self.levels.last().map_or(self.root.as_fd(), |level| level.fd.as_fd())
    }

    /// What a file has that is made here with `mode`, if that is known.
    pub(super) fn as_made(&self, mode: u32) -> Option<AsMade> {
        self.new_files.map(|known| AsMade { mode: mode & known.mode & 0o777, owner: known.owner })
    }

    /// Has the root end as `metadata`.
    pub(super) fn set_root(&mut self, metadata: Metadata) {
        self.root_end = End::Said(metadata);
    }

    /// Leaves the directories that `path` does not lead through, and enters those that it does.
    pub(super) fn enter(&mut self, path: &[Vec<u8>], notes: &mut Notes) -> SysResult<()> {
        let common = self.levels.iter().zip(path).take_while(|(level, name)| level.name == **name).count();
        self.leave_to(common, notes);
        for (depth, name) in path.iter().enumerate().skip(common) {
            let (fd, end) = match open_directory(self.here(), name) {
                Ok(fd) => self.again(fd)?,
                Err(error) if error.errno() == Errno::NOENT => {
                    make_directory(self.here(), name, 0o700)?;
                    (open_directory(self.here(), name)?, self.implied(&path[..=depth])?)
                }
                Err(error) => return Err(error),
            };
            self.levels.push(Level { name: name.clone(), fd, end });
        }
        Ok(())
    }

    /// What becomes of the directory `path`, of which nothing is said.
    fn implied(&mut self, path: &[Vec<u8>]) -> SysResult<End> {
        let Some(below) = self.lower.and_then(|lower| lower(path)) else { return Ok(End::Implied) };
        self.from_lower = true;
        let mut metadata = metadata(&below)?;
        // What it is in its own overlay is not what it is.
        let is_own =
            |name: &[u8]| !name.starts_with(b"user.overlay.") && !name.starts_with(b"trusted.overlay.");
        metadata.attributes.retain(|(name, _)| is_own(name));
        Ok(End::Said(metadata))
    }

    /// Enters the directory `name` of the one that we are in, made a moment ago if `is_new`; it will end as `metadata`.
    pub(super) fn enter_child(&mut self, name: &[u8], is_new: bool, metadata: Metadata) -> SysResult<()> {
        let fd = open_directory(self.here(), name)?;
        let fd = if is_new { fd } else { self.again(fd)?.0 };
        self.levels.push(Level { name: name.to_vec(), fd, end: End::Said(metadata) });
        Ok(())
    }

    /// Enters the directory `name` of the one that we are in, which was there before and ends as it was.
    pub(super) fn enter_again(&mut self, name: &[u8]) -> SysResult<()> {
        let (fd, end) = self.again(open_directory(self.here(), name)?)?;
        self.levels.push(Level { name: name.to_vec(), fd, end });
        Ok(())
    }

    /// Has the directory that we are in hide what is below it in an overlay.
    pub(super) fn make_opaque(&self) -> SysResult<()> {
        attributes::set(self.here(), OPAQUE, b"y")
    }

    /// Opens the directory that `path` leads to, without going there.
    pub(super) fn look(&self, path: &[Vec<u8>]) -> SysResult<OwnedFd> {
        let common = self.levels.iter().zip(path).take_while(|(level, name)| level.name == **name).count();
        let start = match common.checked_sub(1) {
            Some(last) => self.levels[last].fd.as_fd(),
            None => self.root.as_fd(),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let mut directory = open_at(start, ".", flags, Mode::empty())?;
        for name in &path[common..] {
            directory = open_directory(&directory, name)?;
        }
        Ok(directory)
    }

    /// Leaves all directories but the root.
    pub(super) fn leave_all(&mut self, notes: &mut Notes) {
        self.leave_to(0, notes);
    }

    /// Gives the root what it should have. Says whether anything is as what lies below.
    pub(super) fn finish(mut self, notes: &mut Notes) -> Result<bool, Error> {
        let failed = || Error::system("finish", b"/");
        let mut end = std::mem::replace(&mut self.root_end, End::Implied);
        if matches!(end, End::Implied) {
            end = self.implied(&[]).map_err(failed())?;
        }
        end.give(&self.root, b"/", notes).map_err(failed())?;
        Ok(self.from_lower)
    }

    fn leave_to(&mut self, depth: usize, notes: &mut Notes) {
        while self.levels.len() > depth
            && let Some(level) = self.levels.pop()
        {
            let names = self.levels.iter().map(|level| level.name.as_slice());
            let path = names.chain([level.name.as_slice()]).collect::<Vec<_>>().join(&b'/');
            if let Err(error) = level.end.give(&level.fd, &path, notes) {
                notes.add_fault(Reason::Failed, &path, &error);
            }
        }
    }

    /// Prepares a directory that was there before: what it would give to files made in it is taken from it.
    fn again(&self, fd: OwnedFd) -> SysResult<(OwnedFd, End)> {
        let stat = stat(&fd)?;
        let mode = stat.st_mode & 0o7777;
        let sets_group = mode & SET_GID != 0;
        if sets_group {
            change_mode(&fd, mode & !SET_GID)?;
        }
        let default_acl = attributes::get(&fd, ACL_DEFAULT)?;
        if default_acl.is_some() {
            attributes::remove(&fd, ACL_DEFAULT)?;
        }
        let modified =
            Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.try_into().unwrap_or(0) };
        Ok((fd, End::Had { mode: sets_group.then_some(mode), modified, default_acl }))
    }
}

impl End {
    fn give(&self, fd: &OwnedFd, path: &[u8], notes: &mut Notes) -> SysResult<()> {
        match self {
            Self::Said(metadata) => metadata.apply(fd, None, path, notes),
            Self::Implied => change_mode(fd, 0o755),
            Self::Had { mode, modified, default_acl } => {
                if let Some(mode) = mode {
                    change_mode(fd, *mode)?;
                }
                if let Some(acl) = default_acl {
                    attributes::set(fd, ACL_DEFAULT, acl)?;
                }
                attributes::set_times_of_open(fd, OMIT, *modified)
            }
        }
    }
}

/// What a file has that is made in `directory` with all permissions: the umask and the file system have their say.
fn probe(directory: &OwnedFd) -> SysResult<Option<AsMade>> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY;
    // Not every file system can: then each file is given everything.
    let Ok(file) = open_at(directory, ".", flags, Mode::from_raw_mode(0o777)) else { return Ok(None) };
    let stat = stat(&file)?;
    Ok(Some(AsMade { mode: stat.st_mode & 0o7777, owner: (stat.st_uid, stat.st_gid) }))
}

fn stat(fd: &OwnedFd) -> SysResult<Stat> {
    sys("fstat", rustix::fs::fstat(fd), || FdPath::of(fd).to_string())
}
