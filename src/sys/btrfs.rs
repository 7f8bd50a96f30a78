//! Subvolumes of btrfs (btrfs-subvolume(8), linux/btrfs.h).

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::files::{open_at, open_directory_at};
use super::{FdPath, SysError, SysResult, check};

/// The inode number of each subvolume's root (BTRFS_FIRST_FREE_OBJECTID, linux/btrfs_tree.h).
pub const SUBVOLUME_INODE: u64 = 256;

/// linux/magic.h.
const BTRFS_SUPER_MAGIC: u64 = 0x9123_683e;

/// BTRFS_IOCTL_MAGIC.
const MAGIC: u32 = 0x94;

/// The subvolume, or what is made of it, cannot be written to (BTRFS_SUBVOL_RDONLY).
const READ_ONLY: u64 = 1 << 1;

/// struct btrfs_ioctl_vol_args_v2.
#[repr(C)]
struct VolumeArguments {
    fd: i64,
    transaction: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

const _: () = assert!(size_of::<VolumeArguments>() == 4096);

/// struct btrfs_ioctl_vol_args, which is what BTRFS_IOC_SNAP_DESTROY takes.
#[repr(C)]
struct OldArguments {
    fd: i64,
    name: [u8; 4088],
}

/// What _IOW and _IOR of asm-generic/ioctl.h make of a number and a size. The architectures that have others (MIPS, PowerPC,
/// SPARC) shift the direction by one bit.
const fn request(direction: u32, number: u32, size: usize) -> libc::Ioctl {
    let swapped = cfg!(any(target_arch = "powerpc64", target_arch = "mips64", target_arch = "sparc64"));
    let direction = match (direction, swapped) {
        (WRITE, true) => 4 << 29,
        (_, true) => 2 << 29,
        (direction, false) => direction << 30,
    };
    #[allow(clippy::cast_possible_truncation, reason = "of structs of 4 KiB at most")]
    let size = (size as u32) << 16;
    (direction | size | MAGIC << 8 | number) as libc::Ioctl
}

const WRITE: u32 = 1;
const READ: u32 = 2;

const SNAP_DESTROY: libc::Ioctl = request(WRITE, 15, size_of::<OldArguments>());
const SNAP_CREATE_V2: libc::Ioctl = request(WRITE, 23, size_of::<VolumeArguments>());
const SUBVOL_CREATE_V2: libc::Ioctl = request(WRITE, 24, size_of::<VolumeArguments>());
const SUBVOL_GETFLAGS: libc::Ioctl = request(READ, 25, size_of::<u64>());
const SUBVOL_SETFLAGS: libc::Ioctl = request(WRITE, 26, size_of::<u64>());

/// Whether `fd` is on btrfs.
pub fn is_on(fd: impl AsFd) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|stat| stat.f_type.cast_unsigned() == BTRFS_SUPER_MAGIC)
}

/// Whether `path` below `directory` is on btrfs. Symlinks are followed.
pub fn is_at(directory: impl AsFd, path: &Path) -> bool {
    open_at(directory, path, OFlags::PATH, Mode::empty()).is_ok_and(is_on)
}

/// Whether `fd` is the root of a subvolume.
pub fn is_subvolume(fd: impl AsFd) -> bool {
    rustix::fs::fstat(&fd).is_ok_and(|stat| stat.st_ino == SUBVOLUME_INODE) && is_on(fd)
}

/// Makes the empty subvolume `name` in `directory`, and opens it.
pub fn create(directory: impl AsFd, name: &str) -> SysResult<OwnedFd> {
    let mut arguments = volume_arguments(name, "BTRFS_IOC_SUBVOL_CREATE_V2")?;
    // SAFETY: the struct is what this request takes (4096 bytes), and lives across the call.
    let result = unsafe { libc::ioctl(directory.as_fd().as_raw_fd(), SUBVOL_CREATE_V2, &raw mut *arguments) };
    done(result, &directory, "BTRFS_IOC_SUBVOL_CREATE_V2", name)?;
    open_directory_at(directory, name)
}

/// Makes `name` in `directory` a snapshot of the subvolume `source`; those in it are empty directories in the snapshot.
pub fn snapshot(source: impl AsFd, directory: impl AsFd, name: &str, read_only: bool) -> SysResult<()> {
    let mut arguments = volume_arguments(name, "BTRFS_IOC_SNAP_CREATE_V2")?;
    arguments.fd = source.as_fd().as_raw_fd().into();
    arguments.flags = if read_only { READ_ONLY } else { 0 };
    // SAFETY: as in `create`; `fd` in it is borrowed for the call.
    let result = unsafe { libc::ioctl(directory.as_fd().as_raw_fd(), SNAP_CREATE_V2, &raw mut *arguments) };
    done(result, &directory, "BTRFS_IOC_SNAP_CREATE_V2", name)
}

/// Removes the subvolume `name` of `directory`, and all files in it, read-only or not. There must be none in it.
///
/// # Errors
/// ENOTEMPTY where there are others in it.
pub fn delete(directory: impl AsFd, name: &OsStr) -> SysResult<()> {
    let mut arguments = Box::new(OldArguments { fd: 0, name: [0; 4088] });
    fill(&mut arguments.name, name, "BTRFS_IOC_SNAP_DESTROY")?;
    // SAFETY: the struct is what this request takes, and lives across the call.
    let result = unsafe { libc::ioctl(directory.as_fd().as_raw_fd(), SNAP_DESTROY, &raw mut *arguments) };
    done(result, &directory, "BTRFS_IOC_SNAP_DESTROY", &name.to_string_lossy())
}

/// Whether the subvolume cannot be written to.
pub fn is_read_only(subvolume: impl AsFd) -> SysResult<bool> {
    Ok(flags(&subvolume)? & READ_ONLY != 0)
}

/// Sets whether it can.
pub fn set_read_only(subvolume: impl AsFd, read_only: bool) -> SysResult<()> {
    let flags = flags(&subvolume)?;
    let changed = if read_only { flags | READ_ONLY } else { flags & !READ_ONLY };
    if changed == flags {
        return Ok(());
    }
    // SAFETY: the request takes a number of 64 bits, which lives across the call.
    let result = unsafe { libc::ioctl(subvolume.as_fd().as_raw_fd(), SUBVOL_SETFLAGS, &raw const changed) };
    done(result, &subvolume, "BTRFS_IOC_SUBVOL_SETFLAGS", "")
}

fn flags(subvolume: &impl AsFd) -> SysResult<u64> {
    let mut flags = 0_u64;
    // SAFETY: the request writes a number of 64 bits, which lives across the call.
    let result = unsafe { libc::ioctl(subvolume.as_fd().as_raw_fd(), SUBVOL_GETFLAGS, &raw mut flags) };
    done(result, subvolume, "BTRFS_IOC_SUBVOL_GETFLAGS", "")?;
    Ok(flags)
}

fn volume_arguments(name: &str, call: &'static str) -> SysResult<Box<VolumeArguments>> {
    let mut arguments =
        Box::new(VolumeArguments { fd: 0, transaction: 0, flags: 0, unused: [0; 4], name: [0; 4040] });
    fill(&mut arguments.name, name.as_ref(), call)?;
    Ok(arguments)
}

/// Puts `name` and its NUL into `field`.
fn fill(field: &mut [u8], name: &OsStr, call: &'static str) -> SysResult<()> {
    /// BTRFS_VOL_NAME_MAX.
    const LONGEST: usize = 255;
    let text = CString::new(name.as_bytes()).ok().filter(|_| name.len() <= LONGEST);
    let text = text.ok_or_else(|| SysError::new("ioctl", format!("{call}, {name:?}"), Errno::INVAL))?;
    field.iter_mut().zip(text.as_bytes()).for_each(|(place, byte)| *place = *byte);
    Ok(())
}

fn done(result: libc::c_int, fd: &impl AsFd, call: &str, name: &str) -> SysResult<()> {
    check(result.into()).map(drop).map_err(|errno| {
        let name = if name.is_empty() { String::new() } else { format!(", {name:?}") };
        SysError::new("ioctl", format!("{}, {call}{name}", FdPath::of(fd)), errno)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the macros of linux/btrfs.h come to, where most of us are.
    #[test]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
    fn requests() {
        for (request, expected) in [
            (SNAP_DESTROY, 0x5000_940f),
            (SNAP_CREATE_V2, 0x5000_9417),
            (SUBVOL_CREATE_V2, 0x5000_9418),
            (SUBVOL_GETFLAGS, 0x8008_9419),
            (SUBVOL_SETFLAGS, 0x4008_941a),
        ] {
            assert_eq!(request, expected, "{request:x}");
        }
    }
}
