//! What the supervisor's loop serves of a machine's network.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::PollFlags;

/// One server. It never blocks, and survives whatever the guest sends.
pub trait Service: fmt::Debug {
    /// What it waits for. An fd may be closed by [`Service::on_ready`] only.
    fn interest(&self) -> Vec<(BorrowedFd<'_>, PollFlags)>;

    /// Does what there is to do: something may be ready, or the deadline has come.
    fn on_ready(&mut self, now: Instant);

    /// When it wants to be called even if nothing is ready.
    fn deadline(&self) -> Option<Instant>;
}
