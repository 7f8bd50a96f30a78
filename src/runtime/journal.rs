//! Where the guest's journal is visible: `--link-journal=` (systemd-nspawn(1)).

use std::path::{Path, PathBuf};

use crate::settings::{BindIds, LinkJournal};
use crate::sys::mount::MountAttributes;

use super::plan::{BindSource, MountOperation as Op};

/// Where systemd-journald keeps journals, by machine ID (systemd-journald.service(8)).
pub const JOURNALS: &str = "/var/log/journal";

/// Why a journal that was asked for cannot be linked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum JournalError {
    /// The tree gets a new ID with each start.
    #[error("--link-journal= needs a machine ID in the tree, and its /etc/machine-id has none")]
    NoMachineId,
    /// A tree copied from the host's, or one that claims to be it: linked, it would have the host's own journal.
    #[error("--link-journal= does not go with a tree whose machine ID is the host's own")]
    HostsOwn,
    /// A throw-away layer has nothing to link to.
    #[error("--link-journal=guest does not go with --ephemeral or --volatile=")]
    ThrownAway,
    /// There is no persistent journal on this host.
    #[error("this host has no {JOURNALS}: it keeps no journal on disk")]
    NoHostJournal,
}

/// What is done about the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalPlan {
    /// Nothing.
    None,
    /// A directory of the host is bound at the same path of the guest; made if missing.
    Host(PathBuf),
    /// This path of the host is made a symlink into the tree.
    Guest(PathBuf),
}

/// What the plan depends on.
#[derive(Debug, Clone, Copy)]
pub struct JournalContext<'a> {
    /// The tree's machine ID, in hex.
    pub machine_id: Option<&'a str>,
    /// The host's machine ID, in hex.
    pub host_machine_id: &'a str,
    /// What the guest writes is thrown away.
    pub thrown_away: bool,
    /// The host has [`JOURNALS`].
    pub host_journals: bool,
    /// The host has a journal of this machine ID.
    pub host_journal: bool,
}

/// Plans the link.
///
/// # Errors
/// When `mode` insists on what cannot be.
pub fn plan(mode: LinkJournal, context: &JournalContext<'_>) -> Result<JournalPlan, JournalError> {
    let insist = matches!(mode, LinkJournal::Host | LinkJournal::Guest);
    let refuse = |error| if insist { Err(error) } else { Ok(JournalPlan::None) };
    if mode == LinkJournal::No {
        return Ok(JournalPlan::None);
    }
    let Some(id) = context.machine_id else { return refuse(JournalError::NoMachineId) };
    // The tree says what its ID is: without this, any tree gets at the host's journal (systemd-nspawn refuses it too).
    if id == context.host_machine_id {
        return refuse(JournalError::HostsOwn);
    }
    let path = Path::new(JOURNALS).join(id);
    match mode {
        LinkJournal::No => Ok(JournalPlan::None),
        LinkJournal::Auto if context.host_journal && !context.thrown_away => Ok(JournalPlan::Host(path)),
        LinkJournal::Auto => Ok(JournalPlan::None),
        _ if !context.host_journals => refuse(JournalError::NoHostJournal),
        LinkJournal::Host | LinkJournal::TryHost => Ok(JournalPlan::Host(path)),
        LinkJournal::Guest | LinkJournal::TryGuest if context.thrown_away => refuse(JournalError::ThrownAway),
        LinkJournal::Guest | LinkJournal::TryGuest => Ok(JournalPlan::Guest(path)),
    }
}

/// Its operations in the guest. Ids of the host's journal are the guest's own: journald runs as root there.
pub fn operations(plan: &JournalPlan) -> Vec<Op> {
    match plan {
        JournalPlan::None => Vec::new(),
        JournalPlan::Guest(path) => vec![Op::Directory { path: path.clone(), mode: 0o755 }],
        JournalPlan::Host(path) => vec![Op::Bind {
            source: BindSource::Host(path.clone()),
            target: path.clone(),
            recursive: false,
            attributes: MountAttributes::MOUNT_ATTR_NOSUID | MountAttributes::MOUNT_ATTR_NODEV,
            clear: MountAttributes::empty(),
            ids: BindIds::Idmap,
            if_target_exists: false,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        let path = PathBuf::from("/var/log/journal/abc");
        let all = JournalContext {
            machine_id: Some("abc"),
            host_machine_id: "def",
            thrown_away: false,
            host_journals: true,
            host_journal: true,
        };
        let new = JournalContext { host_journal: false, ..all };
        let thrown = JournalContext { thrown_away: true, ..all };
        let bare = JournalContext { host_journals: false, host_journal: false, ..all };
        let own = JournalContext { host_machine_id: "abc", ..all };
        let nameless = JournalContext { machine_id: None, ..all };
        let table = [
            (LinkJournal::No, all, Ok(JournalPlan::None)),
            (LinkJournal::Auto, all, Ok(JournalPlan::Host(path.clone()))),
            (LinkJournal::Auto, new, Ok(JournalPlan::None)),
            (LinkJournal::Auto, thrown, Ok(JournalPlan::None)),
            (LinkJournal::Auto, nameless, Ok(JournalPlan::None)),
            (LinkJournal::Host, new, Ok(JournalPlan::Host(path.clone()))),
            (LinkJournal::Host, bare, Err(JournalError::NoHostJournal)),
            (LinkJournal::TryHost, bare, Ok(JournalPlan::None)),
            (LinkJournal::Auto, own, Ok(JournalPlan::None)),
            (LinkJournal::TryHost, own, Ok(JournalPlan::None)),
            (LinkJournal::TryGuest, own, Ok(JournalPlan::None)),
            (LinkJournal::Host, own, Err(JournalError::HostsOwn)),
            (LinkJournal::Guest, own, Err(JournalError::HostsOwn)),
            (LinkJournal::Host, nameless, Err(JournalError::NoMachineId)),
            (LinkJournal::Guest, all, Ok(JournalPlan::Guest(path.clone()))),
            (LinkJournal::Guest, thrown, Err(JournalError::ThrownAway)),
            (LinkJournal::TryGuest, thrown, Ok(JournalPlan::None)),
        ];
        for (mode, context, expected) in table {
            assert_eq!(plan(mode, &context), expected, "{mode:?} {context:?}");
        }
    }
}
