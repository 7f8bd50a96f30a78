//! Names and ids of a machine.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str::FromStr;

use rustix::rand::{GetRandomFlags, getrandom};

use super::ValueError;

/// Longest machine name and hostname: HOST_NAME_MAX of Linux (gethostname(2)).
const NAME_MAX: usize = 64;

/// The host, for systemd.
const HOST: &str = ".host";
const HOST_HINT: &str = "su - or ssh(1) log in to the host; spinney list shows the machines";

const NAME_HINT: &str = "a hostname: letters, digits, '-' and '.', at most 64 characters, for example web-1";

/// A machine name: hostname rules, at most 64 bytes (systemd-nspawn(1), `--machine=`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MachineName(String);

impl MachineName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Derives a name from the last component of a tree's path, as systemd-nspawn(1) does: what a hostname cannot hold
    /// is left out, the rest cut to 64 bytes. Fails when nothing is left (`/`, `..`, `___`).
    pub fn from_tree(tree: &Path) -> Result<Self, ValueError> {
        let directory = tree.file_name().map(|name| name.as_bytes()).unwrap_or_default();
        let name = cleaned(without_suffix(directory));
        check_hostname(&name).map(|()| Self(name)).map_err(|_| {
            ValueError::new(
                tree.to_string_lossy(),
                "gives no machine name",
                "name the machine with --machine=NAME",
            )
        })
    }

    /// This name followed by `-` and `suffix`, shortened so that the whole is a machine name still.
    pub fn with_suffix(&self, suffix: &str) -> Result<Self, ValueError> {
        let room = NAME_MAX.saturating_sub(suffix.len() + 1);
        let head: String = self.0.chars().take(room).collect();
        let head = head.trim_end_matches(['-', '.']);
        format!("{head}-{suffix}").parse()
    }
}

impl FromStr for MachineName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        check_hostname(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks a hostname by systemd's rules (hostname(5)): labels of ASCII letters, digits and dashes, divided by single
/// dots; no label is empty or has a dash at its ends; at most 64 bytes in all. Nor is it `.host`,
/// systemd's name for the host itself.
pub fn check_hostname(text: &str) -> Result<(), ValueError> {
    let refused = |problem: String| Err(ValueError::new(text, problem, NAME_HINT));
    if text.is_empty() {
        return refused("is empty".to_owned());
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.')) {
        return refused(format!("has a character that no hostname has: {bad:?}"));
    }
    if text.len() > NAME_MAX {
        return refused(format!("is too long: {} characters, {NAME_MAX} at most", text.len()));
    }
    if text == HOST {
        return Err(ValueError::new(text, "is the host itself, which is no machine", HOST_HINT));
    }
    for label in text.split('.') {
        if label.is_empty() {
            return refused("begins or ends with a dot, or has two in a row".to_owned());
        }
        if label.starts_with('-') || label.ends_with('-') {
            return refused("has a dash at the beginning or end of a part".to_owned());
        }
    }
    Ok(())
}

/// The name of an image without what says its kind: `web` of `web.raw`, `web.mstack`, `web.raw.v`.
fn without_suffix(name: &[u8]) -> &[u8] {
    let without = |name: &'_ [u8], suffix: &str| -> Option<usize> {
        name.strip_suffix(suffix.as_bytes()).filter(|stem| !stem.is_empty()).map(<[u8]>::len)
    };
    let stem = without(name, ".v").and_then(|length| name.get(..length)).unwrap_or(name);
    let length = without(stem, ".raw").or_else(|| without(stem, ".mstack")).unwrap_or(stem.len());
    stem.get(..length).unwrap_or(stem)
}

/// What is left of `raw` when all that a hostname cannot hold is left out.
fn cleaned(raw: &[u8]) -> String {
    let mut name = String::new();
    for character in raw.iter().map(|byte| char::from(*byte)) {
        if name.len() == NAME_MAX {
            break;
        }
        match character {
            '.' if !name.is_empty() && !name.ends_with(['.', '-']) => name.push('.'),
            '-' if !name.is_empty() && !name.ends_with('.') => name.push('-'),
            plain if plain.is_ascii_alphanumeric() => name.push(plain),
            _ => {}
        }
    }
    name.truncate(name.trim_end_matches(['-', '.']).len());
    name
}

/// 16 bytes, written with or without dashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// A random UUID (RFC 9562, version 4).
    pub fn random() -> rustix::io::Result<Self> {
        let mut bytes = [0; 16];
        // Never short: getrandom(2) gives up to 256 bytes in one piece once the pool is initialized.
        getrandom(&mut bytes[..], GetRandomFlags::empty())?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Ok(Self(bytes))
    }

    /// All zeroes, which machine-id(5) forbids as a machine's id.
    pub fn is_nil(&self) -> bool {
        self.0 == [0; 16]
    }

    /// 32 hexadecimal digits without dashes, as in machine-id(5).
    pub fn simple(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Uuid {
    /// With dashes, as in `container_uuid`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = || {
            ValueError::new(
                text,
                "is not a UUID",
                "32 hexadecimal digits, with or without dashes (8-4-4-4-12); systemd-id128 new makes one",
            )
        };
        let dashes: Vec<usize> = text.match_indices('-').map(|(at, _)| at).collect();
        if !(dashes.is_empty() || dashes == [8, 13, 18, 23]) {
            return Err(refused());
        }
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != '-')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or_else(refused)?;
        if digits.len() != 32 {
            return Err(refused());
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_machine_names() {
        for text in ["a", "web-1", "debian.13", "A9", "a--b", &"x".repeat(64)] {
            assert_eq!(text.parse::<MachineName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn bad_machine_names() {
        let dash = "has a dash at the beginning or end of a part";
        let dot = "begins or ends with a dot, or has two in a row";
        let rows = [
            ("", "is empty"),
            ("a_b", "has a character that no hostname has: '_'"),
            ("a b", "has a character that no hostname has: ' '"),
            ("../x", "has a character that no hostname has: '/'"),
            ("bäume", "has a character that no hostname has: 'ä'"),
            ("a-", dash),
            ("-a", dash),
            ("a.-b", dash),
            ("a-.b", dash),
            ("a.", dot),
            ("a..b", dot),
            (&"x".repeat(65), "is too long: 65 characters, 64 at most"),
        ];
        for (text, problem) in rows {
            let error = text.parse::<MachineName>().unwrap_err();
            assert_eq!((error.problem(), error.hint()), (problem, NAME_HINT), "{text}");
        }
        let error = HOST.parse::<MachineName>().unwrap_err();
        assert_eq!((error.problem(), error.hint()), ("is the host itself, which is no machine", HOST_HINT));
    }

    #[test]
    fn names_of_trees() {
        let long = format!("/srv/{}", "y".repeat(80));
        let rows = [
            ("/srv/trixie", "trixie"),
            ("/srv/trixie/", "trixie"),
            ("/srv/trixie/.", "trixie"),
            ("/srv/my_tree", "mytree"),
            ("/srv/.#a..b-.", "a.b"),
            ("/srv/--x--", "x"),
            ("relative/tree", "tree"),
            ("/srv/web.mstack", "web"),
            ("/srv/web.raw", "web"),
            ("/srv/web.raw.v", "web"),
            ("/srv/web.v/", "web"),
            ("/srv/web-1.2", "web-1.2"),
            (&long, &"y".repeat(64)),
        ];
        for (tree, name) in rows {
            assert_eq!(MachineName::from_tree(Path::new(tree)).unwrap().as_str(), name, "{tree}");
        }
        for tree in ["/", "", "/srv/..", "/srv/___"] {
            let error = MachineName::from_tree(Path::new(tree)).unwrap_err();
            assert_eq!(error.problem(), "gives no machine name", "{tree}");
        }
    }

    #[test]
    fn suffixes() {
        let name: MachineName = "web".parse().unwrap();
        assert_eq!(name.with_suffix("0f3a").unwrap().as_str(), "web-0f3a");
        let long: MachineName = format!("{}.b", "a".repeat(58)).parse().unwrap();
        assert_eq!(long.with_suffix("0f3a").unwrap().as_str(), format!("{}-0f3a", "a".repeat(58)));
        assert!(name.with_suffix("no_good").is_err());
    }

    #[test]
    fn uuids() {
        let bytes = [0xd, 0xd1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff];
        let dashed = "0dd10203-0405-0607-0809-0a0b0c0d0eff";
        let simple = "0dd1020304050607".to_owned() + "08090a0b0c0d0eff";
        for text in [dashed, &simple, &dashed.to_uppercase()] {
            assert_eq!(text.parse(), Ok(Uuid(bytes)), "{text}");
        }
        assert_eq!(Uuid(bytes).to_string(), dashed);
        assert_eq!(Uuid(bytes).simple(), simple);
        for text in
            ["", "12", &simple[1..], &format!("{simple}0"), "0dd1-02030405-0607-0809-0a0b0c0d0eff", "g"]
        {
            assert_eq!(text.parse::<Uuid>().unwrap_err().problem(), "is not a UUID", "{text}");
        }
        assert!(Uuid([0; 16]).is_nil());
        assert!(!Uuid(bytes).is_nil());
    }

    #[test]
    fn random_uuids_differ_and_say_their_version() {
        let (one, other) = (Uuid::random().unwrap(), Uuid::random().unwrap());
        assert_ne!(one, other);
        assert_eq!((one.0[6] >> 4, one.0[8] >> 6), (4, 2));
    }
}
