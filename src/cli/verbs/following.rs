//! Following machines until each has done what it was told: shared by the verbs that wait for a machine's end or its reboot.

use std::time::{Duration, Instant};

use super::{fail, named};
use crate::cli::EXIT_FAILURE;
use crate::cli::output::Output;
use crate::machine::several::{Came, Several};
use crate::machine::{Control, Error, Heard, MachineHandle};
use crate::settings::{ValueError, parse_duration};
use crate::supervisor::machine_event::MachineEvent;

/// The machines that a verb is about, and how long it waits for them.
#[derive(Debug, clap::Args)]
pub(super) struct FollowArguments {
    /// The machines
    #[arg(value_name = "NAME", required = true)]
    pub(super) names: Vec<String>,

    /// Return when they were asked to, not when they have done it
    #[arg(long)]
    pub(super) no_wait: bool,

    /// Give up waiting after this time (default: wait for ever)
    #[arg(long, value_name = "TIME", conflicts_with = "no_wait")]
    timeout: Option<String>,

    /// Print no status lines
    #[arg(short, long)]
    quiet: bool,
}

impl FollowArguments {
    /// Where it prints, and until when it waits; `None` for ever. Tells of a time that is none, and gives the exit status.
    pub(super) fn look(&self) -> Result<(Output, Option<(Instant, Duration)>), u8> {
        let output = Output::new(self.quiet);
        match deadline("--timeout", self.timeout.as_deref()) {
            Ok(deadline) => Ok((output, deadline)),
            Err(refused) => {
                output.error(&refused, Some(refused.source.hint()));
                Err(EXIT_FAILURE)
            }
        }
    }
}

/// A time span of the command line; `None` for ever.
pub(super) fn deadline(option: &str, text: Option<&str>) -> Result<Option<(Instant, Duration)>, Refused> {
    let Some(text) = text else { return Ok(None) };
    let span = parse_duration(text).map_err(|source| Refused { option: option.to_owned(), source })?;
    Ok(span.and_then(|span| Instant::now().checked_add(span).map(|at| (at, span))))
}

/// A value that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{option}")]
pub(super) struct Refused {
    option: String,
    /// What is wrong with it.
    #[source]
    pub(super) source: ValueError,
}

/// Machines that were told something, and are listened to.
pub(super) struct Followed {
    machines: Vec<MachineHandle>,
    events: Several,
    /// Of the first that failed.
    pub(super) status: u8,
    output: Output,
}

/// What an event means to who waits.
pub(super) enum Meaning {
    /// Nothing.
    GoOn,
    /// The machine has done what it was told.
    Done,
    /// It has not, and will not.
    Failed(Error),
}

impl Followed {
    /// Calls `method` of every machine in `names` after beginning to listen to it; tells what fails, and goes on.
    pub(super) fn tell(names: &[String], method: &str, output: Output) -> Self {
        let mut followed = Self { machines: Vec::new(), events: Several::default(), status: 0, output };
        for name in names {
            if let Err(error) = followed.tell_one(name, method) {
                followed.failed(&error);
            }
        }
        followed
    }

    fn tell_one(&mut self, name: &str, method: &str) -> Result<(), Error> {
        let machine = named(name).and_then(|name| MachineHandle::find(&name))?;
        if self.events.has(machine.name().as_str()) {
            return Ok(());
        }
        let events = Control::connect(&machine)?.subscribe()?;
        Control::connect(&machine)?.call(method, serde_json::json!({}))?;
        self.events.add(events);
        self.machines.push(machine);
        Ok(())
    }

    /// Listens until each machine is done or has failed. `end` is what the end of its events means.
    pub(super) fn until(
        &mut self,
        deadline: Option<(Instant, Duration)>,
        mut meaning: impl FnMut(&MachineHandle, &MachineEvent, Output) -> Meaning,
        mut end: impl FnMut(&MachineHandle, Output) -> Meaning,
        late: impl Fn(String, Duration) -> Error,
    ) {
        while !self.machines.is_empty() {
            let (name, meaning) = match self.events.next(&[], deadline.map(|(at, _)| at)) {
                Ok(Came::Heard(name, Heard::Event(happening))) => {
                    let Some(machine) = self.machine(&name) else { continue };
                    let meaning = meaning(machine, &happening.event, self.output);
                    (name, meaning)
                }
                Ok(Came::Heard(name, _)) => {
                    let Some(machine) = self.machine(&name) else { continue };
                    let meaning = end(machine, self.output);
                    (name, meaning)
                }
                Ok(Came::Failed(name, error)) => (name, Meaning::Failed(error)),
                Ok(Came::Deadline) => {
                    let waited = deadline.map(|(_, span)| span).unwrap_or_default();
                    for machine in std::mem::take(&mut self.machines) {
                        self.failed(&late(machine.name().to_string(), waited));
                    }
                    return;
                }
                Ok(Came::Other | Came::Nobody) => return,
                Err(error) => return self.failed(&error),
            };
            match meaning {
                Meaning::GoOn => continue,
                Meaning::Done => {}
                Meaning::Failed(error) => self.failed(&error),
            }
            self.machines.retain(|machine| machine.name().as_str() != name);
        }
    }

    fn machine(&self, name: &str) -> Option<&MachineHandle> {
        self.machines.iter().find(|machine| machine.name().as_str() == name)
    }

    fn failed(&mut self, error: &Error) {
        let status = fail(error, self.output);
        self.status = if self.status == 0 { status } else { self.status };
    }
}
