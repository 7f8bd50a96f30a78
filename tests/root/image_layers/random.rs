//! Random changes of a tree, the same to two of them.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode};

/// Numbers that look random, and are the same for the same seed (xorshift64*).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % limit
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most);
        (0..length).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}

/// One change.
#[derive(Debug, Clone)]
pub enum Change {
    Create(PathBuf, Vec<u8>),
    Write(PathBuf, u64, Vec<u8>),
    Append(PathBuf, Vec<u8>),
    Truncate(PathBuf, u64),
    Touch(PathBuf),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    MakeDirectory(PathBuf),
    RemoveTree(PathBuf),
    MoveDirectory(PathBuf, PathBuf),
    HardLink(PathBuf, PathBuf),
    Symlink(PathBuf, PathBuf),
    Mode(PathBuf, u32),
    Owner(PathBuf, u32, u32),
    Attribute(PathBuf, String, Option<Vec<u8>>),
    FileToDirectory(PathBuf),
    DirectoryToFile(PathBuf, Vec<u8>),
    /// Removed, and made anew: it hides what was in it.
    FreshDirectory(PathBuf),
    Node(PathBuf, bool),
}

/// What there is to be changed, of one of the trees.
struct Names {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    others: Vec<PathBuf>,
}

fn names(tree: &Path) -> Names {
    let mut names = Names { files: Vec::new(), directories: vec![PathBuf::new()], others: Vec::new() };
    let mut at = 0;
    while let Some(directory) = names.directories.get(at).cloned() {
        at += 1;
        let mut inner: Vec<_> =
            fs::read_dir(tree.join(&directory)).unwrap().map(|entry| entry.unwrap()).collect();
        inner.sort_by_key(fs::DirEntry::file_name);
        for entry in inner {
            let path = directory.join(entry.file_name());
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                names.directories.push(path);
            } else if kind.is_file() {
                names.files.push(path);
            } else {
                names.others.push(path);
            }
        }
    }
    names
}

/// A change that may or may not be possible in `tree`.
pub fn change(random: &mut Random, tree: &Path) -> Change {
    let names = names(tree);
    let file = |random: &mut Random| match names.files.is_empty() {
        true => PathBuf::from("none"),
        false => random.pick(&names.files).clone(),
    };
    let directory = |random: &mut Random| random.pick(&names.directories).clone();
    // Few names, so that things come back to where others were.
    let fresh = |random: &mut Random| directory(random).join(format!("n{}", random.below(12)));
    let any = |random: &mut Random| match random.below(3) {
        0 => directory(random),
        1 if !names.others.is_empty() => random.pick(&names.others).clone(),
        _ => file(random),
    };
    match random.below(26) {
        0..=2 => Change::Create(fresh(random), random.bytes(5000)),
        3 => Change::Write(file(random), random.below(9000) as u64, random.bytes(3000)),
        4 => Change::Append(file(random), random.bytes(3000)),
        5 => Change::Truncate(file(random), random.below(9000) as u64),
        6 => Change::Touch(file(random)),
        7..=8 => Change::Rename(file(random), fresh(random)),
        9 => Change::Rename(file(random), file(random)),
        10..=11 => Change::Unlink(any(random)),
        12..=13 => Change::MakeDirectory(fresh(random)),
        14 => Change::RemoveTree(directory(random)),
        15 => Change::MoveDirectory(directory(random), fresh(random)),
        16 => Change::HardLink(file(random), fresh(random)),
        17 => Change::Symlink(any(random), fresh(random)),
        18 => Change::Mode(any(random), [0o644, 0o4755, 0o2711, 0o600, 0o1777][random.below(5)]),
        19 => Change::Owner(any(random), [0, 1000, 65534][random.below(3)], [0, 100, 1000][random.below(3)]),
        20..=21 => {
            let path = if random.below(2) == 0 { directory(random) } else { file(random) };
            let value = (random.below(3) > 0).then(|| random.bytes(200));
            Change::Attribute(path, format!("user.a{}", random.below(3)), value)
        }
        22 => Change::FileToDirectory(file(random)),
        23 => Change::DirectoryToFile(directory(random), random.bytes(2000)),
        24 => Change::FreshDirectory(directory(random)),
        _ => Change::Node(fresh(random), random.below(2) == 0),
    }
}

/// Whether the same change to a plain tree and to an overlay of it comes to the same. A file of a lower layer loses its
/// other names there when it is changed (overlayfs.rst, "Non-standard behavior"), so such are left alone.
pub fn is_comparable(trees: [&Path; 2], change: &Change) -> bool {
    let linked = |path: &PathBuf| {
        trees.iter().any(|tree| {
            fs::symlink_metadata(tree.join(path))
                .is_ok_and(|metadata| !metadata.is_dir() && metadata.nlink() > 1)
        })
    };
    let root = |path: &PathBuf| path.as_os_str().is_empty();
    let contains_links = |path: &PathBuf| {
        trees.iter().any(|tree| {
            let names = names_if_directory(&tree.join(path));
            names.iter().any(|name| linked(&path.join(name)))
        })
    };
    match change {
        Change::Unlink(path) => !root(path),
        Change::Create(path, _)
        | Change::Write(path, ..)
        | Change::Append(path, _)
        | Change::Truncate(path, _)
        | Change::Touch(path)
        | Change::Mode(path, _)
        | Change::Owner(path, ..)
        | Change::Attribute(path, ..)
        | Change::HardLink(path, _) => !linked(path),
        Change::Rename(from, to) => !linked(from) && from != to,
        Change::MoveDirectory(from, to) => !root(from) && !to.starts_with(from) && !contains_links(from),
        Change::RemoveTree(path) | Change::DirectoryToFile(path, _) | Change::FreshDirectory(path) => {
            !root(path)
        }
        _ => true,
    }
}

fn names_if_directory(tree: &Path) -> Vec<PathBuf> {
    if !fs::symlink_metadata(tree).is_ok_and(|metadata| metadata.is_dir()) {
        return Vec::new();
    }
    let names = names(tree);
    names.files.into_iter().chain(names.others).collect()
}

/// Makes the change in `tree`.
pub fn apply(tree: &Path, change: &Change) -> io::Result<()> {
    let at = |path: &PathBuf| tree.join(path);
    let no_directory = |path: &Path| match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(io::Error::other("a directory")),
        _ => Ok(()),
    };
    match change {
        Change::Create(path, data) => {
            let path = at(path);
            no_directory(&path)?;
            OpenOptions::new().write(true).create_new(true).open(path)?.write_all(data)
        }
        Change::Write(path, offset, data) => {
            OpenOptions::new().write(true).open(at(path))?.write_all_at(data, *offset)
        }
        Change::Append(path, data) => OpenOptions::new().append(true).open(at(path))?.write_all(data),
        Change::Truncate(path, size) => OpenOptions::new().write(true).open(at(path))?.set_len(*size),
        // Copied up, and as it was.
        Change::Touch(path) => {
            let mut byte = [0];
            let file = OpenOptions::new().read(true).write(true).open(at(path))?;
            if file.read_at(&mut byte, 0)? == 1 { file.write_all_at(&byte, 0) } else { Ok(()) }
        }
        Change::Rename(from, to) => fs::rename(at(from), at(to)),
        Change::Unlink(path) => {
            let path = at(path);
            if fs::symlink_metadata(&path)?.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }
        }
        Change::MakeDirectory(path) => fs::create_dir(at(path)),
        Change::RemoveTree(path) => fs::remove_dir_all(at(path)),
        Change::MoveDirectory(from, to) => {
            if fs::symlink_metadata(at(to)).is_ok() {
                return Err(io::Error::other("there"));
            }
            // It copies what overlayfs refuses to rename.
            let moved = Command::new("mv").arg("-T").arg(at(from)).arg(at(to)).output()?;
            if moved.status.success() { Ok(()) } else { Err(io::Error::other(format!("{moved:?}"))) }
        }
        Change::HardLink(from, to) => fs::hard_link(at(from), at(to)),
        Change::Symlink(target, path) => symlink(target, at(path)),
        Change::Mode(path, mode) => {
            let path = at(path);
            if fs::symlink_metadata(&path)?.is_symlink() {
                return Err(io::Error::other("a link"));
            }
            fs::set_permissions(path, fs::Permissions::from_mode(*mode))
        }
        Change::Owner(path, user, group) => std::os::unix::fs::lchown(at(path), Some(*user), Some(*group)),
        Change::Attribute(path, name, Some(value)) => {
            Ok(rustix::fs::lsetxattr(at(path), name, value, rustix::fs::XattrFlags::empty())?)
        }
        Change::Attribute(path, name, None) => Ok(rustix::fs::lremovexattr(at(path), name)?),
        Change::FileToDirectory(path) => {
            fs::remove_file(at(path))?;
            fs::create_dir(at(path))?;
            fs::write(at(path).join("within"), "new")
        }
        Change::DirectoryToFile(path, data) => {
            fs::remove_dir_all(at(path))?;
            fs::write(at(path), data)
        }
        Change::FreshDirectory(path) => {
            fs::remove_dir_all(at(path))?;
            fs::create_dir(at(path))
        }
        Change::Node(path, fifo) => {
            let (kind, device) = match fifo {
                true => (FileType::Fifo, 0),
                false => (FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
            };
            Ok(rustix::fs::mknodat(CWD, at(path), kind, Mode::from_raw_mode(0o640), device)?)
        }
    }
}
