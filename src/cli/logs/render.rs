//! An entry as text, in the forms of journalctl(1); `json` has the one that programs read.

mod json;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use json::{object, value};

use crate::journal::Entry;
use crate::journal::filter::priority;
use crate::machine::logs::Line;
use crate::supervisor::printable::{is_safe, whole_line};

/// How an entry is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As syslog writes: `Nov 22 10:00:00 host program[1]: message`.
    Short,
    /// The same with the year and the zone.
    ShortIso,
    /// The same with microseconds.
    ShortPrecise,
    /// The same with the seconds since the boot.
    ShortMonotonic,
    /// The message alone.
    Cat,
    /// All fields, a line each.
    Verbose,
    /// All fields, an object an entry.
    Json,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Short,
        Self::ShortIso,
        Self::ShortPrecise,
        Self::ShortMonotonic,
        Self::Cat,
        Self::Verbose,
        Self::Json,
    ];

    /// As people name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::ShortIso => "short-iso",
            Self::ShortPrecise => "short-precise",
            Self::ShortMonotonic => "short-monotonic",
            Self::Cat => "cat",
            Self::Verbose => "verbose",
            Self::Json => "json",
        }
    }
}

/// Makes text of entries.
#[derive(Debug)]
pub struct Renderer {
    format: Format,
    hostname: bool,
    /// Whoever reads it is a terminal, which nothing of a guest's may steer.
    terminal: bool,
    colour: bool,
    zone: TimeZone,
    /// The last second that was written, and how.
    second: Option<(i64, String)>,
    boot: Option<crate::journal::Id>,
}

/// Colours by priority, as in journalctl.
const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[33m";
const BOLD: &str = "\x1b[1m";
const GREY: &str = "\x1b[90m";
const RESET: &str = "\x1b[0m";

impl Renderer {
    /// For a `terminal`, or for other programs.
    pub fn new(format: Format, hostname: bool, terminal: bool, colour: bool) -> Self {
        Self { format, hostname, terminal, colour, zone: TimeZone::system(), second: None, boot: None }
    }

    /// Appends `entry` to `out`.
    pub fn entry(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        match self.format {
            Format::Json => self.json(&object(entry), out),
            Format::Verbose => self.verbose(entry, out),
            Format::Cat => self.message(entry, 0, out),
            _ => self.short(entry, out),
        }
    }

    /// Appends a line of text.
    pub fn line(&mut self, line: &Line, out: &mut Vec<u8>) {
        if self.format == Format::Json {
            let mut object = Map::new();
            if let Some(written) = line.written {
                object.insert("__REALTIME_TIMESTAMP".to_owned(), Value::String(written.to_string()));
            }
            object.insert("MESSAGE".to_owned(), value(&line.bytes));
            self.json(&Value::Object(object), out);
        } else if self.terminal {
            out.extend_from_slice(whole_line(&line.bytes).as_bytes());
            out.push(b'\n');
        } else {
            out.extend_from_slice(&line.bytes);
            out.push(b'\n');
        }
    }

    fn json(&self, value: &Value, out: &mut Vec<u8>) {
        let text = value.to_string();
        if self.terminal {
            // All of these are within strings.
            for c in text.chars() {
                if is_safe(c) {
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                } else {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                    }
                }
            }
        } else {
            out.extend_from_slice(text.as_bytes());
        }
        out.push(b'\n');
    }

    fn short(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        if self.boot.replace(entry.stamp.boot_id).is_some_and(|boot| boot != entry.stamp.boot_id) {
            out.extend_from_slice(format!("-- Boot {} --\n", entry.stamp.boot_id).as_bytes());
        }
        let start = out.len();
        self.time(entry, out);
        if self.hostname
            && let Some(hostname) = entry.get("_HOSTNAME")
        {
            out.push(b' ');
            self.text(hostname, out);
        }
        out.push(b' ');
        match entry.get("SYSLOG_IDENTIFIER").or_else(|| entry.get("_COMM")) {
            Some(program) => self.text(program, out),
            None => out.extend_from_slice(b"unknown"),
        }
        if let Some(pid) = entry.get("_PID").or_else(|| entry.get("SYSLOG_PID")) {
            out.push(b'[');
            self.text(pid, out);
            out.push(b']');
        }
        out.extend_from_slice(b": ");
        let indent = String::from_utf8_lossy(out.get(start..).unwrap_or_default()).chars().count();
        self.message(entry, indent, out);
    }

    /// The message; each line of it but the first begins below the first.
    fn message(&self, entry: &Entry, indent: usize, out: &mut Vec<u8>) {
        let message = entry.get("MESSAGE").unwrap_or_default();
        let message = if indent > 0 { message.trim_ascii_end() } else { message };
        let colour = match priority(entry) {
            Some(0..=3) => RED,
            Some(4) => YELLOW,
            Some(5) => BOLD,
            Some(7) => GREY,
            _ => "",
        };
        let colour = if self.colour { colour } else { "" };
        for (number, line) in message.split(|byte| *byte == b'\n').enumerate() {
            if number > 0 {
                out.resize(out.len() + indent, b' ');
            }
            out.extend_from_slice(colour.as_bytes());
            self.text(line, out);
            out.extend_from_slice(if colour.is_empty() { b"" } else { RESET.as_bytes() });
            out.push(b'\n');
        }
    }

    fn verbose(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        let written = self.zoned(shown_time(entry));
        let written = written
            .map_or_else(String::new, |written| written.strftime("%a %Y-%m-%d %H:%M:%S.%6f %Z").to_string());
        out.extend_from_slice(format!("{written} [{}]\n", entry.cursor()).as_bytes());
        for field in &entry.fields {
            out.extend_from_slice(format!("    {}=", field.name()).as_bytes());
            if field.is_cut() {
                out.extend_from_slice(b"[too large to be shown]");
            } else if self.terminal && !is_printable(field.value()) {
                out.extend_from_slice(format!("[{}B blob data]", field.value().len()).as_bytes());
            } else {
                for (number, line) in field.value().split(|byte| *byte == b'\n').enumerate() {
                    out.extend_from_slice(if number > 0 { b"\n        " } else { b"" });
                    self.text(line, out);
                }
            }
            out.push(b'\n');
        }
    }

    fn time(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        let written = shown_time(entry);
        let (seconds, rest) = (written.div_euclid(1_000_000), written.rem_euclid(1_000_000));
        if self.format == Format::ShortMonotonic {
            let clock = shown_clock(entry);
            let text = format!("[{:5}.{:06}]", clock / 1_000_000, clock % 1_000_000);
            out.extend_from_slice(text.as_bytes());
            return;
        }
        if self.second.as_ref().is_none_or(|(second, _)| *second != seconds) {
            let form = match self.format {
                Format::ShortIso => "%Y-%m-%dT%H:%M:%S%:z",
                _ => "%b %d %H:%M:%S",
            };
            let text = self.zoned(written).map_or_else(String::new, |zoned| zoned.strftime(form).to_string());
            self.second = Some((seconds, text));
        }
        let text = self.second.as_ref().map(|(_, text)| text.as_str()).unwrap_or_default();
        out.extend_from_slice(text.as_bytes());
        if self.format == Format::ShortPrecise {
            out.extend_from_slice(format!(".{rest:06}").as_bytes());
        }
    }

    fn zoned(&self, microseconds: i64) -> Option<jiff::Zoned> {
        Some(Timestamp::from_microsecond(microseconds).ok()?.to_zoned(self.zone.clone()))
    }

    /// A piece of a line, which has no newline in it.
    fn text(&self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.terminal && !bytes.iter().all(|byte| matches!(byte, 0x20..=0x7e)) {
            out.extend_from_slice(whole_line(bytes).as_bytes());
        } else {
            out.extend_from_slice(bytes);
        }
    }
}

/// When the writer says that it happened, else when it was written down.
fn shown_time(entry: &Entry) -> i64 {
    let source = entry.get("_SOURCE_REALTIME_TIMESTAMP");
    let source = source.and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| text.parse().ok());
    source.or_else(|| i64::try_from(entry.stamp.realtime).ok()).unwrap_or(0)
}

/// The same on the clock of the boot, in microseconds.
fn shown_clock(entry: &Entry) -> u64 {
    let source = entry.get("_SOURCE_MONOTONIC_TIMESTAMP");
    let source = source.and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| text.parse().ok());
    source.unwrap_or_else(|| {
        let written = i64::try_from(entry.stamp.realtime).unwrap_or(i64::MAX);
        entry.stamp.monotonic.saturating_add_signed(shown_time(entry).saturating_sub(written))
    })
}

/// UTF-8 without control characters but tabs and newlines.
fn is_printable(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes)
        .is_ok_and(|text| text.chars().all(|c| matches!(c, '\t' | '\n') || !c.is_control()))
}

#[cfg(test)]
mod tests;
