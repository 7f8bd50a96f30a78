//! A time namespace in which the machine's monotonic and boot-time clocks start at 0 (time_namespaces(7), Linux 5.6).

use rustix::fs::CWD;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::sys::SysResult;
use crate::sys::files::write_at;
use crate::sys::process::{Namespaces, unshare};

/// Makes a time namespace for our children whose uptime is 0 now.
///
/// # Errors
/// EINVAL where the kernel has none; EACCES when /proc/self is not ours (see PR_SET_DUMPABLE, prctl(2)).
pub fn enter() -> SysResult<()> {
    unshare(Namespaces::NEWTIME)?;
    let offsets = offsets(clock_gettime(ClockId::Monotonic), clock_gettime(ClockId::Boottime));
    write_at(CWD, "/proc/self/timens_offsets", offsets.as_bytes())
}

/// The lines of /proc/PID/timens_offsets that bring both clocks to 0. Nanoseconds may not be negative there.
fn offsets(monotonic: Timespec, boottime: Timespec) -> String {
    let line = |name: &str, clock: Timespec| match clock.tv_nsec {
        0 => format!("{name} {} 0\n", -clock.tv_sec),
        nanoseconds => format!("{name} {} {}\n", -clock.tv_sec - 1, 1_000_000_000 - nanoseconds),
    };
    line("monotonic", monotonic) + &line("boottime", boottime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_bring_clocks_to_zero() {
        let at = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
        assert_eq!(offsets(at(10, 0), at(12, 250_000_000)), "monotonic -10 0\nboottime -13 750000000\n");
    }
}
