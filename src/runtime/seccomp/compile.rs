//! Policies as a program of classic BPF over `struct seccomp_data` (seccomp(2)).
//!
//! The program tells architectures apart, then finds the call's number by a balanced binary search over ranges of
//! numbers with equal actions. Arguments are loaded last, in the leaves of the few calls that depend on them: for all
//! others the kernel sees when the filter is installed that they are allowed by number alone, and never runs it for
//! them again (`seccomp_is_const_allow`, Linux 5.11).

use super::policy::{Action, ArgumentCheck, ArgumentTest, NOT_IMPLEMENTED, SystemCallPolicy, Verdict};
use crate::sys::seccomp::SockFilter;

// Instructions, as in linux/bpf_common.h. The kernel's own look at a filter knows just these and a few more.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP_IF_ANY_BIT: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

// Offsets in struct seccomp_data (linux/seccomp.h).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The longest program that the kernel takes (BPF_MAXINSNS, linux/bpf_common.h). What [`compile()`] makes of two
/// policies stays below it, even if no two neighbours are alike: see the tests.
#[cfg(test)]
const LONGEST_PROGRAM: usize = 4096;

/// Compiles `policies`, one for each ABI that is not to be foreign.
///
/// Calls of any other architecture, and of x32, fail with ENOSYS.
pub fn compile(policies: &[SystemCallPolicy]) -> Vec<SockFilter> {
    // Written from its end, since a jump forward then knows its distance.
    let mut backward = Vec::with_capacity(1024);
    leaf(&mut backward, NOT_IMPLEMENTED);
    for policy in policies.iter().rev() {
        let end = backward.len();
        search(&mut backward, &ranges(policy));
        backward.push(statement(LOAD, NUMBER));
        // An offset of a conditional jump is 8 bits, that of an unconditional one 32.
        let distance = backward.len() - end;
        backward.push(statement(JUMP, count(distance)));
        backward.push(branch(JUMP_IF_EQUAL, policy.abi().audit_arch(), 1, 0));
    }
    backward.push(statement(LOAD, ARCHITECTURE));
    backward.reverse();
    backward
}

/// Numbers from `first` on, up to the next range, that share an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u32,
    action: Action,
}

/// The ranges of all 32-bit numbers, the first from 0 on.
fn ranges(policy: &SystemCallPolicy) -> Vec<Range> {
    let beyond = (policy.actions().len(), NOT_IMPLEMENTED);
    let mut ranges: Vec<Range> = Vec::with_capacity(256);
    for (number, action) in policy.actions().iter().copied().enumerate().chain([beyond]) {
        if ranges.last().is_none_or(|last| last.action != action) {
            ranges.push(Range { first: count(number), action });
        }
    }
    ranges
}

/// Leaves the program with the action of the range that holds the number, which is loaded.
fn search(backward: &mut Vec<SockFilter>, ranges: &[Range]) {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let (Some(upper_first), false) = (upper.first(), lower.is_empty()) else {
        return ranges.iter().for_each(|only| leaf(backward, only.action));
    };
    search(backward, upper);
    let end = backward.len();
    search(backward, lower);
    let distance = backward.len() - end;
    if let Ok(distance) = u8::try_from(distance) {
        backward.push(branch(JUMP_IF_AT_LEAST, upper_first.first, distance, 0));
    } else {
        backward.push(statement(JUMP, count(distance)));
        backward.push(branch(JUMP_IF_AT_LEAST, upper_first.first, 0, 1));
    }
}

/// Leaves the program with `action`.
fn leaf(backward: &mut Vec<SockFilter>, action: Action) {
    match action {
        Action::Always(verdict) => backward.push(give(verdict)),
        Action::Check(ArgumentCheck { tests, matched, otherwise }) => {
            backward.extend([give(otherwise), give(matched)]);
            // A test that fails jumps over what is given if all hold, and over the later tests, two instructions each.
            for (test, fail) in tests.iter().rev().zip((1..).step_by(2)) {
                let (jump, argument, operand) = match *test {
                    ArgumentTest::Equals(argument, value) => (JUMP_IF_EQUAL, argument, value),
                    ArgumentTest::AnyBit(argument, bits) => (JUMP_IF_ANY_BIT, argument, bits),
                };
                backward.push(branch(jump, operand, 0, fail));
                backward.push(statement(LOAD, low_half(argument)));
            }
        }
    }
}

/// Where the low 32 bits of an argument stand: first, since all ABIs here are little endian.
fn low_half(argument: u8) -> u32 {
    ARGUMENTS + 8 * u32::from(argument)
}

fn give(verdict: Verdict) -> SockFilter {
    let value = match verdict {
        Verdict::Allow => libc::SECCOMP_RET_ALLOW,
        Verdict::Errno(errno) => libc::SECCOMP_RET_ERRNO | u32::from(errno),
    };
    statement(RETURN, value)
}

fn statement(code: u16, k: u32) -> SockFilter {
    SockFilter { code, jt: 0, jf: 0, k }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> SockFilter {
    SockFilter { code, jt, jf, k }
}

/// A count as an operand; programs and tables are far shorter than its limit.
fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use rustix::fs::{CWD, Mode, OFlags, openat};
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType, netlink, socket};

    use super::super::interpreter::{Data, Seen, run};
    use super::super::table::{Abi, NUMBER_LIMIT};
    use super::*;
    use crate::settings::{ALL_CAPABILITIES, SystemCallRule};
    use crate::sys::seccomp::install_filter;

    const ENOSYS: Verdict = Verdict::Errno(38);

    /// What a policy says, without a program.
    fn verdict(action: Action, arguments: [u64; 6]) -> Verdict {
        let low = |argument: u8| arguments[usize::from(argument)] & 0xffff_ffff;
        match action {
            Action::Always(verdict) => verdict,
            Action::Check(check) => {
                let all = check.tests.iter().all(|test| match *test {
                    ArgumentTest::Equals(argument, value) => low(argument) == u64::from(value),
                    ArgumentTest::AnyBit(argument, bits) => low(argument) & u64::from(bits) != 0,
                });
                if all { check.matched } else { check.otherwise }
            }
        }
    }

    fn policy(abi: Abi, rules: &[&str], suppress_sync: bool) -> SystemCallPolicy {
        let rules: Vec<SystemCallRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        SystemCallPolicy::for_abi(abi, ALL_CAPABILITIES, &rules, suppress_sync).unwrap()
    }

    #[test]
    fn every_number_of_every_abi_gets_its_action() {
        for abi in Abi::ALL {
            for suppress_sync in [false, true] {
                let policy = policy(abi, &["~@keyring"], suppress_sync);
                let program = compile(std::slice::from_ref(&policy));
                for nr in (0..1024).chain([0x3fff_ffff, 0x4000_0000, 0x4000_0001, 0x7fff_ffff, u32::MAX]) {
                    for args in [[0; 6], [u64::MAX; 6], [0, 0, 0o10000, 0, 0, 0], [16, 0, 9, 0, 0, 0]] {
                        let (given, seen) = run(&program, &Data { nr, arch: abi.audit_arch(), args });
                        assert_eq!(given, verdict(policy.action(nr), args), "{abi:?} {nr} {args:?}");
                        let constant = matches!(policy.action(nr), Action::Always(_));
                        assert_eq!(
                            seen,
                            if constant { Seen::NumberOnly } else { Seen::Arguments },
                            "{abi:?} {nr}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn foreign_architectures_get_enosys() {
        let foreign = |abis: &[Abi], arch: u32| {
            let policies: Vec<_> = abis.iter().map(|abi| policy(*abi, &["@known"], false)).collect();
            let program = compile(&policies);
            (0..1024).all(|nr| run(&program, &Data { nr, arch, args: [0; 6] }).0 == ENOSYS)
        };
        let mips = 0x4000_0008;
        let table: [(&[Abi], u32, bool); 8] = [
            (&[], Abi::X86_64.audit_arch(), true),
            (&[Abi::X86_64], Abi::I386.audit_arch(), true),
            (&[Abi::X86_64], Abi::Aarch64.audit_arch(), true),
            (&[Abi::X86_64], 0, true),
            (&[Abi::X86_64], Abi::X86_64.audit_arch(), false),
            (&[Abi::X86_64, Abi::I386], Abi::X86_64.audit_arch(), false),
            (&[Abi::X86_64, Abi::I386], Abi::I386.audit_arch(), false),
            (&[Abi::X86_64, Abi::I386], mips, true),
        ];
        for (abis, arch, expected) in table {
            assert_eq!(foreign(abis, arch), expected, "{abis:?} {arch:#x}");
        }
    }

    #[test]
    fn x32_gets_enosys() {
        let program = compile(&[policy(Abi::X86_64, &["@known"], false)]);
        for nr in 0..600 {
            let data = Data { nr: nr | 0x4000_0000, arch: Abi::X86_64.audit_arch(), args: [0; 6] };
            assert_eq!(run(&program, &data), (ENOSYS, Seen::NumberOnly), "{nr}");
        }
    }

    #[test]
    fn arguments_are_looked_at() {
        const HIGH: u64 = 1 << 32;
        let (allow, refuse) = (Verdict::Allow, |errno: i32| Verdict::Errno(errno.try_into().unwrap()));
        let table = [
            ("socket", false, [16, 3, 9], refuse(libc::EAFNOSUPPORT)),
            ("socket", false, [16 | HIGH, 3, 9 | HIGH], refuse(libc::EAFNOSUPPORT)),
            ("socket", false, [16, 3, 0], allow),
            ("socket", false, [16, 3, 8], allow),
            ("socket", false, [2, 1, 9], allow),
            ("fsync", false, [3, 0, 0], allow),
            ("fsync", true, [3, 0, 0], refuse(0)),
            ("fsync", true, [0x7fff_ffff, 0, 0], refuse(0)),
            ("fsync", true, [0xffff_ffff, 0, 0], allow),
            ("fsync", true, [u64::MAX, 0, 0], allow),
            ("sync", true, [0, 0, 0], refuse(0)),
            ("openat", false, [0, 0, 0o10000], allow),
            ("openat", true, [0, 0, 0o10000], refuse(libc::EINVAL)),
            ("openat", true, [0, 0, 0o4010000 | 0o101], refuse(libc::EINVAL)),
            ("openat", true, [0, 0, 0o102], allow),
            ("openat", true, [0, 0o10000, 0], allow),
            ("openat2", true, [0, 0o10000, 0o10000], allow),
        ];
        for (name, suppress_sync, [a, b, c], expected) in table {
            let policy = policy(Abi::NATIVE, &[], suppress_sync);
            let nr = Abi::NATIVE.number(name).unwrap().into();
            let data = Data { nr, arch: Abi::NATIVE.audit_arch(), args: [a, b, c, 0, 0, 0] };
            assert_eq!(run(&compile(&[policy]), &data).0, expected, "{name} {suppress_sync} {a} {b} {c}");
        }
    }

    /// Installs a program in a thread of its own, since a filter is a thread's.
    #[test]
    fn the_kernel_does_the_same() {
        let program = compile(&[policy(Abi::NATIVE, &["~getcwd"], true)]);
        std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            if let Err(error) = install_filter(&program) {
                println!("skipped: {error}: {}", error.errno());
                return;
            }
            let netlink = |protocol| socket(AddressFamily::NETLINK, SocketType::RAW, protocol).err();
            let open = |flags| openat(CWD, c"/dev/null", OFlags::WRONLY | flags, Mode::empty()).err();
            let (read_end, _write_end) = rustix::pipe::pipe().unwrap();
            assert_eq!(rustix::process::getcwd(Vec::new()).err(), Some(Errno::PERM));
            assert_eq!(netlink(Some(netlink::AUDIT)), Some(Errno::AFNOSUPPORT));
            assert_eq!(netlink(None), None); // NETLINK_ROUTE is 0
            // A pipe cannot be synced: it is EINVAL without the filter.
            assert_eq!(rustix::fs::fsync(&read_end), Ok(()));
            assert_eq!(open(OFlags::DSYNC), Some(Errno::INVAL));
            assert_eq!(open(OFlags::empty()), None);
        })
        .join()
        .unwrap();
    }

    /// The smallest of several runs: other tests run beside this one.
    #[test]
    fn is_quick_and_short() {
        let mut best = Duration::MAX;
        let mut length = 0;
        for _ in 0..50 {
            let start = Instant::now();
            let policy = SystemCallPolicy::for_machine(ALL_CAPABILITIES, &[], false).unwrap();
            length = compile(&[policy]).len();
            best = best.min(start.elapsed());
        }
        println!("policy and program of {length} instructions: {best:?}");
        assert!(length < 512, "{length} instructions");
        assert!(cfg!(debug_assertions) || best < Duration::from_micros(100), "{best:?}");
    }

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![Just(Verdict::Allow), (0..200u16).prop_map(Verdict::Errno)]
    }

    fn any_action() -> impl Strategy<Value = Action> {
        const TESTS: [&[ArgumentTest]; 4] = [
            &[],
            &[ArgumentTest::Equals(5, u32::MAX)],
            &[ArgumentTest::AnyBit(0, 6), ArgumentTest::Equals(1, 0), ArgumentTest::AnyBit(3, 1 << 31)],
            &[ArgumentTest::Equals(2, 7)],
        ];
        let check = (0..TESTS.len(), any_verdict(), any_verdict()).prop_map(|(place, matched, otherwise)| {
            Action::Check(ArgumentCheck { tests: TESTS[place], matched, otherwise })
        });
        prop_oneof![20 => any_verdict().prop_map(Action::Always), 1 => check]
    }

    fn any_argument() -> impl Strategy<Value = u64> {
        prop_oneof![0..9u64, Just(u64::MAX), any::<u64>(), any::<u32>().prop_map(u64::from)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Whatever the actions, even with no two neighbours alike, the program does as the policies say.
        #[test]
        fn programs_do_as_their_policies_say(
            actions in proptest::collection::vec(any_action(), usize::from(NUMBER_LIMIT)),
            args in proptest::array::uniform6(any_argument()),
        ) {
            let policies = [Abi::X86_64, Abi::I386].map(|abi| SystemCallPolicy::of_actions(abi, actions.clone()));
            let program = compile(&policies);
            prop_assert!(program.len() <= LONGEST_PROGRAM, "{} instructions", program.len());
            for policy in &policies {
                for nr in (0..1024).chain([0x4000_0000, u32::MAX]) {
                    let (given, _) = run(&program, &Data { nr, arch: policy.abi().audit_arch(), args });
                    prop_assert_eq!(given, verdict(policy.action(nr), args));
                }
            }
        }
    }
}
