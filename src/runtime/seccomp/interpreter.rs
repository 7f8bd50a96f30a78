//! An interpreter of filters, to test the compiler against. It knows the instructions that the kernel's own look at a
//! filter knows, and panics at any other: then that look would give up too.

use super::policy::Verdict;
use crate::sys::seccomp::SockFilter;

/// What a filter is run on: `struct seccomp_data` without the instruction pointer.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) nr: u32,
    pub(super) arch: u32,
    pub(super) args: [u64; 6],
}

/// What a run has loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Number and architecture alone: the kernel can remember what was given.
    NumberOnly,
    /// Arguments too.
    Arguments,
}

/// Runs `program`. Panics where the kernel would refuse it.
pub(super) fn run(program: &[SockFilter], data: &Data) -> (Verdict, Seen) {
    let (mut accumulator, mut seen, mut place) = (0, Seen::NumberOnly, 0);
    loop {
        let SockFilter { code, jt, jf, k } = program[place];
        place += 1;
        let mut jump = |holds: bool| place += usize::from(if holds { jt } else { jf });
        match code {
            0x20 => {
                accumulator = match k {
                    0 => data.nr,
                    4 => data.arch,
                    16.. => {
                        seen = Seen::Arguments;
                        assert_eq!(k % 8, 0, "the high half of an argument");
                        let argument = data.args[usize::try_from((k - 16) / 8).unwrap()];
                        u32::try_from(argument & 0xffff_ffff).unwrap()
                    }
                    _ => panic!("load of {k}"),
                }
            }
            0x05 => place += usize::try_from(k).unwrap(),
            0x15 => jump(accumulator == k),
            0x35 => jump(accumulator >= k),
            0x45 => jump(accumulator & k != 0),
            0x06 if k == 0x7fff_0000 => return (Verdict::Allow, seen),
            0x06 => {
                assert_eq!(k >> 16, 5, "neither ALLOW nor ERRNO: {k:#x}");
                return (Verdict::Errno(u16::try_from(k & 0xffff).unwrap()), seen);
            }
            _ => panic!("instruction {code:#x}"),
        }
    }
}
