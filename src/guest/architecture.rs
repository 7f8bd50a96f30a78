//! Which processor a program is for, and whether this host's kernel runs it.

use std::fmt;

use super::elf::{ByteOrder, Class, Header};

/// The processor a program is for, with the names that uname(2) and Debian use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// x86-64 with 32-bit pointers.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit POWER, little endian.
    Ppc64le,
    /// 64-bit POWER, big endian.
    Ppc64,
    /// IBM Z.
    S390x,
    /// 64-bit LoongArch.
    Loongarch64,
    /// 64-bit MIPS, little endian.
    Mips64el,
    /// Something else: the `e_machine` of elf(5).
    Other(u16),
}

impl Architecture {
    /// What an ELF header says.
    pub fn of(header: &Header) -> Self {
        let little = header.order == ByteOrder::Little;
        let wide = header.class == Class::Bits64;
        match (header.machine, wide, little) {
            (62, true, true) => Self::X86_64,
            (62, false, true) => Self::X32,
            (3, false, true) => Self::X86,
            (183, true, true) => Self::Aarch64,
            (40, false, true) => Self::Arm,
            (243, true, true) => Self::Riscv64,
            (21, true, true) => Self::Ppc64le,
            (21, true, false) => Self::Ppc64,
            (22, true, false) => Self::S390x,
            (258, true, true) => Self::Loongarch64,
            (8, true, true) => Self::Mips64el,
            (machine, ..) => Self::Other(machine),
        }
    }

    /// What this program was built for: the kernel that runs it runs that too.
    pub fn host() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "x86" => Some(Self::X86),
            "aarch64" => Some(Self::Aarch64),
            "arm" => Some(Self::Arm),
            "riscv64" => Some(Self::Riscv64),
            "powerpc64" if cfg!(target_endian = "little") => Some(Self::Ppc64le),
            "powerpc64" => Some(Self::Ppc64),
            "s390x" => Some(Self::S390x),
            "loongarch64" => Some(Self::Loongarch64),
            "mips64" => Some(Self::Mips64el),
            _ => None,
        }
    }

    /// Whether a kernel for `host` runs such programs by itself, without binfmt_misc.
    pub fn runs_on(self, host: Self) -> bool {
        self == host
            || matches!(
                (host, self),
                (Self::X86_64, Self::X86 | Self::X32)
                    | (Self::Aarch64, Self::Arm)
                    | (Self::Ppc64, Self::Ppc64le)
            )
    }

    /// The name of the interpreter that qemu-user-static gives binfmt_misc for this architecture.
    pub fn qemu_name(self) -> Option<&'static str> {
        match self {
            Self::X86 => Some("i386"),
            Self::X32 | Self::Other(_) => None,
            Self::X86_64 => Some("x86_64"),
            Self::Aarch64 => Some("aarch64"),
            Self::Arm => Some("arm"),
            Self::Riscv64 => Some("riscv64"),
            Self::Ppc64le => Some("ppc64le"),
            Self::Ppc64 => Some("ppc64"),
            Self::S390x => Some("s390x"),
            Self::Loongarch64 => Some("loongarch64"),
            Self::Mips64el => Some("mips64el"),
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X86_64 => f.write_str("x86-64"),
            Self::X86 => f.write_str("x86"),
            Self::X32 => f.write_str("x32"),
            Self::Aarch64 => f.write_str("arm64"),
            Self::Arm => f.write_str("arm"),
            Self::Riscv64 => f.write_str("riscv64"),
            Self::Ppc64le => f.write_str("ppc64le"),
            Self::Ppc64 => f.write_str("ppc64"),
            Self::S390x => f.write_str("s390x"),
            Self::Loongarch64 => f.write_str("loongarch64"),
            Self::Mips64el => f.write_str("mips64el"),
            Self::Other(machine) => write!(f, "unknown (ELF machine {machine})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::elf::tests::program;
    use super::*;

    #[test]
    fn names_and_what_runs() {
        let host = Architecture::X86_64;
        for (machine, name, runs) in [
            (62, "x86-64", true),
            (183, "arm64", false),
            (243, "riscv64", false),
            (9999, "unknown (ELF machine 9999)", false),
        ] {
            let architecture = Architecture::of(&Header::parse(&program(machine, None, &[])).unwrap());
            assert_eq!((architecture.to_string().as_str(), architecture.runs_on(host)), (name, runs));
        }
        assert!(Architecture::X86.runs_on(host) && !host.runs_on(Architecture::X86));
        assert!(!Architecture::Arm.runs_on(host) && Architecture::Arm.runs_on(Architecture::Aarch64));
    }

    #[test]
    fn the_host_is_known() {
        let own =
            Header::parse(&std::fs::read("/proc/self/exe").unwrap()).map(|header| Architecture::of(&header));
        assert_eq!(own, Architecture::host());
    }
}
