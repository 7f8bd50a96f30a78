//! Points at which a test may have a command on images killed, to see that the old or the new state is left, whole.
//!
//! Only debug builds have them: `SPINNEY_FAULT=NAME` ends the process by SIGKILL when it comes to point NAME.

/// The points of `spinney snapshot` of a layered image, in order.
pub const SNAPSHOT: &[&str] =
    &["layer-made", "layer-linked", "work-emptied", "upper-swapped", "before-record", "recorded"];

/// Those of the first snapshot of an image that is not layered yet.
pub const CONVERT: &[&str] = &[
    "convert-linked",
    "convert-stack",
    "convert-shown",
    "convert-retargeted",
    "convert-swapped",
    "convert-done",
];

/// Those of who copies from a machine that is paused.
pub const PAUSED: &[&str] = &["paused"];

/// Those of `spinney rollback`.
pub const ROLLBACK: &[&str] = &["rollback-kept", "rollback-built", "rollback-swapped", "rollback-removed"];

/// Those of `spinney clone`.
pub const CLONE: &[&str] = &["clone-begun", "clone-built", "clone-recorded", "clone-done"];

/// Those of `spinney commit`.
pub const COMMIT: &[&str] = &["commit-begun", "commit-copied", "commit-done"];

/// Those of `spinney remove` and `rename`, and of whoever makes an image.
pub const STORE: &[&str] = &[
    "remove-hidden",
    "rename-renamed",
    "finish-synced",
    "finish-recorded",
    "finish-shown",
    "finish-replaced",
];

/// Says that the command has come to `name`.
pub(super) fn point(name: &'static str) {
    debug_assert!(
        [SNAPSHOT, CONVERT, ROLLBACK, CLONE, COMMIT, STORE, PAUSED].concat().contains(&name),
        "{name} is not listed"
    );
    if cfg!(debug_assertions) && std::env::var_os("SPINNEY_FAULT").is_some_and(|wanted| wanted == name) {
        // By the kernel, as a real one: no destructor of ours runs.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
