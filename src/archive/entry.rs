//! One member of an archive, and the limits on it.

use super::sparse::Map;

/// The longest name of a member, in bytes: what is deeper than PATH_MAX is reached component by component.
pub const NAME_LIMIT: usize = 32 << 10;

/// The most directories below each other: each is open while what is in it is done.
pub const DEPTH_LIMIT: usize = 500;

/// The largest extended header: attributes have at most 64 KiB each (limits.h, XATTR_SIZE_MAX), and few are so long.
pub const HEADER_LIMIT: u64 = 1 << 20;

/// A point in time: seconds since 1970, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds of it.
    pub nanoseconds: u32,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Its size, holes included.
        size: u64,
        /// Where it has data; `None` for a file without holes.
        map: Option<Map>,
    },
    /// Another name of an earlier member.
    HardLink {
        /// That member's path.
        target: Vec<u8>,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// What it says.
        target: Vec<u8>,
    },
    /// A FIFO.
    Fifo,
    /// A character or block device.
    Device {
        /// Block, not character.
        is_block: bool,
        /// Which driver (makedev(3)).
        major: u32,
        /// Which of its devices.
        minor: u32,
    },
    /// None that we know.
    Unknown,
}

/// A member of an archive, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path, as the stream has it.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, set-id and sticky ones too.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was last changed.
    pub modified: Time,
    /// When it was last read, where the stream tells.
    pub accessed: Option<Time>,
    /// Extended attributes by their names, ACLs among them as the kernel has them (`system.posix_acl_access`).
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry of `kind` at `path` that says nothing else.
    pub fn new(path: impl Into<Vec<u8>>, kind: Kind) -> Self {
        Self {
            path: path.into(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            modified: Time::default(),
            accessed: None,
            attributes: Vec::new(),
        }
    }
}

/// The most extended attributes of one member: their names are listed in 64 KiB (limits.h, XATTR_LIST_MAX).
pub const ATTRIBUTES_LIMIT: usize = 1024;

/// The attribute that file capabilities are (capabilities(7)).
pub const CAPABILITY: &[u8] = b"security.capability";

/// The attributes that ACLs are (acl(5)).
pub const ACL_ACCESS: &[u8] = b"system.posix_acl_access";

/// Of directories: what new files in them get.
pub const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// Whether an attribute of an image is kept: what `tar --xattrs --xattrs-include='*'` keeps, so labels of security modules
/// too, which are the guest's own. But not `trusted.overlay.` and `user.overlay.`, with which a tree that becomes a layer
/// would steer its overlay (Documentation/filesystems/overlayfs.rst, "redirect_dir"), nor what file systems make of themselves as `system.`.
pub fn is_kept(attribute: &[u8]) -> bool {
    let starts = |start: &[u8]| attribute.starts_with(start);
    [ACL_ACCESS, ACL_DEFAULT].contains(&attribute)
        || starts(b"user.") && !starts(b"user.overlay.")
        || starts(b"security.")
        || starts(b"trusted.") && !starts(b"trusted.overlay.")
}

/// Whether an attribute travels in and out of machines. Not the rest of `security.`, whose labels belong to one host's policy; not `trusted.`,
/// with which overlays would be steered.
pub fn travels(attribute: &[u8]) -> bool {
    attribute.starts_with(b"user.") || [CAPABILITY, ACL_ACCESS, ACL_DEFAULT].contains(&attribute)
}
