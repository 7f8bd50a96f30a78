//! finit: takes busybox's signals, and in a container exits with 0 for power-off and reboot alike.

use super::super::contract::{Contract, ExitMeaning, ReadySignal, StopMethod};
use super::super::evidence::Evidence;
use super::{InitVersion, find, version_after};

pub(super) fn by_contents(contents: &[u8]) -> Option<Option<InitVersion>> {
    find(contents, b"/etc/finit.conf")?;
    Some(version_after(contents, b"Finit v"))
}

pub(super) fn contract() -> Contract {
    Contract {
        ready: ReadySignal::Evidence(Evidence::Finit),
        power_off: vec![StopMethod::Signal(libc::SIGUSR2), StopMethod::Signal(libc::SIGUSR1)],
        reboot: vec![StopMethod::Signal(libc::SIGTERM), StopMethod::Signal(libc::SIGINT)],
        exit: ExitMeaning::Runlevel,
    }
}
