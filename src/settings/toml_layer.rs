//! A TOML file of ours as a layer of settings. What is not known in it, or not right, is an error with its line.

use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::assignment::{Assignment, Change, FilePlace, Source};
use super::error::shown;
use super::keys::{self, BadValue, Key, Kind, Scope};
use super::refused::SettingsError;

/// The settings that `text` of the file `path` makes, in the order in which they stand there. With [`Scope::Everywhere`] it
/// is a file for all machines.
///
/// # Errors
/// The first fault.
pub fn layer(path: &Rc<Path>, text: &str, scope: Scope) -> Result<Vec<Assignment>, SettingsError> {
    let file = TomlFile { path, text, scope };
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
        file.refused(at, message, "a setting is NAME = VALUE below its [table], text in quotes")
    })?;
    let mut found: Vec<(usize, Assignment)> = Vec::new();
    for (name, value) in document.get_ref() {
        let at = name.span().start;
        let table = keys::find_table(name.get_ref())
            .map_err(|hint| file.refused(at, format!("{}: unknown table", shown(name.get_ref())), hint))?;
        let DeValue::Table(settings) = value.get_ref() else {
            return Err(file.refused(
                at,
                format!("{table}: not a table"),
                format!("write [{table}], and its settings below"),
            ));
        };
        for (name, value) in settings {
            let at = name.span().start;
            let key = file.key(table, name.get_ref(), at)?;
            for (place, change) in file.changes(key, value)? {
                let place = FilePlace { path: path.clone(), line: file.line(place), key: key.name.into() };
                found.push((at, Assignment::new(key, change, Source::File(place))));
            }
        }
    }
    // The parser keeps keys by name; for mounts it counts which comes first.
    found.sort_by_key(|(at, _)| *at);
    Ok(found.into_iter().map(|(_, assignment)| assignment).collect())
}

/// A file that is being read.
struct TomlFile<'a> {
    path: &'a Rc<Path>,
    text: &'a str,
    scope: Scope,
}

impl TomlFile<'_> {
    /// The line of a byte, from 1.
    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }

    fn refused(&self, at: usize, problem: impl Into<String>, hint: impl Into<String>) -> SettingsError {
        SettingsError::Line {
            path: self.path.to_path_buf(),
            line: self.line(at),
            problem: problem.into(),
            hint: hint.into(),
        }
    }

    fn key(&self, table: &'static str, name: &str, at: usize) -> Result<&'static Key, SettingsError> {
        let key = keys::find(table, name)
            .map_err(|hint| self.refused(at, format!("{}: unknown key in [{table}]", shown(name)), hint))?;
        if key.scope == Scope::Machine && self.scope == Scope::Everywhere {
            return Err(self.refused(
                at,
                format!("{}: makes no sense for all machines", key.name),
                "write it into /etc/spinney/machines/NAME.toml",
            ));
        }
        Ok(key)
    }

    /// What a value does, with the byte at which each part of it stands.
    fn changes(
        &self,
        key: &'static Key,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<(usize, Change)>, SettingsError> {
        let Range { start, .. } = value.span();
        let give = |at, text: String| (at, Change::Give(text.into()));
        Ok(match (value.get_ref(), key.kind) {
            (DeValue::String(text), _) if text.is_empty() => vec![(start, Change::Reset)],
            (DeValue::Array(items), Kind::List | Kind::Pairs(_) | Kind::Command) => {
                let mut changes = Vec::with_capacity(items.len());
                for item in items {
                    changes.push(give(item.span().start, self.scalar(key, item)?));
                }
                if changes.is_empty() { vec![(start, Change::Reset)] } else { changes }
            }
            (DeValue::Array(items), Kind::Numbers) => {
                let items: Result<Vec<String>, _> = items.iter().map(|item| self.scalar(key, item)).collect();
                vec![give(start, items?.join(","))]
            }
            (DeValue::Table(pairs), Kind::Pairs(divider)) => {
                let mut changes = Vec::with_capacity(pairs.len());
                for (name, value) in pairs {
                    let at = name.span().start;
                    changes
                        .push(give(at, format!("{}{divider}{}", name.get_ref(), self.scalar(key, value)?)));
                }
                changes.sort_by_key(|(at, _)| *at);
                if changes.is_empty() { vec![(start, Change::Reset)] } else { changes }
            }
            _ => vec![give(start, self.scalar(key, value)?)],
        })
    }

    /// The text of a single value.
    fn scalar(&self, key: &'static Key, value: &Spanned<DeValue<'_>>) -> Result<String, SettingsError> {
        let what = match (value.get_ref(), key.kind) {
            (DeValue::String(text), _) => return Ok(text.clone().into_owned()),
            (DeValue::Boolean(yes), Kind::Boolean | Kind::Word) => {
                return Ok(if *yes { "yes" } else { "no" }.to_owned());
            }
            (DeValue::Integer(number), Kind::Number | Kind::Numbers | Kind::Pairs(_) | Kind::Word)
                if number.radix() == 10 =>
            {
                return Ok(number.as_str().to_owned());
            }
            (DeValue::Boolean(_), _) => "a boolean",
            (DeValue::Integer(_), _) => "an integer",
            (DeValue::Float(_), _) => "a floating point number",
            (DeValue::Datetime(_), _) => "a date",
            (DeValue::Array(_), _) => "an array",
            (DeValue::Table(_), _) => "a table",
        };
        let place =
            FilePlace { path: self.path.clone(), line: self.line(value.span().start), key: key.name.into() };
        let error = BadValue::new(
            format!("{what} is not what it takes"),
            format!("{} takes: {}", key.name, key.kind.toml_type()),
        );
        Err(SettingsError::value(&Source::File(place), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_survived(text in "([a-z\\[\\]{}=,.\"'\n 0-9-]|\\PC|\\[execution\\]\n|setenv = |bind = )*") {
            let _ = layer(&Path::new("/x").into(), &text, Scope::Machine);
        }

        #[test]
        fn strings_come_through_as_they_are(values in prop::collection::vec("[ -~äöü\t]{1,12}", 1..5)) {
            let array = toml::Value::from(values.clone());
            let text = format!("[files]\nbind = {array}\n");
            let read = layer(&Path::new("/x").into(), &text, Scope::Everywhere).unwrap();
            let read: Vec<_> = read.iter().map(|found| found.value().unwrap().to_str().unwrap().to_owned()).collect();
            prop_assert_eq!(read, values);
        }
    }
}
