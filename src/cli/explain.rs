//! A machine explained: its settings with where each came from, the files that were read, and the plan.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::output::table::{Cell, Look, Table};
use super::output::{Colour, Output};
use crate::settings::Provenance;
use crate::settings::provenance::{Entry, Origin};
use crate::supervisor::printable;

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What is said of one machine.
#[derive(Debug)]
pub struct Explanation {
    /// Its name, where it has one.
    pub name: Option<String>,
    /// It runs, and this is what is in force.
    pub running: bool,
    /// Its settings.
    pub provenance: Provenance,
    /// Files that are not as they were when they were read, and what happened to them.
    pub changed: BTreeMap<PathBuf, &'static str>,
    /// The plan in words; `None` where it cannot be made.
    pub plan: Option<Value>,
    /// Show what is not for everybody's eyes.
    pub secrets: bool,
}

impl Explanation {
    /// As an object for programs.
    pub fn json(&self) -> Value {
        json!({
            "machine": self.name,
            "running": self.running,
            "settings": self.provenance.settings.iter().map(|entry| self.entry(entry)).collect::<Vec<_>>(),
            "files": self.files().map(|(path, state)| json!({ "path": path, "state": state })).collect::<Vec<_>>(),
            "plan": self.plan(),
        })
    }

    fn entry(&self, entry: &Entry) -> Value {
        let setting = format!("{}.{}", entry.table, entry.name);
        let value = self.value(entry);
        match &entry.source {
            Origin::BuiltIn => json!({ "setting": setting, "value": value, "source": "built-in" }),
            Origin::CommandLine => json!({ "setting": setting, "value": value, "source": "command-line" }),
            Origin::Option(option) => {
                json!({ "setting": setting, "value": value, "source": "option", "option": option })
            }
            Origin::File { path, line } => {
                json!({ "setting": setting, "value": value, "source": "file", "file": path, "line": line })
            }
        }
    }

    /// The value, unless it is none of the reader's business.
    fn value(&self, entry: &Entry) -> String {
        if !entry.secret || self.secrets {
            return entry.value.clone();
        }
        let end = entry.value.find(['=', ':']).map_or(0, |at| at + 1);
        format!("{}(hidden)", &entry.value[..end])
    }

    /// The plan, without the values of variables that are none of the reader's business.
    fn plan(&self) -> Option<Value> {
        let mut plan = self.plan.clone()?;
        let secret = |name: &str| {
            let given = self.provenance.settings.iter().filter(|entry| entry.name == "setenv");
            given.map(|entry| entry.value.split('=').next()).any(|known| known == Some(name))
        };
        if !self.secrets
            && let Some(variables) = plan["process"]["environment"].as_array_mut()
        {
            for variable in variables {
                let name = variable.as_str().and_then(|text| text.split('=').next()).unwrap_or_default();
                if secret(name) {
                    *variable = Value::String(format!("{name}=(hidden)"));
                }
            }
        }
        Some(plan)
    }

    /// The files, and what is to be said of each.
    fn files(&self) -> impl Iterator<Item = (String, &'static str)> {
        let seen = self.provenance.files.iter().map(|file| {
            let was = if file.stamp.is_some() { "read" } else { "not there" };
            (&file.path, self.changed.get(&file.path).copied().unwrap_or(was))
        });
        let known = |path: &PathBuf| self.provenance.files.iter().any(|file| file.path == *path);
        let others =
            self.changed.iter().filter(move |(path, _)| !known(path)).map(|(path, what)| (path, *what));
        seen.chain(others).map(|(path, state)| (path.display().to_string(), state))
    }

    /// For people: a table, then the files and the plan.
    pub fn text(&self, colour: bool) -> String {
        let grey = |text: String, dim: bool| Cell::new(text, dim.then_some(Colour::Grey));
        let mut settings = Table::new(&["SETTING", "VALUE", "FROM"]);
        for entry in &self.provenance.settings {
            let dim = entry.source == Origin::BuiltIn;
            settings.add(vec![
                grey(format!("{}.{}", entry.table, entry.name), dim),
                grey(safe(&self.value(entry)), dim),
                grey(self.origin(&entry.source), dim),
            ]);
        }
        let look = Look { heading: true, colour, width: None };
        let mut text = settings.render(look);
        let mut files = Table::new(&["FILE", "STATE"]);
        for (path, state) in self.files() {
            let state = match state {
                "changed" | "new" | "removed" => {
                    Cell::new(format!("{state} since the machine's start"), Some(Colour::Yellow))
                }
                state => grey(state.to_owned(), state == "not there"),
            };
            files.add(vec![Cell::from(safe(&path)), state]);
        }
        if !files.is_empty() {
            text.push('\n');
            text.push_str(&files.render(look));
        }
        if let Some(plan) = self.plan() {
            text.push_str("\nPLAN\n");
            render(&plan, 0, &mut text);
        }
        text
    }

    fn origin(&self, source: &Origin) -> String {
        let text = safe(&source.to_string());
        match source {
            Origin::File { path, .. } => match self.changed.get(path) {
                Some(what) => format!("{text} ({what} since)"),
                None => text,
            },
            _ => text,
        }
    }
}

/// Prints `explanations` to stdout: JSON as an array where several were asked for.
pub fn explain(
    explanations: &[Explanation],
    several: bool,
    format: ExplainFormat,
    output: Output,
) -> serde_json::Result<()> {
    match format {
        ExplainFormat::Text => {
            for (index, explanation) in explanations.iter().enumerate() {
                if several {
                    let gap = if index == 0 { "" } else { "\n" };
                    let name = explanation.name.as_deref().unwrap_or("?");
                    let running = if explanation.running { ", running" } else { "" };
                    output.text(&format!(
                        "{gap}{}\n",
                        output.in_colour(Colour::Bold, &format!("{name}{running}"))
                    ));
                }
                output.text(&explanation.text(output.has_colour()));
            }
            Ok(())
        }
        ExplainFormat::Json => {
            let mut objects: Vec<Value> = explanations.iter().map(Explanation::json).collect();
            match objects.pop() {
                Some(only) if !several => output.json(&only),
                last => output.json(&objects.into_iter().chain(last).collect::<Vec<_>>()),
            }
        }
    }
}

/// What can be printed of a text that anybody may have written.
fn safe(text: &str) -> String {
    printable::line(text.as_bytes())
}

/// One `name: value` a line, lists one item a line, indented below their name. What is null or empty is left out.
fn render(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Null => {}
                    Value::Array(items) if items.is_empty() => {}
                    Value::Object(_) | Value::Array(_) => {
                        text.push_str(&format!("{indent}{name}:\n"));
                        render(value, depth + 1, text);
                    }
                    scalar => text.push_str(&format!("{indent}{name}: {}\n", word(scalar))),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                text.push_str(&format!("{indent}{}\n", word(item)));
            }
        }
        scalar => text.push_str(&format!("{indent}{}\n", word(scalar))),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => safe(text),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_things_are_left_out() {
        let value = serde_json::json!({"a": "x", "b": null, "c": [], "d": ["e", 1], "f": {"g": true}});
        let mut text = String::new();
        render(&value, 0, &mut text);
        assert_eq!(text, "a: x\nd:\n  e\n  1\nf:\n  g: yes\n");
    }
}
