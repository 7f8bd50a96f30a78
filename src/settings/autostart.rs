//! Whether a machine is started by `spinney start --all-enabled`, and after which others.

use std::time::Duration;

use super::MachineName;

/// `[autostart]` of a machine's file. The words are those of systemd.unit(5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Autostart {
    /// It is started with all others that are.
    pub enabled: bool,
    /// It is started when these are up, if they are started too.
    pub after: Vec<MachineName>,
    /// They are started with it, and it is not started when one of them cannot be.
    pub requires: Vec<MachineName>,
    /// They are started with it; that one of them cannot be is no reason not to go on.
    pub wants: Vec<MachineName>,
    /// How long it is waited before it is started.
    pub delay: Duration,
}
