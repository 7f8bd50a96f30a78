//! Loop devices (loop(4)): a range of a file as a block device, without udev and without partition scanning.
//!
//! Each is cleared by the kernel with its last user (LO_FLAGS_AUTOCLEAR): whoever holds it may be killed at any time.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev};
use rustix::io::Errno;

use super::mount::{FsContext, MountAttributes};
use super::{FdPath, SysError, SysResult, check, sys};

/// Others take loop devices at the same time: the one that was free may not be when it is configured.
const TRIES: u32 = 64;

/// The size of a logical sector. File systems may have larger ones, whatever disk they were made on, but none smaller.
const SECTOR: u32 = 512;

/// How long it is waited after each try but the first ones.
const PAUSE: Duration = Duration::from_millis(2);

/// Major and minor number of /dev/loop-control, and the major of its devices (Documentation/admin-guide/devices.txt).
const CONTROL: (u32, u32) = (10, 237);
const MAJOR: u32 = 7;

// linux/loop.h
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    real_device: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// What of a file a loop device shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopRange {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes; 0 is to the end of the file.
    pub length: u64,
    /// Nothing is written by it.
    pub read_only: bool,
}

/// A loop device, gone with the last that holds it: this, and the file systems mounted from it.
#[derive(Debug)]
pub struct LoopDevice {
    device: OwnedFd,
    number: u32,
}

impl LoopDevice {
    /// Attaches `range` of `file` to a free device (LOOP_CONFIGURE, Linux 5.8).
    ///
    /// # Errors
    /// ENOENT, ENXIO or EPERM where there are no loop devices, as in most containers; EBUSY where all that were free
    /// were taken by others, time and again.
    pub fn attach(file: BorrowedFd<'_>, range: LoopRange) -> SysResult<Self> {
        let control = open_node("/dev/loop-control", CONTROL, OFlags::RDWR)?;
        let mut tries = 0;
        loop {
            let number = free_number(&control)?;
            let configured = open_device(number, range.read_only)
                .and_then(|device| configure(&device, file, range).map(|()| device));
            match configured {
                Ok(device) => return Ok(Self { device, number }),
                // Taken since it was free, or (ENXIO, ENODEV, ENOENT) removed.
                Err(error)
                    if tries < TRIES
                        && [Errno::BUSY, Errno::NXIO, Errno::NODEV, Errno::NOENT]
                            .contains(&error.errno()) =>
                {
                    tries += 1;
                    if tries > 8 {
                        std::thread::sleep(PAUSE);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The number of its file descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.device.as_raw_fd()
    }

    /// What a file system is mounted from: the node in /dev, which mountinfo(5) shows from then on, or where that is not
    /// this device the one that is open here.
    pub fn source(&self) -> PathBuf {
        let named = format!("/dev/loop{}", self.number);
        let number = |stat: rustix::fs::Stat| stat.st_rdev;
        match (rustix::fs::lstat(&named).map(number), rustix::fs::fstat(&self.device).map(number)) {
            (Ok(of_name), Ok(own)) if of_name == own => PathBuf::from(named),
            _ => PathBuf::from(format!("/proc/self/fd/{}", self.device.as_raw_fd())),
        }
    }
}

impl AsFd for LoopDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

fn free_number(control: &OwnedFd) -> SysResult<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument and touches no memory of ours; the fd is borrowed for the call.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    let describe = || format!("{}, LOOP_CTL_GET_FREE", FdPath::of(control));
    let number = sys("ioctl", check(result.into()), describe)?;
    u32::try_from(number).map_err(|_| SysError::new("ioctl", describe(), Errno::RANGE))
}

fn open_device(number: u32, read_only: bool) -> SysResult<OwnedFd> {
    let access = if read_only { OFlags::RDONLY } else { OFlags::RDWR };
    open_node(&format!("/dev/loop{number}"), (MAJOR, number), access)
}

fn configure(device: &OwnedFd, file: BorrowedFd<'_>, range: LoopRange) -> SysResult<()> {
    let flags = LO_FLAGS_AUTOCLEAR | if range.read_only { LO_FLAGS_READ_ONLY } else { 0 };
    let config = LoopConfig {
        fd: file.as_raw_fd().unsigned_abs(),
        block_size: SECTOR,
        info: LoopInfo {
            device: 0,
            inode: 0,
            real_device: 0,
            offset: range.offset,
            size_limit: range.length,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: LOOP_CONFIGURE reads a loop_config, which lives until the call is over; both fds are borrowed for it.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    sys("ioctl", check(result.into()).map(drop), || {
        format!("{}, LOOP_CONFIGURE, {}, {range:?}", FdPath::of(device), FdPath(file))
    })
}

/// Opens the device node `path` if it is the device of that number, else one of our own: a /dev without udev or devtmpfs
/// has nodes for the first few devices at best.
fn open_node(path: &str, (major, minor): (u32, u32), access: OFlags) -> SysResult<OwnedFd> {
    let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let wanted = makedev(major, minor);
    let is_it = |fd: &OwnedFd, kind: FileType| {
        rustix::fs::fstat(fd)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind && stat.st_rdev == wanted)
    };
    let kind = if major == MAJOR { FileType::BlockDevice } else { FileType::CharacterDevice };
    match rustix::fs::openat(CWD, path, flags, Mode::empty()) {
        Ok(fd) if is_it(&fd, kind) => Ok(fd),
        Ok(_) | Err(Errno::NOENT | Errno::LOOP) => open_own_node(path, kind, wanted, flags),
        Err(errno) => Err(SysError::new("openat", format!("AT_FDCWD, {path:?}"), errno)),
    }
}

/// Opens a device by a node on a detached tmpfs, which goes with it.
fn open_own_node(path: &str, kind: FileType, device: u64, flags: OFlags) -> SysResult<OwnedFd> {
    let place = FsContext::new("tmpfs")?.set("mode", "0700")?.mount(MountAttributes::empty())?;
    let made = rustix::fs::mknodat(&place, "node", kind, Mode::from_raw_mode(0o600), device);
    sys("mknodat", made, || format!("a node for {path}, {device:#x}"))?;
    sys("openat", rustix::fs::openat(&place, "node", flags, Mode::empty()), || format!("a node for {path}"))
}
