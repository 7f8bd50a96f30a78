//! Interfaces and their descriptions (<https://varlink.org/Interface-Definition>).
//!
//! A description is put together from those of the members, so that whoever implements a member writes down its types in the
//! same place.

use std::fmt::Write as _;

/// An interface.
#[derive(Debug, Clone, Copy)]
pub struct Interface {
    /// Its name: domains, reversed.
    pub name: &'static str,
    /// What it is for: one line or several, without `#`.
    pub about: &'static str,
    /// Its types, methods and errors, each with `#` comments before it.
    pub members: &'static [&'static str],
}

impl Interface {
    /// The description that clients read.
    pub fn description(&self) -> String {
        self.with_members(self.members.iter().copied())
    }

    /// The same with other members.
    pub fn with_members<'a>(&self, members: impl Iterator<Item = &'a str>) -> String {
        let mut text = String::new();
        for line in self.about.lines() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# {line}");
        }
        let _ = writeln!(text, "interface {}", self.name);
        for member in members {
            let _ = write!(text, "\n{}\n", member.trim());
        }
        text
    }
}
