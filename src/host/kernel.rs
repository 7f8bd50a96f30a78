//! The kernel's version, and what it says of our own process.

use std::fmt;

use super::RESOURCES;

/// Linux's default of fs.nr_open (proc_sys_fs(5)).
pub(super) const DEFAULT_NR_OPEN: u64 = 1 << 20;

/// Major and minor version of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// 6 of 6.12.
    pub major: u32,
    /// 12 of 6.12.
    pub minor: u32,
}

impl KernelVersion {
    /// Reads a release string as uname(2) gives it; what is not a number counts as 0.
    pub fn parse(release: &str) -> Self {
        let mut numbers = release
            .split(|character: char| !character.is_ascii_digit())
            .map(|digits| digits.parse().unwrap_or(0));
        Self { major: numbers.next().unwrap_or(0), minor: numbers.next().unwrap_or(0) }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The capability set `field` of a /proc/PID/status text (proc_pid_status(5)).
pub(super) fn capability_mask(status: &str, field: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|value| u64::from_str_radix(value.trim(), 16).ok())
        .unwrap_or(0)
}

/// Our own hard limits.
pub(super) fn hard_limits() -> [u64; RESOURCES] {
    let mut limits = [u64::MAX; RESOURCES];
    for (resource, limit) in (0..).zip(limits.iter_mut()) {
        if let Ok((_, hard)) = crate::sys::process::resource_limit(0, resource) {
            *limit = hard;
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for (release, major, minor) in
            [("6.18.44-fc-v669", 6, 18), ("6.1.0-40-cloud-amd64", 6, 1), ("7", 7, 0), ("", 0, 0)]
        {
            assert_eq!(KernelVersion::parse(release), KernelVersion { major, minor }, "{release}");
        }
    }

    #[test]
    fn capabilities_of_a_status_file() {
        let status = "Name:\tx\nCapPrm:\t000001fffeffffff\nCapEff:\t00000000a80425fb\n";
        assert_eq!(capability_mask(status, "CapEff:"), 0xa804_25fb);
        assert_eq!(capability_mask(status, "CapBnd:"), 0);
    }
}
