//! What a machine has logged: where that lies while it runs and when it does not, and how it is read.
//!
//! The guest wrote these files. They are looked for in its root alone, only regular ones are opened, and nothing of the
//! guest's is run.
//!
//! | file | what it owns |
//! |---|---|
//! | [`places`] | the directories that hold logs of a machine |
//! | [`journals`] | the journal files in them |
//! | [`text`] | logs that are lines of text: syslog, console, our own |
//! | [`stamps`] | when a line of text was written |
//! | [`watch`] | being told that something was written |

pub mod journals;
pub mod places;
pub mod stamps;
pub mod text;
pub mod watch;

pub use journals::Journals;
pub use places::Places;
pub use text::{Line, TextLog};
pub use watch::Watch;

/// What kind of log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// systemd-journald's.
    Journal,
    /// A syslog daemon's.
    Syslog,
    /// What the guest wrote on its console.
    Console,
    /// What our supervisor said.
    Supervisor,
}

impl Source {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::Journal, Self::Syslog, Self::Console, Self::Supervisor];

    /// As people name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Syslog => "syslog",
            Self::Console => "console",
            Self::Supervisor => "supervisor",
        }
    }
}
