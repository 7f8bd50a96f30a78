//! How far a job is, as far as its work says so.

use tokio::sync::watch;

/// How far, by what its work counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes that it has moved.
    pub bytes: u64,
    /// Of how many, where that is known.
    pub total: Option<u64>,
}

impl Progress {
    /// What is said when nobody knows how much there is to do.
    const UNKNOWN: f64 = -1.0;

    /// From 0 to 1; below 0 where it is not known.
    #[allow(clippy::cast_precision_loss, reason = "a fraction")]
    pub fn fraction(self) -> f64 {
        match self.total {
            Some(total) if total > 0 => (self.bytes as f64 / total as f64).min(1.0),
            _ => Self::UNKNOWN,
        }
    }
}

/// Where work says how far it is, and others hear it.
#[derive(Debug, Clone)]
pub struct Meter(watch::Sender<Progress>);

impl Default for Meter {
    fn default() -> Self {
        Self(watch::Sender::new(Progress::default()))
    }
}

impl Meter {
    /// Takes what a worker says ([`crate::manager::worker::task::Said::Progress`]): `bytes`, and `total` where it knows.
    pub fn take(&self, said: &serde_json::Value) {
        let number = |name: &str| said.get(name).and_then(serde_json::Value::as_u64);
        if let Some(bytes) = number("bytes") {
            self.0.send_replace(Progress { bytes, total: number("total") });
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        *self.0.borrow()
    }

    /// Hears of what is said from now on.
    pub fn listen(&self) -> watch::Receiver<Progress> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fractions() {
        let table = [
            (0, None, -1.0),
            (7, None, -1.0),
            (0, Some(0), -1.0),
            (0, Some(8), 0.0),
            (2, Some(8), 0.25),
            (9, Some(8), 1.0),
        ];
        for (bytes, total, expected) in table {
            let fraction = Progress { bytes, total }.fraction();
            assert!((fraction - expected).abs() < f64::EPSILON, "{bytes} of {total:?}: {fraction}");
        }
    }

    #[test]
    fn said() {
        let meter = Meter::default();
        let table = [
            (json!({ "bytes": 3 }), Progress { bytes: 3, total: None }),
            (json!({ "stage": "x" }), Progress { bytes: 3, total: None }),
            (json!({ "bytes": 4, "total": 8 }), Progress { bytes: 4, total: Some(8) }),
            (json!({ "bytes": -1 }), Progress { bytes: 4, total: Some(8) }),
        ];
        for (said, expected) in table {
            meter.take(&said);
            assert_eq!(meter.progress(), expected, "{said}");
        }
    }
}
