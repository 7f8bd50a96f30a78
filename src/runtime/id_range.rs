//! A range of host ids for one machine, held by a lock while it runs.
//!
//! The range is found as systemd-nspawn's `--private-users=pick` finds its own, and locked by the same file, so that the
//! two never give one range to two machines.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::host::{IdOwners, IdRange};
use crate::sys::files::{make_directories, open_at, try_lock_description, while_parents_vanish};
use crate::sys::{SysError, SysResult};

/// Ids of a machine (user_namespaces(7); systemd-nspawn(1), `--private-users=`).
pub const SIZE: u32 = 65536;

/// Where systemd-nspawn keeps its lock files; named after the first id of the range.
pub const LOCK_DIRECTORY: &str = "/run/systemd/nspawn-uid";

/// First base that is picked: systemd's container range (<https://systemd.io/UIDS-GIDS>).
const FIRST: u32 = 524_288;
/// The last one.
pub const LAST: u32 = 1_878_982_656;

/// A range could not be had.
#[derive(Debug, thiserror::Error)]
pub enum IdRangeError {
    /// Every candidate tried is somebody's.
    #[error("no free range of {SIZE} ids after {0} tries")]
    Exhausted(u32),
    /// The range asked for is in use by another machine.
    #[error("ids {base} to {} are in use by another machine", u64::from(*base) + u64::from(*size) - 1)]
    InUse {
        /// First id.
        base: u32,
        /// Number of ids.
        size: u32,
    },
    /// The lock could not be made.
    #[error("cannot lock an id range")]
    Lock(#[source] SysError),
}

/// A locked range. Dropping it leaves the lock file, which the journal of resources has removed.
#[derive(Debug)]
pub struct IdRangeLock {
    /// First host id.
    pub base: u32,
    /// Number of ids.
    pub size: u32,
    _lock: OwnedFd,
}

/// Bases to try for a machine called `name`, best first: always the same for a name, so that a machine tends to keep
/// its ids.
pub fn candidates(name: &str) -> impl Iterator<Item = u32> {
    const SLOTS: u32 = (LAST - FIRST) / SIZE + 1;
    let start = fnv1a(name.as_bytes());
    (0_u64..).map(move |step| {
        // An odd stride walks all slots before it comes back, since names that share a start then part ways.
        let stride = (start >> 32) | 1;
        let slot = start.wrapping_add(step.wrapping_mul(stride)) % u64::from(SLOTS);
        FIRST + u32::try_from(slot).unwrap_or(0) * SIZE
    })
}

/// FNV-1a (draft-eastlake-fnv): short, and stable across versions of ours.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// How many candidates are tried: with half of all 28,000 slots taken, a hundred failures in a row do not happen.
const TRIES: u32 = 100;

impl IdRangeLock {
    /// Picks and locks a free range for `name`. `note` hears of each base before its lock file is made, so that it is
    /// known to whoever cleans up after us.
    ///
    /// # Errors
    /// When no candidate is free, or the lock directory cannot be used.
    pub fn pick(name: &str, note: impl FnMut(u32) -> SysResult<()>) -> Result<Self, IdRangeError> {
        let owners = IdOwners::probe();
        let mut note = note;
        for base in candidates(name).take(usize::try_from(TRIES).unwrap_or(usize::MAX)) {
            if !owners.is_free(IdRange { base, size: SIZE }) {
                continue;
            }
            note(base).map_err(IdRangeError::Lock)?;
            if let Some(lock) = Self::try_lock(base, SIZE).map_err(IdRangeError::Lock)? {
                return Ok(lock);
            }
        }
        Err(IdRangeError::Exhausted(TRIES))
    }

    /// Locks the range that the user asked for.
    ///
    /// # Errors
    /// When another machine has it.
    pub fn take(base: u32, size: u32) -> Result<Self, IdRangeError> {
        Self::try_lock(base, size).map_err(IdRangeError::Lock)?.ok_or(IdRangeError::InUse { base, size })
    }

    fn try_lock(base: u32, size: u32) -> SysResult<Option<Self>> {
        while_parents_vanish(|| {
            let directory = make_directories(Path::new(LOCK_DIRECTORY), 0o755)?;
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
            let lock = open_at(&directory, base.to_string(), flags, Mode::from_raw_mode(0o600))?;
            if !try_lock_description(&lock)? {
                return Ok(None);
            }
            // Its last owner may have removed the file between our open and our lock: then the lock is on nothing.
            if rustix::fs::fstat(&lock).is_ok_and(|stat| stat.st_nlink == 0) {
                return Err(SysError::new("fcntl", format!("{LOCK_DIRECTORY}/{base}"), Errno::NOENT));
            }
            Ok(Some(Self { base, size, _lock: lock }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_aligned_in_range_and_stable() {
        for name in ["a", "debian-13", "x.example.com"] {
            let bases: Vec<u32> = candidates(name).take(200).collect();
            assert_eq!(bases, candidates(name).take(200).collect::<Vec<_>>());
            for base in &bases {
                assert_eq!(base % SIZE, 0, "{name}");
                assert!((FIRST..=LAST).contains(base), "{name}: {base}");
            }
            let mut distinct = bases.clone();
            distinct.sort_unstable();
            distinct.dedup();
            assert!(distinct.len() > 190, "{name}: {}", distinct.len());
        }
    }
}
