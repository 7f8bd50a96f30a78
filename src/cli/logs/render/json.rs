//! An entry as an object of JSON.

use serde_json::{Map, Value};

use super::is_printable;
use crate::journal::{Entry, Field};

/// The entry in the JSON form of the journal (<https://systemd.io/JOURNAL_EXPORT_FORMATS/>).
pub(super) fn object(entry: &Entry) -> Value {
    const BOOT: &str = "_BOOT_ID";
    let mut object = Map::new();
    let stamp = &entry.stamp;
    let mut own = |name: &str, value: String| object.insert(name.to_owned(), Value::String(value));
    own("__CURSOR", entry.cursor());
    own("__REALTIME_TIMESTAMP", stamp.realtime.to_string());
    own("__MONOTONIC_TIMESTAMP", stamp.monotonic.to_string());
    own("__SEQNUM", stamp.seqnum.to_string());
    own("__SEQNUM_ID", stamp.seqnum_id.to_string());
    own(BOOT, stamp.boot_id.to_string());
    for field in entry.fields.iter().filter(|field| field.name() != BOOT) {
        // Those with two underscores are ours to say.
        if field.name().starts_with("__") {
            continue;
        }
        let new = field_value(field);
        match object.get_mut(field.name()) {
            None => {
                object.insert(field.name().to_owned(), new);
            }
            // The name comes again: an array of its values. One of numbers is a value of bytes.
            Some(Value::Array(values)) if values.first().is_some_and(|first| !first.is_number()) => {
                values.push(new)
            }
            Some(value) => *value = Value::Array(vec![std::mem::take(value), new]),
        }
    }
    Value::Object(object)
}

fn field_value(field: &Field) -> Value {
    if field.is_cut() { Value::Null } else { value(field.value()) }
}

/// Text as a string, all else as its bytes.
pub(super) fn value(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if is_printable(bytes) => Value::String(text.to_owned()),
        _ => Value::Array(bytes.iter().map(|byte| Value::from(*byte)).collect()),
    }
}
