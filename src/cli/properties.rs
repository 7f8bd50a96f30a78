//! Properties that a verb shows, for programs: which of them, and how. Shared by `show` and `show-image`.

use serde_json::{Map, Value};

use super::EXIT_FAILURE;
use super::output::Output;
use super::refusal::Message;
use crate::settings::nearest;

/// The properties of one thing, in the order in which they are shown.
pub type Properties = Vec<(&'static str, Value)>;

/// The options that say which properties are shown, and how: machinectl's, and `--json`.
#[derive(Debug, clap::Args)]
pub struct PropertyOptions {
    /// Only these properties
    #[arg(short, long, value_name = "NAME", value_delimiter = ',')]
    property: Vec<String>,

    /// Only these properties, and of them the values
    #[arg(short = 'P', value_name = "NAME", value_delimiter = ',')]
    property_value: Vec<String>,

    /// Values without names
    #[arg(long)]
    value: bool,

    /// Also properties that are empty
    #[arg(short, long)]
    all: bool,

    /// JSON, an object each
    #[arg(long)]
    json: bool,
}

impl PropertyOptions {
    fn wanted(&self) -> impl Iterator<Item = &str> {
        self.property.iter().chain(&self.property_value).map(String::as_str)
    }

    /// Tells of a property that is wanted and none of `known`; gives the exit status then. `all` is the hint where nothing
    /// is called nearly like it.
    pub(super) fn refuse_unknown<'k>(
        &self,
        known: impl Iterator<Item = &'k str> + Clone,
        all: &str,
        output: Output,
    ) -> Result<(), u8> {
        let Some(unknown) = self.wanted().find(|wanted| !known.clone().any(|known| known == *wanted)) else {
            return Ok(());
        };
        let hint = nearest(unknown, known).map(|known| format!("did you mean {known}?"));
        output.error(
            &Message::new(format!("there is no property {unknown:?}")),
            Some(hint.as_deref().unwrap_or(all)),
        );
        Err(EXIT_FAILURE)
    }

    /// Prints those that are wanted, of each thing. Gives `status`, unless they cannot be printed.
    pub(super) fn print(&self, things: Vec<Properties>, status: u8, output: Output) -> u8 {
        let shown = things.into_iter().map(|properties| self.pick(properties));
        if self.json {
            let objects = shown.map(|properties| {
                properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>()
            });
            return match output.json(&objects.collect::<Vec<_>>()) {
                Ok(()) => status,
                Err(_) => EXIT_FAILURE,
            };
        }
        let bare = self.value || !self.property_value.is_empty();
        let blocks: Vec<String> = shown.map(|properties| text(&properties, bare)).collect();
        output.text(&blocks.join("\n"));
        status
    }

    /// Those that are wanted: all that say something, if none is named.
    fn pick(&self, properties: Properties) -> Properties {
        let names_some = self.wanted().next().is_some();
        let is_wanted = |(name, value): &(&'static str, Value)| match names_some {
            true => self.wanted().any(|wanted| wanted == *name),
            false => self.all || !is_empty(value),
        };
        properties.into_iter().filter(is_wanted).collect()
    }
}

/// systemd's words for a boolean.
pub(super) fn yes_no(yes: bool) -> Value {
    if yes { "yes" } else { "no" }.into()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        _ => false,
    }
}

/// `NAME=VALUE` lines.
fn text(properties: &[(&'static str, Value)], bare: bool) -> String {
    let line = |(name, value): &(&'static str, Value)| {
        let value = match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        };
        if bare { format!("{value}\n") } else { format!("{name}={value}\n") }
    };
    properties.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(property: &[&str], all: bool) -> PropertyOptions {
        let property = property.iter().map(|name| (*name).to_owned()).collect();
        PropertyOptions { property, property_value: Vec::new(), value: false, all, json: false }
    }

    #[test]
    fn picked() {
        let properties = || vec![("Name", "web".into()), ("StatusText", "".into()), ("Paused", Value::Null)];
        for (wanted, all, names) in [
            (&[][..], false, &["Name"][..]),
            (&[], true, &["Name", "StatusText", "Paused"]),
            (&["Paused"], false, &["Paused"]),
            (&["StatusText", "Name"], true, &["Name", "StatusText"]),
        ] {
            let picked = options(wanted, all).pick(properties());
            assert_eq!(picked.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names, "{wanted:?}");
        }
    }

    #[test]
    fn lines() {
        let properties = [
            ("Name", "web".into()),
            ("TasksCurrent", 5.into()),
            ("Addresses", vec!["10.0.0.1", "fe80::1"].into()),
        ];
        assert_eq!(text(&properties, false), "Name=web\nTasksCurrent=5\nAddresses=10.0.0.1 fe80::1\n");
        assert_eq!(text(&properties, true), "web\n5\n10.0.0.1 fe80::1\n");
    }
}
