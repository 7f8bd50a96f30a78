//! What was left out, and what failed without stopping the rest: counted, and the first few in words.
//!
//! Names come from guests and streams: they are made safe to print here, and bounded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many are told with their name; the rest is counted.
const EXAMPLES: u8 = 3;

/// The most characters of a path that are shown.
const SHOWN: usize = 200;

/// A reason to leave something out or to do it less well than asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A device node.
    Device,
    /// A socket: it means nothing without its process.
    Socket,
    /// Set-user-ID or set-group-ID bits.
    SetId,
    /// File capabilities.
    Capability,
    /// An owner that has no id on the other side.
    ForeignOwner,
    /// An owner, extended attribute or ACL that the file system there has not, or that we may not set.
    Attribute,
    /// It changed while it was read, and may be a mixture.
    Changed,
    /// A hard link that was copied as a file of its own.
    HardLink,
    /// A name in a stream that leads out of the destination.
    Name,
    /// A type of member that is not known.
    Type,
    /// It could not be read or made.
    Failed,
}

impl Reason {
    /// Whether what was asked for was not done: the exit status tells.
    fn is_fault(self) -> bool {
        matches!(self, Self::Changed | Self::Name | Self::Type | Self::Failed)
    }

    /// What became of `count` files.
    fn words(self, count: u64) -> String {
        let files = if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
        match self {
            Self::Device => format!("left out {}", plural(count, "device node")),
            Self::Socket => format!("left out {}", plural(count, "socket")),
            Self::SetId => format!("took the set-user-ID and set-group-ID bits off {files}"),
            Self::Capability => format!("took the file capabilities off {files}"),
            Self::ForeignOwner => {
                format!("gave {files} to nobody (65534), since their owner has no ID there")
            }
            Self::Attribute => format!("left out owners, extended attributes or ACLs of {files}"),
            Self::Changed => format!("{files} changed while being read"),
            Self::HardLink => format!("copied {} as a file of its own", plural(count, "hard link")),
            Self::Name => format!("refused {files} with a name that leads out of the destination"),
            Self::Type => format!("left out {} of a type that is not known", plural(count, "member")),
            Self::Failed => format!("could not copy {files}"),
        }
    }
}

fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// How much was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Files of all kinds but directories.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Bytes in files, without holes.
    pub bytes: u64,
}

/// What is to be told at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes(BTreeMap<Reason, Note>);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    count: u64,
    examples: Vec<String>,
}

impl Notes {
    /// Notes `reason` for `path`.
    pub fn add(&mut self, reason: Reason, path: &[u8]) {
        self.add_with(reason, path, None);
    }

    /// The same, with what went wrong.
    pub fn add_fault(&mut self, reason: Reason, path: &[u8], error: &dyn std::error::Error) {
        let mut text = String::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = error.to_string();
            cause = error.source();
        }
        if text.is_empty() {
            text = error.to_string();
        }
        self.add_with(reason, path, Some(text));
    }

    fn add_with(&mut self, reason: Reason, path: &[u8], why: Option<String>) {
        let note = self.0.entry(reason).or_default();
        note.count += 1;
        if note.count <= EXAMPLES.into() {
            let path = shown(path);
            note.examples.push(match why {
                Some(why) => format!("{path} ({why})"),
                None => path,
            });
        }
    }

    /// Adds those of `other`.
    pub fn merge(&mut self, other: Self) {
        for (reason, theirs) in other.0 {
            let ours = self.0.entry(reason).or_default();
            ours.count += theirs.count;
            ours.examples.extend(theirs.examples);
            ours.examples.truncate(EXAMPLES.into());
        }
    }

    /// How often `reason` was noted.
    pub fn count(&self, reason: Reason) -> u64 {
        self.0.get(&reason).map_or(0, |note| note.count)
    }

    /// Whether something was not done that was asked for.
    pub fn has_faults(&self) -> bool {
        self.0.keys().any(|reason| reason.is_fault())
    }

    /// One line for each reason.
    pub fn lines(&self) -> Vec<String> {
        let line = |(reason, note): (&Reason, &Note)| {
            let more = if note.count > EXAMPLES.into() { ", ..." } else { "" };
            format!("{}: {}{more}", reason.words(note.count), note.examples.join(", "))
        };
        self.0.iter().map(line).collect()
    }
}

/// `path` as it may be shown to a person: quoted, control and invisible characters escaped, the middle cut out of a long one.
pub fn shown(path: &[u8]) -> String {
    let text: String = path
        .utf8_chunks()
        .flat_map(|chunk| {
            let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
            let valid = chunk.valid().chars().map(|character| match character {
                '"' | '\\' => format!("\\{character}"),
                '\'' => "'".to_owned(),
                _ => character.escape_debug().to_string(),
            });
            valid.chain(invalid).collect::<Vec<_>>()
        })
        .collect();
    let count = text.chars().count();
    if count <= SHOWN {
        return format!("\"{text}\"");
    }
    let (half, characters) = (SHOWN / 2, text.chars());
    let start: String = characters.clone().take(half).collect();
    let end: String = characters.skip(count - half).collect();
    format!("\"{start}…{end}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_without_harm() {
        let long = [b'a'; 300];
        let rows: [(&[u8], String); 6] = [
            (b"/etc/hosts", "\"/etc/hosts\"".to_owned()),
            (b"a\nb\x1b[2J", "\"a\\nb\\u{1b}[2J\"".to_owned()),
            (b"\xff\xfe", "\"\\xff\\xfe\"".to_owned()),
            ("\u{202e}x".as_bytes(), "\"\\u{202e}x\"".to_owned()),
            (b"it's \"x\"", "\"it's \\\"x\\\"\"".to_owned()),
            (&long, format!("\"{}…{}\"", "a".repeat(100), "a".repeat(100))),
        ];
        for (path, expected) in rows {
            assert_eq!(shown(path), expected);
        }
    }

    #[test]
    fn notes_count_and_name_some() {
        let mut notes = Notes::default();
        for name in [b"a", b"b", b"c", b"d"] {
            notes.add(Reason::Device, name);
        }
        assert!(!notes.has_faults());
        notes.add(Reason::Failed, b"x");
        assert!(notes.has_faults());
        assert_eq!(
            notes.lines(),
            ["left out 4 device nodes: \"a\", \"b\", \"c\", ...", "could not copy 1 file: \"x\""]
        );
        let mut other = Notes::default();
        other.add(Reason::Socket, b"s");
        other.merge(notes);
        assert_eq!((other.count(Reason::Device), other.count(Reason::Socket)), (4, 1));
    }
}
