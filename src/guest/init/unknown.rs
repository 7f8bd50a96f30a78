//! An init that we do not know: up when started, asked to end in the ways that most programs take.

use super::super::contract::{Contract, ExitMeaning, ReadySignal, StopMethod};

pub(super) fn contract() -> Contract {
    Contract {
        ready: ReadySignal::AtStart,
        // The kernel drops a signal to PID 1 that it has no handler for, so that one too many does no harm. SIGPWR is
        // what LXC sends to power off, SIGINT what Ctrl-Alt-Del sends to reboot (reboot(2)).
        power_off: vec![StopMethod::Signal(libc::SIGTERM), StopMethod::Signal(libc::SIGPWR)],
        reboot: vec![StopMethod::Signal(libc::SIGINT)],
        exit: ExitMeaning::End,
    }
}
