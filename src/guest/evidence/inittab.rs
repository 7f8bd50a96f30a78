//! The parser of inittab(5), sysvinit's and busybox's.

/// When a line of an inittab runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Names the default runlevel.
    Default,
    /// Runs at boot or at a runlevel's start, and the init waits for it.
    Awaited,
    /// Runs once, and nobody waits.
    Once,
    /// Is started again when it ends; busybox's askfirst too.
    Respawn,
    /// As `Respawn`, but first waits for a key.
    AskFirst,
    /// Runs at other occasions: Ctrl-Alt-Del, power failure, shutdown.
    Other,
}

/// One line of an inittab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// sysvinit: its id, up to four bytes. busybox: its terminal.
    pub id: String,
    /// The runlevels it belongs to; empty is all.
    pub runlevels: String,
    /// When it runs.
    pub action: Action,
    /// The command line.
    pub process: String,
}

/// An inittab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inittab {
    /// Its lines in order.
    pub entries: Vec<Entry>,
}

impl Inittab {
    /// Reads an inittab; lines that are none are left out, as both inits do.
    pub fn parse(text: &str) -> Self {
        Self { entries: text.lines().filter_map(Entry::parse).collect() }
    }

    /// What busybox init does where there is no inittab (its source, `parse_inittab`).
    pub fn of_busybox() -> Self {
        Self::parse("::sysinit:/etc/init.d/rcS\n::askfirst:/bin/sh\n")
    }

    /// The runlevel that sysvinit boots into: the highest of `initdefault`.
    pub fn default_runlevel(&self) -> Option<char> {
        let default = self.entries.iter().find(|entry| entry.action == Action::Default)?;
        default.runlevels.chars().max()
    }
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        let mut fields = line.splitn(4, ':');
        let (id, runlevels, action, process) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let action = match action {
            "initdefault" => Action::Default,
            "sysinit" | "boot" | "bootwait" | "wait" => Action::Awaited,
            "once" => Action::Once,
            "respawn" | "ondemand" => Action::Respawn,
            "askfirst" => Action::AskFirst,
            "ctrlaltdel" | "kbrequest" | "powerwait" | "powerfail" | "powerokwait" | "powerfailnow"
            | "shutdown" | "restart" | "off" => Action::Other,
            _ => return None,
        };
        Some(Self { id: id.to_owned(), runlevels: runlevels.to_owned(), action, process: process.to_owned() })
    }

    /// The program of the command line. A `+` or `-` before it means something to the init, not to the kernel.
    pub fn program(&self) -> &str {
        let word = self.process.split_ascii_whitespace().next().unwrap_or_default();
        word.trim_start_matches(['+', '-', '@'])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let table = [
            ("id:2:initdefault:", Some(("id", "2", Action::Default, ""))),
            ("si::sysinit:/etc/init.d/rcS", Some(("si", "", Action::Awaited, "/etc/init.d/rcS"))),
            ("l2:2:wait:/etc/init.d/rc 2", Some(("l2", "2", Action::Awaited, "/etc/init.d/rc"))),
            (
                "co:2345:respawn:/sbin/agetty --noclear console a:b",
                Some(("co", "2345", Action::Respawn, "/sbin/agetty")),
            ),
            (
                "ca:12345:ctrlaltdel:/sbin/shutdown -r now",
                Some(("ca", "12345", Action::Other, "/sbin/shutdown")),
            ),
            ("rc:3:once:+/sbin/rc", Some(("rc", "3", Action::Once, "/sbin/rc"))),
            ("tty2::askfirst:-/bin/sh", Some(("tty2", "", Action::AskFirst, "/bin/sh"))),
            ("  ::respawn:/sbin/getty", Some(("", "", Action::Respawn, "/sbin/getty"))),
            ("#::respawn:/sbin/getty", None),
            ("x:2:explode:/bin/sh", None),
            ("x:2:respawn", None),
            ("", None),
        ];
        for (line, expected) in table {
            let entry = Entry::parse(line);
            let found = entry
                .as_ref()
                .map(|entry| (entry.id.as_str(), entry.runlevels.as_str(), entry.action, entry.program()));
            assert_eq!(found, expected, "{line:?}");
        }
    }

    #[test]
    fn default_runlevels() {
        for (text, expected) in [
            ("id:2:initdefault:\n", Some('2')),
            ("id:35:initdefault:", Some('5')),
            ("id::initdefault:", None),
            ("", None),
        ] {
            assert_eq!(Inittab::parse(text).default_runlevel(), expected, "{text:?}");
        }
        assert_eq!(Inittab::of_busybox().entries.len(), 2);
    }
}
