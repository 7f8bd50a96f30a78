//! What happens to a machine, for its user to see: told in the foreground, sent to who waits for a machine in the
//! background, written to its log.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What happens, with texts as the supervisor has them.
pub type Event<'a> = EventOf<&'a str>;

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventOf<Text> {
    /// The host lacks something and the machine goes without; or something is odd.
    Warning(Text),
    /// PID 1 runs.
    Started {
        /// Its machine.
        name: Text,
        /// The operating system, in words.
        os: Text,
        /// The init, in words; `None` for a command.
        init: Option<Text>,
        /// Since the program's start.
        after: Duration,
        /// The user's keys go to it.
        interactive: bool,
    },
    /// The guest is up.
    Ready {
        /// Its machine.
        name: Text,
        /// Since the program's start, or the reboot.
        after: Duration,
        /// It did not say so: nothing is known of its init.
        assumed: bool,
    },
    /// The guest was told to stop, or to reboot.
    Stopping {
        /// Its machine.
        name: Text,
        /// To come back.
        reboot: bool,
    },
    /// It is killed at once: the user asked for that, or it was not ready in time.
    Killing {
        /// Its machine.
        name: Text,
    },
    /// It did not stop in time and the next step is taken.
    Escalating {
        /// Its machine.
        name: Text,
        /// Which is the kill.
        kill: bool,
    },
    /// The kernel killed processes of it for want of memory.
    OutOfMemory {
        /// Its machine.
        name: Text,
        /// How many, and where, in words.
        what: Text,
        /// The next step.
        hint: Text,
    },
    /// It rebooted.
    Rebooting {
        /// Its machine.
        name: Text,
    },
    /// It is gone.
    Ended {
        /// Its machine.
        name: Text,
        /// How long it took to stop, if it was told to.
        after: Option<Duration>,
    },
}

impl<Text> EventOf<Text> {
    /// The same event with its texts as `change` gives them.
    pub fn map<New>(&self, change: impl Fn(&Text) -> New) -> EventOf<New> {
        match self {
            Self::Warning(text) => EventOf::Warning(change(text)),
            Self::Started { name, os, init, after, interactive } => EventOf::Started {
                name: change(name),
                os: change(os),
                init: init.as_ref().map(change),
                after: *after,
                interactive: *interactive,
            },
            Self::Ready { name, after, assumed } => {
                EventOf::Ready { name: change(name), after: *after, assumed: *assumed }
            }
            Self::Stopping { name, reboot } => EventOf::Stopping { name: change(name), reboot: *reboot },
            Self::Killing { name } => EventOf::Killing { name: change(name) },
            Self::Escalating { name, kill } => EventOf::Escalating { name: change(name), kill: *kill },
            Self::OutOfMemory { name, what, hint } => {
                EventOf::OutOfMemory { name: change(name), what: change(what), hint: change(hint) }
            }
            Self::Rebooting { name } => EventOf::Rebooting { name: change(name) },
            Self::Ended { name, after } => EventOf::Ended { name: change(name), after: *after },
        }
    }
}

impl<Text: fmt::Display> fmt::Display for EventOf<Text> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Warning(text) => text.fmt(f),
            Self::Started { name, os, init, after, .. } => {
                write!(f, "{name} boots {os}")?;
                if let Some(init) = init {
                    write!(f, ", {init}")?;
                }
                write!(f, "; PID 1 after {}", span(*after))
            }
            Self::Ready { name, after, assumed: false } => {
                write!(f, "{name} is ready after {}", span(*after))
            }
            Self::Ready { name, after, assumed: true } => {
                write!(f, "{name} is taken for ready after {}: its init does not say", span(*after))
            }
            Self::Stopping { name, reboot: false } => write!(f, "{name} is told to power off"),
            Self::Stopping { name, reboot: true } => write!(f, "{name} is told to reboot"),
            Self::Killing { name } => write!(f, "{name} is killed"),
            Self::Escalating { name, kill: false } => write!(f, "{name} does not stop, asking harder"),
            Self::Escalating { name, kill: true } => write!(f, "{name} does not stop, killing it"),
            Self::OutOfMemory { name, what, hint } => write!(f, "{name} ran out of memory: {what}; {hint}"),
            Self::Rebooting { name } => write!(f, "{name} reboots"),
            Self::Ended { name, after: Some(after) } => write!(f, "{name} is off after {}", span(*after)),
            Self::Ended { name, after: None } => write!(f, "{name} is off"),
        }
    }
}

/// A time span with the digits that matter: `3.4 ms`, `212 ms`, `1.24 s`.
pub fn span(span: Duration) -> String {
    let milliseconds = span.as_secs_f64() * 1000.0;
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else if milliseconds < 1000.0 {
        format!("{milliseconds:.0} ms")
    } else {
        format!("{:.2} s", milliseconds / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let rows = [
            (3_449, "3.4 ms"),
            (0, "0.0 ms"),
            (212_400, "212 ms"),
            (1_243_000, "1.24 s"),
            (90_000_000, "90.00 s"),
        ];
        for (microseconds, expected) in rows {
            assert_eq!(span(Duration::from_micros(microseconds)), expected);
        }
    }

    #[test]
    fn events() {
        let after = Duration::from_millis(212);
        let (name, os, interactive) = ("web", "Debian GNU/Linux 13", false);
        let rows = [
            (Event::Warning("beware"), "beware"),
            (
                Event::Started { name, os, init: Some("systemd 257"), after, interactive },
                "web boots Debian GNU/Linux 13, systemd 257; PID 1 after 212 ms",
            ),
            (
                Event::Started { name, os, init: None, after, interactive },
                "web boots Debian GNU/Linux 13; PID 1 after 212 ms",
            ),
            (Event::Ready { name, after, assumed: false }, "web is ready after 212 ms"),
            (
                Event::Ready { name, after, assumed: true },
                "web is taken for ready after 212 ms: its init does not say",
            ),
            (Event::Stopping { name, reboot: false }, "web is told to power off"),
            (Event::Stopping { name, reboot: true }, "web is told to reboot"),
            (Event::Killing { name }, "web is killed"),
            (Event::Escalating { name, kill: false }, "web does not stop, asking harder"),
            (Event::Escalating { name, kill: true }, "web does not stop, killing it"),
            (
                Event::OutOfMemory { name, what: "1 process was killed", hint: "give it more" },
                "web ran out of memory: 1 process was killed; give it more",
            ),
            (Event::Rebooting { name }, "web reboots"),
            (Event::Ended { name, after: Some(after) }, "web is off after 212 ms"),
            (Event::Ended { name, after: None }, "web is off"),
        ];
        for (event, expected) in rows {
            assert_eq!(event.to_string(), expected);
            assert_eq!(event.map(|text| *text), event);
        }
    }
}
