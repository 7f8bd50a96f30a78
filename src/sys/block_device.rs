//! Block devices: their size, and whether they can be written to (linux/fs.h).

use std::os::fd::{AsFd, AsRawFd};

use super::{FdPath, SysError, SysResult, check};

/// _IOC_NONE of asm-generic/ioctl.h, and where the architecture has its own.
const NONE: libc::Ioctl =
    if cfg!(any(target_arch = "powerpc64", target_arch = "mips64", target_arch = "sparc64")) {
        1 << 29
    } else {
        0
    };

/// _IO(0x12, 93) and _IO(0x12, 94).
const BLKROSET: libc::Ioctl = NONE | 0x125d;
const BLKROGET: libc::Ioctl = NONE | 0x125e;

/// Whether nobody can write to `device`.
pub fn is_read_only(device: impl AsFd) -> SysResult<bool> {
    let mut state: libc::c_int = 0;
    // SAFETY: the request writes an int, which lives across the call.
    let result = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BLKROGET, &raw mut state) };
    check(result.into())
        .map_err(|errno| SysError::new("ioctl", format!("{}, BLKROGET", FdPath::of(&device)), errno))?;
    Ok(state != 0)
}

/// Sets whether nobody can.
pub fn set_read_only(device: impl AsFd, read_only: bool) -> SysResult<()> {
    let state = libc::c_int::from(read_only);
    // SAFETY: the request reads an int, which lives across the call.
    let result = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BLKROSET, &raw const state) };
    check(result.into())
        .map(drop)
        .map_err(|errno| SysError::new("ioctl", format!("{}, BLKROSET {state}", FdPath::of(&device)), errno))
}

/// How many bytes it has.
pub fn size(device: impl AsFd) -> SysResult<u64> {
    // Its end: the same on all architectures.
    super::sys("lseek", rustix::fs::seek(&device, rustix::fs::SeekFrom::End(0)), || {
        format!("{}, 0, SEEK_END", FdPath::of(&device))
    })
}
