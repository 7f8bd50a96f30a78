//! One file that differs, and in what.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It was not there.
    Added,
    /// It was another, or had other metadata.
    Changed,
    /// It is gone, with all below it.
    Deleted,
}

impl Kind {
    /// The letter that docker-diff(1) has for it.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// In what a file differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// It is another kind of file.
    Type(FileType, FileType),
    /// Its data.
    Content,
    /// Where the link points.
    Target(PathBuf, PathBuf),
    /// The numbers of the device.
    Device((u32, u32), (u32, u32)),
    /// Permissions.
    Mode(u32, u32),
    /// User and group.
    Owner((u32, u32), (u32, u32)),
    /// The value of an extended attribute, before and after.
    Attribute(Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>),
}

impl Detail {
    /// For people; safe to print.
    pub fn words(&self) -> String {
        let device = |(major, minor): &(u32, u32)| format!("{major}:{minor}");
        match self {
            Self::Type(old, new) => format!("{} -> {}", type_word(*old), type_word(*new)),
            Self::Content => "content".to_owned(),
            Self::Target(old, new) => format!("{} -> {}", shown(old), shown(new)),
            Self::Device(old, new) => format!("device {} -> {}", device(old), device(new)),
            Self::Mode(old, new) => format!("mode {old:04o} -> {new:04o}"),
            Self::Owner(old, new) => format!("owner {} -> {}", device(old), device(new)),
            Self::Attribute(name, old, new) => {
                let sign = match (old, new) {
                    (None, _) => "+",
                    (_, None) => "-",
                    _ => "",
                };
                format!("{sign}{}", shown(Path::new(OsStr::from_bytes(name))))
            }
        }
    }
}

impl Serialize for Detail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pair = |key: &'static str, old: String, new: String| (key, Some(old), Some(new));
        let owner = |(user, group): &(u32, u32)| format!("{user}:{group}");
        let hex = |value: &Vec<u8>| value.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (what, old, new) = match self {
            Self::Type(old, new) => pair("type", type_word(*old).into(), type_word(*new).into()),
            Self::Content => ("content", None, None),
            Self::Target(old, new) => pair("target", lossy(old), lossy(new)),
            Self::Device(old, new) => pair("device", owner(old), owner(new)),
            Self::Mode(old, new) => pair("mode", format!("{old:04o}"), format!("{new:04o}")),
            Self::Owner(old, new) => pair("owner", owner(old), owner(new)),
            Self::Attribute(_, old, new) => ("attribute", old.as_ref().map(hex), new.as_ref().map(hex)),
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("what", what)?;
        if let Self::Attribute(name, ..) = self {
            map.serialize_entry("name", &String::from_utf8_lossy(name))?;
        }
        if let Some(old) = old {
            map.serialize_entry("old", &old)?;
        }
        if let Some(new) = new {
            map.serialize_entry("new", &new)?;
        }
        map.end()
    }
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// From the root of the tree, without a slash before it; the root itself is empty.
    pub path: PathBuf,
    /// What became of it.
    pub kind: Kind,
    /// What it is now, or was.
    pub file: FileType,
    /// Its permissions before and now.
    pub modes: (Option<u32>, Option<u32>),
    /// Its file capabilities (capabilities(7)) before and now.
    pub capabilities: (Option<Vec<u8>>, Option<Vec<u8>>),
    /// Where it points, if it is a link.
    pub target: Option<PathBuf>,
    /// In what it differs, if it was there before.
    pub details: Vec<Detail>,
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &format!("/{}", lossy(&self.path)))?;
        map.serialize_entry("change", &self.kind)?;
        map.serialize_entry("type", type_word(self.file))?;
        if !self.details.is_empty() {
            map.serialize_entry("details", &self.details)?;
        }
        map.end()
    }
}

/// A kind of file in a word.
pub fn type_word(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::CharacterDevice => "character-device",
        FileType::BlockDevice => "block-device",
        _ => "unknown",
    }
}

/// A path as it may be printed: what would steer a terminal, or end the line, is escaped.
pub fn shown(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\'' => text.push(character),
                c => text.extend(c.escape_debug()),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_safe_to_print() {
        let rows: [(&[u8], &str); 5] = [
            (b"etc/motd", "etc/motd"),
            ("grüße und mehr".as_bytes(), "grüße und mehr"),
            (b"a\x1b[2Jb\nc", "a\\u{1b}[2Jb\\nc"),
            (b"a\\nb", "a\\\\nb"),
            (b"\xff\xfe\xc3", "\\xff\\xfe\\xc3"),
        ];
        for (bytes, expected) in rows {
            assert_eq!(shown(Path::new(OsStr::from_bytes(bytes))), expected);
        }
    }

    #[test]
    fn details() {
        use serde_json::json;
        let attribute = |old: Option<&str>, new: Option<&str>| {
            let bytes = |text: &str| text.as_bytes().to_vec();
            Detail::Attribute(b"user.a".to_vec(), old.map(bytes), new.map(bytes))
        };
        let rows = [
            (Detail::Content, "content", json!({"what": "content"})),
            (
                Detail::Type(FileType::RegularFile, FileType::Directory),
                "file -> directory",
                json!({"what": "type", "old": "file", "new": "directory"}),
            ),
            (
                Detail::Mode(0o755, 0o4755),
                "mode 0755 -> 4755",
                json!({"what": "mode", "old": "0755", "new": "4755"}),
            ),
            (
                Detail::Owner((0, 0), (1000, 100)),
                "owner 0:0 -> 1000:100",
                json!({"what": "owner", "old": "0:0", "new": "1000:100"}),
            ),
            (
                attribute(None, Some("x")),
                "+user.a",
                json!({"what": "attribute", "name": "user.a", "new": "78"}),
            ),
            (
                attribute(Some("y"), Some("x")),
                "user.a",
                json!({"what": "attribute", "name": "user.a", "old": "79", "new": "78"}),
            ),
            (
                attribute(Some("x"), None),
                "-user.a",
                json!({"what": "attribute", "name": "user.a", "old": "78"}),
            ),
        ];
        for (detail, words, expected) in rows {
            assert_eq!(detail.words(), words);
            assert_eq!(serde_json::to_value(&detail).unwrap(), expected);
        }
    }
}
