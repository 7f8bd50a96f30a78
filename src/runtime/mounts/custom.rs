//! The user's own mounts, as `--bind=`, `--tmpfs=`, `--overlay=` and `--inaccessible=` ask for them.

use std::path::PathBuf;

use crate::runtime::plan::{BindSource, MountOperation as Op};
use crate::settings::{BindIds, CustomMount};
use crate::sys::mount::MountAttributes as Attributes;

/// One mount of the user's.
pub(super) fn user(mount: &CustomMount) -> Vec<Op> {
    match mount.clone() {
        CustomMount::Bind { source, source_in_guest, target, read_only, recursive, ids } => {
            let source = match source {
                None => BindSource::Temporary,
                Some(path) if source_in_guest => BindSource::Tree(path),
                Some(path) => BindSource::Host(path),
            };
            let attributes = if read_only { Attributes::MOUNT_ATTR_RDONLY } else { Attributes::empty() };
            let clear = Attributes::empty();
            vec![Op::Bind { source, target, recursive, attributes, clear, ids, if_target_exists: false }]
        }
        CustomMount::Tmpfs { target, options } => vec![user_tmpfs(target, &options)],
        CustomMount::Overlay { lower, upper, target } => vec![Op::Overlay { lower, upper, target }],
        CustomMount::Inaccessible { target } => vec![Op::Bind {
            source: BindSource::Inaccessible,
            target,
            recursive: false,
            attributes: Attributes::MOUNT_ATTR_RDONLY,
            clear: Attributes::empty(),
            ids: BindIds::NoIdmap,
            if_target_exists: true,
        }],
    }
}

/// `--tmpfs=PATH:OPTIONS`: mount flags (mount(8)) are told from the file system's own options (tmpfs(5)).
fn user_tmpfs(target: PathBuf, options: &str) -> Op {
    let mut attributes = Attributes::MOUNT_ATTR_NOSUID | Attributes::MOUNT_ATTR_NODEV;
    let mut own = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => attributes |= Attributes::MOUNT_ATTR_RDONLY,
            "rw" => attributes -= Attributes::MOUNT_ATTR_RDONLY,
            "nosuid" => attributes |= Attributes::MOUNT_ATTR_NOSUID,
            "suid" => attributes -= Attributes::MOUNT_ATTR_NOSUID,
            "nodev" => attributes |= Attributes::MOUNT_ATTR_NODEV,
            "dev" => attributes -= Attributes::MOUNT_ATTR_NODEV,
            "noexec" => attributes |= Attributes::MOUNT_ATTR_NOEXEC,
            "exec" => attributes -= Attributes::MOUNT_ATTR_NOEXEC,
            "noatime" => attributes |= Attributes::MOUNT_ATTR_NOATIME,
            _ => own.push(match option.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (option.to_owned(), None),
            }),
        }
    }
    if !own.iter().any(|(key, _)| key == "mode") {
        own.insert(0, ("mode".to_owned(), Some("0755".to_owned())));
    }
    Op::Mount { kind: "tmpfs", target, options: own, attributes }
}
