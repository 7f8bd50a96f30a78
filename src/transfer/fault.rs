//! Points at which a test may have a transfer killed, to see that no half image is left visible.
//!
//! Only debug builds have them: `SPINNEY_FAULT=NAME` ends the process by SIGKILL when it comes to point NAME.

/// The points of a transfer, in order; those of the image that it makes are between `verified` and `finished`.
pub const POINTS: &[&str] = &["begun", "unpacking", "unpacked", "verified", "finished"];

/// Says that the transfer has come to `name`.
pub(super) fn point(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "{name} is not listed");
    if cfg!(debug_assertions) && std::env::var_os("SPINNEY_FAULT").is_some_and(|wanted| wanted == name) {
        // By the kernel, as a real one: no destructor of ours runs.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
