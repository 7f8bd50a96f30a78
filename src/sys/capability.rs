//! The capability sets of the calling thread (capabilities(7)); sets are masks, bit n is capability n.
//!
//! All of these are a thread's own, not the process's: call them while there is one thread only.

use rustix::io::Errno;
use rustix::thread::{self, CapabilitySet};

pub use rustix::thread::CapabilitiesSecureBits as SecureBits;

use super::{SysResult, sys};

/// The three sets of capset(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySets {
    /// Checked by the kernel.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What is kept across execve(2) of a file with inheritable capabilities, and the limit of the ambient set.
    pub inheritable: u64,
}

/// The thread's sets.
pub fn capabilities() -> SysResult<CapabilitySets> {
    let sets = sys("capget", thread::capabilities(None), || "0".to_owned())?;
    Ok(CapabilitySets {
        effective: sets.effective.bits(),
        permitted: sets.permitted.bits(),
        inheritable: sets.inheritable.bits(),
    })
}

/// Sets the thread's sets. Bits above the kernel's last capability are ignored by it.
pub fn set_capabilities(sets: CapabilitySets) -> SysResult<()> {
    let raw = thread::CapabilitySets {
        effective: CapabilitySet::from_bits_retain(sets.effective),
        permitted: CapabilitySet::from_bits_retain(sets.permitted),
        inheritable: CapabilitySet::from_bits_retain(sets.inheritable),
    };
    sys("capset", thread::set_capabilities(None, raw), || {
        format!(
            "0, effective={:#x}, permitted={:#x}, inheritable={:#x}",
            sets.effective, sets.permitted, sets.inheritable
        )
    })
}

/// The bounding set: what this thread and its children can ever gain by execve(2).
pub fn bounding_set() -> SysResult<u64> {
    Ok(read_each("PR_CAPBSET_READ", thread::capability_is_in_bounding_set)?.mask)
}

/// The number of the last capability that the kernel knows.
pub fn last_capability() -> SysResult<u32> {
    Ok(read_each("PR_CAPBSET_READ", thread::capability_is_in_bounding_set)?.last)
}

/// Takes out of the bounding set all that `keep` lacks. Needs CAP_SETPCAP if that is anything.
pub fn limit_bounding_set(keep: u64) -> SysResult<()> {
    for number in bits(bounding_set()? & !keep) {
        sys("prctl", thread::remove_capability_from_bounding_set(one(number)), || {
            format!("PR_CAPBSET_DROP, {number}")
        })?;
    }
    Ok(())
}

/// The ambient set: what execve(2) of an ordinary file keeps for a thread that is not root.
pub fn ambient_set() -> SysResult<u64> {
    Ok(read_each("PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET", thread::capability_is_in_ambient_set)?.mask)
}

/// Empties the ambient set.
pub fn clear_ambient_set() -> SysResult<()> {
    sys("prctl", thread::clear_ambient_capability_set(), || {
        "PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL".to_owned()
    })
}

/// Adds `mask` to the ambient set; the permitted and the inheritable set must hold it already, or it is EPERM.
pub fn raise_ambient(mask: u64) -> SysResult<()> {
    for number in bits(mask) {
        sys("prctl", thread::configure_capability_in_ambient_set(one(number), true), || {
            format!("PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, {number}")
        })?;
    }
    Ok(())
}

/// Whether the permitted set outlives the change of all uids from 0 to others, until the next execve(2).
pub fn set_keep_capabilities(keep: bool) -> SysResult<()> {
    sys("prctl", thread::set_keep_capabilities(keep), || format!("PR_SET_KEEPCAPS, {}", u8::from(keep)))
}

/// The secure bits.
pub fn secure_bits() -> SysResult<SecureBits> {
    sys("prctl", thread::capabilities_secure_bits(), || "PR_GET_SECUREBITS".to_owned())
}

/// Sets the secure bits. Needs CAP_SETPCAP.
pub fn set_secure_bits(secure_bits: SecureBits) -> SysResult<()> {
    sys("prctl", thread::set_capabilities_secure_bits(secure_bits), || {
        format!("PR_SET_SECUREBITS, {:#x}", secure_bits.bits())
    })
}

/// What asking for each capability in turn gave.
struct Reading {
    mask: u64,
    last: u32,
}

/// Asks for each capability from 0 on, until the kernel says that there are no more.
fn read_each(operation: &str, ask: fn(CapabilitySet) -> Result<bool, Errno>) -> SysResult<Reading> {
    let mut reading = Reading { mask: 0, last: 0 };
    for number in 0..64 {
        match ask(one(number)) {
            Ok(held) => reading = Reading { mask: reading.mask | u64::from(held) << number, last: number },
            Err(Errno::INVAL) => break,
            Err(errno) => return sys("prctl", Err(errno), || format!("{operation}, {number}")),
        }
    }
    Ok(reading)
}

fn one(number: u32) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << number)
}

fn bits(mask: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |number| mask & (1 << number) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `body` in a thread of its own, which has its own copy of all that this module changes.
    fn in_a_thread(body: impl FnOnce() + Send + 'static) {
        std::thread::spawn(body).join().unwrap();
    }

    /// Prints why a test does nothing, if this process may not change capabilities.
    fn may_change_capabilities() -> bool {
        const CAP_SETPCAP: u64 = 1 << 8;
        let may = capabilities().unwrap().effective & CAP_SETPCAP != 0;
        if !may {
            println!("skipped: needs CAP_SETPCAP");
        }
        may
    }

    #[test]
    fn reads_what_proc_says() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let sets = capabilities().unwrap();
        assert_eq!(sets.effective, field("CapEff:"));
        assert_eq!(sets.permitted, field("CapPrm:"));
        assert_eq!(sets.inheritable, field("CapInh:"));
        assert_eq!(bounding_set().unwrap(), field("CapBnd:"));
        assert_eq!(ambient_set().unwrap(), field("CapAmb:"));
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
        assert_eq!(last_capability().unwrap().to_string(), last.trim());
    }

    #[test]
    fn sets_limit_and_raise() {
        if !may_change_capabilities() {
            return;
        }
        in_a_thread(|| {
            const CAP_CHOWN: u64 = 1;
            const CAP_SETPCAP: u64 = 1 << 8;
            let keep = CAP_CHOWN | CAP_SETPCAP;
            limit_bounding_set(keep).unwrap();
            assert_eq!(bounding_set().unwrap(), keep);
            let sets = CapabilitySets { effective: CAP_SETPCAP, permitted: keep, inheritable: CAP_CHOWN };
            set_capabilities(sets).unwrap();
            assert_eq!(capabilities().unwrap(), sets);
            raise_ambient(CAP_CHOWN).unwrap();
            assert_eq!(ambient_set().unwrap(), CAP_CHOWN);
            clear_ambient_set().unwrap();
            assert_eq!(ambient_set().unwrap(), 0);
            set_secure_bits(SecureBits::NO_SETUID_FIXUP).unwrap();
            assert_eq!(secure_bits().unwrap(), SecureBits::NO_SETUID_FIXUP);
            set_keep_capabilities(true).unwrap();
            assert_eq!(secure_bits().unwrap(), SecureBits::NO_SETUID_FIXUP | SecureBits::KEEP_CAPS);
        });
    }

    #[test]
    fn a_refused_call_reads_like_strace() {
        in_a_thread(|| {
            set_capabilities(CapabilitySets::default()).unwrap();
            let refused = CapabilitySets { effective: 1, permitted: 1, inheritable: 0 };
            let error = set_capabilities(refused).unwrap_err();
            assert_eq!(error.errno(), Errno::PERM);
            assert_eq!(error.to_string(), "capset(0, effective=0x1, permitted=0x1, inheritable=0x0)");
            let error = raise_ambient(1 << 21).unwrap_err();
            assert_eq!(error.to_string(), "prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21)");
        });
    }
}
