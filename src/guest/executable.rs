//! One program of a tree: can the kernel run it here, and what is it made of.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::architecture::Architecture;
use super::elf::{Header, Linkage};
use super::error::TreeError;
use crate::sys::files::read_all;
use crate::sys::in_root::{Metadata, Root, reopen};
use crate::sys::{FdPath, SysError};

/// What is read of a program at once: its headers, and a whole #! line.
const HEAD: usize = 4096;

/// How many interpreters deep a script may be: the kernel's own limit (fs/exec.c).
const MAX_DEPTH: u32 = 4;

/// A program of a tree.
#[derive(Debug)]
pub struct Executable {
    /// Where it is in the tree, as it will be executed.
    pub path: PathBuf,
    /// What the kernel makes of it.
    pub format: Format,
    /// What it is for; of a script, what its interpreter is for.
    pub architecture: Architecture,
    /// The name at the end of all links, if the kernel tells it.
    pub real_name: Option<String>,
    file: OwnedFd,
    metadata: Metadata,
}

/// What the kernel makes of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// An ELF program.
    Elf(Linkage),
    /// A #! script with its interpreter's path in the tree.
    Script(PathBuf),
}

impl Executable {
    /// Looks at `path`; `Ok(None)` if there is nothing. Fails if what is there cannot be executed, whatever the
    /// processor: that is the caller's to compare.
    pub fn inspect(root: &Root, path: &Path) -> Result<Option<Self>, TreeError> {
        Self::inspect_at_depth(root, path, 0)
    }

    fn inspect_at_depth(root: &Root, path: &Path, depth: u32) -> Result<Option<Self>, TreeError> {
        let Some(place) = root.find(path)? else {
            return Ok(None);
        };
        let metadata = Metadata::of(&place)?;
        if metadata.kind() != FileType::RegularFile || !metadata.is_executable() {
            return Err(TreeError::NotExecutable { program: path.to_owned() });
        }
        let file = reopen(&place, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK)?;
        let head = read_all(&file, HEAD)?;
        let unknown = || TreeError::UnknownFormat { program: path.to_owned() };
        let (format, architecture) = if let Some(header) = Header::parse(&head) {
            let linkage = header.linkage(&mut |offset, length| read_range(&file, &head, offset, length));
            if let Some(interpreter) = &linkage.interpreter {
                require(root, path, Path::new(interpreter))?;
            }
            (Format::Elf(linkage), Architecture::of(&header))
        } else {
            let interpreter = script_interpreter(&head).filter(|_| depth < MAX_DEPTH).ok_or_else(unknown)?;
            let below = Self::inspect_at_depth(root, &interpreter, depth + 1)?;
            let architecture = below
                .ok_or_else(|| TreeError::InterpreterMissing {
                    program: path.to_owned(),
                    interpreter: interpreter.clone(),
                })?
                .architecture;
            (Format::Script(interpreter), architecture)
        };
        let real_name = real_name(&file);
        Ok(Some(Self { path: path.to_owned(), format, architecture, real_name, file, metadata }))
    }

    /// The names of the libraries it is linked with.
    pub fn needed(&self) -> &[String] {
        match &self.format {
            Format::Elf(linkage) => &linkage.needed,
            Format::Script(_) => &[],
        }
    }

    /// Its first `limit` bytes.
    pub fn contents(&self, limit: usize) -> Result<Vec<u8>, TreeError> {
        let mut contents = vec![0; usize::try_from(self.metadata.stat().st_size).unwrap_or(0).min(limit)];
        let filled = pread_full(&self.file, &mut contents, 0)?;
        contents.truncate(filled);
        Ok(contents)
    }

    /// Pieces of its first `limit` bytes, the last one first: the texts of a program come after its code. Each ends with the beginning of
    /// the one behind it, so that a text of some length is whole in one.
    pub fn pieces_from_end(&self, limit: usize) -> impl Iterator<Item = Result<Vec<u8>, TreeError>> {
        const PIECE: usize = 64 << 10;
        const TEXT: usize = 256;
        let size = usize::try_from(self.metadata.stat().st_size).unwrap_or(0).min(limit);
        (0..size).step_by(PIECE).rev().map(move |start| {
            let mut piece = vec![0; (PIECE + TEXT).min(size - start)];
            let filled = pread_full(&self.file, &mut piece, start as u64)?;
            piece.truncate(filled);
            Ok(piece)
        })
    }
}

/// The interpreter of a #! line (execve(2)): its first word.
fn script_interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let word = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?;
    Some(Path::new(std::ffi::OsStr::from_bytes(word)).to_owned())
}

fn require(root: &Root, program: &Path, interpreter: &Path) -> Result<(), TreeError> {
    match root.exists(interpreter)? {
        true => Ok(()),
        false => Err(TreeError::InterpreterMissing {
            program: program.to_owned(),
            interpreter: interpreter.to_owned(),
        }),
    }
}

/// The name that the kernel has for an open file. It is a hint about what is inside, never opened.
fn real_name(file: &OwnedFd) -> Option<String> {
    let shown = FdPath::of(file).to_string();
    let name = shown.strip_suffix('>')?.rsplit('/').next()?;
    Some(name.to_owned())
}

/// A range of the file, from what was read already where possible; empty where it cannot be read.
fn read_range(file: &OwnedFd, head: &[u8], offset: u64, length: usize) -> Vec<u8> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    if let Some(range) = head.get(start..start.saturating_add(length)) {
        return range.to_vec();
    }
    let mut bytes = vec![0; length];
    let filled = pread_full(file, &mut bytes, offset).unwrap_or(0);
    bytes.truncate(filled);
    bytes
}

fn pread_full(file: &OwnedFd, bytes: &mut [u8], offset: u64) -> Result<usize, TreeError> {
    let mut filled = 0;
    while let Some(room @ [_, ..]) = bytes.get_mut(filled..) {
        match rustix::io::pread(file, room, offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("pread64", FdPath::of(file).to_string(), errno).into()),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters() {
        let table = [
            ("#!/bin/sh\nexec", Some("/bin/sh")),
            ("#! /bin/sh -e\n", Some("/bin/sh")),
            ("#!/usr/bin/env\tpython3", Some("/usr/bin/env")),
            ("#!\n/bin/sh", None),
            ("#!   ", None),
            ("echo", None),
            ("", None),
        ];
        for (head, expected) in table {
            assert_eq!(script_interpreter(head.as_bytes()).as_deref(), expected.map(Path::new), "{head:?}");
        }
    }
}
