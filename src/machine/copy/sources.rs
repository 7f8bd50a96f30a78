//! What is copied: opened once, and named for the stream.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::archive::notes::shown;
use crate::machine::helper::Failure;
use crate::sys::in_root::Root;

/// A source that is there.
#[derive(Debug)]
pub struct OpenSource {
    /// What the stream calls it.
    pub name: Vec<u8>,
    /// It (`O_PATH`).
    pub place: OwnedFd,
}

/// What a path as a source stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// What has this name; a link is copied as such.
    Named(Vec<u8>),
    /// The directory of this name, through a link too: it ends with a slash.
    Directory(Vec<u8>),
    /// What is in the directory: it ends with `/.`, or has no name of its own.
    Contents,
}

/// What `path` stands for, by the rules of cp(1).
pub fn meaning(path: &Path) -> Meaning {
    let bytes = path.as_os_str().as_bytes();
    if bytes.ends_with(b"/.") || bytes == b"." {
        return Meaning::Contents;
    }
    match path.components().next_back() {
        Some(Component::Normal(name)) if bytes.ends_with(b"/") => {
            Meaning::Directory(name.as_bytes().to_vec())
        }
        Some(Component::Normal(name)) => Meaning::Named(name.as_bytes().to_vec()),
        _ => Meaning::Contents,
    }
}

/// Opens `paths` in `root`, all of them before anything is copied.
///
/// # Errors
/// The first that is not there.
pub fn open(root: &Root, paths: &[PathBuf]) -> Result<Vec<OpenSource>, Failure> {
    paths.iter().map(|path| open_one(root, path)).collect()
}

fn open_one(root: &Root, path: &Path) -> Result<OpenSource, Failure> {
    let (name, flags) = match meaning(path) {
        Meaning::Named(name) => (name, OFlags::NOFOLLOW),
        Meaning::Directory(name) => (name, OFlags::DIRECTORY),
        Meaning::Contents => (b".".to_vec(), OFlags::DIRECTORY),
    };
    let shown = shown(path.as_os_str().as_bytes());
    let place =
        root.open_file(path, OFlags::PATH | flags, Mode::empty()).map_err(|error| match error.errno() {
            Errno::NOENT => Failure::new(format!("{shown} does not exist"), None),
            Errno::NOTDIR => Failure::new(format!("{shown} is no directory"), None),
            _ => Failure::new(format!("cannot open {shown}: {}", error.errno()), None),
        })?;
    Ok(OpenSource { name, place })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings() {
        let named = |name: &str| Meaning::Named(name.into());
        let directory = |name: &str| Meaning::Directory(name.into());
        let rows = [
            ("/etc/hosts", named("hosts")),
            ("/etc/", directory("etc")),
            ("/etc//", directory("etc")),
            ("/etc/.", Meaning::Contents),
            ("/etc/..", Meaning::Contents),
            ("/", Meaning::Contents),
            ("/a/./b", named("b")),
        ];
        for (path, expected) in rows {
            assert_eq!(meaning(Path::new(path)), expected, "{path}");
        }
    }
}
