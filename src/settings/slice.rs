//! Names of systemd's slices (systemd.slice(5)).

use std::fmt;
use std::str::FromStr;

use super::ValueError;

/// UNIT_NAME_MAX of systemd: that of a file.
const LONGEST: usize = 255;

const SUFFIX: &str = ".slice";

/// The slice that the scope of a machine goes into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice(String);

impl Default for Slice {
    /// That of all machines, systemd-machined's too.
    fn default() -> Self {
        Self(format!("machine{SUFFIX}"))
    }
}

impl Slice {
    /// With its suffix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Slice {
    type Err = ValueError;

    /// With the suffix or without, as systemd's tools take it.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let name = text.strip_suffix(SUFFIX).unwrap_or(text);
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '.' | '-' | '\\');
        // A dash stands between a slice and what is in it; alone it is the root of all.
        let parts = name == "-" || name.split('-').all(|part| !part.is_empty());
        if !name.chars().all(known) || !parts || name.len() + SUFFIX.len() > LONGEST {
            return Err(ValueError::new(
                text,
                "is no name of a slice",
                "as machine.slice, or machine-lab.slice",
            ));
        }
        Ok(Self(format!("{name}{SUFFIX}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "x".repeat(250);
        let table = [
            ("machine", Some("machine.slice")),
            ("machine.slice", Some("machine.slice")),
            ("machine-lab", Some("machine-lab.slice")),
            ("a\\x2db.slice", Some("a\\x2db.slice")),
            ("-.slice", Some("-.slice")),
            ("", None),
            (".slice", None),
            ("-a", None),
            ("a-", None),
            ("a--b", None),
            ("a/b", None),
            ("a b", None),
            ("a@b", None),
            (&long, None),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Slice>().ok().as_ref().map(Slice::as_str), expected, "{text:?}");
        }
        assert_eq!(Slice::default(), "machine".parse().unwrap());
    }
}
