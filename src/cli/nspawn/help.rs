//! `--help`, in systemd-nspawn's groups.

use std::fmt::Write as _;

use super::options::{GROUPS, Option as Known, Value};

/// Where what an option does begins.
const COLUMN: usize = 28;

/// The whole of it, for a program called `program`.
pub(super) fn text(program: &str) -> String {
    let mut text = format!(
        "{program} [OPTIONS...] [PATH] [ARGUMENTS...]\n\n\
         Run a command or an operating system in a container, by systemd-nspawn's command line.\n"
    );
    for (heading, options) in GROUPS {
        text.push('\n');
        if !heading.is_empty() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{heading}:");
        }
        options.iter().filter(|option| !option.help.is_empty()).for_each(|option| line(option, &mut text));
    }
    text.push_str(
        "\nThe same engine as spinney run; docs/nspawn.md tells what differs from systemd-nspawn.\n\n\
         Examples:\n  \
           spinney-nspawn -bD /srv/trixie                     boot a tree, its console on this terminal\n  \
           spinney-nspawn -xD /srv/trixie --pipe apt-get update\n                                                     \
           run a command, throw its changes away\n  \
           spinney-nspawn -D /srv/trixie --bind=/src -u nobody make -C /src\n  \
           spinney-nspawn -nbUM web                           boot the image web, with a network and users of its own\n",
    );
    text
}

fn line(option: &Known, text: &mut String) {
    let letter = option.short.map_or("   ".to_owned(), |letter| format!(" -{letter}"));
    let value = match option.value {
        Value::None => String::new(),
        Value::Required(name) => format!("={name}"),
        Value::Optional(name) | Value::OptionalOrNext(name) => format!("[={name}]"),
    };
    let long = match option.long {
        "" => String::new(),
        long => format!(" --{long}{value}"),
    };
    let left = format!(" {letter}{long}");
    let _ = match left.len() < COLUMN {
        true => writeln!(text, "{left:COLUMN$}{}", option.help),
        false => writeln!(text, "{left}\n{:COLUMN$}{}", "", option.help),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::nspawn::options;

    #[test]
    fn all_options_are_told() {
        let text = text("spinney-nspawn");
        for option in options::all().filter(|option| !option.help.is_empty()) {
            let said = match (option.long, option.short) {
                ("", Some(letter)) => format!("  -{letter} "),
                (long, _) => format!(" --{long}"),
            };
            assert!(text.contains(&said), "{said}");
        }
        assert!(text.lines().all(|line| line.len() <= 110), "{text}");
    }
}
