//! What a worker can be asked, and what it says: data that goes over a socket between two processes of one executable.

use std::time::Duration;

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
    /// To all images: what is hidden and nobody's goes, and images too if `all`. Gives what was removed: names, bytes.
    Clean {
        /// Also images, read-only or not, that are not in use.
        all: bool,
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
    /// A new pty of its devpts: gives the path of the slave, and the master.
    OpenTerminal,
    /// A program on such a pty, which runs on when it was said.
    OpenSession {
        /// What.
        program: Program,
    },
    /// Its root directory: gives an fd.
    OpenRoot,
    /// What it says it is: gives the fields of os-release(5).
    OsRelease,
    /// A program with the streams that come with the task: gives its `exit-status` when it has ended.
    Exec {
        /// Words.
        command: Vec<String>,
        /// `USER[:GROUP]` of the guest's; root without.
        user: Option<String>,
        /// Where; the root directory without.
        directory: Option<String>,
        /// `NAME=value`.
        environment: Vec<String>,
        /// How long it may take.
        timeout: Option<Duration>,
        /// How long it may go on then before it is killed; for ever without.
        kill_after: Option<Duration>,
    },
    /// A method of its supervisor's is called: gives what that gives.
    Control {
        /// With its interface.
        method: String,
        /// An object.
        parameters: Value,
    },
    /// What [`MachineWork::Bind`] mounted is unmounted.
    Unbind {
        /// In the machine.
        destination: String,
    },
    /// A path of the host is mounted in it.
    Bind {
        /// On the host.
        source: String,
        /// In the machine.
        destination: String,
        /// Nothing can be written there.
        read_only: bool,
        /// The destination is made if it is missing.
        make_destination: bool,
    },
    /// Files are copied.
    Copy {
        /// From the host into it, or out of it.
        into: bool,
        /// On their side.
        source: String,
        /// What they will be on the other.
        destination: String,
        /// Files that are there are replaced.
        replace: bool,
    },
}

/// What runs on a pty of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// A login prompt.
    Login,
    /// A login shell of a user, or a command that it runs.
    Shell {
        /// A name or number of the guest's.
        user: String,
        /// Words; none for the shell itself.
        command: Vec<String>,
        /// `NAME=value`.
        environment: Vec<String>,
    },
}

/// What is done to an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageWork {
    /// It is removed, with all that is its own.
    Remove,
    /// It gets another name.
    Rename {
        /// Which.
        to: String,
    },
    /// Another one is made of its state, which needs nothing of this one.
    Clone {
        /// What that is called.
        to: String,
        /// It is not to be changed.
        read_only: bool,
    },
    /// It is marked.
    MarkReadOnly {
        /// As not to be changed, or not any more.
        read_only: bool,
    },
    /// What it says of itself: gives `hostname`, `machine_id`, `machine_info`, `os_release`.
    Look,
}

/// How long a task may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Machines are ended by it; it has limits of its own ([`crate::machine::terminate`], [`crate::machine::Control`]).
    Urgent,
    /// It is quick, if a tree and what is in it let it be.
    Quick,
    /// It takes as long as there is to do.
    Long,
}

impl Task {
    pub(super) fn is_sealed(&self) -> bool {
        matches!(self, Self::Machine { sealed: true, .. })
    }

    pub(super) fn pace(&self) -> Pace {
        use MachineWork as Work;
        let work = match self {
            Self::Machine { work, .. } => work,
            Self::Image { work: ImageWork::Look, .. } => return Pace::Quick,
            Self::Image { .. } | Self::Clean { .. } => return Pace::Long,
        };
        match work {
            Work::Terminate | Work::Kill { .. } | Work::Control { .. } => Pace::Urgent,
            Work::Copy { .. } | Work::Exec { .. } => Pace::Long,
            Work::OpenTerminal
            | Work::OpenSession { .. }
            | Work::OpenRoot
            | Work::OsRelease
            | Work::Bind { .. }
            | Work::Unbind { .. } => Pace::Quick,
        }
    }

    /// Whether its process stays for as long as somebody else's does.
    pub(super) fn stays(&self) -> bool {
        use MachineWork as Work;
        matches!(
            self,
            Self::Machine { work: Work::OpenSession { .. } | Work::Exec { .. } | Work::Copy { .. }, .. }
        )
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
