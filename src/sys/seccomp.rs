//! Installing a system call filter (seccomp(2)).

use std::ptr;

use rustix::io::Errno;

use super::{SysError, SysResult};

/// One instruction of classic BPF, laid out as the kernel's `struct sock_filter` (linux/filter.h).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SockFilter {
    /// What to do: class, mode and size, or'ed.
    pub code: u16,
    /// How many instructions to jump over if the test holds.
    pub jt: u8,
    /// How many if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

impl SockFilter {
    /// Size of an instruction.
    pub const BYTES: usize = 8;

    /// As the kernel has it in memory.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let ([a, b], [c, d, e, f]) = (self.code.to_ne_bytes(), self.k.to_ne_bytes());
        [a, b, self.jt, self.jf, c, d, e, f]
    }

    /// The instruction that has these bytes.
    pub fn from_bytes([a, b, jt, jf, c, d, e, f]: [u8; Self::BYTES]) -> Self {
        Self { code: u16::from_ne_bytes([a, b]), jt, jf, k: u32::from_ne_bytes([c, d, e, f]) }
    }
}

/// The kernel's `struct sock_fprog`.
#[repr(C)]
struct SockFprog {
    len: u16,
    filter: *const SockFilter,
}

/// Puts `program` before every further system call of this thread and of all that it starts.
///
/// Needs CAP_SYS_ADMIN in the own user namespace, or no_new_privs. EINVAL is a program that the kernel finds faulty,
/// or a kernel without CONFIG_SECCOMP_FILTER; EACCES is neither CAP_SYS_ADMIN nor no_new_privs.
pub fn install_filter(program: &[SockFilter]) -> SysResult<()> {
    let arguments = || format!("SECCOMP_SET_MODE_FILTER, 0, [{} instructions]", program.len());
    let Ok(len) = u16::try_from(program.len()) else {
        return Err(SysError::new("seccomp", arguments(), Errno::INVAL));
    };
    let fprog = SockFprog { len, filter: program.as_ptr() };
    // SAFETY: the kernel reads `fprog`, and through it `len` instructions of `program`, and keeps neither; both live
    // to the end of the call.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, ptr::from_ref(&fprog)) };
    if result == 0 {
        return Ok(());
    }
    let errno = Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL);
    Err(SysError::new("seccomp", arguments(), errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_back() {
        let instruction = SockFilter { code: 0x15, jt: 1, jf: 2, k: 0x8070_6050 };
        assert_eq!(SockFilter::from_bytes(instruction.to_bytes()), instruction);
        assert_eq!(size_of::<SockFilter>(), SockFilter::BYTES);
    }

    #[test]
    fn layout_is_the_kernels() {
        assert_eq!(size_of::<SockFilter>(), size_of::<libc::sock_filter>());
        assert_eq!(size_of::<SockFprog>(), size_of::<libc::sock_fprog>());
        assert_eq!(std::mem::offset_of!(SockFprog, filter), std::mem::offset_of!(libc::sock_fprog, filter));
        assert_eq!(std::mem::offset_of!(SockFilter, k), std::mem::offset_of!(libc::sock_filter, k));
    }

    #[test]
    fn a_faulty_program_is_refused() {
        let error = install_filter(&[]).unwrap_err();
        assert_eq!(error.errno(), Errno::INVAL);
        assert_eq!(error.to_string(), "seccomp(SECCOMP_SET_MODE_FILTER, 0, [0 instructions])");
        let long = vec![SockFilter { code: 0, jt: 0, jf: 0, k: 0 }; 70_000];
        assert_eq!(install_filter(&long).unwrap_err().errno(), Errno::INVAL);
    }
}
