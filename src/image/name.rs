//! What an image may be called.

use std::fmt;
use std::str::FromStr;

use crate::settings::ValueError;

/// The longest name: with a suffix and a hidden prefix it is still a file name (limits.h, NAME_MAX).
const LIMIT: usize = 200;

/// The name of an image: a file name that is not hidden, of printable characters. Which of them can name a machine too is
/// for [`crate::settings::MachineName`] to say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

impl ImageName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ImageName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refuse = |problem| Err(ValueError::new(text, problem, "a name such as web or debian-13"));
        match text {
            "" => refuse("is no name"),
            _ if text.starts_with('.') => refuse("would be hidden"),
            _ if text.contains('/') => refuse("is a path, not a name"),
            _ if text.chars().any(char::is_control) => refuse("has characters that cannot be printed"),
            _ if text.len() > LIMIT => refuse("is too long"),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "x".repeat(LIMIT + 1);
        let rows = [
            ("web", None),
            ("debian-13.1_x86", None),
            ("", Some("is no name")),
            (".#tar", Some("would be hidden")),
            ("..", Some("would be hidden")),
            ("a/b", Some("is a path, not a name")),
            ("a\nb", Some("has characters that cannot be printed")),
            (&long, Some("is too long")),
        ];
        for (text, problem) in rows {
            match (text.parse::<ImageName>(), problem) {
                (Ok(name), None) => assert_eq!(name.as_str(), text),
                (Err(error), Some(problem)) => {
                    assert!(error.to_string().contains(problem), "{text}: {error}")
                }
                (parsed, problem) => panic!("{text:?}: {parsed:?}, not {problem:?}"),
            }
        }
    }
}
