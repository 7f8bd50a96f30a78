//! A process that a machine goes with: its supervisor, or the leader of one that another program has registered.
//!
//! It is a pidfd in the loop: of a process that is killed nothing else tells.

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use crate::sys::SysResult;
use crate::sys::process::ends_within;
use crate::sys::readiness::watched;

/// Such a process.
#[derive(Debug)]
pub struct Lifeline(AsyncFd<OwnedFd>);

impl Lifeline {
    /// Of a pidfd.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub fn of(pidfd: OwnedFd) -> SysResult<Self> {
        watched(pidfd).map(Self)
    }

    /// Whether the process lives.
    pub fn holds(&self) -> bool {
        !ends_within(self.0.get_ref(), Duration::ZERO).unwrap_or(true)
    }

    /// Waits for its end.
    pub async fn end(&self) {
        // Without a loop there is nobody to wait for it either.
        let _ = self.0.readable().await;
    }
}
