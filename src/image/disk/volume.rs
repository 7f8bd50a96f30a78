//! One file system of a disk: where it lies and how it is mounted.

use super::content::FileSystem;
use super::plan::Place;
use super::verity::RootHash;
use crate::sys::mount::MountAttributes;

/// A file system that will be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The number of its partition; `None` is the whole disk.
    pub partition: Option<u32>,
    /// Where it begins on the disk, in bytes.
    pub offset: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// Which it is.
    pub file_system: FileSystem,
    /// Nothing is written to it.
    pub read_only: bool,
    /// It is made as large as its partition first.
    pub grow: bool,
    /// Options of its own, `key` or `key=value`.
    pub options: Vec<&'static str>,
    /// Flags of its mount.
    pub attributes: MountAttributes,
    /// What it is verified by.
    pub verity: Option<Hashes>,
}

/// Hashes over a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes {
    /// The hash of them all.
    pub root_hash: RootHash,
    /// Where they are.
    pub place: HashPlace,
}

/// Where hashes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashPlace {
    /// On the disk itself.
    Disk {
        /// Where they begin, in bytes.
        offset: u64,
        /// How long they are.
        length: u64,
    },
    /// In a file of their own.
    File,
}

impl Volume {
    /// Has nothing written to it.
    pub(super) fn make_read_only(&mut self) {
        (self.read_only, self.grow) = (true, false);
        self.options = options_of(self.file_system, true);
    }

    /// Has it verified by the hashes in `place`: it cannot be written to then.
    pub(super) fn verify(&mut self, root_hash: RootHash, place: HashPlace) {
        self.make_read_only();
        self.verity = Some(Hashes { root_hash, place });
    }

    /// What messages call it: `the ext4 file system of partition 2 of`, before the path of the disk.
    pub fn describe(&self) -> String {
        let name = self.file_system.name();
        match self.partition {
            Some(number) => format!("the {name} file system of partition {number} of"),
            None => format!("the {name} file system of"),
        }
    }
}

/// Flags of the mount at `place`, as systemd-dissect(1) has them. Nowhere is a device node of an image the host's device.
pub(super) fn attributes_of(place: Option<Place>) -> MountAttributes {
    let always = MountAttributes::MOUNT_ATTR_NODEV;
    match place {
        Some(Place::Boot | Place::Esp) => {
            always
                | MountAttributes::MOUNT_ATTR_NOSUID
                | MountAttributes::MOUNT_ATTR_NOEXEC
                | MountAttributes::MOUNT_ATTR_NOSYMFOLLOW
        }
        Some(Place::Tmp) => always | MountAttributes::MOUNT_ATTR_NOSUID,
        _ => always,
    }
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
