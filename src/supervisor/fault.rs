//! Points at which a test may have the supervisor killed, to see that nothing is left behind.
//!
//! Only debug builds have them: `SPINNEY_FAULT=NAME` ends the process by SIGKILL when it comes to point NAME.

/// A point in the supervisor's life; all of them, in order.
pub const POINTS: &[&str] = &[
    "machine-directory",
    "image-locks",
    "id-range",
    "controllers",
    "cgroup",
    "mount-namespace",
    "scratch",
    "user-namespace",
    "network-noted",
    "network-prepared",
    "root",
    "prepared",
    "links",
    "rules",
    "services",
    "cloned",
    "executed",
    "ready",
    "ended",
    "teardown-namespace",
    "teardown-rules",
    "teardown-machined-file",
    "teardown-names",
    "teardown-network",
    "teardown-cgroup",
    "teardown-legacy-cgroup",
    "teardown-controllers",
    "teardown-scratch",
    "teardown-id-range",
    "teardown-journal-link",
    "teardown-image-locks",
    "teardown-directory",
];

/// Says that the supervisor has come to `name`.
pub(super) fn point(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "{name} is not listed");
    if cfg!(debug_assertions) && std::env::var_os("SPINNEY_FAULT").is_some_and(|wanted| wanted == name) {
        // By the kernel, as a real one: no destructor of ours runs.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
