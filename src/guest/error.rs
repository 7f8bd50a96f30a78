//! Why a tree cannot be run.

use std::path::PathBuf;

use super::architecture::Architecture;
use crate::sys::SysError;

/// Why a tree cannot be run, in one line; [`TreeError::hint`] is the next step.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// There is nothing at the path.
    #[error("tree {} does not exist", path.display())]
    Missing {
        /// The path that was given.
        path: PathBuf,
    },
    /// The path is a file.
    #[error("tree {} is not a directory", path.display())]
    NotADirectory {
        /// The path that was given.
        path: PathBuf,
    },
    /// The directory has no entries.
    #[error("tree {} is empty, there is no operating system in it", path.display())]
    Empty {
        /// The path that was given.
        path: PathBuf,
    },
    /// None of the usual places has an init.
    #[error("tree {} has no init; looked at {}", path.display(), looked_at.join(", "))]
    NoInit {
        /// The tree.
        path: PathBuf,
        /// The places, in the order they were looked at.
        looked_at: Vec<&'static str>,
    },
    /// The init that was asked for is not there.
    #[error("init {} does not exist in tree {}", init.display(), path.display())]
    InitMissing {
        /// The tree.
        path: PathBuf,
        /// The init, in the tree.
        init: PathBuf,
    },
    /// The init is there but cannot be executed.
    #[error("{} in the tree is not an executable file", program.display())]
    NotExecutable {
        /// The program, in the tree.
        program: PathBuf,
    },
    /// The kernel would answer ENOEXEC.
    #[error("{} in the tree is neither an ELF program nor a script", program.display())]
    UnknownFormat {
        /// The program, in the tree.
        program: PathBuf,
    },
    /// The dynamic linker of a program or the interpreter of a script is not in the tree.
    #[error("{} in the tree needs {}, which is not in the tree", program.display(), interpreter.display())]
    InterpreterMissing {
        /// The program, in the tree.
        program: PathBuf,
        /// What it asks the kernel to run it with, in the tree.
        interpreter: PathBuf,
    },
    /// The programs of the tree are for another processor.
    #[error("the tree is for {tree} ({}), this host is {host}", program.display())]
    ForeignArchitecture {
        /// The program that was looked at, in the tree.
        program: PathBuf,
        /// What it is for.
        tree: Architecture,
        /// What this host is.
        host: Architecture,
    },
    /// A base directory is a link that does not end at a directory of the tree.
    #[error("/{name} of the tree is a symlink that points out of the tree, to {}", target.display())]
    BaseLeavesTree {
        /// The directory's name.
        name: &'static str,
        /// The link's contents.
        target: PathBuf,
    },
    /// A directory of the kernel's file systems, or /run, is a link.
    #[error("/{name} of the tree is a symlink, to {}", target.display())]
    BaseIsLink {
        /// The directory's name.
        name: &'static str,
        /// The link's contents.
        target: PathBuf,
    },
    /// A base directory is something else.
    #[error("/{name} of the tree is not a directory")]
    BaseNotADirectory {
        /// The directory's name.
        name: &'static str,
    },
    /// A system call failed.
    #[error("cannot look into the tree")]
    Sys(#[from] SysError),
}

impl TreeError {
    /// What the person at the command line can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Missing { .. } => {
                "give the directory that holds the root file system, such as one made by mmdebstrap".into()
            }
            Self::NotADirectory { .. } => "disk images and archives are not run directly: unpack them first".into(),
            Self::Empty { path } => {
                format!("fill it, for example: mmdebstrap --include=systemd-sysv,dbus stable {}", path.display())
            }
            Self::NoInit { .. } => {
                "install one in the tree (Debian: systemd-sysv), name it with --init=PATH, or run one command with \
                 -- COMMAND"
                    .into()
            }
            Self::InitMissing { .. } => "--init= is a path inside the tree, as the guest sees it".into(),
            Self::NotExecutable { program } => format!("in the tree: chmod +x {}", program.display()),
            Self::UnknownFormat { .. } => "it may be cut off, or a script without its #! line".into(),
            Self::InterpreterMissing { interpreter, .. } => match interpreter.starts_with("/lib64") {
                true => "is the tree whole? Where /usr is merged, /lib64 is a symlink to usr/lib64".into(),
                false => "is the tree whole?".into(),
            },
            Self::ForeignArchitecture { tree, .. } => format!(
                "register qemu-{} with binfmt_misc on this host (Debian: qemu-user-static), or take a tree for this host",
                tree.qemu_name()?
            ),
            Self::BaseLeavesTree { name, .. }
            | Self::BaseIsLink { name, .. }
            | Self::BaseNotADirectory { name } => {
                format!("make it a directory: the guest's own /{name} goes there")
            }
            Self::Sys(_) => return None,
        };
        Some(text)
    }
}
