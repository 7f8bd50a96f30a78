//! Privileges: user namespace, capabilities, system calls.

/// Whose ids the guest runs with (systemd-nspawn(1), `--private-users=`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrivateUsers {
    /// The host's own ids: no user namespace.
    No,
    /// The tree's owner decides (upper 16 bits of its uid); a range of our choice if that is the host's.
    Yes,
    /// A free range of 65536 ids.
    #[default]
    Pick,
    /// A user namespace that maps 65536 ids to themselves.
    Identity,
    /// The range that starts at `base`.
    Range {
        /// First host id of the range.
        base: u32,
        /// Number of ids.
        size: u32,
    },
}

/// Capability sets as asked for; names are checked by their parser and held as bit masks (bit n is capability n).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySettings {
    /// Kept beyond the default set.
    pub add: u64,
    /// Dropped from the default set.
    pub drop: u64,
    /// Made ambient for a command that does not run as root.
    pub ambient: u64,
}

/// One entry of `--system-call-filter=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemCallRule {
    /// Allow, or (with `~`) deny.
    pub allow: bool,
    /// System call names and `@group`s.
    pub names: Vec<String>,
}
