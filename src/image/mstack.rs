//! Layered images: what the names in one mean (systemd.mstack(7)), and writing one.
//!
//! `NAME.mstack/` is a directory whose entries say how a root is put together: overlay layers (`layer@ID`), the writable
//! layer (`rw`), binds (`bind@LOCATION`, `robind@LOCATION`), and a root of which only /usr comes from the layers (`root`).
//! Each is a directory, a disk image (`.raw`), a block device, or a directory of versions (`.v`), and may be a symlink.
//! [`parse`] does no I/O: what is there is looked at by [`super::opened`].
//!
//! systemd mounts the layers with `userxattr`, and so do we ([`super::overlay::Marks::User`]): a file that is gone is a
//! character device 0:0, a directory that hides those below it has the attribute `user.overlay.opaque` with the value
//! `y`. `trusted.overlay.*` means nothing there, nor do redirects and files of metadata alone. Ids in layers are those of the
//! guest: 0 is its root.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::versions;
use crate::sys::files::make_directory_at;
use crate::sys::{FdPath, SysResult, sys};

/// The suffix of a layered image.
pub const SUFFIX: &str = ".mstack";

/// The most layers that overlayfs stacks (OVL_MAX_STACK, fs/overlayfs/params.h).
pub const MOST_LAYERS: usize = 500;

/// The directory of the writable layer, and the two directories in it that overlayfs wants.
pub const WRITABLE: &str = "rw";
/// What is changed.
pub const DATA: &str = "data";
/// Scratch space of the kernel's own.
pub const WORK: &str = "work";

/// What an entry is, symlinks followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartKind {
    /// A directory.
    Directory,
    /// A disk image, or a block device.
    Disk,
    /// A directory of versions: of directories, or of disk images.
    Versions,
}

/// An entry that is part of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name in the image.
    pub entry: String,
    /// What it is.
    pub kind: PartKind,
}

/// A bind of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// What is bound.
    pub part: Part,
    /// Where in the guest.
    pub target: PathBuf,
    /// It cannot be written to.
    pub read_only: bool,
}

/// What a layered image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stack {
    /// Read-only layers, the lowest first.
    pub layers: Vec<Part>,
    /// What holds `data` and `work` of the writable layer.
    pub writable: Option<Part>,
    /// The root itself, where it is none of the layers', and whether it cannot be written to.
    pub root: Option<(Part, bool)>,
    /// Binds, in the order of their targets: one below another comes after it.
    pub binds: Vec<Bind>,
}

/// An image that nobody can make sense of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StackError {
    #[error("{0:?} is nothing that a layered image has")]
    Unknown(String),
    #[error("{0:?} and {1:?} are the same part of it")]
    Twice(String, String),
    #[error("{0:?} has no place in the guest")]
    Location(String),
    #[error("it has {0} layers, {MOST_LAYERS} at most")]
    TooMany(usize),
    #[error("it has neither layers nor a root")]
    Empty,
}

impl StackError {
    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unknown(_) => {
                "its entries are layer@ID, rw, bind@LOCATION, robind@LOCATION and root (systemd.mstack(7))"
            }
            Self::Twice(..) => "remove or rename one of them",
            Self::Location(_) => {
                "LOCATION is a path escaped as in the names of mount units: var-lib for /var/lib"
            }
            Self::TooMany(_) => "spinney commit makes one layer of several",
            Self::Empty => "add a layer: layer@0, a directory or a symlink to one",
        }
    }
}

/// What an entry is for.
enum Role {
    Layer(String),
    Writable,
    Root,
    Bind { target: PathBuf, read_only: bool },
}

/// What entries of these names and types, symlinks followed, mean. Hidden ones mean nothing.
///
/// # Errors
/// As systemd's: an entry that is not known is refused, since without it the root would be another one.
pub fn parse<'a>(entries: impl IntoIterator<Item = (&'a str, FileType)>) -> Result<Stack, StackError> {
    let mut stack = Stack::default();
    let mut layers: Vec<(String, Part)> = Vec::new();
    let mut roots: Vec<(Part, bool)> = Vec::new();
    for (name, file_type) in entries {
        if name.starts_with('.') {
            continue;
        }
        let (bare, kind) = kind_of(name, file_type)?;
        let part = Part { entry: name.to_owned(), kind };
        match role(name, bare)? {
            Role::Layer(id) => match layers.iter().find(|(other, _)| *other == id) {
                Some((_, other)) => return Err(twice(other, &part)),
                None => layers.push((id, part)),
            },
            Role::Writable => match &stack.writable {
                Some(other) => return Err(twice(other, &part)),
                None => stack.writable = Some(part),
            },
            Role::Root => roots.push((part, false)),
            Role::Bind { target, read_only } => {
                match stack.binds.iter().find(|other| other.target == target) {
                    Some(other) => return Err(twice(&other.part, &part)),
                    None => stack.binds.push(Bind { part, target, read_only }),
                }
            }
        }
    }
    if let [(first, _), (second, _), ..] = roots.as_slice() {
        return Err(twice(first, second));
    }
    if layers.len() > MOST_LAYERS {
        return Err(StackError::TooMany(layers.len()));
    }
    layers.sort_by(|(id, _), (other, _)| versions::compare(id, other).then_with(|| id.cmp(other)));
    stack.layers = layers.into_iter().map(|(_, part)| part).collect();
    stack.root = roots.pop();
    stack.binds.sort_by(|bind, other| bind.target.cmp(&other.target));
    stack.simplified()
}

fn twice(part: &Part, other: &Part) -> StackError {
    let mut names = [part.entry.clone(), other.entry.clone()];
    names.sort();
    let [first, second] = names;
    StackError::Twice(first, second)
}

/// The name without a suffix that says what the entry is.
fn kind_of(name: &str, file_type: FileType) -> Result<(&str, PartKind), StackError> {
    match file_type {
        FileType::Directory => Ok(match versions::divide(name) {
            Some((stem, _)) => (stem, PartKind::Versions),
            None => (name, PartKind::Directory),
        }),
        FileType::RegularFile => match name.strip_suffix(".raw") {
            Some(bare) => Ok((bare, PartKind::Disk)),
            None => Err(StackError::Unknown(name.to_owned())),
        },
        FileType::BlockDevice => Ok((name, PartKind::Disk)),
        _ => Err(StackError::Unknown(name.to_owned())),
    }
}

fn role(name: &str, bare: &str) -> Result<Role, StackError> {
    let bind = |location: &str, read_only| {
        let target = unescape_path(location).ok_or_else(|| StackError::Location(name.to_owned()))?;
        Ok(Role::Bind { target, read_only })
    };
    match bare {
        WRITABLE => Ok(Role::Writable),
        "root" => Ok(Role::Root),
        _ => match bare.split_once('@') {
            Some(("layer", id)) => Ok(Role::Layer(id.to_owned())),
            Some(("bind", location)) => bind(location, false),
            Some(("robind", location)) => bind(location, true),
            _ => Err(StackError::Unknown(name.to_owned())),
        },
    }
}

/// The path that the name of a mount unit stands for (systemd.unit(5), "String escaping for inclusion in unit names").
fn unescape_path(escaped: &str) -> Option<PathBuf> {
    if escaped == "-" {
        return Some("/".into());
    }
    let mut path = String::from("/");
    let mut rest = escaped;
    while let Some(character) = rest.chars().next() {
        rest = rest.get(character.len_utf8()..)?;
        match character {
            '-' => path.push('/'),
            '\\' => {
                let digits = rest.strip_prefix('x')?.get(..2)?;
                path.push(char::from(u8::from_str_radix(digits, 16).ok().filter(u8::is_ascii)?));
                rest = rest.get(3..)?;
            }
            other => path.push(other),
        }
    }
    // Nothing that would be another path when it is resolved, and nothing that is the root by another name.
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    let parts = path.get(1..)?;
    (parts.split('/').all(plain)).then(|| PathBuf::from(path))
}

impl Stack {
    /// Without what is hidden by something else, as systemd does it.
    fn simplified(mut self) -> Result<Self, StackError> {
        if let Some(at) = self.binds.iter().position(|bind| bind.target == Path::new("/")) {
            let bind = self.binds.remove(at);
            (self.layers, self.writable) = (Vec::new(), None);
            self.root = Some((bind.part, bind.read_only));
        }
        if self.root.is_some() && self.binds.iter().any(|bind| bind.target == Path::new("/usr")) {
            (self.layers, self.writable) = (Vec::new(), None);
        }
        match (self.layers.is_empty(), self.writable.take(), self.root.is_some()) {
            (true, Some(alone), false) => self.root = Some((alone, false)),
            (true, None, false) => return Err(StackError::Empty),
            (_, writable, _) => self.writable = writable,
        }
        Ok(self)
    }

    /// Whether a machine can change something of it.
    pub fn is_writable(&self) -> bool {
        self.writable.is_some() || matches!(self.root, Some((_, false)))
    }
}

/// Makes a layered image in the empty directory `image`, of layers that are elsewhere, the lowest first: a symlink each. A
/// writable one gets its `rw`; what is in that is made at its first start.
///
/// # Errors
/// When something is there already, or cannot be made.
pub fn write(image: impl AsFd, layers: &[impl AsRef<Path>], writable: bool) -> SysResult<()> {
    for (number, target) in layers.iter().enumerate() {
        let name = layer_name(number);
        sys("symlinkat", rustix::fs::symlinkat(target.as_ref(), &image, &name), || {
            format!("{:?}, {}, {name:?}", target.as_ref(), FdPath::of(&image))
        })?;
    }
    if writable {
        // Files of the guest's are in it, setuid ones among them: nobody but root may go there.
        make_directory_at(&image, WRITABLE, 0o700)?;
    }
    Ok(())
}

/// The name of layer `number`, counted from the lowest.
pub fn layer_name(number: usize) -> String {
    format!("layer@{number}")
}

#[cfg(test)]
mod tests;
