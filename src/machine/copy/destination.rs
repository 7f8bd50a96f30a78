//! Where copies go, by the rules of cp(1): into a directory that exists, else under the name given, whose parent must exist.
//! Without a destination it is the path of the source, which never becomes a directory within it.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::io::Errno;

use crate::archive::notes::shown;
use crate::archive::{Naming, Place};
use crate::machine::helper::Failure;
use crate::sys::SysError;
use crate::sys::in_root::{Metadata, Root};

/// A destination as it was given, and what is to go there.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Absolute; a trailing slash counts.
    pub path: PathBuf,
    /// It is what the source will be, and not a directory to put it into.
    pub exact: bool,
    /// Several sources go there.
    pub many: bool,
    /// The source is what is in a directory.
    pub contents: bool,
    /// The source is a tar stream of somebody's.
    pub stream: bool,
}

impl Destination {
    /// Finds it in `root`.
    ///
    /// # Errors
    /// When it or its parent is not there, or is no directory where one is needed.
    pub fn open(&self, root: &Root) -> Result<Place, Failure> {
        let path = &self.path;
        let shown = shown(path.as_os_str().as_bytes());
        let failed = |error: SysError| match error.errno() {
            Errno::NOTDIR => Failure::new(format!("what should hold {shown} is no directory"), None),
            _ => Failure::new(format!("cannot open {shown}: {}", error.errno()), None),
        };
        let slash = path.as_os_str().as_bytes().ends_with(b"/");
        let place = |directory: OwnedFd, naming| Place {
            directory: Rc::new(directory),
            naming,
            directory_only: slash,
            shown: path.as_os_str().to_owned(),
        };
        let no_directory = || Failure::new(format!("{shown} is no directory"), None);
        let needs_directory = self.many || self.stream || self.contents;
        // Without the slash, since with it a file is as absent as what is not there.
        match root.find(path.components().as_path()).map_err(failed)? {
            Some(found) if Metadata::of(&found).map_err(failed)?.is_dir() => {
                let naming = if self.exact && !self.contents { Naming::Strip } else { Naming::AsTheyAre };
                Ok(Place { directory_only: false, ..place(found, naming) })
            }
            Some(_) if slash || needs_directory => Err(no_directory()),
            None if self.many || self.stream => Err(Failure::new(
                format!("{shown} does not exist"),
                Some("it must be a directory that exists"),
            )),
            _ => {
                let (parent, name) = parent_and_name(path).ok_or_else(no_directory)?;
                let directory = match root.find(parent).map_err(failed)? {
                    Some(directory) if Metadata::of(&directory).map_err(failed)?.is_dir() => directory,
                    found => {
                        let is = if found.is_some() { "is no directory" } else { "does not exist" };
                        let parent = crate::archive::notes::shown(parent.as_os_str().as_bytes());
                        let hint = found.is_none().then_some("the directory to copy to is not made");
                        return Err(Failure::new(format!("{parent} {is}"), hint));
                    }
                };
                let naming =
                    if self.contents { Naming::Below(name.to_vec()) } else { Naming::Rename(name.to_vec()) };
                Ok(place(directory, naming))
            }
        }
    }
}

fn parent_and_name(path: &Path) -> Option<(&Path, &[u8])> {
    Some((path.parent()?, path.file_name()?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_of_cp() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("dir")).unwrap();
        std::fs::write(directory.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("dir", directory.path().join("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", directory.path().join("dangling")).unwrap();
        let root = Root::open(directory.path()).unwrap();
        let as_they_are = Some(Naming::AsTheyAre);
        let rename = |name: &str| Some(Naming::Rename(name.into()));
        // Path, "e" for exact, "m" for many, "c" for contents, "s" for a stream.
        let rows = [
            ("/dir", "", as_they_are.clone()),
            ("/dir/", "", as_they_are.clone()),
            ("/link", "", as_they_are.clone()),
            ("/dir", "e", Some(Naming::Strip)),
            ("/dir", "ec", as_they_are.clone()),
            ("/dir", "m", as_they_are.clone()),
            ("/dir", "s", as_they_are.clone()),
            ("/", "", as_they_are),
            ("/new", "", rename("new")),
            ("/new/", "", rename("new")),
            ("/new", "e", rename("new")),
            ("/dir/new", "", rename("new")),
            ("/dangling", "", rename("dangling")),
            ("/new", "c", Some(Naming::Below("new".into()))),
            ("/file", "", rename("file")),
            ("/file/", "", None),
            ("/file", "m", None),
            ("/file", "s", None),
            ("/file", "c", None),
            ("/new", "m", None),
            ("/new", "s", None),
            ("/no/new", "", None),
            ("/file/new", "", None),
            ("/new/..", "", None),
        ];
        for (path, flags, expected) in rows {
            let has = |flag| flags.contains(flag);
            let (exact, many, contents, stream) = (has('e'), has('m'), has('c'), has('s'));
            let destination = Destination { path: path.into(), exact, many, contents, stream };
            let naming = destination.open(&root).ok().map(|place| place.naming);
            assert_eq!(naming, expected, "{path} {flags}");
        }
    }
}
