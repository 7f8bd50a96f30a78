//! Why something cannot be done to a machine: one line, a hint, an exit status.

use std::path::PathBuf;

use super::schedule::Cycle;
use crate::settings::{SettingsError, ValueError, did_you_mean};
use crate::sys::SysError;

/// What every failed verb exits with, as `spinney run` does for faults of its own (docker-run(1)).
const OWN_FAILURE: u8 = 125;

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
        OWN_FAILURE
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotRunning { .. } => "spinney list shows those that are; spinney start NAME starts one",
            Self::Starting { .. } => "spinney wait NAME --for ready waits until it is up",
            Self::PermissionDenied { .. } => "try again with sudo",
            Self::Name { source } => source.hint(),
            Self::Settings(error) => return error.hint().map(str::to_owned),
            Self::NoImage { nearest: Some(_), .. } => return None,
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
            Self::State { .. } | Self::System { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
