//! Whose files those of a tree are, and who of the host reaches them.

use std::path::Path;

use rustix::fs::FileType;

use super::{Finding, Level};
use crate::guest::error::TreeError;
use crate::sys::in_root::{Metadata, Root};

/// What is root's in all distributions.
const ROOTS: [&str; 5] = ["/", "/etc", "/usr", "/usr/bin", "/sbin/init"];

/// Where setuid programs are.
const PROGRAMS: [&str; 5] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/lib/openssh"];

/// The size of the ranges by which trees are shifted (systemd-nspawn(1), --private-users=).
const SHIFT: u32 = 0x1_0000;

pub(super) fn look(root: &Root, on_host: bool) -> Result<Vec<Finding>, TreeError> {
    let mut findings = Vec::new();
    let owner = Metadata::of(root)?.stat().st_uid;
    if owner != 0 && owner % SHIFT == 0 {
        findings.push(Finding::new(
            Level::Note,
            "shifted",
            format!("the files belong to users from {owner} on: somebody shifted the tree"),
            "it is booted as it is; systemd-nspawn -U does this to trees",
        ));
    }
    let base = if owner % SHIFT == 0 { owner } else { 0 };
    let foreign = ROOTS.iter().find_map(|path| {
        let owner = root.metadata(path).ok()?.stat().st_uid;
        (owner != base).then_some((*path, owner))
    });
    if let Some((path, owner)) = foreign {
        findings.push(Finding::new(
            Level::Warning,
            "ownership",
            format!("{path} belongs to user {owner}, not to root: was the tree unpacked by a user?"),
            "unpack it as root, with owners kept (tar --numeric-owner -xp)",
        ));
    }
    if root.metadata("/sbin/init").is_err() {
        findings.push(Finding::new(
            Level::Note,
            "no-sbin-init",
            "there is no /sbin/init: other programs may not find the init",
            "",
        ));
    }
    if on_host
        && is_reached_by_all(root.path())
        && let Some(program) = setuid(root)
    {
        findings.push(Finding::new(
            Level::Warning,
            "setuid-in-reach",
            format!("all users of this host can run the setuid programs of the tree, such as {program}"),
            "chmod 700 the directory that the tree is in, as /var/lib/machines is",
        ));
    }
    Ok(findings)
}

/// Whether nothing on the way keeps users of the host from the tree.
fn is_reached_by_all(path: &Path) -> bool {
    let open = |directory: &Path| {
        rustix::fs::stat(directory)
            .is_ok_and(|stat| stat.st_mode & 0o001 != 0 && FileType::from_raw_mode(stat.st_mode).is_dir())
    };
    path.is_absolute() && path.ancestors().all(open)
}

/// A setuid program of root's.
fn setuid(root: &Root) -> Option<String> {
    /// Far more than any directory of programs has.
    const LIMIT: usize = 20_000;
    for directory in PROGRAMS {
        for name in root.read_dir(directory).unwrap_or_default().iter().take(LIMIT) {
            let path = Path::new(directory).join(name);
            let Ok(metadata) = root.symlink_metadata(&path) else { continue };
            let stat = metadata.stat();
            if metadata.is_file() && stat.st_mode & 0o4001 == 0o4001 && stat.st_uid == 0 {
                return Some(path.to_string_lossy().into_owned());
            }
        }
    }
    None
}
