//! What of a member's owner, permissions and attributes is let through.

use crate::archive::entry::{ACL_DEFAULT, CAPABILITY, Entry, Kind, travels};
use crate::archive::metadata::Metadata;
use crate::archive::notes::Reason;
use crate::archive::pack::SET_ID;

use super::Unpacker;

impl Unpacker<'_> {
    /// What `entry` says, within what is let through.
    pub(super) fn metadata(&mut self, entry: &Entry) -> Metadata {
        let mut mode = entry.mode & 0o7777;
        let mut attributes = entry.attributes.clone();
        let is_directory = entry.kind == Kind::Directory;
        // A directory's set-group-ID bit gives nobody a right of the owner's.
        if self.options.drop_privileges && !is_directory {
            if mode & SET_ID != 0 && !matches!(entry.kind, Kind::Symlink { .. }) {
                self.notes.add(Reason::SetId, &entry.path);
            }
            mode &= !SET_ID;
            if attributes.iter().any(|(name, _)| name == CAPABILITY) {
                self.notes.add(Reason::Capability, &entry.path);
                attributes.retain(|(name, _)| name != CAPABILITY);
            }
        }
        attributes.retain(|(name, _)| travels(name) && (is_directory || name != ACL_DEFAULT));
        let owner = self.options.owner.unwrap_or((entry.uid, entry.gid));
        Metadata { mode, owner, accessed: entry.accessed, modified: entry.modified, attributes }
    }
}
