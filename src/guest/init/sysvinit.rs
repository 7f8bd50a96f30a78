//! sysvinit: reads an inittab, obeys requests in a FIFO (init(8), initctl(5)).

use super::super::contract::{Contract, ExitMeaning, ReadySignal, StopMethod};
use super::super::evidence::Evidence;
use super::{InitVersion, Rc, find, version_after};

/// It puts its version into the environment of what it starts; the second is a message of versions that did not.
pub(super) fn by_contents(contents: &[u8]) -> Option<Option<InitVersion>> {
    if let Some(version) = version_after(contents, b"INIT_VERSION=sysvinit-") {
        return Some(Some(version));
    }
    find(contents, b"got bogus initrequest").map(|_| None)
}

pub(super) fn contract(rc: Rc) -> Contract {
    Contract {
        ready: ReadySignal::Evidence(match rc {
            Rc::Scripts => Evidence::Sysvinit,
            Rc::Openrc => Evidence::Openrc,
        }),
        // SIGPWR is the inittab's powerwait or powerfail action, SIGINT its ctrlaltdel: what those do is the tree's.
        power_off: vec![StopMethod::Initctl { runlevel: b'0' }, StopMethod::Signal(libc::SIGPWR)],
        reboot: vec![StopMethod::Initctl { runlevel: b'6' }, StopMethod::Signal(libc::SIGINT)],
        exit: ExitMeaning::End,
    }
}
