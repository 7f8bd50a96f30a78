//! Programs for the kernel's extended BPF machine (bpf(2)): only what a device filter of a cgroup needs.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::{FdPath, SysResult, check, sys};

/// One instruction, laid out as the kernel's `struct bpf_insn` (linux/bpf.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BpfInstruction {
    /// What to do.
    pub code: u8,
    /// Destination and source register, a nibble each.
    registers: u8,
    /// By how many instructions to jump, or where in memory.
    pub offset: i16,
    /// The operand.
    pub immediate: i32,
}

impl BpfInstruction {
    /// An instruction on registers `destination` and `source`.
    pub const fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Self {
        // Two bit fields in C, which lie as the processor's byte order has it.
        let registers = if cfg!(target_endian = "little") {
            source << 4 | destination
        } else {
            destination << 4 | source
        };
        Self { code, registers, offset, immediate }
    }

    /// Its destination and source register.
    pub const fn registers(&self) -> (u8, u8) {
        let (high, low) = (self.registers >> 4, self.registers & 0xf);
        if cfg!(target_endian = "little") { (low, high) } else { (high, low) }
    }
}

/// The start of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// The start of `union bpf_attr` for BPF_PROG_ATTACH.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// Loads a filter of device accesses (BPF_PROG_TYPE_CGROUP_DEVICE, Linux 4.15).
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN, EINVAL where the kernel has no such programs or finds fault with this one.
pub fn load_device_filter(program: &[BpfInstruction]) -> SysResult<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_long = 5;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).unwrap_or(u32::MAX),
        instructions: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"spinney_devices\0",
    };
    // SAFETY: the kernel reads `attributes`, whose size is passed, and through it `count` instructions and a
    // NUL-terminated string; all live to the end of the call, and nothing is written.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            std::ptr::from_ref(&attributes),
            size_of::<LoadAttributes>(),
        )
    };
    let fd = sys("bpf", check(fd), || {
        format!("BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE, {} instructions", program.len())
    })?;
    // SAFETY: the kernel has just made this fd for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)) })
}

/// Has `program` decide on each device that a process of `cgroup` or below opens or makes, beside the filters of the
/// cgroups above it. It stays as long as the cgroup.
///
/// # Errors
/// EPERM where a filter above allows no others.
pub fn attach_device_filter(cgroup: impl AsFd, program: impl AsFd) -> SysResult<()> {
    const BPF_PROG_ATTACH: libc::c_long = 8;
    const BPF_CGROUP_DEVICE: u32 = 6;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    let attributes = AttachAttributes {
        target: cgroup.as_fd().as_raw_fd().unsigned_abs(),
        program: program.as_fd().as_raw_fd().unsigned_abs(),
        attach_type: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the kernel reads `attributes`, whose size is passed; both fds are borrowed for the length of the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            std::ptr::from_ref(&attributes),
            size_of::<AttachAttributes>(),
        )
    };
    sys("bpf", check(result).map(drop), || {
        format!("BPF_PROG_ATTACH, {}, BPF_CGROUP_DEVICE", FdPath::of(&cgroup))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_the_kernels() {
        assert_eq!(size_of::<BpfInstruction>(), 8);
        assert_eq!(size_of::<LoadAttributes>(), 64);
        assert_eq!(size_of::<AttachAttributes>(), 16);
        assert_eq!(BpfInstruction::new(0, 3, 7, 0, 0).registers(), (3, 7));
    }
}
