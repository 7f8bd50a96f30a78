//! How long a call may wait, as ppoll(2) takes it.

use std::time::{Duration, Instant};

use rustix::time::Timespec;

/// `duration`; what is too long for the kernel is as good as for ever.
pub fn timeout(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// The time from now until `deadline`, nothing if it is over.
pub fn until(deadline: Instant) -> Timespec {
    timeout(deadline.saturating_duration_since(Instant::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        let rows = [
            (Duration::ZERO, (0, 0)),
            (Duration::from_millis(1500), (1, 500_000_000)),
            (Duration::MAX, (i64::MAX, 999_999_999)),
        ];
        for (duration, expected) in rows {
            let timespec = timeout(duration);
            assert_eq!((timespec.tv_sec, timespec.tv_nsec), expected, "{duration:?}");
        }
        let past = until(Instant::now());
        assert_eq!((past.tv_sec, past.tv_nsec), (0, 0));
    }
}
