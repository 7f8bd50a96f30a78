//! runit: three scripts for three stages, obeys the mode bits of two files and SIGCONT (runit(8), runit-init(8)).

use super::super::contract::{Contract, ExitMeaning, ReadySignal, StopMethod};
use super::super::evidence::Evidence;
use super::find;

/// runit-init, which /sbin/init is, writes this file and executes runit; runit reads it.
pub(super) fn by_contents(contents: &[u8]) -> bool {
    find(contents, b"/etc/runit/stopit").is_some()
}

pub(super) fn contract() -> Contract {
    Contract {
        ready: ReadySignal::Evidence(Evidence::Runit),
        power_off: vec![StopMethod::RunitFiles { reboot: false }],
        reboot: vec![StopMethod::RunitFiles { reboot: true }],
        exit: ExitMeaning::End,
    }
}
