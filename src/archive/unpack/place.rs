//! Where a stream goes, and what its first component is called there.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use crate::archive::notes::shown;

/// Where a stream goes.
#[derive(Debug)]
pub struct Place {
    /// The directory that all is made in or below of.
    pub directory: Rc<OwnedFd>,
    /// What becomes of paths.
    pub naming: Naming,
    /// Whether what is made right in the directory must be a directory: its name was given with a slash.
    pub directory_only: bool,
    /// What messages call the directory, or with [`Naming::Rename`] what is made in it.
    pub shown: OsString,
}

/// What becomes of the paths of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// They stay.
    AsTheyAre,
    /// The first component becomes this.
    Rename(Vec<u8>),
    /// The first component is left out: it is the directory itself.
    Strip,
    /// All are below this.
    Below(Vec<u8>),
}

impl Naming {
    /// The path to be made.
    pub(super) fn apply(&self, mut path: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        match self {
            Self::AsTheyAre => {}
            Self::Rename(name) => {
                if let Some(first) = path.first_mut() {
                    first.clone_from(name);
                }
            }
            Self::Strip => {
                if !path.is_empty() {
                    path.remove(0);
                }
            }
            Self::Below(name) => path.insert(0, name.clone()),
        }
        path
    }
}

impl Place {
    /// What messages call the member `path` of the stream.
    pub(super) fn shown_path(&self, path: &[u8]) -> String {
        let base = self.shown.as_bytes();
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let rest = match &self.naming {
            Naming::AsTheyAre | Naming::Below(_) => path,
            Naming::Rename(_) | Naming::Strip => {
                path.iter().position(|byte| *byte == b'/').map_or(&[][..], |slash| &path[slash + 1..])
            }
        };
        let rest = rest.strip_prefix(b"./").unwrap_or(rest);
        if rest.is_empty() || rest == b"." {
            return shown(base);
        }
        shown(&[base.strip_suffix(b"/").unwrap_or(base), rest].join(&b'/'))
    }
}
