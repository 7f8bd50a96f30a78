//! Why something cannot be done to a machine: one line, a hint, an exit status.

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
    #[error("there are no logs of a machine {name:?}")]
    NoLogs { name: String },
    #[error("machine {name:?} has no {log} log")]
    NoSuchLog { name: String, log: &'static str },
    #[error("the {log} log of machine {name:?} does not tell what {option} asks for")]
    NotInLog { option: &'static str, name: String, log: &'static str },
    #[error("machine {name:?} has no boot {number} in its journal: there are {boots}")]
    NoBoot { name: String, number: i64, boots: usize },
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
            Self::NoLogs { .. } => {
                "it does not run, and nothing was kept of it; spinney list shows those that run"
            }
            Self::NoSuchLog { .. } => "without --source= the best log that there is is shown",
            Self::NotInLog { .. } => "leave out that option, or see -v for which log is shown",
            Self::NoBoot { .. } => "0 is the last boot, -1 the one before it, 1 the first",
            Self::Starting { .. } => "spinney wait NAME --for ready waits until it is up",
            Self::PermissionDenied { .. } => "try again with sudo",
            Self::Name { source } => source.hint(),
            Self::State { .. } | Self::System { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
