//! Whether a machine is started by `spinney start --all-enabled`, and after which others.

use std::time::Duration;

use super::MachineName;

/// `[autostart]` of a machine's file. The words are those of systemd.unit(5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Autostart {
    /// It is started with all others that are, or is not even where `spinney enable` said so; `None` leaves it to that.
    pub enabled: Option<bool>,
    /// Before it, if they are started at all.
    pub after: Vec<MachineName>,
    /// Started with it, and before it; without one of them it is not started.
    pub requires: Vec<MachineName>,
    /// Started with it, and before it; that one of them cannot be is no reason not to go on.
    pub wants: Vec<MachineName>,
    /// How long is waited after all these.
    pub delay: Duration,
}
