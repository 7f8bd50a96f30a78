//! Which entries are wanted, in the terms of journalctl(1).

use std::str::FromStr;

use super::entry::{Entry, Field, Id, Stamp};

/// Which entries are wanted. The default is all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one of these units; of any where there are none.
    pub units: Vec<UnitPattern>,
    /// As important as this.
    pub priority: Option<PriorityRange>,
    /// Of this boot.
    pub boot: Option<Id>,
    /// Not before, in microseconds since 1970.
    pub since: Option<u64>,
    /// Not after.
    pub until: Option<u64>,
}

impl Filter {
    /// Whether an entry that was written then may be wanted.
    pub fn allows(&self, stamp: &Stamp) -> bool {
        self.boot.is_none_or(|boot| boot == stamp.boot_id)
            && self.since.is_none_or(|since| stamp.realtime >= since)
            && self.until.is_none_or(|until| stamp.realtime <= until)
    }

    /// The fields one of which an entry must have to be wanted; none where any entry may be.
    pub fn listed_by(&self) -> &'static [&'static str] {
        if !self.units.is_empty() {
            &UNIT_FIELDS
        } else if self.priority.is_some() {
            &["PRIORITY"]
        } else {
            &[]
        }
    }

    /// Whether an entry may be wanted for such a field.
    pub fn may_want(&self, field: &Field) -> bool {
        if self.units.is_empty() {
            self.priority
                .is_some_and(|range| digit(field.value()).is_some_and(|number| range.contains(number)))
        } else {
            self.units.iter().any(|unit| unit.is(field.value()))
        }
    }

    /// Whether it takes an entry's fields to tell.
    pub fn needs_fields(&self) -> bool {
        self.priority.is_some() || !self.units.is_empty()
    }

    /// Whether `entry`, which is allowed by its stamp, is wanted.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.priority.is_none_or(|range| range.holds(entry))
            && (self.units.is_empty() || self.units.iter().any(|unit| unit.matches(entry)))
    }
}

/// The name of a unit, or a pattern of names with `*` and `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitPattern(String);

/// The fields that may name the unit of an entry.
const UNIT_FIELDS: [&str; 5] =
    ["_SYSTEMD_UNIT", "UNIT", "OBJECT_SYSTEMD_UNIT", "COREDUMP_UNIT", "_SYSTEMD_SLICE"];

/// Types of units (systemd.unit(5)). A name that ends in none of them is a service.
const UNIT_TYPES: [&str; 11] = [
    ".service",
    ".socket",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".target",
    ".path",
    ".timer",
    ".slice",
    ".scope",
];

impl UnitPattern {
    /// The unit as a person names it.
    pub fn new(name: &str) -> Self {
        let typed = name.contains('*') || UNIT_TYPES.iter().any(|kind| name.ends_with(kind));
        Self(if typed { name.to_owned() } else { format!("{name}.service") })
    }

    /// What journalctl shows for `-u`: what the unit's processes wrote, and what the system's manager and its helpers
    /// said of it. A user's processes may say what they like of a unit: for that it takes root's, or PID 1.
    fn matches(&self, entry: &Entry) -> bool {
        let is = |name| entry.fields.iter().any(|field| field.name() == name && self.is(field.value()));
        let slice = self.0.ends_with(".slice") && is("_SYSTEMD_SLICE");
        slice
            || is("_SYSTEMD_UNIT")
            || (entry.has("_PID", b"1") && is("UNIT"))
            || (entry.has("_UID", b"0") && (is("OBJECT_SYSTEMD_UNIT") || is("COREDUMP_UNIT")))
    }

    fn is(&self, name: &[u8]) -> bool {
        glob(self.0.as_bytes(), name)
    }
}

/// Whether `text` is as `pattern` says, with `*` for any text and `?` for any byte.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how much of the text it has taken.
    let mut star = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || text.get(t) == Some(byte) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// From the more to the less important (syslog(3)): 0 to 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriorityRange {
    from: u8,
    to: u8,
}

/// Names of priorities, by number.
const PRIORITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

impl PriorityRange {
    fn holds(self, entry: &Entry) -> bool {
        priority(entry).is_some_and(|priority| self.contains(priority))
    }

    fn contains(self, priority: u8) -> bool {
        (self.from..=self.to).contains(&priority)
    }
}

/// The priority of `entry`, where it has one.
pub fn priority(entry: &Entry) -> Option<u8> {
    digit(entry.get("PRIORITY")?)
}

fn digit(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'0'..=b'7'] => Some(digit - b'0'),
        _ => None,
    }
}

/// `err` or `3`: that and what is more important; `warning..info`: from one to the other.
impl FromStr for PriorityRange {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |name: &str| match name {
            "error" => Ok(3),
            "warn" => Ok(4),
            "panic" => Ok(0),
            name => (0..8_u8)
                .zip(PRIORITIES)
                .find(|(number, known)| *known == name || number.to_string() == name)
                .map(|(number, _)| number)
                .ok_or(()),
        };
        match text.split_once("..") {
            None => Ok(Self { from: 0, to: number(text)? }),
            Some((one, other)) => {
                let (one, other) = (number(one)?, number(other)?);
                Ok(Self { from: one.min(other), to: one.max(other) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Field;
    use super::*;

    fn entry(fields: &[(&str, &str)]) -> Entry {
        let zero: Id = "0".repeat(32).parse().unwrap();
        let stamp =
            Stamp { seqnum_id: zero, seqnum: 1, realtime: 1, monotonic: 1, boot_id: zero, xor_hash: 0 };
        let fields = fields.iter().map(|(name, value)| Field::made(name, value.as_bytes())).collect();
        Entry { stamp, fields }
    }

    #[test]
    fn units() {
        type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);
        let rows: &[Row<'_>] = &[
            ("ssh", &[("_SYSTEMD_UNIT", "ssh.service")], true),
            ("ssh.service", &[("_SYSTEMD_UNIT", "ssh.service")], true),
            ("ssh", &[("_SYSTEMD_UNIT", "ssh.socket")], false),
            ("ssh.socket", &[("_SYSTEMD_UNIT", "ssh.socket")], true),
            ("ssh*", &[("_SYSTEMD_UNIT", "sshd@1.service")], true),
            ("ssh", &[("_PID", "1"), ("UNIT", "ssh.service")], true),
            ("ssh", &[("_PID", "2"), ("UNIT", "ssh.service")], false),
            ("ssh", &[("_UID", "0"), ("OBJECT_SYSTEMD_UNIT", "ssh.service")], true),
            ("ssh", &[("_UID", "7"), ("OBJECT_SYSTEMD_UNIT", "ssh.service")], false),
            ("ssh", &[("_UID", "0"), ("COREDUMP_UNIT", "ssh.service")], true),
            ("user.slice", &[("_SYSTEMD_SLICE", "user.slice"), ("_SYSTEMD_UNIT", "x.scope")], true),
            ("ssh", &[("MESSAGE", "ssh.service")], false),
        ];
        for (unit, fields, expected) in rows {
            let filter = Filter { units: vec![UnitPattern::new(unit)], ..Filter::default() };
            assert_eq!(filter.matches(&entry(fields)), *expected, "{unit} {fields:?}");
        }
    }

    #[test]
    fn globs() {
        let rows = [
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("abc", "abcd", false),
            ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn priorities() {
        let range = |from, to| Ok(PriorityRange { from, to });
        let rows = [
            ("err", range(0, 3)),
            ("3", range(0, 3)),
            ("debug", range(0, 7)),
            ("warning..info", range(4, 6)),
            ("6..warning", range(4, 6)),
            ("8", Err(())),
            ("", Err(())),
            ("bad", Err(())),
            ("err..", Err(())),
        ];
        for (text, expected) in rows {
            assert_eq!(text.parse(), expected, "{text}");
        }
        let rows: &[(&[(&str, &str)], bool)] =
            &[(&[("PRIORITY", "3")], true), (&[("PRIORITY", "4")], false), (&[], false)];
        let filter = Filter { priority: "err".parse().ok(), ..Filter::default() };
        for (fields, expected) in rows {
            assert_eq!(filter.matches(&entry(fields)), *expected, "{fields:?}");
        }
    }
}
