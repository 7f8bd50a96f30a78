//! Block devices: their size, whether they can be written to (linux/fs.h), and file systems that grow on them.

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::OFlags;
use rustix::ioctl::opcode;

use super::in_root::reopen;
use super::{FdPath, SysError, SysResult, check, sys};

// linux/fs.h, fs/ext4/ext4.h, linux/btrfs.h; the first one's size is that of a pointer, and 64 bits are written.
const BLKGETSIZE64: libc::Ioctl = opcode::read::<usize>(0x12, 114) as libc::Ioctl;
const EXT4_IOC_RESIZE_FS: libc::Ioctl = opcode::write::<u64>(b'f', 16) as libc::Ioctl;
const BTRFS_IOC_RESIZE: libc::Ioctl = opcode::write::<BtrfsVolume>(0x94, 3) as libc::Ioctl;
const BLKROSET: libc::Ioctl = opcode::none(0x12, 93) as libc::Ioctl;
const BLKROGET: libc::Ioctl = opcode::none(0x12, 94) as libc::Ioctl;

/// `struct btrfs_ioctl_vol_args` of linux/btrfs.h.
#[repr(C)]
struct BtrfsVolume {
    fd: i64,
    name: [u8; 4088],
}

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

/// The length of `device`, in bytes.
pub fn size(device: impl AsFd) -> SysResult<u64> {
    let device = device.as_fd();
    let mut size: u64 = 0;
    // SAFETY: BLKGETSIZE64 writes 64 bits, whatever its number says; `size` is live and as large.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), BLKGETSIZE64, &raw mut size) };
    sys("ioctl", check(result.into()), || format!("{}, BLKGETSIZE64", FdPath(device)))?;
    Ok(size)
}

/// Grows the ext4 that is mounted at `mount` to `size` bytes.
pub fn grow_ext4(mount: impl AsFd, size: u64) -> SysResult<()> {
    let mount = reopen(&mount, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let statistics = sys("fstatvfs", rustix::fs::fstatvfs(&mount), || FdPath::of(&mount).to_string())?;
    let blocks: u64 = size / statistics.f_frsize.max(1024);
    // SAFETY: EXT4_IOC_RESIZE_FS reads 64 bits, a number of blocks, which live until the call is over.
    let result = unsafe { libc::ioctl(mount.as_raw_fd(), EXT4_IOC_RESIZE_FS, &raw const blocks) };
    sys("ioctl", check(result.into()).map(drop), || {
        format!("{}, EXT4_IOC_RESIZE_FS, {blocks}", FdPath::of(&mount))
    })
}

/// Grows the Btrfs that is mounted at `mount` to the size of its only device.
pub fn grow_btrfs(mount: impl AsFd) -> SysResult<()> {
    let mount = reopen(&mount, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut volume = BtrfsVolume { fd: 0, name: [0; 4088] };
    volume.name[..3].copy_from_slice(b"max");
    // SAFETY: BTRFS_IOC_RESIZE reads a btrfs_ioctl_vol_args with a NUL-terminated name, which lives until the call is over.
    let result = unsafe { libc::ioctl(mount.as_raw_fd(), BTRFS_IOC_RESIZE, &raw const volume) };
    sys("ioctl", check(result.into()).map(drop), || format!("{}, BTRFS_IOC_RESIZE, max", FdPath::of(&mount)))
}
