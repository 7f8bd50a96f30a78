//! The parser of `supervise/status`, which runsv keeps for each service (runsv(8); layout: runit's source, `runsv.c`).

use std::time::{Duration, SystemTime};

/// TAI64 labels begin at 2^62 (<https://cr.yp.to/libtai/tai64.html>); runit adds the ten seconds by which TAI was ahead of
/// UTC in 1970 and knows no leap seconds.
const EPOCH: u64 = (1 << 62) + 10;

/// What a service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// Its run script is not running.
    Down,
    /// Its run script is running.
    Running,
    /// Its finish script is running: the run script has ended.
    Finishing,
}

/// What runsv records of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceStatus {
    /// When this state began.
    pub since: SystemTime,
    /// What it is doing.
    pub state: ServiceState,
    /// Whether it is meant to run.
    pub wanted: bool,
}

impl ServiceStatus {
    /// Reads the 20 bytes of a status file.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 20] = bytes.try_into().ok()?;
        let seconds = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?).checked_sub(EPOCH)?;
        let nanoseconds = u32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
        let state = match bytes.get(19)? {
            0 => ServiceState::Down,
            1 => ServiceState::Running,
            2 => ServiceState::Finishing,
            _ => return None,
        };
        Some(Self {
            since: SystemTime::UNIX_EPOCH
                .checked_add(Duration::new(seconds, nanoseconds.min(999_999_999)))?,
            state,
            wanted: bytes.get(17) == Some(&b'u'),
        })
    }

    /// Whether the service has had its start by `now`: it runs, it has ended, it is not meant to run, or it failed and runsv
    /// pauses before the next try. Only a state that began a moment ago may be the one before the first start.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        const MOMENT: Duration = Duration::from_millis(200);
        self.state != ServiceState::Down
            || !self.wanted
            || now.duration_since(self.since).is_ok_and(|age| age >= MOMENT)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn status(since: Duration, want: u8, state: u8) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&(EPOCH + since.as_secs()).to_be_bytes());
        bytes[8..12].copy_from_slice(&since.subsec_nanos().to_be_bytes());
        bytes[17] = want;
        bytes[19] = state;
        bytes
    }

    #[test]
    fn statuses() {
        let since = Duration::new(1_700_000_000, 5);
        let now = |millis: u64| SystemTime::UNIX_EPOCH + since + Duration::from_millis(millis);
        let table = [
            ("running", status(since, b'u', 1), ServiceState::Running, true, 0, true),
            ("before its first start", status(since, b'u', 0), ServiceState::Down, true, 3, false),
            ("between two tries", status(since, b'u', 0), ServiceState::Down, true, 500, true),
            ("not wanted", status(since, b'd', 0), ServiceState::Down, false, 0, true),
            ("finishing", status(since, b'u', 2), ServiceState::Finishing, true, 0, true),
        ];
        for (name, bytes, state, wanted, millis, settled) in table {
            let parsed = ServiceStatus::parse(&bytes).unwrap();
            assert_eq!(parsed, ServiceStatus { since: now(0), state, wanted }, "{name}");
            assert_eq!(parsed.is_settled(now(millis)), settled, "{name}");
        }
        for (name, bytes) in [("empty", &[][..]), ("short", &[0; 19]), ("before 1970", &[0; 20])] {
            assert_eq!(ServiceStatus::parse(bytes), None, "{name}");
        }
        assert_eq!(ServiceStatus::parse(&status(since, b'u', 9)), None);
    }
}
