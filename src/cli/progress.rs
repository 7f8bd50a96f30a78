//! What a machine does, as status lines. A boot tells its steps; a command leaves stderr to the command.

use std::fmt::Display;

use super::output::Output;
use crate::supervisor::EventOf;

/// How the console's keys are told.
const KEYS: &str = "^] three times kills it, ^] ^] p powers it off, ^] ^] r reboots it";

/// Prints the events of one machine.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    output: Output,
    boots: bool,
}

impl Progress {
    /// Prints to `output`, the steps of a boot too if the machine `boots`.
    pub fn new(output: Output, boots: bool) -> Self {
        Self { output, boots }
    }

    /// Prints one event, if it is for the user.
    pub fn report<Text: Display>(&self, event: &EventOf<Text>) {
        if matches!(event, EventOf::Warning(_) | EventOf::OutOfMemory { .. }) {
            self.output.warning(&event.to_string());
            return;
        }
        if self.boots || matches!(event, EventOf::Escalating { .. }) {
            self.output.status(&event.to_string());
            if matches!(event, EventOf::Started { interactive: true, .. }) {
                self.output.status(KEYS);
            }
        }
    }
}
