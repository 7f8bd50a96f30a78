//! File systems that grow to the size of their partition when they are mounted (the flag `growfs` of a GPT).

use std::os::fd::OwnedFd;

use super::content::FileSystem;
use crate::sys::SysResult;
use crate::sys::block_device::{grow_btrfs, grow_ext4, size};
use crate::sys::loop_device::LoopDevice;

/// Grows the file system that is mounted at `mount` to the size of `device`; one that cannot is left as it is.
pub(super) fn to_device(mount: &OwnedFd, kind: FileSystem, device: &LoopDevice) -> SysResult<()> {
    match kind {
        FileSystem::Ext4 => grow_ext4(mount, size(device)?),
        FileSystem::Btrfs => grow_btrfs(mount),
        _ => Ok(()),
    }
}
