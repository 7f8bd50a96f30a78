//! openrc-init: OpenRC as PID 1 itself, obeys words in a FIFO (openrc-shutdown(8)).

use super::super::contract::{Contract, ExitMeaning, ReadySignal, StopMethod};
use super::super::error::TreeError;
use super::super::evidence::Evidence;
use super::{InitVersion, find};
use crate::sys::in_root::{Root, absent_is_none};

pub(super) fn by_contents(contents: &[u8]) -> bool {
    find(contents, b"OpenRC init version").is_some()
}

/// OpenRC keeps its version in a file.
pub(super) fn version(root: &Root) -> Result<Option<InitVersion>, TreeError> {
    for path in ["/usr/lib/rc/version", "/lib/rc/version"] {
        if let Some(text) = absent_is_none(root.read(path, 64))? {
            return Ok(InitVersion::parse(String::from_utf8_lossy(&text).trim()));
        }
    }
    Ok(None)
}

pub(super) fn contract() -> Contract {
    Contract {
        ready: ReadySignal::Evidence(Evidence::Openrc),
        // Its signal handler halts on SIGTERM and reboots on SIGINT.
        power_off: vec![StopMethod::OpenrcFifo { word: "poweroff" }, StopMethod::Signal(libc::SIGTERM)],
        reboot: vec![StopMethod::OpenrcFifo { word: "reboot" }, StopMethod::Signal(libc::SIGINT)],
        exit: ExitMeaning::End,
    }
}
