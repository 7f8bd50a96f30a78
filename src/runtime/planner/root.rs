//! The machine's root: what it is made of, and what is mounted in it before anything that the user asks for.

use std::path::Path;

use super::{RootForm, RootView, TreeView};
use crate::runtime::plan::{BindSource, MountOperation, RootBase, UpperLayer};
use crate::settings::{BindIds, MachineSettings, Volatile};
use crate::sys::mount::MountAttributes;

/// What it is made of, for an image of this form.
pub(super) fn root_base(settings: &MachineSettings, form: RootForm, read_only: bool) -> RootBase {
    match (settings.volatile, settings.ephemeral, form) {
        (Volatile::Yes, ..) => RootBase::Tmpfs,
        (Volatile::Overlay, ..) => RootBase::Overlay(UpperLayer::Memory),
        (_, true, _) => RootBase::Overlay(UpperLayer::Disk),
        (_, _, RootForm::Directory) => RootBase::Tree,
        // Mount points that are missing are made in memory; several machines may have it at once.
        (_, _, RootForm::Disk | RootForm::Layers) if read_only => RootBase::Overlay(UpperLayer::Memory),
        (_, _, RootForm::Disk) => RootBase::Tree,
        (_, _, RootForm::Layers) => RootBase::Overlay(UpperLayer::Image),
    }
}

/// What the image itself mounts in its root; before all that the user binds.
pub(super) fn image_binds(root: &RootView, root_read_only: bool) -> impl Iterator<Item = MountOperation> {
    root.binds.iter().enumerate().map(move |(number, (target, read_only))| MountOperation::Bind {
        source: BindSource::Image(number),
        target: target.clone(),
        recursive: true,
        attributes: match *read_only || root_read_only {
            true => MountAttributes::MOUNT_ATTR_RDONLY,
            false => MountAttributes::empty(),
        },
        clear: MountAttributes::empty(),
        // They are mounted with the guest's ids, as the root is.
        ids: BindIds::NoIdmap,
        if_target_exists: false,
    })
}

/// `--volatile=yes` binds /usr into the empty root, `state` covers /var (systemd-nspawn(1)).
pub(super) fn volatile(mode: Volatile, tree: &TreeView) -> Vec<MountOperation> {
    match mode {
        Volatile::No | Volatile::Overlay => Vec::new(),
        Volatile::State => vec![MountOperation::Mount {
            kind: "tmpfs",
            target: "/var".into(),
            options: vec![("mode".to_owned(), Some("0755".to_owned()))],
            attributes: MountAttributes::MOUNT_ATTR_NOSUID | MountAttributes::MOUNT_ATTR_NODEV,
        }],
        Volatile::Yes => {
            let mut operations = vec![MountOperation::Bind {
                source: BindSource::Tree("/usr".into()),
                target: "/usr".into(),
                recursive: true,
                attributes: MountAttributes::MOUNT_ATTR_RDONLY,
                clear: MountAttributes::empty(),
                ids: BindIds::NoIdmap,
                if_target_exists: false,
            }];
            let links = tree.links.iter().map(|(name, target)| MountOperation::Symlink {
                path: Path::new("/").join(name),
                target: target.clone(),
                replace: false,
            });
            operations.extend(links);
            for directory in ["/etc", "/var", "/root"] {
                let mode = if directory == "/root" { 0o700 } else { 0o755 };
                operations.push(MountOperation::Directory { path: directory.into(), mode });
            }
            operations
        }
    }
}
