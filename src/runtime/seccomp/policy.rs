//! What becomes of each system call of a machine.

use super::allowed::allowed_by_default;
use super::groups::{GROUPS, KNOWN, calls_named};
use super::set::CallSet;
use super::table::{Abi, NUMBER_LIMIT};
use crate::settings::{SystemCallRule, did_you_mean, nearest};

/// The end of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The call is made.
    Allow,
    /// The call is not made, and fails with this errno; with 0 it succeeds.
    Errno(u16),
}

/// What becomes of one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The same whatever the arguments. The kernel remembers calls that are always allowed and skips the filter.
    Always(Verdict),
    /// It depends on arguments.
    Check(ArgumentCheck),
}

/// A decision by arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArgumentCheck {
    /// Tests, all of which must hold.
    pub tests: &'static [ArgumentTest],
    /// If they do.
    pub matched: Verdict,
    /// If they do not.
    pub otherwise: Verdict,
}

/// A test of the low 32 bits of an argument, counted from 0: all that the kernel reads of an `int`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgumentTest {
    /// They are this value.
    Equals(u8, u32),
    /// They share a bit with this one.
    AnyBit(u8, u32),
}

/// Why there is no policy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A name in a rule that is neither a call of any architecture nor a group.
    #[error("unknown system call \"{name}\"{}", did_you_mean(*nearest))]
    UnknownSystemCall {
        /// The name as given.
        name: String,
        /// The call or group it may have been meant for.
        nearest: Option<&'static str>,
    },
}

/// `socket(AF_NETLINK, *, NETLINK_AUDIT)` fails as on a kernel without audit, which audit's users take well; the audit
/// subsystem itself knows no containers and would refuse them in ways they do not. socketcall(2) of i386 has its
/// arguments out of a filter's sight, so there it is the subsystem that refuses.
const NO_AUDIT_SOCKET: ArgumentCheck = ArgumentCheck {
    tests: &[
        ArgumentTest::Equals(0, libc::AF_NETLINK.cast_unsigned()),
        ArgumentTest::Equals(2, libc::NETLINK_AUDIT.cast_unsigned()),
    ],
    matched: Verdict::Errno(errno(libc::EAFNOSUPPORT)),
    otherwise: Verdict::Allow,
};

/// Syncing a file succeeds at once; a negative fd goes on to the kernel, for its EBADF.
const NO_SYNC_OF_FD: ArgumentCheck = ArgumentCheck {
    tests: &[ArgumentTest::AnyBit(0, 1 << 31)],
    matched: Verdict::Allow,
    otherwise: Verdict::Errno(0),
};

/// O_SYNC and O_DSYNC: programs try again without them on EINVAL. O_SYNC is O_DSYNC and one more bit.
const SYNC_FLAGS: u32 = libc::O_SYNC.cast_unsigned() | libc::O_DSYNC.cast_unsigned();

const fn refuse_flags(test: &'static [ArgumentTest]) -> ArgumentCheck {
    ArgumentCheck { tests: test, matched: Verdict::Errno(errno(libc::EINVAL)), otherwise: Verdict::Allow }
}

/// What `--suppress-sync` makes of calls. openat2(2) is left alone: its flags are out of a filter's sight, few call it
/// with O_SYNC, and refusing it breaks programs that have no other way (GNU tar; systemd issue 41868).
const SUPPRESS_SYNC: &[(&str, Action)] = &[
    ("fdatasync", Action::Check(NO_SYNC_OF_FD)),
    ("fsync", Action::Check(NO_SYNC_OF_FD)),
    ("sync_file_range", Action::Check(NO_SYNC_OF_FD)),
    ("sync_file_range2", Action::Check(NO_SYNC_OF_FD)),
    ("syncfs", Action::Check(NO_SYNC_OF_FD)),
    ("msync", Action::Always(Verdict::Errno(0))),
    ("sync", Action::Always(Verdict::Errno(0))),
    ("open", Action::Check(refuse_flags(&[ArgumentTest::AnyBit(1, SYNC_FLAGS)]))),
    ("openat", Action::Check(refuse_flags(&[ArgumentTest::AnyBit(2, SYNC_FLAGS)]))),
];

/// Of calls that we do not know: programs then do as on a kernel that lacks them.
pub(super) const NOT_IMPLEMENTED: Action = Action::Always(Verdict::Errno(errno(libc::ENOSYS)));

/// Of calls that we know and do not allow.
const NOT_PERMITTED: Action = Action::Always(Verdict::Errno(errno(libc::EPERM)));

/// An errno as a filter returns it: the kernel takes at most MAX_ERRNO, 4095.
#[allow(clippy::cast_possible_truncation, reason = "the assertion")]
const fn errno(number: i32) -> u16 {
    assert!(number >= 0 && number <= 4095);
    number as u16
}

/// The action of each system call of one ABI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemCallPolicy {
    abi: Abi,
    /// By number; those past the end do not exist.
    actions: Vec<Action>,
}

impl SystemCallPolicy {
    /// The policy of a machine for calls of [`Abi::NATIVE`]. See [`Self::for_abi`].
    pub fn for_machine(
        bounding: u64,
        rules: &[SystemCallRule],
        suppress_sync: bool,
    ) -> Result<Self, PolicyError> {
        Self::for_abi(Abi::NATIVE, bounding, rules, suppress_sync)
    }

    /// The policy of a machine whose capability bounding set is `bounding`, for calls of `abi`.
    ///
    /// `rules` change the default list in their order, so that the last to name a call decides. A call that only other
    /// architectures have is no mistake.
    pub fn for_abi(
        abi: Abi,
        bounding: u64,
        rules: &[SystemCallRule],
        suppress_sync: bool,
    ) -> Result<Self, PolicyError> {
        let allowed = allowed_calls(abi, bounding, rules)?;
        let mut actions = vec![NOT_IMPLEMENTED; usize::from(NUMBER_LIMIT)];
        for (_, number) in abi.calls() {
            let action =
                if allowed.contains(number) { Action::Always(Verdict::Allow) } else { NOT_PERMITTED };
            set_action(&mut actions, number, action);
        }
        let sync: &[_] = if suppress_sync { SUPPRESS_SYNC } else { &[] };
        for (name, action) in [("socket", Action::Check(NO_AUDIT_SOCKET))].iter().chain(sync) {
            if let Some(number) = abi.number(name).filter(|number| allowed.contains(*number)) {
                set_action(&mut actions, number, *action);
            }
        }
        Ok(Self { abi, actions })
    }

    /// Which calls it is about.
    pub fn abi(&self) -> Abi {
        self.abi
    }

    /// What becomes of call `number`.
    pub fn action(&self, number: u32) -> Action {
        usize::try_from(number)
            .ok()
            .and_then(|number| self.actions.get(number).copied())
            .unwrap_or(NOT_IMPLEMENTED)
    }

    /// The names of the calls that are allowed with some arguments at least, sorted.
    pub fn allowed_names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self
            .abi
            .calls()
            .filter(|(_, number)| match self.action((*number).into()) {
                Action::Always(verdict) => verdict == Verdict::Allow,
                Action::Check(check) => [check.matched, check.otherwise].contains(&Verdict::Allow),
            })
            .map(|(name, _)| name)
            .collect();
        names.sort_unstable();
        names
    }

    /// A policy of these actions, for tests of the compiler.
    #[cfg(test)]
    pub(super) fn of_actions(abi: Abi, actions: Vec<Action>) -> Self {
        Self { abi, actions }
    }

    /// The actions by number, all of [`NUMBER_LIMIT`].
    pub(super) fn actions(&self) -> &[Action] {
        &self.actions
    }
}

fn set_action(actions: &mut [Action], number: u16, action: Action) {
    if let Some(place) = actions.get_mut(usize::from(number)) {
        *place = action;
    }
}

fn allowed_calls(abi: Abi, bounding: u64, rules: &[SystemCallRule]) -> Result<CallSet, PolicyError> {
    let mut allowed = allowed_by_default(abi, bounding);
    for rule in rules {
        for name in &rule.names {
            let calls = calls_named(name, abi).ok_or_else(|| unknown(name, abi))?;
            if rule.allow { allowed.add(&calls) } else { allowed.remove(&calls) }
        }
    }
    Ok(allowed)
}

fn unknown(name: &str, abi: Abi) -> PolicyError {
    let groups = GROUPS.iter().map(|group| group.name).chain([KNOWN]);
    let nearest = nearest(name, abi.calls().map(|(call, _)| call).chain(groups));
    PolicyError::UnknownSystemCall { name: name.to_owned(), nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ALL_CAPABILITIES, Capability};

    const ALLOW: Action = Action::Always(Verdict::Allow);

    fn policy(bounding: u64, rules: &[&str], suppress_sync: bool) -> SystemCallPolicy {
        let rules: Vec<SystemCallRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        SystemCallPolicy::for_abi(Abi::X86_64, bounding, &rules, suppress_sync).unwrap()
    }

    fn action_of(policy: &SystemCallPolicy, name: &str) -> Action {
        policy.action(policy.abi().number(name).unwrap().into())
    }

    #[test]
    fn the_default_list() {
        let bare = policy(0, &[], false);
        let table = [
            ("read", ALLOW),
            ("openat2", ALLOW),
            ("fchmodat2", ALLOW),
            ("mseal", ALLOW),
            ("statmount", ALLOW),
            ("open_tree_attr", ALLOW),
            ("setxattrat", ALLOW),
            ("seccomp", ALLOW),
            ("landlock_restrict_self", ALLOW),
            ("keyctl", ALLOW),
            ("io_uring_setup", ALLOW),
            ("mount", ALLOW),
            ("fsync", ALLOW),
            ("socket", Action::Check(NO_AUDIT_SOCKET)),
            ("kexec_load", NOT_PERMITTED),
            ("open_by_handle_at", NOT_PERMITTED),
            ("fanotify_init", NOT_PERMITTED),
            ("swapon", NOT_PERMITTED),
            ("perf_event_open", NOT_PERMITTED),
            ("pkey_alloc", NOT_PERMITTED),
            ("bpf", NOT_PERMITTED),
            ("reboot", NOT_PERMITTED),
            ("ptrace", NOT_PERMITTED),
            // In @ipc as well, so allowed without CAP_SYS_PTRACE, as in nspawn.
            ("process_vm_readv", ALLOW),
        ];
        for (name, expected) in table {
            assert_eq!(action_of(&bare, name), expected, "{name}");
        }
        for number in [400, 423, 511, 512, 0x4000_0000, u32::MAX] {
            assert_eq!(bare.action(number), NOT_IMPLEMENTED, "{number}");
        }
    }

    #[test]
    fn capabilities_bring_their_calls() {
        let table = [
            (Capability::SYS_TIME, "clock_settime"),
            (Capability::SYS_MODULE, "finit_module"),
            (Capability::SYS_RAWIO, "iopl"),
            (Capability::IPC_LOCK, "mlockall"),
            (Capability::SYS_PACCT, "acct"),
            (Capability::SYS_PTRACE, "ptrace"),
            (Capability::SYS_BOOT, "reboot"),
            (Capability::SYSLOG, "syslog"),
            (Capability::SYS_TTY_CONFIG, "vhangup"),
            (Capability::BPF, "bpf"),
        ];
        for (capability, name) in table {
            assert_eq!(action_of(&policy(capability.bit(), &[], false), name), ALLOW, "{name}");
            let without = policy(ALL_CAPABILITIES & !capability.bit(), &[], false);
            assert_eq!(action_of(&without, name), NOT_PERMITTED, "{name}");
        }
    }

    #[test]
    fn rules_apply_in_order() {
        let table: [(&[&str], &str, Action); 8] = [
            (&["bpf"], "bpf", ALLOW),
            (&["@swap,@pkey"], "pkey_free", ALLOW),
            (&["~keyctl"], "keyctl", NOT_PERMITTED),
            (&["~@keyring", "keyctl"], "keyctl", ALLOW),
            (&["~@keyring", "keyctl"], "add_key", NOT_PERMITTED),
            (&["@keyring", "~@keyring"], "keyctl", NOT_PERMITTED),
            (&["~socket"], "socket", NOT_PERMITTED),
            (&["@known"], "kexec_load", ALLOW),
        ];
        for (rules, name, expected) in table {
            assert_eq!(action_of(&policy(0, rules, false), name), expected, "{rules:?} {name}");
        }
        // Calls of other architectures change nothing here.
        assert_eq!(policy(0, &["~stat64,socketcall,sync_file_range2"], false), policy(0, &[], false));
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest() {
        let table = [
            ("opne", Some("open")),
            ("fsymc", Some("fsync")),
            ("@file-sytem", Some("@file-system")),
            ("keyring", Some("@keyring")),
            ("gibberish", None),
        ];
        for (name, nearest) in table {
            let rule = SystemCallRule { allow: false, names: vec!["read".into(), name.into()] };
            let expected = PolicyError::UnknownSystemCall { name: name.into(), nearest };
            assert_eq!(SystemCallPolicy::for_abi(Abi::X86_64, 0, &[rule], false), Err(expected), "{name}");
        }
        let error = PolicyError::UnknownSystemCall { name: "opne".into(), nearest: Some("open") };
        assert_eq!(error.to_string(), "unknown system call \"opne\"; did you mean \"open\"?");
    }

    #[test]
    fn sync_is_suppressed_on_request() {
        let suppressed = policy(0, &[], true);
        for (name, expected) in SUPPRESS_SYNC.iter().filter(|(name, _)| *name != "sync_file_range2") {
            assert_eq!(action_of(&suppressed, name), *expected, "{name}");
        }
        assert_eq!(action_of(&suppressed, "openat2"), ALLOW);
        // What is denied stays denied.
        let denied = policy(0, &["~@sync"], true);
        assert_eq!(action_of(&denied, "fsync"), NOT_PERMITTED);
    }

    #[test]
    fn names_of_what_is_allowed() {
        let names = policy(0, &["~@known", "read,socket"], false).allowed_names();
        assert_eq!(names, ["read", "socket"]);
    }
}
