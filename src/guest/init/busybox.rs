//! Busybox's init applet: reads an inittab of its own kind, takes signals (its help text: USR1 halts, USR2 powers off, TERM
//! reboots).

use super::super::contract::{Contract, ExitMeaning, ReadySignal, StopMethod};
use super::super::evidence::Evidence;
use super::{InitVersion, Rc, version_after};

pub(super) fn by_contents(contents: &[u8]) -> Option<Option<InitVersion>> {
    version_after(contents, b"BusyBox v").map(Some)
}

pub(super) fn contract(rc: Rc) -> Contract {
    Contract {
        ready: ReadySignal::Evidence(match rc {
            Rc::Scripts => Evidence::Busybox,
            Rc::Openrc => Evidence::Openrc,
        }),
        power_off: vec![StopMethod::Signal(libc::SIGUSR2), StopMethod::Signal(libc::SIGUSR1)],
        reboot: vec![StopMethod::Signal(libc::SIGTERM)],
        exit: ExitMeaning::End,
    }
}
