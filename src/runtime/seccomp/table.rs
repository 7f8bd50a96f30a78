//! Which system calls there are, and their numbers, for each ABI that a guest may speak.
//!
//! Numbers are kernel ABI and never change, so they stand here as data: each table can be tested on every machine,
//! and calls are known that the libc crate has no name for yet. Nothing here decides what is allowed.

use std::cmp::Ordering;

mod generic;
mod unified;
mod x86;

/// A call's name and number. Tables are sorted by name, for the binary search of [`Abi::number`].
type CallNumber = (&'static str, u16);

/// Writes a table as `name number, …`, several on a line.
macro_rules! calls {
    ($($name:ident $number:literal),* $(,)?) => { &[$((stringify!($name), $number)),*] };
}
use calls;

/// One more than the highest number that a table can hold; x32 starts here on x86_64.
pub const NUMBER_LIMIT: u16 = 512;

/// A way to call the kernel: a set of numbers, marked by an AUDIT_ARCH_* value (linux/audit.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abi {
    /// 64-bit x86, without x32.
    X86_64,
    /// 32-bit x86, on its own or under a 64-bit kernel.
    I386,
    /// 64-bit ARM.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
}

impl Abi {
    /// The ABI that this program itself uses.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The ABI that this program itself uses.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;
    /// The ABI that this program itself uses.
    #[cfg(target_arch = "riscv64")]
    pub const NATIVE: Self = Self::Riscv64;

    /// All ABIs that have a table.
    pub const ALL: [Self; 4] = [Self::X86_64, Self::I386, Self::Aarch64, Self::Riscv64];

    /// The 32-bit ABI that a kernel of this ABI may run too, if we have its table.
    pub fn compat(self) -> Option<Self> {
        match self {
            Self::X86_64 => Some(Self::I386),
            Self::I386 | Self::Aarch64 | Self::Riscv64 => None,
        }
    }

    /// `seccomp_data.arch` of its calls: ELF machine, with bits for 64 bit and little endian (linux/audit.h).
    pub fn audit_arch(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Riscv64 => 0xc000_00f3,
        }
    }

    /// The number of the call `name`. It is const, so that the sets of the default list are made by the compiler.
    pub const fn number(self, name: &str) -> Option<u16> {
        let tables = self.tables();
        let mut at = 0;
        while at < tables.len() {
            if let Some(number) = find(tables[at], name) {
                return Some(number);
            }
            at += 1;
        }
        None
    }

    /// The name of call `number`.
    pub fn name(self, number: u16) -> Option<&'static str> {
        self.calls().find(|(_, known)| *known == number).map(|(name, _)| name)
    }

    /// Every call, in no useful order.
    pub fn calls(self) -> impl Iterator<Item = (&'static str, u16)> {
        self.tables().into_iter().flatten().copied()
    }

    const fn tables(self) -> [&'static [CallNumber]; 3] {
        match self {
            Self::X86_64 => [x86::X86_64, unified::UNIFIED, &[]],
            Self::I386 => [x86::I386, unified::UNIFIED, &[]],
            Self::Aarch64 => [generic::GENERIC, unified::UNIFIED, generic::AARCH64],
            Self::Riscv64 => [generic::GENERIC, unified::UNIFIED, generic::RISCV64],
        }
    }
}

/// The binary search of the standard library, which is not const.
const fn find(table: &[CallNumber], name: &str) -> Option<u16> {
    let (mut low, mut high) = (0, table.len());
    while low < high {
        let middle = low.midpoint(high);
        let (known, number) = table[middle];
        match compare(known, name) {
            Ordering::Less => low = middle + 1,
            Ordering::Equal => return Some(number),
            Ordering::Greater => high = middle,
        }
    }
    None
}

/// The order of strings of the standard library, which is not const.
pub(super) const fn compare(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut at = 0;
    while at < left.len() && at < right.len() {
        if left[at] != right[at] {
            return if left[at] < right[at] { Ordering::Less } else { Ordering::Greater };
        }
        at += 1;
    }
    match (at < left.len(), at < right.len()) {
        (false, true) => Ordering::Less,
        (true, _) => Ordering::Greater,
        (false, false) => Ordering::Equal,
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
compile_error!("the system call filter needs a table of this architecture's system calls: add it in table/");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_within_the_limit() {
        for abi in Abi::ALL {
            for table in abi.tables() {
                for pair in table.windows(2) {
                    assert!(pair[0].0 < pair[1].0, "{abi:?}: {pair:?}");
                }
                assert!(table.iter().all(|(_, number)| *number < NUMBER_LIMIT), "{abi:?}");
            }
        }
    }

    #[test]
    fn order_is_the_standard_librarys() {
        let names = ["", "a", "ab", "abc", "b", "_a", "A"];
        for left in names {
            for right in names {
                assert_eq!(compare(left, right), left.cmp(right), "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn a_number_has_one_name_and_a_name_one_number() {
        for abi in Abi::ALL {
            let mut numbers: Vec<u16> = abi.calls().map(|(_, number)| number).collect();
            numbers.sort_unstable();
            let count = numbers.len();
            numbers.dedup();
            assert_eq!(numbers.len(), count, "{abi:?}");
            for (name, number) in abi.calls() {
                assert_eq!(abi.number(name), Some(number), "{abi:?} {name}");
                assert_eq!(abi.name(number), Some(name), "{abi:?} {number}");
            }
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        let table = [
            (Abi::X86_64, "read", Some(0)),
            (Abi::X86_64, "uprobe", Some(336)),
            (Abi::X86_64, "pidfd_send_signal", Some(424)),
            (Abi::X86_64, "fchmodat2", Some(452)),
            (Abi::X86_64, "mseal", Some(462)),
            (Abi::X86_64, "open_tree_attr", Some(467)),
            (Abi::X86_64, "socketcall", None),
            (Abi::X86_64, "nonsense", None),
            (Abi::I386, "restart_syscall", Some(0)),
            (Abi::I386, "break", Some(17)),
            (Abi::I386, "futex_time64", Some(422)),
            (Abi::Aarch64, "io_setup", Some(0)),
            (Abi::Aarch64, "renameat", Some(38)),
            (Abi::Aarch64, "kexec_file_load", Some(294)),
            (Abi::Aarch64, "open", None),
            (Abi::Riscv64, "renameat", None),
            (Abi::Riscv64, "riscv_hwprobe", Some(258)),
        ];
        for (abi, name, expected) in table {
            assert_eq!(abi.number(name), expected, "{abi:?} {name}");
        }
    }

    /// A sample of each region of the native table against the C library's headers.
    #[test]
    fn native_numbers_agree_with_libc() {
        let table = [
            ("read", libc::SYS_read),
            ("openat", libc::SYS_openat),
            ("clone", libc::SYS_clone),
            ("mount", libc::SYS_mount),
            ("socket", libc::SYS_socket),
            ("prctl", libc::SYS_prctl),
            ("seccomp", libc::SYS_seccomp),
            ("statx", libc::SYS_statx),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("mount_setattr", libc::SYS_mount_setattr),
            ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
            ("set_mempolicy_home_node", libc::SYS_set_mempolicy_home_node),
        ];
        for (name, expected) in table {
            assert_eq!(Abi::NATIVE.number(name).map(libc::c_long::from), Some(expected), "{name}");
        }
    }
}
