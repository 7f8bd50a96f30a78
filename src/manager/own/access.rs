//! Which method takes which action of polkit (units/org.spinney.policy). All methods are here: one that is not is root's alone.
//!
//! What /run tells everybody, everybody may ask. What looks into a machine or an image is `inspect`, each way in is its own action,
//! and what is worth as much as root (a start with paths of the host bound) is `manage`.

use zbus::message::Header;

use crate::manager::context::Context;
use crate::manager::problem::Problem;

/// Start, change and end machines.
pub const MANAGE_MACHINES: &str = "org.spinney.manage-machines";
/// Look into machines.
pub const INSPECT_MACHINES: &str = "org.spinney.inspect-machines";
/// Make, change and remove images.
pub const MANAGE_IMAGES: &str = "org.spinney.manage-images";
/// Look into images.
pub const INSPECT_IMAGES: &str = "org.spinney.inspect-images";
/// Run something in a machine.
pub const SHELL: &str = "org.spinney.shell";
/// Get a login prompt.
pub const LOGIN: &str = "org.spinney.login";
/// Get a terminal.
pub const OPEN_PTY: &str = "org.spinney.open-pty";

/// Move images in and out, and end that.
pub const IMPORT: &str = "org.spinney.import";
/// To others.
pub const EXPORT: &str = "org.spinney.export";
/// From servers.
pub const PULL: &str = "org.spinney.pull";
/// End such.
pub const CANCEL: &str = "org.spinney.cancel";

/// Everybody may.
const NONE: Option<&str> = None;

/// An interface, and what each of its methods takes.
pub type Interface = (&'static str, &'static [(&'static str, Option<&'static str>)]);

/// All of them.
pub const METHODS: &[Interface] = &[
    (
        "org.spinney.Manager1",
        &[
            ("GetMachine", NONE),
            ("GetMachineByPID", NONE),
            ("ListMachines", NONE),
            ("ListJobs", NONE),
            ("GetImage", NONE),
            ("ListImages", NONE),
            ("GetTransfer", NONE),
            ("ListTransfers", NONE),
            ("Pull", Some(PULL)),
            ("Import", Some(IMPORT)),
            ("Export", Some(EXPORT)),
            ("Clean", Some(MANAGE_IMAGES)),
            ("Inspect", Some(INSPECT_IMAGES)),
            ("Search", Some(INSPECT_IMAGES)),
            ("OpenLogs", Some(INSPECT_MACHINES)),
            ("Start", Some(MANAGE_MACHINES)),
            ("Run", Some(MANAGE_MACHINES)),
            ("Explain", Some(MANAGE_MACHINES)),
            ("Enable", Some(MANAGE_MACHINES)),
            ("Disable", Some(MANAGE_MACHINES)),
            ("CollectGarbage", Some(MANAGE_MACHINES)),
            ("Doctor", Some(INSPECT_MACHINES)),
        ],
    ),
    (
        "org.spinney.Machine1",
        &[
            ("Stop", Some(MANAGE_MACHINES)),
            ("Reboot", Some(MANAGE_MACHINES)),
            ("Terminate", Some(MANAGE_MACHINES)),
            ("Kill", Some(MANAGE_MACHINES)),
            ("Pause", Some(MANAGE_MACHINES)),
            ("Resume", Some(MANAGE_MACHINES)),
            ("Wait", Some(INSPECT_MACHINES)),
            ("Exec", Some(SHELL)),
            ("OpenShell", Some(SHELL)),
            ("OpenLogin", Some(LOGIN)),
            ("OpenPTY", Some(OPEN_PTY)),
            ("OpenRootDirectory", Some(MANAGE_MACHINES)),
            ("OpenLogs", Some(INSPECT_MACHINES)),
            ("CopyTo", Some(MANAGE_MACHINES)),
            ("CopyFrom", Some(MANAGE_MACHINES)),
            ("Bind", Some(MANAGE_MACHINES)),
            ("Unbind", Some(MANAGE_MACHINES)),
            ("SetLimits", Some(MANAGE_MACHINES)),
            ("Publish", Some(MANAGE_MACHINES)),
            ("Unpublish", Some(MANAGE_MACHINES)),
            ("GetAddresses", NONE),
            ("GetUsage", NONE),
            ("GetOSRelease", Some(INSPECT_MACHINES)),
            ("Describe", Some(INSPECT_MACHINES)),
            ("Doctor", Some(INSPECT_MACHINES)),
            ("Subscribe", Some(INSPECT_MACHINES)),
        ],
    ),
    (
        "org.spinney.Image1",
        &[
            ("Clone", Some(MANAGE_IMAGES)),
            ("Commit", Some(MANAGE_IMAGES)),
            ("Remove", Some(MANAGE_IMAGES)),
            ("Rename", Some(MANAGE_IMAGES)),
            ("SetReadOnly", Some(MANAGE_IMAGES)),
            ("Snapshot", Some(MANAGE_IMAGES)),
            ("ListSnapshots", Some(INSPECT_IMAGES)),
            ("DeleteSnapshot", Some(MANAGE_IMAGES)),
            ("Rollback", Some(MANAGE_IMAGES)),
            ("Diff", Some(INSPECT_IMAGES)),
            ("Inspect", Some(INSPECT_IMAGES)),
        ],
    ),
    ("org.spinney.Transfer1", &[("Wait", NONE), ("Cancel", Some(CANCEL))]),
    // Who began a job may end it; else it takes what that takes.
    (
        "org.spinney.Job1",
        &[("Wait", NONE), ("Cancel", Some(MANAGE_MACHINES)), ("Kill", Some(MANAGE_MACHINES))],
    ),
];

/// What `method` of `interface` takes; `None` for nothing.
pub fn action(interface: &str, method: &str) -> Option<&'static str> {
    let mut methods = METHODS.iter().filter(|(name, _)| *name == interface).flat_map(|(_, methods)| *methods);
    // polkit refuses what it does not know.
    methods.find(|(name, _)| *name == method).map_or(Some("org.spinney.unknown"), |(_, action)| *action)
}

/// Whether the sender of `header` may call `method` of `interface` about the machine or image `name`.
///
/// # Errors
/// When not.
pub async fn check(
    context: &Context,
    header: &Header<'_>,
    interface: &str,
    method: &str,
    name: &str,
) -> Result<(), Problem> {
    match action(interface, method) {
        None => Ok(()),
        Some(action) => ask(context, header, action, name).await,
    }
}

/// Whether the sender may do `action` to the machine or image `name`.
///
/// # Errors
/// When not.
pub async fn ask(context: &Context, header: &Header<'_>, action: &str, name: &str) -> Result<(), Problem> {
    // The question that is asked names it (units/org.spinney.policy).
    context.check(header, action, &[("machine", name), ("image", name)]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_that_polkit_knows() {
        let policy = include_str!("../../../units/org.spinney.policy");
        for (interface, methods) in METHODS {
            for (method, _) in *methods {
                if let Some(action) = action(interface, method) {
                    assert!(policy.contains(&format!("<action id=\"{action}\">")), "{interface}.{method}");
                }
            }
        }
        assert_eq!(action("org.spinney.Machine1", "Nonsense"), Some("org.spinney.unknown"));
    }
}
