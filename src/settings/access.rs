//! Privileges: user namespace, capabilities, system calls.

use std::str::FromStr;

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

/// How many ids a range has when its size is not given (systemd-nspawn(1)).
const DEFAULT_RANGE: u32 = 65536;

/// `(uid_t) -1`: means "no id" to the kernel, so no range may hold it.
const INVALID_ID: u32 = u32::MAX;

/// Why a value of `--private-users=` was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivateUsersError {
    /// Neither a keyword nor a number.
    #[error(
        "\"{0}\" is no user namespace; use no, yes, pick, identity, BASE or BASE:RANGE (as 524288:65536)"
    )]
    Unknown(String),
    /// A number that no id can have.
    #[error("\"{0}\" is no user id; ids go from 0 to 4294967294")]
    NotAnId(String),
    /// A size that no range can have.
    #[error("\"{0}\" is no number of ids; a range has at least 1, and 65536 suit a whole distribution")]
    NotASize(String),
    /// A range that goes on past the last id.
    #[error("{size} ids from {base} on end past 4294967294, the last id; {fitting} would fit")]
    PastTheEnd {
        /// First id of the range.
        base: u32,
        /// Number of ids asked for.
        size: u32,
        /// Number of ids from `base` on.
        fitting: u32,
    },
    /// A value of systemd-nspawn's that needs a daemon of systemd.
    #[error(
        "\"managed\" is not supported, since it needs systemd-nsresourced; use pick, which finds a free range"
    )]
    Managed,
}

impl FromStr for PrivateUsers {
    type Err = PrivateUsersError;

    /// `no`, `yes` (and what else says so), `pick`, `identity`, `BASE` or `BASE:RANGE`. 0 and 1 mean no and yes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "no" | "false" | "off" | "0" => return Ok(Self::No),
            "yes" | "true" | "on" | "1" => return Ok(Self::Yes),
            "pick" => return Ok(Self::Pick),
            "identity" => return Ok(Self::Identity),
            "managed" => return Err(PrivateUsersError::Managed),
            _ => {}
        }
        let (base, size) = match text.split_once(':') {
            Some((base, size)) => (base, Some(size)),
            None => (text, None),
        };
        if !base.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(PrivateUsersError::Unknown(text.to_owned()));
        }
        let base = decimal(base)
            .filter(|base| *base != INVALID_ID)
            .ok_or_else(|| PrivateUsersError::NotAnId(base.to_owned()))?;
        let size = match size {
            None => DEFAULT_RANGE,
            Some(size) => decimal(size)
                .filter(|size| *size != 0)
                .ok_or_else(|| PrivateUsersError::NotASize(size.to_owned()))?,
        };
        let fitting = INVALID_ID - base;
        if size > fitting {
            return Err(PrivateUsersError::PastTheEnd { base, size, fitting });
        }
        Ok(Self::Range { base, size })
    }
}

/// A number of digits alone: str::parse would take a sign too.
fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Why a value of `--system-call-filter=` was not understood. Whether each name is a system call is known where the
/// filter is made, not here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SystemCallRuleError {
    /// No name at all.
    #[error(
        "\"{0}\" names no system call; name some as \"@keyring,bpf\" to allow or \"~@keyring,bpf\" to deny them"
    )]
    Empty(String),
    /// A `~` that is not the first character.
    #[error(
        "\"~\" denies a whole list, so it stands at its start, not before \"{0}\"; give this one in a list of its own"
    )]
    MisplacedTilde(String),
}

impl FromStr for SystemCallRule {
    type Err = SystemCallRuleError;

    /// Names and `@group`s separated by commas or spaces, with `~` before them all to deny.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (allow, list) = match text.trim_start().strip_prefix('~') {
            Some(list) => (false, list),
            None => (true, text),
        };
        let names: Vec<String> = list
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        if let Some(name) = names.iter().find_map(|name| name.strip_prefix('~')) {
            return Err(SystemCallRuleError::MisplacedTilde(name.to_owned()));
        }
        if names.is_empty() {
            return Err(SystemCallRuleError::Empty(text.to_owned()));
        }
        Ok(Self { allow, names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_private_users() {
        use PrivateUsersError::*;
        let range = |base, size| Ok(PrivateUsers::Range { base, size });
        let table = [
            ("no", Ok(PrivateUsers::No)),
            ("0", Ok(PrivateUsers::No)),
            ("off", Ok(PrivateUsers::No)),
            ("yes", Ok(PrivateUsers::Yes)),
            ("1", Ok(PrivateUsers::Yes)),
            ("on", Ok(PrivateUsers::Yes)),
            ("pick", Ok(PrivateUsers::Pick)),
            ("identity", Ok(PrivateUsers::Identity)),
            ("524288", range(524288, 65536)),
            ("524288:1", range(524288, 1)),
            ("0:4294967295", range(0, 4294967295)),
            ("4294901759", range(4294901759, 65536)),
            ("4294901760", Err(PastTheEnd { base: 4294901760, size: 65536, fitting: 65535 })),
            ("1:4294967295", Err(PastTheEnd { base: 1, size: 4294967295, fitting: 4294967294 })),
            ("4294967294:1", range(4294967294, 1)),
            ("4294967295", Err(NotAnId("4294967295".into()))),
            ("4294967296:1", Err(NotAnId("4294967296".into()))),
            ("0x80000", Err(NotAnId("0x80000".into()))),
            ("524288:0", Err(NotASize("0".into()))),
            ("524288:", Err(NotASize(String::new()))),
            ("524288:64k", Err(NotASize("64k".into()))),
            ("524288:+1", Err(NotASize("+1".into()))),
            ("524288:4294967296", Err(NotASize("4294967296".into()))),
            ("managed", Err(Managed)),
            ("", Err(Unknown(String::new()))),
            ("-1", Err(Unknown("-1".into()))),
            (":65536", Err(Unknown(":65536".into()))),
            ("Pick", Err(Unknown("Pick".into()))),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<PrivateUsers>(), expected, "{text:?}");
        }
    }

    #[test]
    fn private_users_errors_speak() {
        let error = |text: &str| text.parse::<PrivateUsers>().unwrap_err().to_string();
        assert_eq!(
            error("4294901760"),
            "65536 ids from 4294901760 on end past 4294967294, the last id; 65535 would fit"
        );
        assert_eq!(
            error("managed"),
            "\"managed\" is not supported, since it needs systemd-nsresourced; use pick, which finds a free range"
        );
    }

    #[test]
    fn parses_system_call_rules() {
        let rule = |allow, names: &[&str]| {
            Ok(SystemCallRule { allow, names: names.iter().map(|name| (*name).to_owned()).collect() })
        };
        let table = [
            ("bpf", rule(true, &["bpf"])),
            ("~@keyring", rule(false, &["@keyring"])),
            ("~@keyring,bpf perf_event_open", rule(false, &["@keyring", "bpf", "perf_event_open"])),
            (" ~ a , b ", rule(false, &["a", "b"])),
            ("", Err(SystemCallRuleError::Empty(String::new()))),
            ("~", Err(SystemCallRuleError::Empty("~".into()))),
            ("a,~b", Err(SystemCallRuleError::MisplacedTilde("b".into()))),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<SystemCallRule>(), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC*") {
            let _ = text.parse::<SystemCallRule>();
            let _ = text.parse::<PrivateUsers>();
        }

        #[test]
        fn a_range_never_holds_the_invalid_id(base: u32, size: u32) {
            if let Ok(PrivateUsers::Range { base, size }) = format!("{base}:{size}").parse() {
                prop_assert!(u64::from(base) + u64::from(size) <= u64::from(INVALID_ID));
            }
        }
    }
}
