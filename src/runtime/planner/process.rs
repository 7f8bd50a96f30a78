//! What is executed in the machine, and the limits that it is given.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::PlanError;
use crate::host::Host;
use crate::runtime::plan::ProcessKind;
use crate::settings::{Capability, MachineSettings, Payload, Personality, ResourceLimit};

/// The words that are executed, and how they are run.
pub(super) fn payload(
    payload: &Payload,
    init: Option<&Path>,
) -> Result<(ProcessKind, Vec<Vec<u8>>), PlanError> {
    let bytes = |argument: &OsString| argument.as_bytes().to_vec();
    Ok(match payload {
        Payload::Boot { arguments, .. } => {
            let init = init.ok_or(PlanError::NoInit)?;
            let argv = std::iter::once(init.as_os_str().as_bytes().to_vec())
                .chain(arguments.iter().map(bytes))
                .collect();
            (ProcessKind::Init, argv)
        }
        Payload::Command { argv, as_pid1: true } => (ProcessKind::Command, argv.iter().map(bytes).collect()),
        Payload::Command { argv, as_pid1: false } => {
            (ProcessKind::CommandBelowStub, argv.iter().map(bytes).collect())
        }
    })
}

/// PER_LINUX and PER_LINUX32 (personality(2)).
pub(super) fn personality(personality: Personality) -> u32 {
    match personality {
        Personality::Native => 0,
        Personality::Linux32 => 8,
    }
}

/// The limits the kernel gives its own PID 1 (include/asm-generic/resource.h), with systemd's NOFILE and MEMLOCK: an
/// init expects these, not those of the shell that started us.
pub(super) fn resource_limits(settings: &MachineSettings, host: &Host) -> (Vec<ResourceLimit>, Vec<String>) {
    const INFINITY: u64 = u64::MAX;
    const MIB: u64 = 1 << 20;
    /// systemd's HIGH_RLIMIT_NOFILE (systemd-system.conf(5), DefaultLimitNOFILE=).
    const HIGH_NOFILE: u64 = 512 * 1024;
    let wanted = [
        (libc::RLIMIT_CPU, INFINITY, INFINITY),
        (libc::RLIMIT_FSIZE, INFINITY, INFINITY),
        (libc::RLIMIT_DATA, INFINITY, INFINITY),
        (libc::RLIMIT_STACK, 8 * MIB, INFINITY),
        (libc::RLIMIT_CORE, 0, INFINITY),
        (libc::RLIMIT_RSS, INFINITY, INFINITY),
        (libc::RLIMIT_NOFILE, 1024, host.nr_open.min(HIGH_NOFILE)),
        (libc::RLIMIT_MEMLOCK, 8 * MIB, 8 * MIB),
        (libc::RLIMIT_AS, INFINITY, INFINITY),
        (libc::RLIMIT_LOCKS, INFINITY, INFINITY),
        (libc::RLIMIT_MSGQUEUE, 819_200, 819_200),
        (libc::RLIMIT_NICE, 0, 0),
        (libc::RLIMIT_RTPRIO, 0, 0),
        (libc::RLIMIT_RTTIME, INFINITY, INFINITY),
    ];
    let may_raise = host.capabilities & Capability::SYS_RESOURCE.bit() != 0;
    let mut lowered = Vec::new();
    let mut limits: Vec<ResourceLimit> = wanted
        .into_iter()
        .map(|(resource, soft, hard)| ResourceLimit { resource, soft, hard })
        .filter(|limit| !settings.rlimits.iter().any(|own| own.resource == limit.resource))
        .collect();
    limits.extend(settings.rlimits.iter().copied());
    for limit in &mut limits {
        let ours = usize::try_from(limit.resource).ok().and_then(|index| host.hard_limits.get(index));
        let Some(ours) = ours else { continue };
        if limit.hard > *ours && !may_raise {
            limit.hard = *ours;
            limit.soft = limit.soft.min(*ours);
            lowered.push(limit.name());
        }
    }
    (limits, lowered)
}
