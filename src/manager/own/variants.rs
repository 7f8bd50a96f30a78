//! What workers and verbs of ours say in JSON, as values of D-Bus.
//!
//! An object is `a{sv}`, an array of texts `as`, of objects `aa{sv}`, any other `av`; a number that is not negative `t`. What is null
//! is left out: D-Bus has no such value.

use std::collections::HashMap;

use serde_json::Value;
use zbus::{OwnedVariant, Variant};

/// Properties, options, results: `a{sv}`.
pub type Dictionary = HashMap<String, OwnedVariant>;

/// An object's fields; nothing of what is no object.
pub fn dictionary(value: &Value) -> Dictionary {
    let fields = value.as_object().into_iter().flatten();
    fields.filter_map(|(name, value)| Some((name.clone(), variant(value)?))).collect()
}

/// Objects in an array.
pub fn dictionaries(value: &Value) -> Vec<Dictionary> {
    value.as_array().into_iter().flatten().map(dictionary).collect()
}

/// The same with names as D-Bus has them: `exit-status` and `exit_status` are `ExitStatus`.
pub fn camel_case(dictionary: Dictionary) -> Dictionary {
    dictionary.into_iter().map(|(name, value)| (in_camel_case(&name), value)).collect()
}

fn in_camel_case(name: &str) -> String {
    let mut result = String::with_capacity(name.len());
    for word in name.split(['-', '_']) {
        let mut characters = word.chars();
        result.extend(characters.next().map(|first| first.to_ascii_uppercase()));
        result.extend(characters);
    }
    result
}

/// One value; `None` for null.
pub fn variant(value: &Value) -> Option<OwnedVariant> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => OwnedVariant::from(*value),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => OwnedVariant::from(number),
            (None, Some(number)) => OwnedVariant::from(number),
            (None, None) => OwnedVariant::from(number.as_f64()?),
        },
        Value::String(text) => owned(Variant::from(without_nul(text)))?,
        Value::Array(values) if values.iter().all(Value::is_string) => {
            let texts: Vec<String> = values.iter().filter_map(Value::as_str).map(without_nul).collect();
            owned(Variant::from(texts))?
        }
        Value::Array(values) if values.iter().all(Value::is_object) => {
            owned(Variant::from(values.iter().map(dictionary).collect::<Vec<_>>()))?
        }
        Value::Array(values) => {
            owned(Variant::from(values.iter().filter_map(variant).map(Variant::from).collect::<Vec<_>>()))?
        }
        Value::Object(_) => OwnedVariant::from(dictionary(value)),
    })
}

/// A text of D-Bus has no NUL.
fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}

/// There are no fds in JSON, which are all that cannot be cloned.
fn owned(variant: Variant<'_>) -> Option<OwnedVariant> {
    OwnedVariant::try_from(variant).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values() {
        let rows = [
            (json!(true), "b"),
            (json!(7), "t"),
            (json!(-7), "x"),
            (json!(0.5), "d"),
            (json!("text"), "s"),
            (json!([]), "as"),
            (json!(["a", "b"]), "as"),
            (json!([1, "a"]), "av"),
            (json!({ "a": 1 }), "a{sv}"),
            (json!([{ "a": 1 }, {}]), "aa{sv}"),
        ];
        for (value, signature) in rows {
            assert_eq!(variant(&value).unwrap().value_signature(), signature, "{value}");
        }
        assert_eq!(variant(&json!(null)), None);
        let fields = dictionary(&json!({ "a": 1, "b": null, "c": "x\u{0}y" }));
        assert_eq!(fields.len(), 2);
        assert_eq!(fields.get("c"), variant(&json!("xy")).as_ref());
        assert!(dictionary(&json!([])).is_empty());
    }

    #[test]
    fn names() {
        for (name, expected) in [("exit-status", "ExitStatus"), ("os_id", "OsId"), ("x", "X"), ("", "")] {
            assert_eq!(in_camel_case(name), expected);
        }
    }
}
