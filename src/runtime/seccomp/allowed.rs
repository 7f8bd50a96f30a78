//! The calls that a machine has by default: systemd-nspawn's list (of systemd 262), with a few newer calls.
//!
//! Left out on purpose, so that they fail with EPERM: `@cpu-emulation`, `@obsolete`, `@pkey`, `@swap`, kexec_*,
//! lookup_dcookie, nfsservctl, perf_event_open, quotactl*, fanotify_* and open_by_handle_at, which reach past the
//! machine's mounts to its whole file systems.

use super::groups::{insert_calls, insert_groups, names};
use super::set::CallSet;
use super::table::Abi;
use crate::settings::Capability;

/// Calls that a machine has if it holds a capability.
struct Grant {
    /// The capability; none for calls that every machine has.
    needs: Option<Capability>,
    /// `@groups`.
    groups: &'static [&'static str],
    /// Single calls.
    calls: &'static [&'static str],
}

const fn with(
    capability: Capability,
    groups: &'static [&'static str],
    calls: &'static [&'static str],
) -> Grant {
    Grant { needs: Some(capability), groups, calls }
}

/// All grants.
const GRANTS: &[Grant] = &[
    Grant {
        needs: None,
        groups: &[
            "@aio",
            "@basic-io",
            "@chown",
            "@default",
            "@file-system",
            "@io-event",
            "@ipc",
            "@keyring",
            "@mount",
            "@network-io",
            "@process",
            "@resources",
            "@setuid",
            "@signal",
            "@sync",
            "@timer",
        ],
        calls: names! {
            arm_fadvise64_64 brk cachestat capget capset copy_file_range fadvise64 fadvise64_64 flock get_mempolicy
            getcpu getpriority getrandom ioctl ioprio_get kcmp madvise mincore mprotect mremap name_to_handle_at
            oldolduname olduname personality readahead readdir remap_file_pages sched_get_priority_max
            sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
            sched_rr_get_interval sched_rr_get_interval_time64 sched_yield sendfile sendfile64 setdomainname setfsgid
            setfsgid32 setfsuid setfsuid32 sethostname setpgid setsid splice sysinfo tee umask uname userfaultfd
            vmsplice
        },
    },
    // Not in nspawn's list, with no more power than what is in it: futex(2) in pieces, a mapping for x86's shadow
    // stack, sched_yield(2) for restartable sequences.
    Grant {
        needs: None,
        groups: &[],
        calls: names! { futex_requeue futex_wait futex_wake map_shadow_stack rseq_slice_yield },
    },
    with(Capability::SYS_TIME, &["@clock"], &[]),
    with(Capability::SYS_MODULE, &["@module"], &[]),
    with(Capability::SYS_RAWIO, &["@raw-io"], &[]),
    with(Capability::IPC_LOCK, &["@memlock"], &[]),
    with(Capability::SYS_PACCT, &[], names! { acct }),
    with(Capability::SYS_PTRACE, &[], names! { process_vm_readv process_vm_writev ptrace }),
    with(Capability::SYS_BOOT, &[], names! { reboot }),
    with(Capability::SYSLOG, &[], names! { syslog }),
    with(Capability::SYS_TTY_CONFIG, &[], names! { vhangup }),
    with(Capability::BPF, &[], names! { bpf }),
];

/// The calls of `abi` that a machine has by default, if its capability bounding set is `bounding`.
pub(super) fn allowed_by_default(abi: Abi, bounding: u64) -> CallSet {
    let sets = match abi {
        Abi::X86_64 => const { &sets(Abi::X86_64) },
        Abi::I386 => const { &sets(Abi::I386) },
        Abi::Aarch64 => const { &sets(Abi::Aarch64) },
        Abi::Riscv64 => const { &sets(Abi::Riscv64) },
    };
    let mut allowed = CallSet::EMPTY;
    for (grant, set) in GRANTS.iter().zip(sets) {
        if grant.needs.is_none_or(|needs| bounding & needs.bit() != 0) {
            allowed.add(set);
        }
    }
    allowed
}

/// The calls of each grant.
const fn sets(abi: Abi) -> [CallSet; GRANTS.len()] {
    let mut sets = [CallSet::EMPTY; GRANTS.len()];
    let mut at = 0;
    while at < GRANTS.len() {
        insert_groups(&mut sets[at], GRANTS[at].groups, abi);
        insert_calls(&mut sets[at], GRANTS[at].calls, abi);
        at += 1;
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::super::groups::calls_named;
    use super::*;

    #[test]
    fn every_name_exists() {
        for name in GRANTS.iter().flat_map(|grant| grant.groups.iter().chain(grant.calls)) {
            assert!(calls_named(name, Abi::NATIVE).is_some(), "{name}");
        }
    }
}
