//! The text of a hosts file (hosts(5)) with lines of ours: pure.
//!
//! ```text
//! # BEGIN spinney
//! 10.213.0.5 web.spinney.internal # spinney: web
//! # END spinney
//! ```
//!
//! A line of ours is known by what is at its end, wherever it is: what somebody does to the rest of the file, or to the marks around our
//! lines, costs no more than those. All other bytes stay as they are, to the last line without an end.

use std::net::IpAddr;

use super::HostName;

/// Before our lines; what follows tells how the file was before.
const BEGIN: &[u8] = b"# BEGIN spinney";
/// Nothing was changed but for the lines.
const PLAIN: &[u8] = b"";
/// The last line had no end, and has got one.
const ENDED: &[u8] = b" (and the end of the line before)";
/// There was no file.
const MADE: &[u8] = b" (and this file)";
/// After them.
const END: &[u8] = b"# END spinney";
/// Before the machine's name, at the end of each line of ours.
const MARK: &str = " # spinney: ";

/// What the file is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// As it is.
    Same,
    /// This.
    Text(Vec<u8>),
    /// Gone: it was not there before us.
    Gone,
}

/// A hosts file, taken apart.
struct Parts {
    /// All that is not ours.
    rest: Vec<u8>,
    /// Where in it our lines are.
    at: usize,
    /// Our lines, with the machines they are of.
    ours: Vec<(String, Vec<u8>)>,
    /// What is said after [`BEGIN`].
    before: &'static [u8],
}

/// `text`, or no file, with the lines of `host` in place of others of that machine.
pub fn with(text: Option<&[u8]>, host: &HostName) -> Wanted {
    let mut parts = take_apart(text);
    let lines = host.addresses.iter().map(|address| (host.machine.clone(), line(*address, host)));
    let lines: Vec<_> = lines.collect();
    let of_it = |(machine, _): &(String, Vec<u8>)| *machine == host.machine;
    if parts.ours.iter().filter(|line| of_it(line)).eq(lines.iter()) {
        return Wanted::Same;
    }
    parts.ours.retain(|line| !of_it(line));
    parts.ours.extend(lines);
    put_together(parts, text)
}

/// `text` without the lines of machines that are not to be `kept`.
pub fn without(text: Option<&[u8]>, kept: impl Fn(&str) -> bool) -> Wanted {
    let mut parts = take_apart(text);
    let count = parts.ours.len();
    parts.ours.retain(|(machine, _)| kept(machine));
    match parts.ours.len() == count {
        true => Wanted::Same,
        false => put_together(parts, text),
    }
}

fn line(address: IpAddr, host: &HostName) -> Vec<u8> {
    format!("{address} {}{MARK}{}\n", host.name, host.machine).into_bytes()
}

/// The machine that a line of ours is of.
fn machine_of(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?;
    let (entry, machine) = line.strip_suffix('\n').unwrap_or(line).split_once(MARK)?;
    let (address, name) = entry.split_once(' ')?;
    let ours = address.parse::<IpAddr>().is_ok() && name.strip_prefix(machine)?.ends_with(".internal");
    ours.then_some(machine)
}

fn take_apart(text: Option<&[u8]>) -> Parts {
    let mut parts = Parts { rest: Vec::new(), at: usize::MAX, ours: Vec::new(), before: PLAIN };
    if text.is_none() {
        parts.before = MADE;
    }
    for line in text.unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
        let bare = line.strip_suffix(b"\n").unwrap_or(line);
        let said =
            bare.strip_prefix(BEGIN).and_then(|said| [PLAIN, ENDED, MADE].into_iter().find(|it| *it == said));
        if let Some(said) = said {
            parts.before = said;
            parts.at = parts.at.min(parts.rest.len());
        } else if let Some(machine) = machine_of(line) {
            let mut whole = bare.to_vec();
            whole.push(b'\n');
            parts.ours.push((machine.to_owned(), whole));
            parts.at = parts.at.min(parts.rest.len());
        } else if bare != END {
            parts.rest.extend(line);
        }
    }
    parts.at = parts.at.min(parts.rest.len());
    if parts.before == ENDED {
        // Of the lines before ours, as it was; somebody may have added some since, which then have an end.
        match parts.rest.get(..parts.at).and_then(|head| head.strip_suffix(b"\n")).map(<[u8]>::len) {
            Some(length) if parts.at == parts.rest.len() => {
                parts.rest.truncate(length);
                parts.at = length;
            }
            _ => parts.before = PLAIN,
        }
    }
    parts
}

fn put_together(mut parts: Parts, text: Option<&[u8]>) -> Wanted {
    let mut wanted = parts.rest;
    if !parts.ours.is_empty() {
        let tail = wanted.split_off(parts.at);
        if wanted.last().is_some_and(|byte| *byte != b'\n') {
            wanted.push(b'\n');
            parts.before = ENDED;
        }
        wanted.extend([BEGIN, parts.before, b"\n"].concat());
        parts.ours.iter().for_each(|(_, line)| wanted.extend(line));
        wanted.extend([END, b"\n"].concat());
        wanted.extend(tail);
    } else if wanted.is_empty() && parts.before == MADE {
        return if text.is_some() { Wanted::Gone } else { Wanted::Same };
    }
    if text == Some(wanted.as_slice()) { Wanted::Same } else { Wanted::Text(wanted) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(machine: &str, last: u8) -> HostName {
        HostName {
            machine: machine.to_owned(),
            name: format!("{machine}.spinney.internal"),
            addresses: vec![IpAddr::from([10, 213, 0, last])],
        }
    }

    fn text(wanted: Wanted) -> String {
        match wanted {
            Wanted::Text(text) => String::from_utf8(text).expect("text"),
            Wanted::Same => "(same)".to_owned(),
            Wanted::Gone => "(gone)".to_owned(),
        }
    }

    const WEB: &str = "10.213.0.5 web.spinney.internal # spinney: web\n";
    const DB: &str = "10.213.0.6 db.spinney.internal # spinney: db\n";

    #[test]
    fn lines_come_and_go() {
        let table = [
            (
                "usual",
                Some("127.0.0.1 localhost\n"),
                "127.0.0.1 localhost\n# BEGIN spinney\nWEB# END spinney\n",
            ),
            (
                "without an end",
                Some("127.0.0.1 localhost"),
                "127.0.0.1 localhost\n# BEGIN spinney (and the end of the line before)\nWEB# END spinney\n",
            ),
            ("empty", Some(""), "# BEGIN spinney\nWEB# END spinney\n"),
            ("none", None, "# BEGIN spinney (and this file)\nWEB# END spinney\n"),
            (
                "not UTF-8 is no matter",
                Some("# \u{1f333}\r\n"),
                "# \u{1f333}\r\n# BEGIN spinney\nWEB# END spinney\n",
            ),
        ];
        for (name, before, expected) in table {
            let after = text(with(before.map(str::as_bytes), &host("web", 5)));
            assert_eq!(after, expected.replace("WEB", WEB), "{name}");
            assert_eq!(with(Some(after.as_bytes()), &host("web", 5)), Wanted::Same, "{name}");
            let two = text(with(Some(after.as_bytes()), &host("db", 6)));
            assert_eq!(two, expected.replace("WEB", &format!("{WEB}{DB}")), "{name}");
            let one = text(without(Some(two.as_bytes()), |machine| machine == "web"));
            assert_eq!(one, after, "{name}");
            let none = text(without(Some(one.as_bytes()), |_| false));
            assert_eq!(none, before.unwrap_or("(gone)"), "{name}: as it was");
        }
    }

    #[test]
    fn others_may_change_the_file() {
        let table = [
            ("lines after ours", format!("a\n# BEGIN spinney\n{WEB}# END spinney\nb\n"), "a\nb\n"),
            (
                "lines among ours",
                format!("a\n# BEGIN spinney\nb\n{WEB}c\n# END spinney\nd\n"),
                "a\nb\nc\nd\n",
            ),
            ("no end", format!("a\n# BEGIN spinney\n{WEB}b\n"), "a\nb\n"),
            ("no beginning", format!("a\n{WEB}# END spinney\nb\n"), "a\nb\n"),
            ("no marks", format!("a\n{WEB}b"), "a\nb"),
            ("sorted", format!("# BEGIN spinney\n# END spinney\n{WEB}a\n"), "a\n"),
            (
                "a line after one that had no end",
                format!("a\n# BEGIN spinney (and the end of the line before)\n{WEB}# END spinney\nb\n"),
                "a\nb\n",
            ),
            ("our last line without an end", WEB.trim_end().to_owned(), ""),
            ("a file that was ours, and is not", format!("# BEGIN spinney (and this file)\n{WEB}a\n"), "a\n"),
        ];
        for (name, before, expected) in table {
            assert_eq!(text(without(Some(before.as_bytes()), |_| false)), expected, "{name}");
        }
    }

    #[test]
    fn what_is_not_ours_stays() {
        let table = [
            "10.0.0.1 web.spinney.internal\n",
            "10.0.0.1 other # spinney: web\n",
            "x web.spinney.internal # spinney: web\n",
            "# 10.0.0.1 web.spinney.internal # spinney: web\n",
            "# BEGIN spinney's\n# END spinney's\n",
        ];
        for line in table {
            assert_eq!(without(Some(line.as_bytes()), |_| false), Wanted::Same, "{line}");
        }
    }

    #[test]
    fn another_address() {
        let before = text(with(Some(b"a\n"), &host("web", 5)));
        let before = text(with(Some(before.as_bytes()), &host("db", 6)));
        let after = text(with(Some(before.as_bytes()), &host("web", 7)));
        let moved = WEB.replace("0.5", "0.7");
        assert_eq!(after, format!("a\n# BEGIN spinney\n{DB}{moved}# END spinney\n"));
    }

    proptest::proptest! {
        /// Whatever the file is, adding and removing leaves it as it was.
        #[test]
        fn nothing_else_is_touched(lines in proptest::collection::vec("[ -~]{0,12}", 0..6), end: bool) {
            let mut before = lines.join("\n");
            if end { before.push('\n'); }
            let one = match with(Some(before.as_bytes()), &host("web", 5)) {
                Wanted::Text(text) => text,
                other => panic!("{other:?}"),
            };
            let Wanted::Text(two) = with(Some(&one), &host("db", 6)) else { panic!("the same") };
            let Wanted::Text(after) = without(Some(&two), |_| false) else { panic!("the same") };
            proptest::prop_assert_eq!(String::from_utf8_lossy(&after), before);
        }

        #[test]
        fn anything_is_survived(bytes: Vec<u8>) {
            let _ = (with(Some(&bytes), &host("web", 5)), without(Some(&bytes), |_| false));
        }
    }
}
