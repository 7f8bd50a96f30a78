//! What systemd-nspawn has environment variables for and no options (systemd's ENVIRONMENT.md): how the guest's surroundings
//! differ from the usual. No file and no option of `spinney run` gives them.

use std::borrow::Cow;

/// How the guest's surroundings differ from the usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knobs {
    /// What the guest is told it is run by: its variable `container`, and /run/host/container-manager (Container Interface).
    pub container: Cow<'static, str>,
    /// What of /proc and /sys the guest may write to.
    pub api_file_systems: ApiFileSystems,
    /// A tmpfs on /tmp; without it the tree's directory stays in place.
    pub tmpfs_tmp: bool,
    /// Lock the image against others.
    pub lock: bool,
    /// Filter the guest's system calls.
    pub system_call_filter: bool,
    /// Give it a named v1 hierarchy of cgroups, or v2; by default as its init needs.
    pub legacy_cgroups: Option<bool>,
}

/// What of /proc and /sys a guest may write to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ApiFileSystems {
    /// What is its own, and nothing of the host's kernel.
    #[default]
    Protected,
    /// The same, and /proc/sys/net whosesoever network it has.
    Network,
    /// All of it, with what is masked otherwise.
    Writable,
}

impl Knobs {
    /// Not at all.
    pub const USUAL: Self = Self {
        container: Cow::Borrowed("spinney"),
        api_file_systems: ApiFileSystems::Protected,
        tmpfs_tmp: true,
        lock: true,
        system_call_filter: true,
        legacy_cgroups: None,
    };
}

impl Default for Knobs {
    fn default() -> Self {
        Self::USUAL
    }
}
