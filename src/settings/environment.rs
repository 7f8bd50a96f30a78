//! Environment variables for PID 1 (`--setenv=`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::ValueError;

/// One `--setenv=NAME[=VALUE]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value; `None` is the value that our own environment has (systemd-nspawn(1), `--setenv=`).
    pub value: Option<OsString>,
}

impl Variable {
    /// Parses `NAME` or `NAME=VALUE`. The name is as POSIX has it: letters, digits and underscores, no digit in front.
    pub fn parse(text: &OsStr) -> Result<Self, ValueError> {
        let (name, value) = divided(text);
        match std::str::from_utf8(name) {
            Ok(name) if is_name(name) => Ok(Self {
                name: name.to_owned(),
                value: value.map(|value| OsString::from_vec(value.to_vec())),
            }),
            _ => Err(ValueError::new(
                text.to_string_lossy(),
                "is not an environment variable",
                "NAME=VALUE or NAME, the name of letters, digits and '_'",
            )),
        }
    }

    /// The variable of an `argument` to the init, when it is one: `KEY=VALUE` without a dot in KEY.
    pub(super) fn from_assignment(argument: &OsStr) -> Option<Self> {
        let (name, value) = divided(argument);
        let value = OsString::from_vec(value?.to_vec());
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && !name.contains('.'))?;
        Some(Self { name: name.to_owned(), value: Some(value) })
    }
}

/// What stands before and after the first `=`.
fn divided(text: &OsStr) -> (&[u8], Option<&[u8]>) {
    let bytes = text.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}

/// Whether `name` can name a variable (POSIX.1, section 8.1).
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables() {
        let rows = [
            ("A=b", "A", Some("b")),
            ("A=", "A", Some("")),
            ("A", "A", None),
            ("_a1=x=y z", "_a1", Some("x=y z")),
        ];
        for (text, name, value) in rows {
            let expected = Variable { name: name.into(), value: value.map(Into::into) };
            assert_eq!(Variable::parse(OsStr::new(text)), Ok(expected), "{text}");
        }
        let raw = OsStr::from_bytes(b"A=\xff");
        assert_eq!(Variable::parse(raw).unwrap().value.unwrap().as_bytes(), b"\xff");
        for text in ["", "=b", "1A=b", "A-B=c", "A.B=c", "ä=b", " A=b"] {
            let error = Variable::parse(OsStr::new(text)).unwrap_err();
            assert_eq!(error.problem(), "is not an environment variable", "{text}");
        }
    }
}
