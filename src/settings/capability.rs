//! Capabilities by name (capabilities(7)) and lists of them, as `--capability=` and its siblings take them.
//!
//! A set is a mask: bit n is capability n, as in /proc/PID/status and capset(2).

use super::suggestion::{did_you_mean, nearest};

/// One capability, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability(u8);

macro_rules! capabilities {
    ($($number:literal $name:ident $full:literal),* $(,)?) => {
        impl Capability {
            $(#[doc = concat!("`", $full, "`")] pub const $name: Self = Self($number);)*
        }

        /// Full names; the place is the number.
        const NAMES: &[&str] = &[$($full),*];

        #[cfg(test)]
        const NUMBERS: &[u8] = &[$($number),*];
    };
}

// linux/capability.h; the last is CAP_CHECKPOINT_RESTORE of Linux 5.9.
capabilities! {
    0 CHOWN "CAP_CHOWN",
    1 DAC_OVERRIDE "CAP_DAC_OVERRIDE",
    2 DAC_READ_SEARCH "CAP_DAC_READ_SEARCH",
    3 FOWNER "CAP_FOWNER",
    4 FSETID "CAP_FSETID",
    5 KILL "CAP_KILL",
    6 SETGID "CAP_SETGID",
    7 SETUID "CAP_SETUID",
    8 SETPCAP "CAP_SETPCAP",
    9 LINUX_IMMUTABLE "CAP_LINUX_IMMUTABLE",
    10 NET_BIND_SERVICE "CAP_NET_BIND_SERVICE",
    11 NET_BROADCAST "CAP_NET_BROADCAST",
    12 NET_ADMIN "CAP_NET_ADMIN",
    13 NET_RAW "CAP_NET_RAW",
    14 IPC_LOCK "CAP_IPC_LOCK",
    15 IPC_OWNER "CAP_IPC_OWNER",
    16 SYS_MODULE "CAP_SYS_MODULE",
    17 SYS_RAWIO "CAP_SYS_RAWIO",
    18 SYS_CHROOT "CAP_SYS_CHROOT",
    19 SYS_PTRACE "CAP_SYS_PTRACE",
    20 SYS_PACCT "CAP_SYS_PACCT",
    21 SYS_ADMIN "CAP_SYS_ADMIN",
    22 SYS_BOOT "CAP_SYS_BOOT",
    23 SYS_NICE "CAP_SYS_NICE",
    24 SYS_RESOURCE "CAP_SYS_RESOURCE",
    25 SYS_TIME "CAP_SYS_TIME",
    26 SYS_TTY_CONFIG "CAP_SYS_TTY_CONFIG",
    27 MKNOD "CAP_MKNOD",
    28 LEASE "CAP_LEASE",
    29 AUDIT_WRITE "CAP_AUDIT_WRITE",
    30 AUDIT_CONTROL "CAP_AUDIT_CONTROL",
    31 SETFCAP "CAP_SETFCAP",
    32 MAC_OVERRIDE "CAP_MAC_OVERRIDE",
    33 MAC_ADMIN "CAP_MAC_ADMIN",
    34 SYSLOG "CAP_SYSLOG",
    35 WAKE_ALARM "CAP_WAKE_ALARM",
    36 BLOCK_SUSPEND "CAP_BLOCK_SUSPEND",
    37 AUDIT_READ "CAP_AUDIT_READ",
    38 PERFMON "CAP_PERFMON",
    39 BPF "CAP_BPF",
    40 CHECKPOINT_RESTORE "CAP_CHECKPOINT_RESTORE",
}

impl Capability {
    /// All that have a name here.
    pub fn all() -> impl Iterator<Item = Self> {
        (0u8..).take(NAMES.len()).map(Self)
    }

    /// Its bit in a mask.
    pub const fn bit(self) -> u64 {
        1 << self.0
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its full name, as `CAP_CHOWN`.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }
}

/// The mask of all capabilities that have a name here.
pub const ALL_CAPABILITIES: u64 = (1 << NAMES.len()) - 1;

/// Why a list of capabilities was not understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityListError {
    /// A name that no capability has.
    #[error("unknown capability \"{name}\"{}", did_you_mean(*nearest))]
    Unknown {
        /// The name as given.
        name: String,
        /// The capability it may have been meant for.
        nearest: Option<&'static str>,
    },
    /// No name at all.
    #[error("no capability given; name one as CAP_NET_ADMIN, or \"all\"")]
    Empty,
}

/// Parses names separated by commas or spaces into a mask. `CAP_` and the case are free, a number stands for itself,
/// and `all` for [`ALL_CAPABILITIES`].
pub fn parse_capability_list(text: &str) -> Result<u64, CapabilityListError> {
    let mut words = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|w| !w.is_empty()).peekable();
    if words.peek().is_none() {
        return Err(CapabilityListError::Empty);
    }
    words.try_fold(0, |mask, word| Ok(mask | parse_one(word)?))
}

fn parse_one(word: &str) -> Result<u64, CapabilityListError> {
    if word.eq_ignore_ascii_case("all") {
        return Ok(ALL_CAPABILITIES);
    }
    let upper = word.to_ascii_uppercase();
    let wanted = upper.strip_prefix("CAP_").unwrap_or(&upper);
    Capability::all()
        .find(|capability| short(capability.name()) == wanted || capability.number().to_string() == word)
        .map(Capability::bit)
        .ok_or_else(|| {
            let candidate = nearest(wanted, NAMES.iter().copied().map(short));
            CapabilityListError::Unknown {
                name: word.to_owned(),
                nearest: NAMES.iter().copied().find(|name| candidate == Some(short(name))),
            }
        })
}

fn short(name: &str) -> &str {
    name.strip_prefix("CAP_").unwrap_or(name)
}

/// The full names of the capabilities in `mask`, by number. Bits of capabilities newer than this table have none.
pub fn capability_names(mask: u64) -> Vec<&'static str> {
    Capability::all().filter(|capability| mask & capability.bit() != 0).map(Capability::name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_stand_at_their_numbers() {
        assert_eq!(NAMES.len(), 41);
        assert!(NUMBERS.iter().map(|number| usize::from(*number)).eq(0..NAMES.len()));
        assert_eq!(Capability::CHECKPOINT_RESTORE.number(), 40);
        assert_eq!(ALL_CAPABILITIES, 0x1ff_ffff_ffff);
    }

    #[test]
    fn parses_lists() {
        let unknown =
            |name: &str, nearest| Err(CapabilityListError::Unknown { name: name.to_owned(), nearest });
        let table = [
            ("CAP_NET_ADMIN", Ok(1 << 12)),
            ("CAP_NET_ADMIN,sys_ptrace", Ok(1 << 12 | 1 << 19)),
            ("cap_chown  CAP_CHOWN,", Ok(1)),
            ("40", Ok(1 << 40)),
            ("all", Ok(ALL_CAPABILITIES)),
            ("ALL,chown", Ok(ALL_CAPABILITIES)),
            ("", Err(CapabilityListError::Empty)),
            (" , ", Err(CapabilityListError::Empty)),
            ("41", unknown("41", None)),
            ("CAP_NETADMIN", unknown("CAP_NETADMIN", Some("CAP_NET_ADMIN"))),
            ("chown,sysadmin", unknown("sysadmin", Some("CAP_SYS_ADMIN"))),
            ("CAP_", unknown("CAP_", None)),
            ("everything", unknown("everything", None)),
        ];
        for (text, expected) in table {
            assert_eq!(parse_capability_list(text), expected, "{text:?}");
        }
    }

    #[test]
    fn errors_speak() {
        let error = |text| parse_capability_list(text).unwrap_err().to_string();
        assert_eq!(
            error("CAP_NETADMIN"),
            "unknown capability \"CAP_NETADMIN\"; did you mean \"CAP_NET_ADMIN\"?"
        );
        assert_eq!(error("everything"), "unknown capability \"everything\"");
        assert_eq!(error(""), "no capability given; name one as CAP_NET_ADMIN, or \"all\"");
    }

    #[test]
    fn unnamed_bits_have_no_names() {
        assert_eq!(capability_names(1 << 63 | 1 << 41 | 1 << 21 | 1), ["CAP_CHOWN", "CAP_SYS_ADMIN"]);
    }

    proptest! {
        #[test]
        fn names_parse_back(mask in 1..=ALL_CAPABILITIES) {
            prop_assert_eq!(parse_capability_list(&capability_names(mask).join(",")), Ok(mask));
        }

        #[test]
        fn any_text_is_survived(text in "\\PC*") {
            let _ = parse_capability_list(&text);
        }
    }
}
