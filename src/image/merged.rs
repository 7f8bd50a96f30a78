//! Layers as the one tree that overlayfs makes of them, read without mounting anything.
//!
//! Who copies or compares layered images needs to know which layer a file is of, and reads the upper layer of machines that
//! are running; so the rules of overlayfs (Documentation/filesystems/overlayfs.rst) are applied here: whiteouts, as devices and
//! as attributes, opaque directories, redirects of renamed directories, files of which only the metadata was copied
//! up, and escaped attributes of nested overlays. The attributes are `user.overlay.*` in layered images, which have neither
//! redirects nor files of metadata alone, and `trusted.overlay.*` in layers of running machines that are thrown away.
//! Whatever is read is opened once, as a place, never through a link.
//!
//! A plain tree is a view too, of one layer in which nothing has a meaning but its own.
//!
//! | file | what it owns |
//! |---|---|
//! | `node` | a file of a view: [`Node`] |
//! | `layer` | one layer, and what overlayfs left in it |

mod layer;
mod node;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use layer::{Redirect, is_whiteout, mark, open_place, redirect_of, rewound, stat_of, walk};
use node::Part;

use super::overlay::Marks;
use crate::sys::files::{entries, open_at};
use crate::sys::{SysError, SysResult, attributes};

pub use node::Node;

/// Symlinks followed on the way to one file, as the kernel has it (path_resolution(7)).
const LINK_LIMIT: usize = 40;

/// Layers, one over the other.
#[derive(Debug)]
pub struct View {
    /// The lowest first.
    layers: Vec<OwnedFd>,
    marks: Option<Marks>,
}

/// Where the lower parts of a directory, or the data of a file, are looked for.
enum Search<'a> {
    /// Under this name in the other parts of its parent.
    Beside(std::slice::Iter<'a, Part>, OsString),
    /// At this path of the layers below this one.
    Below(usize, PathBuf),
}

impl View {
    /// The view of `layers`, the lowest first.
    pub fn of_layers(layers: Vec<OwnedFd>, marks: Marks) -> Self {
        Self { layers, marks: Some(marks) }
    }

    /// What it was made of.
    pub fn into_layers(self) -> Vec<OwnedFd> {
        self.layers
    }

    /// A plain tree: every file is what it is.
    pub fn of_tree(tree: OwnedFd) -> Self {
        Self { layers: vec![tree], marks: None }
    }

    /// The root directory.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn root(&self) -> SysResult<Node> {
        let mut parts = Vec::with_capacity(self.layers.len());
        for (layer, root) in self.layers.iter().enumerate().rev() {
            let directory = open_at(root, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            let part = Part { layer, has_attribute_whiteouts: false, directory };
            let (part, opaque) = self.looked_at(part)?;
            parts.push(part);
            if opaque {
                break;
            }
        }
        let top = parts.first().ok_or_else(|| SysError::new("openat", "no layers", Errno::NOENT))?;
        let place = open_at(&top.directory, ".", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        let stat = stat_of(&place)?;
        Ok(Node { place, stat, layer: top.layer, marks: self.marks, parts, data: None })
    }

    /// The names in `directory`, sorted. Some may turn out to have been removed.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn names(&self, directory: &Node) -> SysResult<Vec<OsString>> {
        if let [part] = directory.parts.as_slice() {
            let mut names: Vec<_> = entries(rewound(part)?)?.into_iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            return Ok(names);
        }
        let mut names = BTreeSet::new();
        for part in &directory.parts {
            names.extend(entries(rewound(part)?)?.into_iter().map(|(name, _)| name));
        }
        Ok(names.into_iter().collect())
    }

    /// What is called `name` in `directory`, links not followed.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn child(&self, directory: &Node, name: &OsStr) -> SysResult<Option<Node>> {
        let mut search = Search::Beside(directory.parts.iter(), name.to_owned());
        let mut found: Option<Node> = None;
        loop {
            let (layer, whiteouts, place) = match &mut search {
                Search::Beside(parts, name) => match parts.next() {
                    None => break,
                    Some(part) => {
                        (part.layer, part.has_attribute_whiteouts, open_place(&part.directory, name)?)
                    }
                },
                Search::Below(0, _) => break,
                Search::Below(left, path) => {
                    *left -= 1;
                    (*left, false, walk(self.layers.get(*left), path)?)
                }
            };
            let Some((place, stat)) = place else { continue };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if let Some(marks) = self.marks
                && is_whiteout(&place, &stat, whiteouts.then_some(marks))?
            {
                break;
            }
            let redirect = match (&mut found, kind) {
                (None, FileType::Directory) => {
                    let (part, rest) = self.part(&place, layer)?;
                    let parts = vec![part];
                    found = Some(Node { place, stat, layer, marks: self.marks, parts, data: None });
                    rest
                }
                (None, _) => {
                    let rest = self.lacks_data(&place, kind, layer)?;
                    let parts = Vec::new();
                    found = Some(Node { place, stat, layer, marks: self.marks, parts, data: None });
                    rest
                }
                (Some(node), FileType::Directory) if node.is_directory() => {
                    let (part, rest) = self.part(&place, layer)?;
                    node.parts.push(part);
                    rest
                }
                (Some(node), FileType::RegularFile) if !node.is_directory() => {
                    let rest = self.lacks_data(&place, kind, layer)?;
                    if rest.is_none() {
                        node.data = Some(place);
                    }
                    rest
                }
                _ => break,
            };
            match redirect {
                None => break,
                Some(Redirect::None) => {}
                Some(Redirect::Name(name)) => {
                    if let Search::Beside(_, current) = &mut search {
                        *current = name;
                    } else if let Search::Below(_, path) = &mut search {
                        path.set_file_name(name);
                    }
                }
                Some(Redirect::Path(path)) => search = Search::Below(layer, path),
            }
        }
        Ok(found)
    }

    /// What is at `path`, links followed within the view.
    ///
    /// # Errors
    /// When a layer cannot be read; ELOOP after too many links.
    pub fn find(&self, path: &Path) -> SysResult<Option<Node>> {
        let mut left: Vec<OsString> = components(path).rev().collect();
        let mut above = Vec::new();
        let mut here = self.root()?;
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                here = above.pop().unwrap_or(here);
                continue;
            }
            let Some(next) = self.child(&here, &name)? else { return Ok(None) };
            if next.kind() == FileType::Symlink {
                links += 1;
                if links > LINK_LIMIT {
                    return Err(SysError::new("openat", format!("{path:?}"), Errno::LOOP));
                }
                let target = next.link_target()?;
                if target.is_absolute() {
                    above.clear();
                    here = self.root()?;
                }
                left.extend(components(&target).rev());
            } else if next.is_directory() || left.is_empty() {
                above.push(std::mem::replace(&mut here, next));
            } else {
                return Ok(None);
            }
        }
        Ok(Some(here))
    }

    /// The first `limit` bytes of the regular file at `path`; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, path: impl AsRef<Path>, limit: usize) -> SysResult<Option<Vec<u8>>> {
        match self.find(path.as_ref())?.filter(|node| node.kind() == FileType::RegularFile) {
            None => Ok(None),
            Some(node) => crate::sys::files::read_all(node.open()?, limit).map(Some),
        }
    }

    fn part(&self, place: &OwnedFd, layer: usize) -> SysResult<(Part, Option<Redirect>)> {
        let directory = open_at(place, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let part = Part { layer, has_attribute_whiteouts: false, directory };
        let (part, opaque) = self.looked_at(part)?;
        // Nothing is below the lowest.
        if opaque || layer == 0 {
            return Ok((part, None));
        }
        let redirect = match self.marks {
            Some(Marks::Trusted) => {
                redirect_of(attributes::get(&part.directory, &mark(Marks::Trusted, "redirect"))?)?
            }
            _ => Redirect::None,
        };
        Ok((part, Some(redirect)))
    }

    /// Whether the layers below have no part in it.
    fn looked_at(&self, mut part: Part) -> SysResult<(Part, bool)> {
        let Some(marks) = self.marks else { return Ok((part, true)) };
        let opaque = attributes::get(&part.directory, &mark(marks, "opaque"))?;
        part.has_attribute_whiteouts = opaque.as_deref() == Some(b"x");
        Ok((part, opaque.as_deref() == Some(b"y")))
    }

    /// Where to look for the data of a file, if it is not here.
    fn lacks_data(&self, place: &OwnedFd, kind: FileType, layer: usize) -> SysResult<Option<Redirect>> {
        if self.marks != Some(Marks::Trusted) || kind != FileType::RegularFile || layer == 0 {
            return Ok(None);
        }
        let marked = |name| attributes::get_of_place(place, &mark(Marks::Trusted, name));
        match marked("metacopy")? {
            None => Ok(None),
            Some(_) => redirect_of(marked("redirect")?).map(Some),
        }
    }
}

fn components(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
