//! A machine on the host's network goes on to resolve names when the host's resolv.conf changes.
//!
//! With a `bind-` mode (`--resolv-conf=`, systemd-nspawn(1)) the guest sees, read-only, what the host's file says at any time: not a mount of
//! that file, which would stay the old one when somebody replaces it, but of a copy in the machine's directory that we keep
//! current. With a `copy-` or `replace-` mode its file is written again as long as it is still what we wrote; a guest that has
//! changed it has made it its own.
//!
//! Nothing is looked at but when the kernel says that something in the file's directory has changed.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags};

use crate::runtime::host_files::{self, RESOLV_CONF};
use crate::runtime::plan::{BindSource, MachinePlan, MountOperation};
use crate::settings::ResolvConf;
use crate::sys::directory_watch::DirectoryWatch;
use crate::sys::files::{open_at, open_directory, read_all, write_at_start};
use crate::sys::in_root::{Root, reopen};

use super::registry::MachineDirectory;

/// Our copy's name in the machine's directory.
const COPY: &str = "resolv.conf";
/// Most of it that is read.
const LIMIT: usize = 64 << 10;
/// Who writes a file truncates it first.
const SETTLE: Duration = Duration::from_millis(20);

/// The host's file, and what the guest has of it.
#[derive(Debug)]
pub(super) struct HostResolvConf {
    source: &'static str,
    /// What the guest was given last.
    last: Vec<u8>,
    given: Given,
    /// The directories of the file, and of what it is a link to.
    watched: Vec<(PathBuf, Option<DirectoryWatch>)>,
    due: Option<Instant>,
}

#[derive(Debug)]
enum Given {
    /// A file of its own.
    File,
    /// A mount of this one.
    Mount(OwnedFd),
}

impl HostResolvConf {
    /// Begins to follow, for a machine whose plan brings it the host's file; a mount in the plan becomes one of our copy.
    pub(super) fn begin(
        plan: &mut MachinePlan,
        mode: ResolvConf,
        directory: &MachineDirectory,
    ) -> Option<Self> {
        let source = host_files::resolv_conf_of_host(mode)?;
        let (last, given) = plan.mounts.iter_mut().find_map(|operation| match operation {
            MountOperation::File { path, contents, .. } if path == Path::new(RESOLV_CONF) => {
                Some((contents.clone(), Given::File))
            }
            MountOperation::Bind { source: BindSource::Host(from), target, .. }
                if target == Path::new(RESOLV_CONF) && from == Path::new(source) =>
            {
                let contents = read(source)?;
                let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW;
                let copy = open_at(directory.fd(), COPY, flags, Mode::from_raw_mode(0o644)).ok()?;
                write_at_start(&copy, &contents).ok()?;
                *from = directory.path().join(COPY);
                Some((contents, Given::Mount(copy)))
            }
            _ => None,
        })?;
        let mut begun = Self { source, last, given, watched: Vec::new(), due: None };
        begun.watch();
        Some(begun)
    }

    /// Watches where the file is now: it may be a link that was changed.
    #[allow(clippy::disallowed_methods, reason = "a path of the host, of which only the directory is wanted")]
    fn watch(&mut self) {
        let path = Path::new(self.source);
        let real = std::fs::canonicalize(path);
        let mut places: Vec<PathBuf> = real
            .iter()
            .map(PathBuf::as_path)
            .chain([path])
            .filter_map(Path::parent)
            .map(Path::to_owned)
            .collect();
        places.dedup();
        if places.iter().eq(self.watched.iter().map(|(path, _)| path)) {
            return;
        }
        self.watched = places
            .into_iter()
            .map(|place| {
                let watch = open_directory(&place).and_then(|at| DirectoryWatch::begin_for_changes(&at)).ok();
                (place, watch)
            })
            .collect();
    }

    /// Something has changed somewhere.
    pub(super) fn noticed(&mut self, now: Instant) {
        self.due.get_or_insert(now + SETTLE);
    }

    /// When [`HostResolvConf::follow`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Gives the guest whose root is `root` what the host has now, and so its next boot, which `operations` are for. Says whether there
    /// is anything more to follow.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        root: Option<&Root>,
        operations: &mut [MountOperation],
    ) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return true;
        }
        self.due = None;
        self.watch();
        let Some(news) = read(self.source).filter(|news| *news != self.last) else { return true };
        match &self.given {
            // A file in /run that is full is written at the next change.
            Given::Mount(copy) => drop(write_at_start(copy, &news)),
            Given::File => {
                if !root.is_some_and(|root| rewrite(root, &self.last, &news)) {
                    return false;
                }
                for operation in operations {
                    if let MountOperation::File { path, contents, .. } = operation
                        && path == Path::new(RESOLV_CONF)
                    {
                        contents.clone_from(&news);
                    }
                }
            }
        }
        self.last = news;
        true
    }
}

fn read(source: &str) -> Option<Vec<u8>> {
    let file = open_at(rustix::fs::CWD, source, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty()).ok()?;
    let contents = read_all(file, LIMIT + 1).ok()?;
    // One that is being written; more will be heard of it.
    (!contents.is_empty() && contents.len() <= LIMIT).then_some(contents)
}

/// Writes the guest's file, if it still says `last`. In place: a new file would belong to nobody in the guest. The path is resolved
/// once: what is compared is what is written, whatever the guest puts there meanwhile.
fn rewrite(root: &Root, last: &[u8], news: &[u8]) -> bool {
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    let Ok(place) = root.open_file(RESOLV_CONF, flags, Mode::empty()) else { return false };
    let is_file = rustix::fs::fstat(&place)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    is_file
        && reopen(&place, OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY).is_ok_and(|file| {
            read_all(&file, LIMIT).is_ok_and(|contents| contents == last)
                && write_at_start(&file, news).is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_s_own_file_is_left_alone() {
        let temporary = tempfile::tempdir().expect("tempdir");
        let etc = temporary.path().join("etc");
        std::fs::create_dir(&etc).expect("mkdir");
        let path = etc.join("resolv.conf");
        let root = Root::open(temporary.path()).expect("a root");
        let read = || std::fs::read_to_string(&path).expect("read");
        assert!(!rewrite(&root, b"old", b"new"));
        std::fs::write(&path, "old and long").expect("write");
        assert!(rewrite(&root, b"old and long", b"new"));
        assert_eq!(read(), "new");
        assert!(!rewrite(&root, b"old", b"newer"));
        assert_eq!(read(), "new");
        std::fs::rename(&path, etc.join("other")).expect("rename");
        std::os::unix::fs::symlink("other", &path).expect("symlink");
        assert!(!rewrite(&root, b"new", b"newer"));
        assert_eq!(read(), "new");
    }
}
