//! What a worker can be asked, and what it says: data that goes over a socket between two processes of one executable.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manager::problem::Problem;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// To a running machine.
    Machine {
        /// Its name.
        name: String,
        /// Its root is the host's: our own program must not be reachable from in there.
        sealed: bool,
        /// What.
        work: MachineWork,
    },
    /// To an image.
    Image {
        /// Its name.
        name: String,
        /// What.
        work: ImageWork,
    },
}

/// What is done to a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MachineWork {
    /// It is ended now.
    Terminate,
    /// A signal to its processes.
    Kill {
        /// `leader`, `supervisor` or `all`.
        whom: String,
        /// The signal's number.
        signal: i32,
    },
}

/// What is done to an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageWork {
    /// It is removed, with all that is its own.
    Remove,
}

impl Task {
    pub(super) fn is_sealed(&self) -> bool {
        matches!(self, Self::Machine { sealed: true, .. })
    }
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Said {
    /// How far it is.
    Progress(Value),
    /// It is done, and this came of it.
    Done(Value),
    /// It is not done.
    Failed(Problem),
}
