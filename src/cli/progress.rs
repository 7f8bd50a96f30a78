//! What a machine does, as status lines. A boot tells its steps; a command leaves stderr to the command.

use std::time::Duration;

use super::output::Output;
use crate::settings::ConsoleMode;
use crate::supervisor::Event;

/// Prints the events of one machine.
#[derive(Debug)]
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
    pub fn report(&self, event: &Event<'_>) {
        if let Event::Warning(text) = event {
            self.output.warning(text);
            return;
        }
        if self.boots || matches!(event, Event::Escalating { .. }) {
            for line in lines(event) {
                self.output.status(&line);
            }
        }
    }
}

/// The lines that tell `event`.
fn lines(event: &Event<'_>) -> Vec<String> {
    match event {
        Event::Warning(text) => vec![(*text).to_owned()],
        Event::Started { plan, os, init, after } => {
            started(plan.name.as_str(), os, *init, *after, plan.console)
        }
        Event::Ready { name, after, assumed: false } => {
            vec![format!("{name} is ready after {}", span(*after))]
        }
        Event::Ready { name, after, assumed: true } => {
            vec![format!("{name} is taken for ready after {}: its init does not say", span(*after))]
        }
        Event::Stopping { name, reboot: false } => vec![format!("{name} is told to power off")],
        Event::Stopping { name, reboot: true } => vec![format!("{name} is told to reboot")],
        Event::Killing { name } => vec![format!("{name} is killed")],
        Event::Escalating { name, kill: false } => vec![format!("{name} does not stop, asking harder")],
        Event::Escalating { name, kill: true } => vec![format!("{name} does not stop, killing it")],
        Event::Rebooting { name } => vec![format!("{name} reboots")],
        Event::Ended { name, after: Some(after) } => vec![format!("{name} is off after {}", span(*after))],
        Event::Ended { name, after: None } => vec![format!("{name} is off")],
    }
}

fn started(name: &str, os: &str, init: Option<&str>, after: Duration, console: ConsoleMode) -> Vec<String> {
    let what = match init {
        Some(init) => format!("{os}, {init}"),
        None => os.to_owned(),
    };
    let mut lines = vec![format!("{name} boots {what}; PID 1 after {}", span(after))];
    if console == ConsoleMode::Interactive {
        lines.push("^] three times kills it, ^] ^] p powers it off, ^] ^] r reboots it".to_owned());
    }
    lines
}

/// A time span with the digits that matter: `3.4 ms`, `212 ms`, `1.24 s`.
fn span(span: Duration) -> String {
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
        let name = "web";
        let rows = [
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
            (Event::Rebooting { name }, "web reboots"),
            (Event::Ended { name, after: Some(after) }, "web is off after 212 ms"),
            (Event::Ended { name, after: None }, "web is off"),
        ];
        for (event, expected) in rows {
            assert_eq!(lines(&event), [expected]);
        }
    }

    #[test]
    fn starts() {
        let after = Duration::from_micros(4_100);
        assert_eq!(
            started("web", "Debian GNU/Linux 13", Some("systemd 257"), after, ConsoleMode::ReadOnly),
            ["web boots Debian GNU/Linux 13, systemd 257; PID 1 after 4.1 ms"]
        );
        let lines = started("web", "Debian", None, after, ConsoleMode::Interactive);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], "web boots Debian; PID 1 after 4.1 ms");
    }
}
