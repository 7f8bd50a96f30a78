//! The parser of os-release(5).

use std::collections::BTreeMap;

/// What a tree says it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OsRelease {
    fields: BTreeMap<String, String>,
}

impl OsRelease {
    /// Reads the variables of an os-release file: shell assignments with shell quoting, no expansion. A line that is no
    /// assignment is skipped, as os-release(5) asks of readers; of two assignments the last counts.
    pub fn parse(text: &str) -> Self {
        let fields = text.lines().filter_map(assignment).collect();
        Self { fields }
    }

    /// The value of a field, by its name in the file.
    pub fn get(&self, field: &str) -> Option<&str> {
        self.fields.get(field).map(String::as_str)
    }

    /// `ID=`, which is `linux` where a tree does not say.
    pub fn id(&self) -> &str {
        self.get("ID").filter(|id| !id.is_empty()).unwrap_or("linux")
    }

    /// `VERSION_ID=`; rolling distributions have none.
    pub fn version_id(&self) -> Option<&str> {
        self.get("VERSION_ID")
    }

    /// `PRETTY_NAME=`, else `NAME=`, else `Linux`.
    pub fn pretty_name(&self) -> &str {
        self.get("PRETTY_NAME").or_else(|| self.get("NAME")).unwrap_or("Linux")
    }

    /// All fields, sorted by name.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn assignment(line: &str) -> Option<(String, String)> {
    let (name, value) = line.trim().split_once('=')?;
    let first = name.chars().next()?;
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if first.is_ascii_digit() || !name.chars().all(valid) {
        return None;
    }
    unquote(value).map(|value| (name.to_owned(), value))
}

/// A shell word without its quotes; `None` if a quote is not closed or something follows the word.
fn unquote(word: &str) -> Option<String> {
    let mut value = String::new();
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' => loop {
                match rest.next()? {
                    '\'' => break,
                    c => value.push(c),
                }
            },
            '"' => loop {
                match rest.next()? {
                    '"' => break,
                    // Within double quotes the shell takes a backslash for these alone.
                    '\\' => match rest.next()? {
                        c @ ('"' | '\\' | '$' | '`') => value.push(c),
                        c => value.extend(['\\', c]),
                    },
                    c => value.push(c),
                }
            },
            '\\' => value.push(rest.next()?),
            c if c.is_whitespace() => return rest.as_str().trim_start().starts_with('#').then_some(value),
            c => value.push(c),
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let table = [
            ("plain: ID=debian", Some("debian")),
            ("double quotes: ID=\"Debian GNU/Linux\"", Some("Debian GNU/Linux")),
            ("single quotes: ID='a \"b\" $c'", Some("a \"b\" $c")),
            ("escapes in quotes: ID=\"a\\\"b\\$c\\`d\\\\e\\f\"", Some("a\"b$c`d\\e\\f")),
            ("escapes outside: ID=a\\ b", Some("a b")),
            ("joined: ID=a\"b\"'c'", Some("abc")),
            ("empty: ID=", Some("")),
            ("empty quotes: ID=\"\"", Some("")),
            ("spaces around:   ID=x  ", Some("x")),
            ("an equals sign in it: ID=a=b", Some("a=b")),
            ("carriage return: ID=x\r", Some("x")),
            ("comment after: ID=x # comment", Some("x")),
            ("two words: ID=a b", None),
            ("open quote: ID=\"a", None),
            ("comment: #ID=x", None),
            ("no name: =x", None),
            ("bad name: I-D=x", None),
            ("no assignment: ID", None),
        ];
        for (row, expected) in table {
            let (name, line) = row.split_once(": ").unwrap();
            assert_eq!(OsRelease::parse(line).get("ID"), expected, "{name}");
        }
    }

    #[test]
    fn files() {
        let debian = OsRelease::parse(
            "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"13\"\n\
             # comment\n\nID=debian\nID=last\n",
        );
        assert_eq!(
            (debian.id(), debian.version_id(), debian.pretty_name()),
            ("last", Some("13"), "Debian GNU/Linux 13 (trixie)")
        );
        let nothing = OsRelease::parse("");
        assert_eq!((nothing.id(), nothing.version_id(), nothing.pretty_name()), ("linux", None, "Linux"));
        assert_eq!(OsRelease::parse("NAME=Void\nID=\"\"\n").pretty_name(), "Void");
        assert_eq!(debian.fields().count(), 4);
    }
}
