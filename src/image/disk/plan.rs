//! What of a disk is mounted where, and how: pure data, from facts.

use crate::sys::mount::MountAttributes;

use super::content::FileSystem;

/// A file system that will be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The number of its partition; `None` is the whole disk.
    pub partition: Option<u32>,
    /// Where it begins on the disk, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// The size of its logical sectors.
    pub sector: u32,
    /// Which it is.
    pub file_system: FileSystem,
    /// Nothing is written to it.
    pub read_only: bool,
    /// Options of its own, `key` or `key=value`.
    pub options: Vec<&'static str>,
    /// Flags of its mount.
    pub attributes: MountAttributes,
}

/// The options that `file_system` is mounted with.
///
/// Read-only alone does not keep ext4, XFS and Btrfs from writing: they replay their journals first. A file that several
/// machines read at once, or a medium that cannot be written, wants them not to.
pub(super) fn options_of(file_system: FileSystem, read_only: bool) -> Vec<&'static str> {
    let mut options = Vec::new();
    match file_system {
        FileSystem::Ext4 => {
            // Whatever the image says, a fault in it is neither the host's panic nor passed over (ext4(5), "errors").
            options.push("errors=remount-ro");
            if read_only {
                options.push("noload");
            }
        }
        FileSystem::Xfs => {
            // Copies of one image have the same UUID, and XFS refuses the second (xfs(5)).
            options.push("nouuid");
            if read_only {
                options.push("norecovery");
            }
        }
        // What "norecovery" is called since Linux 5.9 (btrfs(5)).
        FileSystem::Btrfs if read_only => options.push("rescue=nologreplay"),
        FileSystem::F2fs if read_only => options.push("norecovery"),
        FileSystem::Vfat => options.push("umask=0077"),
        _ => {}
    }
    options
}
