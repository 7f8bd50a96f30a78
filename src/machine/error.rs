//! Why something cannot be done to a machine: one line, a hint, an exit status.

use std::path::PathBuf;

use super::schedule::Cycle;
use crate::settings::{SettingsError, ValueError, did_you_mean};
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
    #[error("no image {name:?}{}", did_you_mean(.nearest.as_deref()))]
    NoImage { name: String, nearest: Option<String> },
    #[error("{name:?} is {kind}, which cannot be started yet")]
    ImageKind { name: String, path: PathBuf, kind: &'static str },
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
    #[error("cannot {action}")]
    System {
        action: &'static str,
        #[source]
        source: SysError,
    },
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
            _ => OWN_FAILURE,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotRunning { .. } => "spinney list shows those that are; spinney start NAME starts one",
            Self::Starting { .. } => "spinney wait NAME --for ready waits until it is up",
            Self::PermissionDenied { .. } => "try again with sudo",
            Self::Name { source } => source.hint(),
            Self::Settings(error) => return error.hint().map(str::to_owned),
            Self::NoImage { .. } => {
                "an image is a directory in /var/lib/machines; spinney run PATH boots a tree that is elsewhere"
            }
            Self::ImageKind { path, .. } => {
                return Some(format!(
                    "it is {}; so far directories can be started: unpack or mount it into one",
                    path.display()
                ));
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
            Self::State { .. }
            | Self::System { .. }
            | Self::Inside { .. }
            | Self::CommandNotExecutable { .. }
            | Self::Terminal { .. }
            | Self::Cgroup { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
