//! What happens to a machine, as it happens.
//!
//! ```no_run
//! # use spinney::machine::{Control, Error, Heard, MachineHandle};
//! # use spinney::supervisor::state::Phase;
//! # fn follow(machine: &MachineHandle) -> Result<(), Error> {
//! let mut events = Control::connect(machine)?.subscribe()?;
//! if events.snapshot().state.phase != Phase::Ready {
//!     while let Heard::Event(happening) = events.next(None)? { /* ... */ }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The snapshot and the events that follow it leave no gap: what is not in the one is in the others.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use serde_json::{Value, json};

use super::control::Received;
use super::{Control, Error};
use crate::supervisor::control::INTERFACE;
use crate::supervisor::machine_event::Happening;
use crate::supervisor::snapshot::Snapshot;
use crate::varlink::service::object;
use crate::varlink::{Call, Reply};

/// Events of one machine.
#[derive(Debug)]
pub struct EventStream {
    control: Control,
    snapshot: Snapshot,
    ended: bool,
}

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Something happened.
    Event(Happening),
    /// Nothing, within the time given.
    Nothing,
    /// Nothing will happen any more: the machine is gone. Without a [`Ended`](crate::supervisor::machine_event::MachineEvent::Ended)
    /// before, its supervisor was killed.
    End,
}

impl EventStream {
    pub(super) fn begin(mut control: Control, past: bool) -> Result<Self, Error> {
        let mut call = Call::new(&format!("{INTERFACE}.Subscribe"), object(json!({ "past": past })));
        call.more = true;
        control.send(&call, &[])?;
        let first = Value::Object(control.results()?);
        let snapshot = serde_json::from_value(first).map_err(|error| control.broken(&error.to_string()))?;
        Ok(Self { control, snapshot, ended: false })
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        self.control.name()
    }

    /// What was known when the stream began.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Waits for the next event, for ever without a timeout. A timeout of zero only takes what is there.
    ///
    /// # Errors
    /// When the connection fails: also when we did not read for so long that we were cut off.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Heard, Error> {
        if self.ended {
            return Ok(Heard::End);
        }
        match self.control.receive(timeout)? {
            Received::Reply(reply) => self.heard(reply),
            Received::Nothing => Ok(Heard::Nothing),
            Received::End => {
                self.ended = true;
                Ok(Heard::End)
            }
        }
    }

    fn heard(&mut self, reply: Reply) -> Result<Heard, Error> {
        self.ended = !reply.continues;
        let event = Value::Object(self.control.judge(reply)?);
        match serde_json::from_value(event) {
            Ok(happening) => Ok(Heard::Event(happening)),
            Err(error) => Err(self.control.broken(&error.to_string())),
        }
    }
}

impl AsFd for EventStream {
    /// Readable when there may be something to hear; but ask [`EventStream::next`] until it says [`Heard::Nothing`] before
    /// polling it, since several events come in one read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }
}
