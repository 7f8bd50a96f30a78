//! What systemd-nspawn says of a container, in its words: scripts read them.

use std::fmt::Display;

use crate::cli::output::Output;
use crate::cli::refusal::Message;
use crate::image;
use crate::settings::SignalNumber;
use crate::supervisor::{End, Error, EventOf, Outcome};

/// systemd-nspawn's status for all its own failures.
pub(super) const EXIT_FAILURE: u8 = 1;

/// What its unit is restarted by (systemd-nspawn@.service, RestartForceExitStatus=).
pub(super) const EXIT_FORCE_RESTART: u8 = 133;

/// Tells of one container.
#[derive(Debug)]
pub(super) struct Messages {
    /// Where to.
    pub(super) output: Output,
    /// The container.
    pub(super) name: String,
    /// What it runs from.
    pub(super) path: String,
    /// It is told to halt before it is killed.
    pub(super) halts: bool,
    /// It has been said that it is spawned.
    pub(super) spawned: bool,
}

impl Messages {
    /// Tells of an event.
    pub(super) fn report<Text: Display>(&mut self, event: &EventOf<Text>) {
        match event {
            EventOf::Started { interactive, .. } => self.spawned(*interactive),
            EventOf::Rebooting { name } => self.output.says(&format!("Container {name} is being rebooted.")),
            EventOf::Stopping { .. } if self.halts => self
                .output
                .says("Trying to halt container. Send SIGTERM again to trigger immediate termination."),
            EventOf::Warning(_) | EventOf::OutOfMemory { .. } if !self.output.is_quiet() => {
                self.output.warning(&event.to_string());
            }
            _ => {}
        }
    }

    fn spawned(&mut self, interactive: bool) {
        if std::mem::replace(&mut self.spawned, true) {
            return;
        }
        let Self { output, name, path, .. } = self;
        output.says(&format!("Spawning container {name} on {path}."));
        output.says(match interactive {
            true => {
                "Press Ctrl-] three times within 1s to kill container; two times followed by r\n\
                 to reboot container; two times followed by p to poweroff container."
            }
            false => "Press Ctrl-] three times within 1s to kill container.",
        });
    }

    /// Tells how it ended; our exit status.
    pub(super) fn end(&mut self, result: &Result<Outcome, Error>) -> u8 {
        let name = self.name.clone();
        let (text, status) = match result {
            Ok(outcome) => end(&name, outcome.end),
            Err(error @ Error::Exec { .. }) => {
                self.spawned(false);
                self.output.error(error, error.hint().as_deref());
                end(&name, End::Exited(EXIT_FAILURE.into()))
            }
            Err(error @ Error::Locked(image::Error::InUse { .. })) => {
                let busy = Message::new(format!("Directory tree {} is currently busy.", self.path));
                self.output.error(&busy, Some(&crate::sys::in_words(error)));
                return EXIT_FAILURE;
            }
            Err(error) => {
                self.output.failure(error, error.console(), error.hint().as_deref());
                return EXIT_FAILURE;
            }
        };
        match text {
            Said::Status(text) => self.output.says(&text),
            Said::Error(text) => self.output.insists(&text),
        }
        status
    }
}

/// How loudly something is said.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// Unless we are to be quiet.
    Status(String),
    /// In any case.
    Error(String),
}

/// What is said of an end, and our exit status.
fn end(name: &str, end: End) -> (Said, u8) {
    match end {
        End::Exited(0) => (Said::Status(format!("Container {name} exited successfully.")), 0),
        End::Exited(status) => {
            let own = u8::try_from(status & 0xff).unwrap_or(EXIT_FAILURE);
            // What would restart its unit is not the payload's to say.
            let own = if own == EXIT_FORCE_RESTART { EXIT_FAILURE } else { own };
            (Said::Status(format!("Container {name} failed with error code {status}.")), own)
        }
        End::PoweredOff => (Said::Status(format!("Container {name} has been shut down.")), 0),
        End::Rebooting => (Said::Status(format!("Container {name} is being rebooted.")), EXIT_FORCE_RESTART),
        End::Signalled(signal) => {
            let signal = SignalNumber(signal).to_string();
            let signal = signal.strip_prefix("SIG").unwrap_or(&signal);
            (Said::Error(format!("Container {name} terminated by signal {signal}.")), EXIT_FAILURE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        let rows = [
            (End::Exited(0), Said::Status("Container c exited successfully.".into()), 0),
            (End::Exited(3), Said::Status("Container c failed with error code 3.".into()), 3),
            (End::Exited(133), Said::Status("Container c failed with error code 133.".into()), 1),
            (End::PoweredOff, Said::Status("Container c has been shut down.".into()), 0),
            (End::Rebooting, Said::Status("Container c is being rebooted.".into()), 133),
            (End::Signalled(9), Said::Error("Container c terminated by signal KILL.".into()), 1),
        ];
        for (ended, said, status) in rows {
            assert_eq!(end("c", ended), (said, status), "{ended:?}");
        }
    }
}
