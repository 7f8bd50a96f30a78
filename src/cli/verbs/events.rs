//! `spinney events`: what happens to machines, as it happens.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

use jiff::tz::TimeZone;
use serde::Serialize;

use super::{fail, named};
use crate::cli::EXIT_FAILURE;
use crate::cli::output::words::clock;
use crate::cli::output::{Colour, Output};
use crate::cli::require_root;
use crate::machine::registry_watch::RegistryWatch;
use crate::machine::several::{Came, Several};
use crate::machine::{Control, Error, Heard, MachineHandle};
use crate::supervisor::machine_event::{Happening, MachineEvent};
use crate::sys::signal::{SignalFd, SignalSet};

const EXAMPLES: &str = "\
Examples:
  spinney events               all machines, also those that start later
  spinney events web db        these two, until both are gone
  spinney events --past web    what has happened since it was started, first
  spinney events --json        a line of JSON each, for programs

Events: started, ready, status, unit-active, unit-inactive, reloading, failed, watchdog, hostname, stopping, rebooting, \
paused, resumed, out-of-memory, ended.";

/// Follow what happens to machines
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct EventsArguments {
    /// The machines (default: all, also those that start later)
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Tell first what has happened since the machines' start
    #[arg(long)]
    past: bool,

    /// Print a line of JSON for each event
    #[arg(long)]
    json: bool,
}

/// An event as programs see it.
#[derive(Serialize)]
struct Line<'a> {
    machine: &'a str,
    #[serde(flatten)]
    happening: &'a Happening,
}

/// Runs the verb, gives the exit status. Ends when all named machines are gone, or when told to.
pub fn events(arguments: &EventsArguments) -> u8 {
    let output = Output::new(false);
    let mut follower = Follower {
        output,
        json: arguments.json,
        zone: TimeZone::system(),
        events: Several::default(),
        known: BTreeSet::new(),
    };
    let signals = match ends() {
        Ok(signals) => signals,
        Err(error) => return fail(&error, output),
    };
    if arguments.names.is_empty() {
        // Others cannot even see which machines are starting.
        if !require_root("events", "sudo spinney events", output) {
            return EXIT_FAILURE;
        }
        let done = follower.all(arguments.past, &signals);
        return done.map_or_else(|error| fail(&error, output), |()| 0);
    }
    let mut status = 0;
    for name in &arguments.names {
        let machine = named(name).and_then(|name| MachineHandle::find(&name));
        if let Err(error) = machine.and_then(|machine| follower.follow(&machine, arguments.past)) {
            status = fail(&error, output);
        }
    }
    match follower.until(&[signals.as_fd()]) {
        Ok(()) => status,
        Err(error) => fail(&error, output),
    }
}

/// Signals that end us well: who follows events ends that by ^C.
fn ends() -> Result<SignalFd, Error> {
    let signals = SignalSet::of(&[libc::SIGINT, libc::SIGTERM]);
    signals.block().map_err(Error::system("block signals"))?;
    SignalFd::open(&signals).map_err(Error::system("open a signalfd"))
}

struct Follower {
    output: Output,
    json: bool,
    zone: TimeZone,
    events: Several,
    /// Names that are followed.
    known: BTreeSet<String>,
}

impl Follower {
    fn follow(&mut self, machine: &MachineHandle, past: bool) -> Result<(), Error> {
        if self.known.contains(machine.name().as_str()) {
            return Ok(());
        }
        let control = Control::connect(machine)?;
        let stream = if past { control.subscribe_with_past()? } else { control.subscribe()? };
        self.events.add(stream);
        self.known.insert(machine.name().to_string());
        Ok(())
    }

    /// All machines, for ever.
    fn all(&mut self, past: bool, signals: &SignalFd) -> Result<(), Error> {
        let registry = RegistryWatch::new()?;
        let mut past = past;
        loop {
            for machine in registry.machines(|name| self.known.contains(name.as_str()))? {
                match self.follow(&machine, past) {
                    // It has ended in the moment since it was found.
                    Ok(()) | Err(Error::NotRunning { .. } | Error::Gone { .. }) => {}
                    Err(error) => {
                        fail(&error, self.output);
                        // Said once.
                        self.known.insert(machine.name().to_string());
                    }
                }
            }
            // What comes later is told from its first event on.
            past = true;
            self.until(&[registry.as_fd(), signals.as_fd()])?;
            if signals.read().map_err(Error::system("read a signal"))?.is_some() {
                return Ok(());
            }
        }
    }

    /// Tells events until one of `others` is ready, or nobody is left.
    fn until(&mut self, others: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let only_named = others.len() == 1;
        loop {
            if only_named && self.events.is_empty() {
                return Ok(());
            }
            match self.events.next(others, None)? {
                Came::Heard(name, Heard::Event(happening)) => self.tell(&name, &happening),
                Came::Heard(name, Heard::End) => {
                    self.known.remove(&name);
                    if !only_named {
                        // Another of its name may have come before we heard of this one's end.
                        return Ok(());
                    }
                }
                Came::Failed(name, error) => {
                    self.known.remove(&name);
                    fail(&error, self.output);
                }
                Came::Heard(_, Heard::Nothing) => {}
                Came::Other | Came::Nobody | Came::Deadline => return Ok(()),
            }
        }
    }

    fn tell(&self, machine: &str, happening: &Happening) {
        let line = if self.json {
            serde_json::to_string(&Line { machine, happening }).unwrap_or_default()
        } else {
            let time = self.output.in_colour(Colour::Grey, &clock(happening.time, &self.zone));
            format!("{time} {machine} {}", words(&happening.event))
        };
        self.output.text(&(line + "\n"));
    }
}

/// An event in words, its name first.
fn words(event: &MachineEvent) -> String {
    let detail = match event {
        MachineEvent::Started { leader, boot, os, init } => {
            let init = if init.is_empty() { String::new() } else { format!(", {init}") };
            let boot = if *boot == 1 { String::new() } else { format!(", boot {boot}") };
            format!("{os}{init}, PID {leader}{boot}")
        }
        MachineEvent::Ready { assumed: true } => "assumed: its init does not say".to_owned(),
        MachineEvent::Status { text } => text.clone(),
        MachineEvent::UnitActive { unit } | MachineEvent::UnitInactive { unit } => unit.clone(),
        MachineEvent::Failed { errno, bus_error } => {
            let errno = errno.map(|errno| rustix::io::Errno::from_raw_os_error(errno).to_string());
            errno.or_else(|| bus_error.clone()).unwrap_or_default()
        }
        MachineEvent::Hostname { hostname } => hostname.clone(),
        MachineEvent::Published { port } | MachineEvent::Unpublished { port } => port.clone(),
        MachineEvent::Offered { offer } | MachineEvent::TakenBack { offer } => offer.clone(),
        MachineEvent::Stopping { how, asked } => {
            let how = kebab(how);
            let who = if *asked { "it was told to" } else { "by itself" };
            if how == "unknown" { who.to_owned() } else { format!("{how}, {who}") }
        }
        MachineEvent::Rebooting { parameter } => parameter.clone().unwrap_or_default(),
        MachineEvent::OutOfMemory { killed: 1 } => "1 process killed so far".to_owned(),
        MachineEvent::OutOfMemory { killed } => format!("{killed} processes killed so far"),
        MachineEvent::Ended { exit_status, reason, error } => {
            let error = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            format!("{}, exit status {exit_status}{error}", kebab(reason))
        }
        MachineEvent::Ready { assumed: false }
        | MachineEvent::Reloading
        | MachineEvent::Watchdog
        | MachineEvent::Paused
        | MachineEvent::Resumed => String::new(),
    };
    let name = event.name();
    if detail.is_empty() { name.to_owned() } else { format!("{name} {detail}") }
}

/// The word that JSON has for it.
fn kebab(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::machine_event::{EndReason, StopKind};

    #[test]
    fn lines() {
        let text = |text: &str| text.to_owned();
        let rows = [
            (
                MachineEvent::Started {
                    leader: 7,
                    boot: 1,
                    os: text("Debian 13"),
                    init: text("systemd 257"),
                },
                "started Debian 13, systemd 257, PID 7",
            ),
            (
                MachineEvent::Started { leader: 7, boot: 2, os: text("Debian 13"), init: text("") },
                "started Debian 13, PID 7, boot 2",
            ),
            (MachineEvent::Ready { assumed: false }, "ready"),
            (MachineEvent::Ready { assumed: true }, "ready assumed: its init does not say"),
            (MachineEvent::Status { text: text("Up.") }, "status Up."),
            (MachineEvent::UnitActive { unit: text("a.target") }, "unit-active a.target"),
            (
                MachineEvent::Failed { errno: Some(2), bus_error: None },
                "failed No such file or directory (os error 2)",
            ),
            (MachineEvent::Failed { errno: None, bus_error: Some(text("org.x.Y")) }, "failed org.x.Y"),
            (
                MachineEvent::Stopping { how: StopKind::PowerOff, asked: true },
                "stopping power-off, it was told to",
            ),
            (MachineEvent::Stopping { how: StopKind::Unknown, asked: false }, "stopping by itself"),
            (MachineEvent::Rebooting { parameter: None }, "rebooting"),
            (MachineEvent::Paused, "paused"),
            (MachineEvent::Published { port: text("udp:53:53") }, "published udp:53:53"),
            (MachineEvent::TakenBack { offer: text("/run/x:/run/y") }, "taken-back /run/x:/run/y"),
            (MachineEvent::OutOfMemory { killed: 1 }, "out-of-memory 1 process killed so far"),
            (MachineEvent::OutOfMemory { killed: 2 }, "out-of-memory 2 processes killed so far"),
            (
                MachineEvent::Ended { exit_status: 0, reason: EndReason::PoweredOff, error: None },
                "ended powered-off, exit status 0",
            ),
            (
                MachineEvent::Ended {
                    exit_status: 125,
                    reason: EndReason::NotReady,
                    error: Some(text("late")),
                },
                "ended not-ready, exit status 125: late",
            ),
        ];
        for (event, expected) in rows {
            assert_eq!(words(&event), expected);
        }
    }

    #[test]
    fn json_is_one_object() {
        let happening = Happening { time: 5, event: MachineEvent::Paused };
        let line = serde_json::to_string(&Line { machine: "web", happening: &happening }).unwrap();
        assert_eq!(line, r#"{"machine":"web","time":5,"event":"paused"}"#);
    }
}
