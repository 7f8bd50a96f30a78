//! Two views, file by file.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::change::{Change, Detail, Kind};
use crate::image::merged::{Node, View};
use crate::sys::{FdPath, SysError, SysResult, sys};

/// Directories in each other: more than any distro has, fewer than we may have open.
const DEPTH_LIMIT: usize = 500;

/// Bytes of each file that are compared at once.
const CHUNK: usize = 128 << 10;

/// The attribute of file capabilities (capabilities(7)).
const CAPABILITY: &[u8] = b"security.capability";

/// What differs in `new`, in the order of paths. Times alone make no difference.
///
/// # Errors
/// When one of them cannot be read.
pub fn compare(old: &View, new: &View) -> SysResult<Vec<Change>> {
    let mut comparison = Comparison { old, new, changes: Vec::new(), path: PathBuf::new() };
    comparison.pair(&old.root()?, &new.root()?, 0)?;
    Ok(comparison.changes)
}

struct Comparison<'a> {
    old: &'a View,
    new: &'a View,
    changes: Vec<Change>,
    path: PathBuf,
}

impl Comparison<'_> {
    /// Two that have the same name.
    fn pair(&mut self, old: &Node, new: &Node, depth: usize) -> SysResult<()> {
        if old.is_same(new) {
            return Ok(());
        }
        let details = details(old, new)?;
        if !details.is_empty() {
            let change = self.change(Kind::Changed, Some(old), Some(new), details)?;
            self.changes.push(change);
        }
        match (old.is_directory(), new.is_directory()) {
            (true, true) => self.directories(Some(old), new, depth),
            (false, true) => self.directories(None, new, depth),
            _ => Ok(()),
        }
    }

    /// What is in them. What a file that was no directory had in it is nothing.
    fn directories(&mut self, old: Option<&Node>, new: &Node, depth: usize) -> SysResult<()> {
        if depth > DEPTH_LIMIT {
            let arguments = format!("{depth} directories deep");
            return Err(SysError::new("openat", arguments, Errno::NAMETOOLONG));
        }
        let mut names: BTreeSet<_> = self.new.names(new)?.into_iter().collect();
        if let Some(old) = old {
            names.extend(self.old.names(old)?);
        }
        for name in names {
            let before = match old {
                None => None,
                Some(directory) => self.old.child(directory, &name)?,
            };
            let now = self.new.child(new, &name)?;
            self.path.push(&name);
            match (before, now) {
                (Some(old), Some(new)) => self.pair(&old, &new, depth + 1)?,
                (Some(old), None) => {
                    let change = self.change(Kind::Deleted, Some(&old), None, Vec::new())?;
                    self.changes.push(change);
                }
                (None, Some(new)) => {
                    let change = self.change(Kind::Added, None, Some(&new), Vec::new())?;
                    self.changes.push(change);
                    if new.is_directory() {
                        self.directories(None, &new, depth + 1)?;
                    }
                }
                (None, None) => {}
            }
            self.path.pop();
        }
        Ok(())
    }

    fn change(
        &self,
        kind: Kind,
        old: Option<&Node>,
        new: Option<&Node>,
        details: Vec<Detail>,
    ) -> SysResult<Change> {
        let capability = |node: Option<&Node>| match node {
            Some(node) if node.kind() == FileType::RegularFile => {
                let found = node.attributes()?.into_iter().find(|(name, _)| name == CAPABILITY);
                Ok(found.map(|(_, value)| value))
            }
            _ => Ok(None),
        };
        let either = new.or(old);
        let target = either.filter(|node| node.kind() == FileType::Symlink);
        Ok(Change {
            path: self.path.clone(),
            kind,
            file: either.map_or(FileType::Unknown, Node::kind),
            modes: (old.map(mode), new.map(mode)),
            capabilities: (capability(old)?, capability(new)?),
            target: target.map(Node::link_target).transpose()?,
            details,
        })
    }
}

fn mode(node: &Node) -> u32 {
    node.stat().st_mode & 0o7777
}

/// In what two files differ.
fn details(old: &Node, new: &Node) -> SysResult<Vec<Detail>> {
    let mut found = Vec::new();
    let (before, now) = (old.stat(), new.stat());
    if old.kind() != new.kind() {
        found.push(Detail::Type(old.kind(), new.kind()));
    } else if let Some(detail) = substance(old, new)? {
        found.push(detail);
    }
    // Links have no permissions of their own (symlink(7)).
    if mode(old) != mode(new) && new.kind() != FileType::Symlink {
        found.push(Detail::Mode(mode(old), mode(new)));
    }
    let owners = ((before.st_uid, before.st_gid), (now.st_uid, now.st_gid));
    if owners.0 != owners.1 {
        found.push(Detail::Owner(owners.0, owners.1));
    }
    let (before, now) = (old.attributes()?, new.attributes()?);
    let names: BTreeSet<&Vec<u8>> = before.iter().chain(&now).map(|(name, _)| name).collect();
    let value = |list: &[(Vec<u8>, Vec<u8>)], name: &[u8]| {
        list.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    };
    for name in names {
        let (old, new) = (value(&before, name), value(&now, name));
        if old != new {
            found.push(Detail::Attribute(name.clone(), old, new));
        }
    }
    Ok(found)
}

/// What two files of one kind are, metadata aside.
fn substance(old: &Node, new: &Node) -> SysResult<Option<Detail>> {
    Ok(match new.kind() {
        FileType::RegularFile => {
            let same = old.stat().st_size == new.stat().st_size && same_contents(old, new)?;
            (!same).then_some(Detail::Content)
        }
        FileType::Symlink => {
            let (old, new) = (old.link_target()?, new.link_target()?);
            (old != new).then_some(Detail::Target(old, new))
        }
        FileType::BlockDevice | FileType::CharacterDevice => {
            let numbers = |node: &Node| {
                let device = node.stat().st_rdev;
                (rustix::fs::major(device), rustix::fs::minor(device))
            };
            let (old, new) = (numbers(old), numbers(new));
            (old != new).then_some(Detail::Device(old, new))
        }
        _ => None,
    })
}

fn same_contents(old: &Node, new: &Node) -> SysResult<bool> {
    let (old, new) = (old.open()?, new.open()?);
    let (mut first, mut second) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut at = 0;
    loop {
        let length = filled(&old, &mut first, at)?;
        if length != filled(&new, &mut second, at)? || first.get(..length) != second.get(..length) {
            return Ok(false);
        }
        if length < CHUNK {
            return Ok(true);
        }
        at += length as u64;
    }
}

/// Reads as much as fits, less only at the end.
fn filled(file: &impl std::os::fd::AsFd, buffer: &mut [u8], at: u64) -> SysResult<usize> {
    let mut length = 0;
    while let Some(room) = buffer.get_mut(length..).filter(|room| !room.is_empty()) {
        let read = rustix::io::pread(file, room, at + length as u64);
        match sys("pread64", read, || FdPath::of(file).to_string())? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}
