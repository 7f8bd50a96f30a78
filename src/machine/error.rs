//! Why something cannot be done to a machine: one line, a hint, an exit status.

use std::path::PathBuf;
use std::time::Duration;

use super::copy::Copied;
use super::helper::Failure;
use super::schedule::Cycle;
use crate::archive;
use crate::settings::{SettingsError, ValueError, did_you_mean};
use crate::supervisor::gc::ClearError;
use crate::sys::SysError;

/// What every failed verb exits with, as `spinney run` does for faults of its own (docker-run(1)).
const OWN_FAILURE: u8 = 125;

/// For a command that is there and cannot be executed, and for one that is not there (env(1)).
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Why something cannot be done to a machine.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error(transparent)]
    Name { source: ValueError },
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("no machine {name:?} is running")]
    NotRunning { name: String },
    #[error("there are no logs of a machine {name:?}")]
    NoLogs { name: String },
    #[error("machine {name:?} has no {log} log")]
    NoSuchLog { name: String, log: &'static str },
    #[error("the {log} log of machine {name:?} does not tell what {option} asks for")]
    NotInLog { option: &'static str, name: String, log: &'static str },
    #[error("machine {name:?} has no boot {number} in its journal: there are {boots}")]
    NoBoot { name: String, number: i64, boots: usize },
    #[error("no image {name:?}{}", did_you_mean(.nearest.as_deref()))]
    NoImage { name: String, nearest: Option<String> },
    #[error("{name:?} is {kind}, which is no image")]
    ImageKind { name: String, path: PathBuf, kind: &'static str },
    #[error(transparent)]
    Images { source: crate::image::Error },
    #[error("no image was pulled from {reference}")]
    NotHere { reference: String },
    #[error("{reference} could not be pulled")]
    NotPulled { reference: String, exit_status: u8 },
    #[error("{name:?} is running already")]
    RunningAlready { name: String },
    #[error("{} says that it is {}", path.display(), if *.enabled { "enabled" } else { "not enabled" })]
    AutostartInSettings { path: PathBuf, enabled: bool },
    #[error(transparent)]
    Cycle(#[from] Cycle),
    #[error("{name:?} is still starting")]
    Starting { name: String },
    #[error("permission denied: only root may {action} machine {name:?}")]
    PermissionDenied { action: &'static str, name: String },
    #[error("machine {name:?} has ended meanwhile")]
    Gone { name: String },
    #[error("the supervisor of machine {name:?} does not answer after {}", seconds(*.waited))]
    NoAnswer { name: String, waited: Duration },
    #[error("{name:?} is still stopping after {}", seconds(*.waited))]
    StillThere { name: String, waited: Duration },
    #[error("{name:?} is not ready again after {}", seconds(*.waited))]
    NotReadyAgain { name: String, waited: Duration },
    #[error("{name:?} did not come back{}", .why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    EndedInstead { name: String, why: Option<String> },
    #[error("machine {name:?} cannot be spoken to")]
    Control {
        name: String,
        #[source]
        source: SysError,
    },
    /// Its supervisor answered with an error of the control interface.
    #[error("machine {name:?} refuses: {what}")]
    Refused {
        name: String,
        /// The error's name, with its interface.
        error: String,
        what: String,
        hint: Option<String>,
    },
    #[error("what is known of machine {name:?} cannot be read")]
    State {
        name: String,
        #[source]
        source: SysError,
    },
    #[error("{count} machines are running: which one is meant?")]
    NotOne { count: usize },
    #[error("{name:?} is paused")]
    Paused { name: String },
    #[error("our {name} is a directory, which would be a way out of the machine")]
    Stream { name: &'static str },
    #[error("the command cannot be run in the machine: {text}")]
    Inside { text: String },
    #[error("{command}: command not found in the machine")]
    CommandNotFound { command: String },
    #[error("{command} cannot be executed in the machine")]
    CommandNotExecutable {
        command: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot use our terminal")]
    Terminal {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot use the machine's cgroup")]
    Cgroup {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("that cannot be waited for")]
    Units {
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot {action}")]
    System {
        action: &'static str,
        #[source]
        source: SysError,
    },
    #[error("cannot remove what the machine left behind")]
    Left(#[from] ClearError),
    #[error(transparent)]
    Helper(Failure),
    #[error(transparent)]
    Archive(archive::Error),
    #[error("{failure}")]
    Copy { failure: Failure, copied: Box<Copied> },
}

impl From<archive::Error> for Error {
    fn from(error: archive::Error) -> Self {
        Self::Archive(error)
    }
}

/// `5 s`, `0.5 s`.
fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

impl Error {
    /// A failed call, and what it was for.
    pub fn system(action: &'static str) -> impl FnOnce(SysError) -> Self {
        move |source| Self::System { action, source }
    }

    /// What our process exits with.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::CommandNotExecutable { .. } => NOT_EXECUTABLE,
            Self::CommandNotFound { .. } => NOT_FOUND,
            Self::NotPulled { exit_status, .. } => *exit_status,
            _ => OWN_FAILURE,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotRunning { .. } => "spinney list shows those that are; spinney start NAME starts one",
            Self::NoLogs { .. } => {
                "it does not run, and nothing was kept of it; spinney list shows those that run"
            }
            Self::NoSuchLog { .. } => "without --source= the best log that there is is shown",
            Self::Left(error) => return error.hint(),
            Self::NotInLog { .. } => "leave out that option, or see -v for which log is shown",
            Self::NoBoot { .. } => "0 is the last boot, -1 the one before it, 1 the first",
            Self::Starting { .. } => "spinney wait NAME --for ready waits until it is up",
            Self::PermissionDenied { .. } => "try again with sudo",
            Self::NoAnswer { name, .. } => {
                return Some(format!(
                    "is it stopped, or the host overloaded? spinney terminate {name} ends the machine all the same"
                ));
            }
            Self::Refused { hint, .. } => return hint.clone(),
            Self::StillThere { name, .. } => {
                return Some(format!("it goes on stopping; spinney terminate {name} ends it at once"));
            }
            Self::NotReadyAgain { name, .. } => {
                return Some(format!("spinney attach {name} shows its console"));
            }
            Self::EndedInstead { name, .. } => return Some(format!("spinney logs {name} may tell why")),
            Self::Name { source } => source.hint(),
            Self::Settings(error) => return error.hint().map(str::to_owned),
            Self::Helper(failure) | Self::Copy { failure, .. } => return failure.hint.clone(),
            Self::Archive(error) => return error.hint().map(str::to_owned),
            Self::NoImage { .. } => {
                "spinney images lists those that there are; spinney run PATH boots a tree or image that is elsewhere"
            }
            Self::ImageKind { path, .. } => {
                return Some(format!(
                    "it is {}; a disk image has a name that ends in .raw; spinney import makes images of archives",
                    path.display()
                ));
            }
            Self::Images { source } => return source.hint(),
            Self::NotHere { reference } => return Some(format!("spinney pull {reference} fetches it")),
            Self::NotPulled { .. } => {
                "spinney search lists what there is to pull; a path begins with / or ./"
            }
            Self::RunningAlready { name } => return Some(format!("spinney status {name} shows it")),
            Self::AutostartInSettings { .. } => "change enabled in its [autostart] there",
            Self::Cycle(_) => {
                "take one of these out of requires, wants or after in /etc/spinney/machines/NAME.toml"
            }
            Self::NotOne { .. } => "give its name; spinney list shows those that are running",
            Self::Paused { .. } => "spinney resume NAME lets it run again",
            Self::Stream { .. } => "give it a file, a pipe or /dev/null",
            Self::CommandNotFound { .. } => {
                "a name is looked for in the PATH of the machine; give a path, or install it there"
            }
            Self::Units { .. } => "ready, port=, file= and exec= can be waited for in every machine",
            Self::State { .. }
            | Self::System { .. }
            | Self::Gone { .. }
            | Self::Control { .. }
            | Self::Inside { .. }
            | Self::CommandNotExecutable { .. }
            | Self::Terminal { .. }
            | Self::Cgroup { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
