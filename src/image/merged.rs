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

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::overlay::Marks;
use crate::sys::files::{entries, open_at};
use crate::sys::in_root::reopen;
use crate::sys::{FdPath, SysError, SysResult, attributes, sys};

/// Symlinks followed on the way to one file, as the kernel has it (path_resolution(7)).
const LINK_LIMIT: usize = 40;

/// Layers, one over the other.
#[derive(Debug)]
pub struct View {
    /// The lowest first.
    layers: Vec<OwnedFd>,
    marks: Option<Marks>,
}

/// A file of a view.
#[derive(Debug)]
pub struct Node {
    place: OwnedFd,
    stat: Stat,
    /// Which layer it is of.
    layer: usize,
    marks: Option<Marks>,
    /// What it is made of, the uppermost first, if it is a directory.
    parts: Vec<Part>,
    /// Where its data is, if not where its metadata is.
    data: Option<OwnedFd>,
}

/// The part of a directory that one layer has.
#[derive(Debug)]
struct Part {
    layer: usize,
    directory: OwnedFd,
    /// Empty files in it may be whiteouts.
    has_attribute_whiteouts: bool,
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

/// Where overlayfs goes on to look, in lower layers.
enum Redirect {
    /// For the same.
    None,
    /// For another name in the same directory.
    Name(OsString),
    /// For a path from the root.
    Path(PathBuf),
}

/// Whatever wrote it, it leads nowhere but into the layers.
fn redirect_of(value: Option<Vec<u8>>) -> SysResult<Redirect> {
    let Some(value) = value else { return Ok(Redirect::None) };
    let refused =
        || SysError::new("fgetxattr", format!("a redirect to {:?}", OsStr::from_bytes(&value)), Errno::INVAL);
    let path = Path::new(OsStr::from_bytes(&value));
    let mut names = path.components().filter(|component| *component != Component::RootDir).peekable();
    if names.peek().is_none() || !names.all(|component| matches!(component, Component::Normal(_))) {
        return Err(refused());
    }
    match (path.is_absolute(), path.components().count()) {
        (true, _) => Ok(Redirect::Path(path.strip_prefix("/").unwrap_or(path).to_owned())),
        (false, 1) => Ok(Redirect::Name(path.as_os_str().to_owned())),
        (false, _) => Err(refused()),
    }
}

impl Node {
    /// What fstat(2) says of it.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Regular file, directory, symlink, ...
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Which file it is, among all of its view: names that have the same are links of one.
    pub fn identity(&self) -> (usize, u64, u64) {
        (self.layer, self.stat.st_dev, self.stat.st_ino)
    }

    /// Whether it is made of the very same files as `other` of another view.
    pub fn is_same(&self, other: &Self) -> bool {
        let key = |stat: &Stat| (stat.st_dev, stat.st_ino, stat.st_mode);
        let data = |node: &Self| node.data.as_ref().map(|data| stat_of(data).map(|stat| key(&stat)).ok());
        let parts = |node: &Self| -> Option<Vec<_>> {
            node.parts.iter().map(|part| stat_of(&part.directory).ok().map(|stat| key(&stat))).collect()
        };
        key(&self.stat) == key(&other.stat)
            && data(self) == data(other)
            && parts(self).is_some()
            && parts(self) == parts(other)
    }

    /// Itself, as a place.
    pub fn place(&self) -> BorrowedFd<'_> {
        self.place.as_fd()
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// EINVAL for what is none: it could block, or be a device.
    pub fn open(&self) -> SysResult<OwnedFd> {
        if self.kind() != FileType::RegularFile {
            return Err(SysError::new("openat", FdPath::of(&self.place).to_string(), Errno::INVAL));
        }
        let place = self.data.as_ref().unwrap_or(&self.place);
        reopen(place, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    /// Where a symlink points, as written in it.
    ///
    /// # Errors
    /// When it is none.
    pub fn link_target(&self) -> SysResult<PathBuf> {
        let target = rustix::fs::readlinkat(&self.place, c"", Vec::new());
        let target = sys("readlinkat", target, || FdPath::of(&self.place).to_string())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Its extended attributes as a machine sees them, sorted.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn attributes(&self) -> SysResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut found = Vec::new();
        for name in attributes::list_of_place(&self.place)? {
            let Some(shown) = self.shown(&name) else { continue };
            if let Some(value) = attributes::get_of_place(&self.place, &name)? {
                found.push((shown, value));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn shown(&self, name: &[u8]) -> Option<Vec<u8>> {
        let Some(marks) = self.marks else { return Some(name.to_vec()) };
        match (
            name.strip_prefix(mark(marks, "").as_slice()),
            name.strip_prefix(mark(marks, "overlay.").as_slice()),
        ) {
            // What a nested overlay wrote (Linux 6.7).
            (_, Some(rest)) => Some([mark(marks, "").as_slice(), rest].concat()),
            (Some(_), None) => None,
            (None, None) => Some(name.to_vec()),
        }
    }
}

fn stat_of(fd: &impl AsFd) -> SysResult<Stat> {
    sys("fstat", rustix::fs::fstat(fd), || FdPath::of(fd).to_string())
}

/// A directory can be listed once by an fd.
fn rewound(part: &Part) -> SysResult<OwnedFd> {
    open_at(&part.directory, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
}

fn open_place(directory: &OwnedFd, name: &OsStr) -> SysResult<Option<(OwnedFd, Stat)>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        opened => sys("openat", opened, || format!("{}, {name:?}, O_PATH", FdPath::of(directory)))?,
    };
    let stat = stat_of(&place)?;
    Ok(Some((place, stat)))
}

/// `path` in one layer: none of its directories may be removed there, or be anything else.
fn walk(layer: Option<&OwnedFd>, path: &Path) -> SysResult<Option<(OwnedFd, Stat)>> {
    let Some(layer) = layer else { return Ok(None) };
    let mut found: Option<(OwnedFd, Stat)> = None;
    for name in path {
        let directory = found.as_ref().map_or(layer, |(place, _)| place);
        match open_place(directory, name)? {
            None => return Ok(None),
            next => found = next,
        }
    }
    Ok(found)
}

/// The attribute `name` of overlayfs.
fn mark(marks: Marks, name: &str) -> Vec<u8> {
    let space = match marks {
        Marks::User => "user.overlay.",
        Marks::Trusted => "trusted.overlay.",
    };
    format!("{space}{name}").into_bytes()
}

/// In a directory that says so an empty file with an attribute is one, too.
fn is_whiteout(place: &OwnedFd, stat: &Stat, attribute: Option<Marks>) -> SysResult<bool> {
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => stat.st_rdev == 0,
        FileType::RegularFile if stat.st_size == 0 => match attribute {
            Some(marks) => attributes::get_of_place(place, &mark(marks, "whiteout"))?.is_some(),
            None => false,
        },
        _ => false,
    })
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
