//! A tree, and all that is to be known of it before a machine is planned.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::architecture::Architecture;
use super::base::BaseDirectories;
use super::error::TreeError;
use super::executable::Executable;
use super::init::{DetectedInit, detect};
use super::machine_id::MachineIdState;
use super::os_release::OsRelease;
use crate::sys::in_root::{Metadata, Root, absent_is_none};

/// Most of /etc/os-release that is read.
const MAX_OS_RELEASE: usize = 64 << 10;
/// A machine ID and some more, to see that there is more.
const MAX_MACHINE_ID: usize = 128;

/// Where a command without a slash is looked for: what our guests get as PATH.
const COMMAND_PLACES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A tree that has been opened.
#[derive(Debug)]
pub struct Tree {
    /// Its root directory.
    pub root: Root,
}

/// What the planner and the supervisor need to know of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFacts {
    /// The directories that mounts go to.
    pub base: BaseDirectories,
    /// What it says it is.
    pub os_release: Option<OsRelease>,
    /// What its /etc/machine-id says.
    pub machine_id: MachineIdState,
    /// Its init, if it was inspected to be booted.
    pub init: Option<DetectedInit>,
    /// The path in the tree of the command, if it was inspected for one and has it, executable or not.
    pub command: Option<PathBuf>,
    /// What its init or the command is built for; `None` where there is no command that can be executed.
    pub architecture: Option<Architecture>,
}

impl Tree {
    /// Opens the directory `path` of the host.
    pub fn open(path: &Path) -> Result<Self, TreeError> {
        match Root::open(path) {
            Ok(root) => Ok(Self { root }),
            Err(error) => Err(match error.errno() {
                Errno::NOENT => TreeError::Missing { path: path.to_owned() },
                Errno::NOTDIR => TreeError::NotADirectory { path: path.to_owned() },
                _ => error.into(),
            }),
        }
    }

    /// The same tree as our mount namespace sees it now: mounts can be cloned only by the namespace that they were opened
    /// in. Fails if the path has come to name another directory since.
    pub fn reopen(&self) -> Result<Self, TreeError> {
        let again = Self::open(self.root.path())?;
        if Metadata::of(&again.root)?.is_same(&Metadata::of(&self.root)?) {
            Ok(again)
        } else {
            Err(TreeError::Missing { path: self.root.path().to_owned() })
        }
    }

    /// Looks at the tree as one to boot, with its own init or `init`, a path in it. Fails if it cannot be booted here.
    pub fn inspect(&self, init: Option<&Path>) -> Result<TreeFacts, TreeError> {
        inspect(&self.root, init)
    }

    /// Looks at the tree as one to run `command` in, for which it needs neither an init nor an os-release. A command that
    /// is missing or cannot be executed is no error here: execve(2) will say so, and exit statuses 127 and 126 tell it.
    pub fn inspect_for_command(&self, command: &Path) -> Result<TreeFacts, TreeError> {
        inspect_for_command(&self.root, command)
    }
}

/// As [`Tree::inspect`].
pub fn inspect(root: &Root, init: Option<&Path>) -> Result<TreeFacts, TreeError> {
    let base = BaseDirectories::inspect(root)?;
    let init = detect(root, init).map_err(|error| empty_or(root, error))?;
    require_runnable(&init.path, init.architecture)?;
    Ok(TreeFacts {
        base,
        os_release: os_release(root)?,
        machine_id: machine_id(root)?,
        command: None,
        architecture: Some(init.architecture),
        init: Some(init),
    })
}

/// As [`Tree::inspect_for_command`].
pub fn inspect_for_command(root: &Root, command: &Path) -> Result<TreeFacts, TreeError> {
    let base = BaseDirectories::inspect(root)?;
    let found = find_command(root, command)?;
    if found.is_none() && is_empty(root)? {
        return Err(TreeError::Empty { path: root.path().to_owned() });
    }
    let (command, architecture) = found.unzip();
    let architecture = architecture.flatten();
    if let (Some(command), Some(architecture)) = (&command, architecture) {
        require_runnable(command, architecture)?;
    }
    Ok(TreeFacts {
        base,
        os_release: os_release(root)?,
        machine_id: machine_id(root)?,
        init: None,
        architecture,
        command,
    })
}

/// Where `command` is, and what it is for if it can be executed.
fn find_command(root: &Root, command: &Path) -> Result<Option<(PathBuf, Option<Architecture>)>, TreeError> {
    let look = |path: &Path| match Executable::inspect(root, path) {
        Ok(None) => Ok(None),
        Ok(Some(program)) => Ok(Some((program.path, Some(program.architecture)))),
        Err(error @ TreeError::Sys(_)) => Err(error),
        Err(_) => Ok(Some((path.to_owned(), None))),
    };
    if command.is_absolute() || command.components().count() != 1 {
        return look(command);
    }
    let mut unusable = None;
    for place in COMMAND_PLACES {
        match look(&Path::new(place).join(command))? {
            Some((path, None)) => unusable = unusable.or(Some((path, None))),
            None => {}
            usable => return Ok(usable),
        }
    }
    Ok(unusable)
}

/// What a tree says it is.
///
/// # Errors
/// None so far: what cannot be read says nothing.
pub fn os_release(root: &Root) -> Result<Option<OsRelease>, TreeError> {
    for path in ["/etc/os-release", "/usr/lib/os-release"] {
        // What is no file there says nothing, and os-release is no reason not to run.
        if let Ok(Some(contents)) = absent_is_none(root.read(path, MAX_OS_RELEASE)) {
            return Ok(Some(OsRelease::parse(&String::from_utf8_lossy(&contents))));
        }
    }
    Ok(None)
}

/// What its /etc/machine-id says.
///
/// # Errors
/// None so far.
pub fn machine_id(root: &Root) -> Result<MachineIdState, TreeError> {
    Ok(match absent_is_none(root.read("/etc/machine-id", MAX_MACHINE_ID)) {
        Ok(Some(contents)) => MachineIdState::parse(&contents),
        Ok(None) => MachineIdState::Missing,
        // A link that loops, a directory: the init will have the same trouble with it.
        Err(_) => MachineIdState::Invalid,
    })
}

fn require_runnable(program: &Path, tree: Architecture) -> Result<(), TreeError> {
    let Some(host) = Architecture::host() else { return Ok(()) };
    if tree.runs_on(host) || emulated(tree) {
        return Ok(());
    }
    Err(TreeError::ForeignArchitecture { program: program.to_owned(), tree, host })
}

/// Whether the host's kernel hands such programs to qemu (binfmt_misc).
pub(super) fn emulated(architecture: Architecture) -> bool {
    architecture.qemu_name().is_some_and(|name| {
        std::fs::read_to_string(format!("/proc/sys/fs/binfmt_misc/qemu-{name}"))
            .is_ok_and(|state| state.starts_with("enabled"))
    })
}

/// That the tree is empty says more than that it has no init.
fn empty_or(root: &Root, error: TreeError) -> TreeError {
    match error {
        TreeError::NoInit { path, .. } if is_empty(root).unwrap_or(false) => TreeError::Empty { path },
        error => error,
    }
}

fn is_empty(root: &Root) -> Result<bool, TreeError> {
    let mut empty = true;
    root.scan_dir("/", |_| {
        empty = false;
        std::ops::ControlFlow::Break(())
    })?;
    Ok(empty)
}

#[cfg(test)]
pub(super) mod tests;
