//! Why something cannot be done to a machine: one line, a hint, an exit status.

use std::time::Duration;

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
    #[error("machine {name:?} has ended meanwhile")]
    Gone { name: String },
    #[error("the supervisor of machine {name:?} does not answer after {}", seconds(*.waited))]
    NoAnswer { name: String, waited: Duration },
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
    #[error("cannot {action}")]
    System {
        action: &'static str,
        #[source]
        source: SysError,
    },
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
        OWN_FAILURE
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotRunning { .. } => "spinney list shows those that are; spinney start NAME starts one",
            Self::Starting { .. } => "spinney wait NAME --for ready waits until it is up",
            Self::PermissionDenied { .. } => "try again with sudo",
            Self::NoAnswer { name, .. } => {
                return Some(format!(
                    "is it stopped, or the host overloaded? spinney terminate {name} ends the machine all the same"
                ));
            }
            Self::Refused { hint, .. } => return hint.clone(),
            Self::Name { source } => source.hint(),
            Self::Gone { .. } | Self::Control { .. } | Self::State { .. } | Self::System { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
