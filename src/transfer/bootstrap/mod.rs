//! Trees made of packages, by the distro's own tool: what is left where no image of it can be had.
//!
//! The command is planned as data, without a shell anywhere: what comes from a reference or a catalogue file is one
//! argument, or part of one, and its letters have been looked at when it was read. The tool works in the hidden directory
//! of an image that is being made; what it prints is told line by line, its last lines are the error's.
//!
//! | file | what it owns |
//! |---|---|
//! | [`plan`] | the command of each tool |
//! | [`apt`] | what this host's apt knows: mirrors, proxies |
//! | [`run`] | running it: progress, cancellation, its log |
//! | [`seal`] | taking this host and this moment out of the tree |
//! | [`busybox`] | a tree of one executable |

use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use super::catalogue::model::{Bootstrap, Finishing, Key, Tool};
use super::{Context, Event};
use crate::image::NewImage;
use crate::sys::SysError;
use crate::sys::files::open_at;
use crate::sys::in_root::Root;

pub mod apt;
pub mod busybox;
pub mod plan;
pub mod run;
pub mod seal;

/// Why no tree could be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("{tool} is not installed (the package {package} has it)")]
    NoTool { tool: &'static str, package: &'static str },
    #[error("no keyring for {what}: {}", .files.join(", "))]
    NoKeyring { what: String, files: Vec<String>, package: Option<String> },
    #[error("cannot run {program}")]
    Run {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{tool} failed ({status}): {}", .last)]
    Failed { tool: &'static str, status: String, last: String, log: Vec<String> },
    #[error("cannot finish the tree that {tool} made")]
    Tree {
        tool: &'static str,
        #[source]
        source: SysError,
    },
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoTool { package, .. } => format!("install the package {package}"),
            Self::NoKeyring { package: Some(package), .. } => format!("install the package {package}"),
            Self::NoKeyring { .. } => "put the distro's keyring there".to_owned(),
            Self::Failed { log, .. } if !log.is_empty() => format!("it said:\n    {}", log.join("\n    ")),
            _ => return None,
        })
    }

    /// Whether the tool cannot be used here at all, so that nothing was tried.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::NoTool { .. } | Self::NoKeyring { .. })
    }
}

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// As the catalogue has it.
    pub bootstrap: &'a Bootstrap,
    /// How the tool spells the architecture.
    pub arch: &'a str,
    /// Whether it is this host's.
    pub native: bool,
    /// The key of the packages.
    pub key: Option<&'a Key>,
    /// The distro does not care for this release any more: what its mirrors say may be past its date.
    pub past: bool,
}

/// Whether the tool can be used here: it is installed, and it has a keyring.
///
/// # Errors
/// When it cannot.
pub fn check(wanted: &Wanted<'_>) -> Result<(), Error> {
    plan::program(wanted.bootstrap.tool)?;
    keyring(wanted).map(drop)
}

/// Fills the directory `new` with a tree, and gives what vouches for it, for people: `verified by ...`.
///
/// # Errors
/// When there is no tool, when it fails, or when the user has enough of it.
pub fn fill(new: &NewImage, wanted: &Wanted<'_>, context: &Context) -> Result<String, Error> {
    let tool = wanted.bootstrap.tool;
    let keyring = keyring(wanted)?;
    let failed = |source| Error::Tree { tool: tool.name(), source };
    // Tools take a path, not an fd: it is that of our own pool, in which nobody but root can rename anything.
    let target =
        std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&new.content())))
            .map_err(|source| Error::Run { program: tool.name().to_owned(), source })?;
    let mirrors = if tool == Tool::Mmdebstrap { apt::mirrors(wanted) } else { Vec::new() };
    let proxies = if tool == Tool::Mmdebstrap { apt::proxies() } else { Vec::new() };
    let planned = plan::command(wanted, plan::Surroundings { target: &target, keyring, mirrors, proxies })?;
    let root =
        open_at(new.content(), ".", OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
    let root = Root::from_fd(root, &target);
    if tool == Tool::Xbps {
        seal::copy_keys(&root, "/var/db/xbps/keys", "var/db/xbps/keys").map_err(failed)?;
    }
    run::run(tool.name(), &planned, new.content().as_fd(), context)?;
    context.tell(Event::Stage { what: "taking this host out of the tree".to_owned(), total: None });
    if wanted.bootstrap.finish == Some(Finishing::Busybox) {
        busybox::finish(&root, new.content()).map_err(failed)?;
    }
    seal::seal(&root, new.content()).map_err(failed)?;
    Ok(match wanted.key {
        Some(_) => format!("the signatures of the packages' archive, by {}", tool.name()),
        None => format!("what {} checks", tool.name()),
    })
}

/// The keyring of the packages, where the catalogue names one.
fn keyring(wanted: &Wanted<'_>) -> Result<Option<PathBuf>, Error> {
    let Some(key) = wanted.key else { return Ok(None) };
    match key.files.iter().find(|file| file.exists()) {
        Some(file) => Ok(Some(file.clone())),
        None => Err(Error::NoKeyring {
            what: format!("the packages of {}", wanted.bootstrap.suite),
            files: key.files.iter().map(|file| file.display().to_string()).collect(),
            package: key.package.clone(),
        }),
    }
}
