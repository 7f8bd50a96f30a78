//! systemd: says READY=1 itself, and takes real-time signals (systemd(1), "Signals").

use super::super::contract::{Contract, ExitMeaning, ReadySignal, SIGRTMIN, StopMethod};
use super::super::evidence::Evidence;
use super::{InitVersion, find};

/// The first version that is trusted to send READY=1 as PID 1 of a container. systemd.nspawn(5) has `NotifyReady=` since
/// 231; what is about as old is watched through utmp, which works for the newer too.
const FIRST_NOTIFYING: u32 = 233;

/// Its own libraries carry its version in their names since 231: the program names the very ones it will be run with, while
/// a directory may hold those of two versions.
pub(super) fn by_libraries(needed: &[String]) -> Option<Option<InitVersion>> {
    needed.iter().find_map(|library| {
        let version = ["libsystemd-core-", "libsystemd-shared-"]
            .iter()
            .find_map(|prefix| library.strip_prefix(prefix))?
            .strip_suffix(".so")?;
        Some(InitVersion::parse(version))
    })
}

/// Before that, the greeting has it: "systemd 219 running in ...".
pub(super) fn by_contents(contents: &[u8]) -> Option<Option<InitVersion>> {
    let greeting = find(contents, b" running in %ssystem mode")?;
    let before = contents.get(greeting.saturating_sub(32)..greeting)?;
    let name = find(before, b"systemd ")?;
    let version = before.get(name + b"systemd ".len()..)?;
    Some(InitVersion::parse(&String::from_utf8_lossy(version)))
}

pub(super) fn contract(version: Option<u32>) -> Contract {
    let ready = match version {
        Some(old) if old < FIRST_NOTIFYING => ReadySignal::Evidence(Evidence::Utmp),
        _ => ReadySignal::Notify,
    };
    Contract {
        ready,
        // Start poweroff.target, or reboot.target; then the same at once, without stopping units.
        power_off: vec![StopMethod::Signal(SIGRTMIN + 4), StopMethod::Signal(SIGRTMIN + 14)],
        reboot: vec![StopMethod::Signal(SIGRTMIN + 5), StopMethod::Signal(SIGRTMIN + 15)],
        exit: ExitMeaning::End,
    }
}
