//! `spinney run --explain`: prints the plan of a machine.

use serde_json::Value;

use super::output::Output;
use crate::runtime::describe::describe;
use crate::runtime::plan::MachinePlan;

/// How the plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Prints `plan` to stdout.
pub fn explain(plan: &MachinePlan, format: ExplainFormat, output: Output) -> serde_json::Result<()> {
    let description = describe(plan);
    match format {
        ExplainFormat::Text => {
            let mut text = String::new();
            render(&description, 0, &mut text);
            output.text(&text);
            Ok(())
        }
        ExplainFormat::Json => output.json(&description),
    }
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
        Value::String(text) => text.clone(),
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
