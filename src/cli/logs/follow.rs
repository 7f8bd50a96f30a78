//! Waiting for what a machine writes next, or for its end.

use rustix::event::{PollFd, PollFlags};
use std::os::fd::{AsFd, OwnedFd};

use crate::machine::logs::watch::{LOOK, Watch};
use crate::machine::{Error, logs::Places};

/// What may have come of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// Something may have been written.
    Written,
    /// Files came or went.
    Names,
    /// The guest has rebooted: its directories are others.
    NewLeader,
    /// The machine has ended.
    Ended,
    /// Nobody reads what we print.
    ReaderGone,
}

/// Waits for a machine.
#[derive(Debug)]
pub struct Waiter {
    places: Places,
    supervisor: OwnedFd,
    watch: Watch,
}

impl Waiter {
    /// For the machine that `places` are of; `None` when it does not run.
    ///
    /// # Errors
    /// When the user has too many watches.
    pub fn new(places: Places) -> Result<Option<Self>, Error> {
        let Some((machine, _)) = places.machine() else { return Ok(None) };
        let supervisor = match machine.supervisor() {
            Err(Error::NotRunning { .. }) => return Ok(None),
            supervisor => supervisor?,
        };
        let watch = Watch::new().map_err(Error::system("watch the machine's logs"))?;
        Ok(Some(Self { places, supervisor, watch }))
    }

    /// Where the logs are now.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Wakes for what happens in `directory` too.
    ///
    /// # Errors
    /// As [`Waiter::new`].
    pub fn watch(&self, directory: &impl AsFd) -> Result<(), Error> {
        self.watch.add(directory).map_err(Error::system("watch the machine's logs"))
    }

    /// Waits for something to happen, or until it is time to look.
    ///
    /// # Errors
    /// When the kernel has no memory.
    pub fn wait(&mut self) -> Result<Happened, Error> {
        let others = [
            PollFd::new(&self.supervisor, PollFlags::IN),
            // What hears of a reader's end alone.
            PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::empty()),
        ];
        let woken = self.watch.wait(&others, LOOK).map_err(Error::system("wait for the machine"))?;
        if woken.other == Some(0) {
            return Ok(Happened::Ended);
        }
        if woken.other == Some(1) {
            return Ok(Happened::ReaderGone);
        }
        if !self.places.leader_lives()
            && let Some(places) = self.places.after_reboot()
        {
            self.places = places;
            return Ok(Happened::NewLeader);
        }
        Ok(if woken.names { Happened::Names } else { Happened::Written })
    }
}
