//! What pages say: that of `--help`, sorted into sections, and what is written by hand.

use clap::Command;

use super::SECTION;

/// What the whole program is.
pub(super) const WHOLE: &[&str] = &[
    "Spinney boots whole Linux distributions from their trees: a directory, a disk image or a stack of layers that holds a root file \
     system becomes a machine, with the tree's own init as PID 1, in namespaces and a range of user ids of its own. It takes the \
     options of systemd-nspawn, knows when a machine is really up, and leaves nothing behind.",
    "There is no daemon. A machine is one process, its supervisor, and what runs inside; what is to be known of it is in \
     /run/spinney/machines/NAME. Each of the following commands has a page of its own, spinney-COMMAND(1), and says with --help \
     what it takes.",
];

/// Files of the whole program.
pub(super) const FILES: &[(&str, &str)] = &[
    ("/etc/spinney/spinney.toml", "Settings of all machines."),
    ("/etc/spinney/machines/NAME.toml", "Settings of the machine NAME."),
    ("/etc/systemd/nspawn/NAME.nspawn", "The same, as systemd.nspawn(5) has them."),
    ("/etc/spinney/network.toml", "Pools of addresses, networks of zones."),
    ("/var/lib/machines", "Images, where machinectl(1) finds them too."),
    ("/var/lib/spinney", "Layers, leases of addresses, where images came from."),
    ("/run/spinney/machines/NAME", "The machine NAME, as long as it runs."),
    ("/var/log/spinney/NAME", "How it ended, and what it said."),
];

/// Variables that are read.
pub(super) const ENVIRONMENT: &[(&str, &str)] = &[
    ("NO_COLOR", "Nothing is coloured if this is set to anything."),
    ("TERM", "What the console of a machine is told; with dumb nothing is coloured."),
    ("NOTIFY_SOCKET", "With --notify-ready the service manager is told when the guest is up (sd_notify(3))."),
    ("http_proxy, https_proxy, no_proxy", "Proxies for what is fetched."),
];

/// Examples of the whole program.
pub(super) const EXAMPLES: &[(&str, &str)] = &[
    (
        "spinney run -x debian:trixie",
        "Pull Debian 13 if it is not here, and boot it on a throw-away layer, its console on this terminal.",
    ),
    ("spinney run -d -x -M web debian:trixie", "The same in the background, as web; return when it is up."),
    ("spinney exec web -- systemctl is-system-running", "Run a command in it, get its exit status."),
    ("spinney stop web", "Power it off, return when it is gone."),
];

/// The exit status of what says nothing else of it.
pub(super) const EXIT_STATUS: &str =
    "0 when it is done. 125 when it is not: what failed, why, and what may help is on standard error.";

/// Pages that belong together, without `spinney-`.
const TOGETHER: &[&[&str]] = &[
    &["run", "start", "stop", "reboot", "terminate", "kill", "pause", "resume", "wait", "enable", "disable"],
    &["exec", "shell", "login", "attach", "logs"],
    &["copy-to", "copy-from", "bind", "unbind"],
    &["list", "status", "show", "top", "set", "events"],
    &["ports", "publish", "unpublish", "net"],
    &["explain", "doctor", "gc", "inspect"],
    &["images", "image-status", "show-image", "clone", "rename", "remove", "read-only", "clean"],
    &["snapshot", "rollback", "diff", "commit"],
    &["search", "pull", "import", "export", "list-transfers", "cancel-transfer"],
];

/// What else to read beside page `name`, with sections.
pub(super) fn related(name: &str) -> Vec<(String, &'static str)> {
    let Some(verb) = name.strip_prefix("spinney-") else {
        return [("systemd-nspawn", "1"), ("machinectl", "1"), ("systemd.nspawn", "5")]
            .map(|(name, section)| (name.to_owned(), section))
            .into();
    };
    let mut names = vec![("spinney".to_owned(), SECTION)];
    if let Some((parent, _)) = verb.split_once('-').filter(|(parent, _)| *parent == "net") {
        names.push((format!("spinney-{parent}"), SECTION));
    }
    let of = TOGETHER.iter().find(|verbs| verbs.contains(&verb));
    let others = of.into_iter().flat_map(|verbs| verbs.iter()).filter(|other| **other != verb);
    names.extend(others.map(|other| (format!("spinney-{other}"), SECTION)));
    names
}

/// A part of what `--help` says around the options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    /// A paragraph.
    Text(String),
    /// Terms below a heading.
    List {
        /// Without its colon.
        heading: String,
        /// Terms, and what they mean.
        rows: Vec<(String, String)>,
    },
    /// What the command exits with.
    ExitStatus(String),
}

impl Block {
    pub(super) fn is_examples(&self) -> bool {
        matches!(self, Self::List { heading, .. } if heading == "Examples")
    }

    pub(super) fn exit_status(&self) -> Option<&String> {
        match self {
            Self::ExitStatus(text) => Some(text),
            _ => None,
        }
    }
}

/// What `command --help` says before and after its options.
pub(super) fn blocks(command: &Command) -> Vec<Block> {
    let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string);
    let after = command.get_after_long_help().or_else(|| command.get_after_help()).map(ToString::to_string);
    let mut blocks = parse(&about.unwrap_or_default());
    blocks.extend(parse(&after.unwrap_or_default()));
    blocks
}

fn parse(text: &str) -> Vec<Block> {
    text.split("\n\n").filter(|block| !block.trim().is_empty()).flat_map(block).collect()
}

fn block(text: &str) -> Vec<Block> {
    let mut lines = text.trim_matches('\n').lines();
    let first = lines.next().unwrap_or_default();
    let rest: Vec<&str> = lines.collect();
    if let Some(heading) = first.strip_suffix(':').filter(|_| rest.iter().all(|line| line.starts_with("  ")))
    {
        return vec![Block::List { heading: heading.to_owned(), rows: rows(&rest) }];
    }
    let whole = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for beginning in ["Exit status: ", "The exit status is "] {
        if let Some((before, status)) = whole.split_once(beginning) {
            let before = before.trim_end();
            let text = (!before.is_empty()).then(|| Block::Text(before.to_owned()));
            return text.into_iter().chain([Block::ExitStatus(sentence(status))]).collect();
        }
    }
    vec![Block::Text(sentence(&whole))]
}

/// Terms begin two columns in; what they mean stands after two spaces more, or further in on the next line.
fn rows(lines: &[&str]) -> Vec<(String, String)> {
    /// Deeper than this a line goes on with what the one before it says.
    const DEEP: usize = 6;
    let mut rows: Vec<(String, String)> = Vec::new();
    for line in lines {
        let inner = line.trim_start();
        if let (true, Some((_, meaning))) = (line.len() - inner.len() > DEEP, rows.last_mut()) {
            if !meaning.is_empty() {
                meaning.push(' ');
            }
            meaning.push_str(inner);
            continue;
        }
        let (term, meaning) = inner.split_once("  ").unwrap_or((inner, ""));
        rows.push((term.to_owned(), meaning.trim_start().to_owned()));
    }
    rows
}

/// Sentences of their own begin with a capital, but for names, and end.
fn sentence(text: &str) -> String {
    let end = if text.ends_with(['.', ':', '!', '?']) { "" } else { "." };
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !text.starts_with("spinney") => {
            first.to_uppercase().chain(letters).chain(end.chars()).collect()
        }
        _ => format!("{text}{end}"),
    }
}
