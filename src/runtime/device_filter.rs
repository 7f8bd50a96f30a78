//! Which devices a machine may open and make: a filter of its cgroup, for a machine that shares the host's user namespace
//! (systemd.resource-control(5), `DevicePolicy=closed`, which systemd-nspawn asks for).
//!
//! In a user namespace of its own a machine can make no device nodes, and those of its tree cannot be opened
//! ([`super::root`]). Root of the host can do both: without a filter every disk is its own.

use std::os::fd::AsFd;

use crate::sys::SysResult;
use crate::sys::bpf::{BpfInstruction, attach_device_filter, load_device_filter};

/// What may be done with some devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Block or character.
    pub kind: DeviceKind,
    /// Major number; `None` is all.
    pub major: Option<u32>,
    /// Minor number; `None` is all.
    pub minor: Option<u32>,
    /// `READ`, `WRITE` and `MAKE`, or'ed.
    pub access: u32,
}

/// The two kinds of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Disks and the like.
    Block,
    /// All others.
    Character,
}

/// mknod(2) (BPF_DEVCG_ACC_MKNOD of linux/bpf.h).
pub const MAKE: u32 = 1;
/// Opening for reading.
pub const READ: u32 = 2;
/// Opening for writing.
pub const WRITE: u32 = 4;

/// Major number of pseudo terminals (Documentation/admin-guide/devices.txt): 136 to 143, of which Linux uses the first.
const PTS: u32 = 136;

/// What every machine may use besides the nodes of its /dev: /dev/ptmx and what comes of it.
pub const TERMINALS: [DeviceRule; 2] = [
    DeviceRule { kind: DeviceKind::Character, major: Some(5), minor: Some(2), access: MAKE | READ | WRITE },
    DeviceRule { kind: DeviceKind::Character, major: Some(PTS), minor: None, access: READ | WRITE },
];

/// What a machine needs that others are in: trees have nodes of any device, and whoever unpacks one makes them. What they are of can be
/// opened no more than before.
pub const NODES: [DeviceRule; 2] = [
    DeviceRule { kind: DeviceKind::Character, major: None, minor: None, access: MAKE },
    DeviceRule { kind: DeviceKind::Block, major: None, minor: None, access: MAKE },
];

impl std::fmt::Display for DeviceRule {
    /// As `DeviceAllow=` of systemd writes it, by numbers: `char 1:3 rwm`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            DeviceKind::Block => "block",
            DeviceKind::Character => "char",
        };
        match self.major {
            Some(major) => write!(f, "{kind} {major}:")?,
            None => write!(f, "{kind} *:")?,
        }
        match self.minor {
            Some(minor) => write!(f, "{minor} ")?,
            None => write!(f, "* ")?,
        }
        [(READ, 'r'), (WRITE, 'w'), (MAKE, 'm')]
            .into_iter()
            .filter(|(access, _)| self.access & access != 0)
            .try_for_each(|(_, letter)| write!(f, "{letter}"))
    }
}

/// Lets processes of `cgroup` use what `rules` allow and no other device.
///
/// # Errors
/// Where the kernel, or a filter of a cgroup above, does not let us.
pub fn apply(rules: &[DeviceRule], cgroup: impl AsFd) -> SysResult<()> {
    attach_device_filter(cgroup, load_device_filter(&program(rules))?)
}

/// Registers: the context is in r1 at the start, the verdict in r0 at the end (bpf_design_QA.rst, calling convention).
const VERDICT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// Opcodes (Documentation/bpf/standardization/instruction-set.rst): class, operation and source, or'ed.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// The program: one rule after the other, the first that holds allows.
///
/// Its context is `struct bpf_cgroup_dev_ctx`: the access in the upper, the kind in the lower half of a word, then major
/// and minor number.
fn program(rules: &[DeviceRule]) -> Vec<BpfInstruction> {
    let with =
        |code, register, immediate: u32| BpfInstruction::new(code, register, 0, 0, immediate.cast_signed());
    let load = |register, offset| BpfInstruction::new(LOAD_WORD, register, CONTEXT, offset, 0);
    let mut program = vec![
        load(KIND, 0),
        load(ACCESS, 0),
        load(MAJOR, 4),
        load(MINOR, 8),
        with(AND, KIND, 0xffff),
        with(SHIFT_RIGHT, ACCESS, 16),
    ];
    for rule in rules {
        let kind = match rule.kind {
            DeviceKind::Block => 1,
            DeviceKind::Character => 2,
        };
        let mut tests = vec![
            with(JUMP_IF_NOT_EQUAL, KIND, kind),
            BpfInstruction::new(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0),
            with(AND, SCRATCH, !rule.access),
            with(JUMP_IF_NOT_EQUAL, SCRATCH, 0),
        ];
        tests.extend(rule.major.map(|major| with(JUMP_IF_NOT_EQUAL, MAJOR, major)));
        tests.extend(rule.minor.map(|minor| with(JUMP_IF_NOT_EQUAL, MINOR, minor)));
        let verdict = [with(MOVE, VERDICT, 1), with(EXIT, 0, 0)];
        let end = tests.len() + verdict.len();
        for (index, test) in tests.iter_mut().enumerate().filter(|(_, test)| test.code == JUMP_IF_NOT_EQUAL) {
            // From the instruction after this one to the next rule.
            test.offset = i16::try_from(end - index - 1).unwrap_or(0);
        }
        program.extend(tests);
        program.extend(verdict);
    }
    program.extend([with(MOVE, VERDICT, 0), with(EXIT, 0, 0)]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `program` on a context as the kernel would.
    fn run(program: &[BpfInstruction], context: [u32; 3]) -> u64 {
        let (mut registers, mut at) = ([0_u64; 11], 0_usize);
        loop {
            let instruction = program[at];
            let (to, from) = instruction.registers();
            let (to, from) = (usize::from(to), usize::from(from));
            let immediate = u64::from(instruction.immediate.cast_unsigned());
            at += 1;
            match instruction.code {
                LOAD_WORD => registers[to] = context[usize::try_from(instruction.offset).unwrap() / 4].into(),
                MOVE => registers[to] = immediate,
                MOVE_REGISTER => registers[to] = registers[from],
                AND => registers[to] &= immediate,
                SHIFT_RIGHT => registers[to] >>= immediate,
                JUMP_IF_NOT_EQUAL if registers[to] != immediate => {
                    at += usize::try_from(instruction.offset).unwrap();
                }
                JUMP_IF_NOT_EQUAL => {}
                EXIT => return registers[0],
                code => panic!("{code:#x}"),
            }
        }
    }

    const RULES: [DeviceRule; 4] = [
        DeviceRule {
            kind: DeviceKind::Character,
            major: Some(1),
            minor: Some(3),
            access: MAKE | READ | WRITE,
        },
        DeviceRule { kind: DeviceKind::Block, major: Some(7), minor: Some(0), access: READ },
        TERMINALS[0],
        TERMINALS[1],
    ];

    #[test]
    fn verdicts() {
        let (block, character) = (1, 2);
        for (name, kind, access, major, minor, allowed) in [
            ("null", character, READ | WRITE, 1, 3, true),
            ("making null", character, MAKE, 1, 3, true),
            ("mem", character, READ, 1, 1, false),
            ("a block device of the same number", block, READ, 1, 3, false),
            ("a disk that may be read", block, READ, 7, 0, true),
            ("and not written", block, READ | WRITE, 7, 0, false),
            ("nor made", block, MAKE, 7, 0, false),
            ("another disk", block, READ, 7, 1, false),
            ("any pts", character, READ | WRITE, 136, 4711, true),
            ("making a pts", character, MAKE, 136, 0, false),
            ("ptmx", character, READ | WRITE, 5, 2, true),
            ("the console", character, READ | WRITE, 5, 1, false),
        ] {
            let verdict = run(&program(&RULES), [access << 16 | kind, major, minor]);
            assert_eq!(verdict, u64::from(allowed), "{name}");
            assert_eq!(run(&program(&[]), [access << 16 | kind, major, minor]), 0, "{name}, no rules");
        }
    }

    #[test]
    fn rules_in_words() {
        let words: Vec<String> = RULES.iter().map(ToString::to_string).collect();
        assert_eq!(words, ["char 1:3 rwm", "block 7:0 r", "char 5:2 rwm", "char 136:* rw"]);
    }

    #[test]
    fn the_kernel_takes_it() {
        match load_device_filter(&program(&RULES)) {
            Ok(_) => {}
            Err(error) => println!("skipped: {error}"),
        }
    }
}
