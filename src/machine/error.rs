//! Why something cannot be done to a machine: one line, a hint, an exit status.

use super::copy::Copied;
use super::helper::Failure;
use crate::archive;
use crate::settings::ValueError;
use crate::sys::SysError;

/// What every failed verb exits with, as `spinney run` does for faults of its own (docker-run(1)).
const OWN_FAILURE: u8 = 125;

/// Why something cannot be done to a machine.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error(transparent)]
    Name { source: ValueError },
    #[error("no machine {name:?} is running")]
    NotRunning { name: String },
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
            Self::Helper(failure) | Self::Copy { failure, .. } => return failure.hint.clone(),
            Self::Archive(error) => return error.hint().map(str::to_owned),
            Self::State { .. } | Self::System { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
