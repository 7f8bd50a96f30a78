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

    /// The machine reboots: its namespace and its links were made anew, with the same names and addresses and other indexes.
    fn links_made(&mut self, links: &Links<'_>) {
        let _ = links;
    }

    /// What happened that the user should know, since the last call; each a line that may be printed.
    fn warnings(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// A machine's links as they were made.
#[derive(Debug, Clone, Copy)]
pub struct Links<'a> {
    /// The machine's network namespace.
    pub namespace: BorrowedFd<'a>,
    /// For each link of the plan, the index of its host's end; 0 where it has none.
    pub host: &'a [u32],
}
