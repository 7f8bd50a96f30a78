//! Calls and replies (<https://varlink.org/Service>): the objects that go over a connection.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Fault;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The method, with its interface before it.
    pub method: String,
    /// Its arguments.
    #[serde(default, deserialize_with = "object_or_null", skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
    /// No reply is wanted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub oneway: bool,
    /// More than one reply may come.
    #[serde(default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// The connection is to speak something else after the reply.
    #[serde(default, skip_serializing_if = "is_false")]
    pub upgrade: bool,
}

/// What it is answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The results, or the details of the error.
    #[serde(default, deserialize_with = "object_or_null")]
    pub parameters: Map<String, Value>,
    /// Another reply to the same call will come.
    #[serde(default, skip_serializing_if = "is_false")]
    pub continues: bool,
    /// The error, with its interface before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A message that is none.
#[derive(Debug, thiserror::Error)]
#[error("a message that is not Varlink: {0}")]
pub struct Malformed(String);

impl Call {
    /// A call of `method` that wants one reply.
    pub fn new(method: &str, parameters: Map<String, Value>) -> Self {
        Self { method: method.to_owned(), parameters, oneway: false, more: false, upgrade: false }
    }

    /// Reads a message without its NUL.
    ///
    /// # Errors
    /// When it is not a call.
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let call: Self = object(message)?;
        match call.oneway && (call.more || call.upgrade) {
            true => Err(Malformed("a call without a reply that wants more of them".to_owned())),
            false => Ok(call),
        }
    }

    /// The message, with its NUL.
    pub fn to_message(&self) -> Vec<u8> {
        message_of(self)
    }

    /// The method's interface and its name there.
    pub fn interface_and_name(&self) -> (&str, &str) {
        self.method.rsplit_once('.').unwrap_or(("", &self.method))
    }
}

impl Reply {
    /// One of results.
    pub fn of(parameters: Map<String, Value>) -> Self {
        Self { parameters, ..Self::default() }
    }

    /// One of an error.
    pub fn failed(fault: Fault) -> Self {
        Self { parameters: fault.parameters, continues: false, error: Some(fault.name) }
    }

    /// Reads a message without its NUL.
    ///
    /// # Errors
    /// When it is not a reply.
    pub fn parse(message: &[u8]) -> Result<Self, Malformed> {
        object(message)
    }

    /// The message, with its NUL.
    pub fn to_message(&self) -> Vec<u8> {
        message_of(self)
    }
}

/// An array would do for serde, its elements for the fields.
fn object<T: serde::de::DeserializeOwned>(message: &[u8]) -> Result<T, Malformed> {
    match message.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(message).map_err(|error| Malformed(error.to_string())),
        _ => Err(Malformed("not an object".to_owned())),
    }
}

fn message_of(value: &impl Serialize) -> Vec<u8> {
    // Maps with text as keys, and nothing that can fail to be written.
    let mut message = serde_json::to_vec(value).unwrap_or_default();
    message.push(0);
    message
}

/// systemd's clients leave parameters out, others send null.
fn object_or_null<'de, D: serde::Deserializer<'de>>(source: D) -> Result<Map<String, Value>, D::Error> {
    Ok(Option::<Map<String, Value>>::deserialize(source)?.unwrap_or_default())
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn calls() {
        let plain = || Call::new("a.b.C", Map::new());
        let nested = [vec![b'['; 200], vec![b']'; 200]].concat();
        let deep = [b"{\"method\":\"a.b.C\",\"parameters\":{\"x\":".as_slice(), &nested, b"}}"].concat();
        let table: &[(&str, &[u8], Option<Call>)] = &[
            ("least", br#"{"method":"a.b.C"}"#, Some(plain())),
            ("null", br#"{"method":"a.b.C","parameters":null}"#, Some(plain())),
            (
                "all",
                br#"{"method":"a.b.C","parameters":{"x":[1,"y"]},"more":true,"oneway":false}"#,
                Some(Call { parameters: object(json!({"x": [1, "y"]})), more: true, ..plain() }),
            ),
            ("what is unknown is let pass", br#"{"method":"a.b.C","x-later":{}}"#, Some(plain())),
            ("oneway and more", br#"{"method":"a.b.C","oneway":true,"more":true}"#, None),
            ("no method", br#"{"parameters":{}}"#, None),
            ("a method of another type", br#"{"method":7}"#, None),
            ("parameters of another type", br#"{"method":"a.b.C","parameters":[]}"#, None),
            ("not an object", br#"["a.b.C"]"#, None),
            ("nothing", b"", None),
            ("half", br#"{"method":"a"#, None),
            ("not UTF-8", b"{\"method\":\"\xff\"}", None),
            ("deeper than a stack", &deep, None),
        ];
        for (name, message, expected) in table {
            assert_eq!(Call::parse(message).ok(), *expected, "{name}");
        }
    }

    #[test]
    fn names() {
        let table = [("a.b.C", ("a.b", "C")), ("C", ("", "C")), ("", ("", "")), ("a.", ("a", ""))];
        for (method, expected) in table {
            assert_eq!(Call::new(method, Map::new()).interface_and_name(), expected);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let call = Call { more: true, ..Call::new("a.b.C", object(json!({"x": 1}))) };
        let message = call.to_message();
        assert_eq!(message, b"{\"method\":\"a.b.C\",\"parameters\":{\"x\":1},\"more\":true}\0");
        assert_eq!(Call::parse(&message[..message.len() - 1]).expect("a call"), call);
        let replies = [
            (Reply::default(), r#"{"parameters":{}}"#),
            (
                Reply { continues: true, ..Reply::of(object(json!({"y": null}))) },
                r#"{"parameters":{"y":null},"continues":true}"#,
            ),
            (
                Reply::failed(Fault::method_not_found("a.b.C")),
                r#"{"parameters":{"method":"a.b.C"},"error":"org.varlink.service.MethodNotFound"}"#,
            ),
        ];
        for (reply, text) in replies {
            assert_eq!(reply.to_message(), [text.as_bytes(), b"\0"].concat());
            assert_eq!(Reply::parse(text.as_bytes()).expect("a reply"), reply);
        }
    }

    proptest::proptest! {
        #[test]
        fn anything_is_survived(bytes: Vec<u8>) {
            let _ = (Call::parse(&bytes), Reply::parse(&bytes));
        }
    }
}
