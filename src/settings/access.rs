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

impl std::str::FromStr for PrivateUsers {
    type Err = super::ValueError;

    fn from_str(text: &str) -> Result<Self, super::ValueError> {
        let number = |text: &str| {
            text.parse::<u32>().map_err(|_| super::ValueError::new(text, "is not a number", "BASE[:SIZE]"))
        };
        Ok(match text {
            "no" => Self::No,
            "yes" => Self::Yes,
            "pick" => Self::Pick,
            "identity" => Self::Identity,
            range => match range.split_once(':') {
                Some((base, size)) => Self::Range { base: number(base)?, size: number(size)? },
                None => Self::Range { base: number(range)?, size: 65536 },
            },
        })
    }
}

impl std::str::FromStr for SystemCallRule {
    type Err = super::ValueError;

    fn from_str(text: &str) -> Result<Self, super::ValueError> {
        let (allow, names) = text.strip_prefix('~').map_or((true, text), |names| (false, names));
        Ok(Self { allow, names: names.split_whitespace().map(Into::into).collect() })
    }
}

/// Placeholder.
pub fn parse_capability_list(text: &str) -> Result<u64, super::ValueError> {
    match text {
        "all" => Ok(u64::MAX),
        "CAP_NET_ADMIN" => Ok(1 << 12),
        _ => Err(super::ValueError::new(text, "is not a capability", "CAP_…,… or all")),
    }
}
