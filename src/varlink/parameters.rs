//! The arguments of a call, taken one by one. What is not taken is refused, as a typing error would be lost otherwise; null is
//! the same as nothing, as for nullable fields of an interface.

use serde_json::{Map, Value};

use super::Fault;

/// What has not been taken yet.
#[derive(Debug)]
pub struct Parameters(Map<String, Value>);

impl Parameters {
    /// Those of a call.
    pub fn new(mut values: Map<String, Value>) -> Self {
        values.retain(|_, value| !value.is_null());
        Self(values)
    }

    /// A text; `None` where it is left out.
    ///
    /// # Errors
    /// When it is something else.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Fault> {
        self.take(name, |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    /// A number from 0 up to what the type holds; `None` where it is left out.
    ///
    /// # Errors
    /// When it is something else.
    pub fn number<T: TryFrom<u64>>(&mut self, name: &str) -> Result<Option<T>, Fault> {
        self.take(name, |value| T::try_from(value.as_u64()?).ok())
    }

    /// Yes or no; no where it is left out.
    ///
    /// # Errors
    /// When it is something else.
    pub fn flag(&mut self, name: &str) -> Result<bool, Fault> {
        Ok(self.take(name, |value| value.as_bool())?.unwrap_or(false))
    }

    /// A list of texts; `None` where it is left out.
    ///
    /// # Errors
    /// When it is something else.
    pub fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        self.take(name, |value| match value {
            Value::Array(values) => {
                values.into_iter().map(|value| value.as_str().map(str::to_owned)).collect()
            }
            _ => None,
        })
    }

    /// Anything, `None` where it is left out.
    pub fn value(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name)
    }

    /// That is all.
    ///
    /// # Errors
    /// When something was not taken.
    pub fn finish(self) -> Result<(), Fault> {
        self.0.keys().next().map_or(Ok(()), |name| Err(Fault::invalid_parameter(name)))
    }

    fn take<T>(&mut self, name: &str, typed: impl FnOnce(Value) -> Option<T>) -> Result<Option<T>, Fault> {
        match self.0.shift_remove(name) {
            None => Ok(None),
            Some(value) => typed(value).map(Some).ok_or_else(|| Fault::invalid_parameter(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types() {
        let parameters = || {
            let values =
                json!({"t": "text", "n": 200, "f": true, "l": ["a", "b"], "z": null, "m": -1, "x": [1]});
            Parameters::new(values.as_object().expect("an object").clone())
        };
        let refused = |name: &str| Err::<(), _>(Fault::invalid_parameter(name));
        assert_eq!(parameters().text("t"), Ok(Some("text".to_owned())));
        assert_eq!(parameters().text("n").map(drop), refused("n"));
        assert_eq!(parameters().text("none"), Ok(None));
        assert_eq!(parameters().text("z"), Ok(None));
        assert_eq!(parameters().number::<u8>("n"), Ok(Some(200)));
        assert_eq!(parameters().number::<i8>("n").map(drop), refused("n"));
        assert_eq!(parameters().number::<u8>("m").map(drop), refused("m"));
        assert_eq!(parameters().flag("f"), Ok(true));
        assert_eq!(parameters().flag("z"), Ok(false));
        assert_eq!(parameters().flag("t").map(drop), refused("t"));
        assert_eq!(parameters().texts("l"), Ok(Some(vec!["a".to_owned(), "b".to_owned()])));
        assert_eq!(parameters().texts("x").map(drop), refused("x"));
        let mut some = parameters();
        for name in ["t", "n", "f", "l", "x"] {
            assert!(some.value(name).is_some());
        }
        assert_eq!(some.finish(), refused("m"));
    }
}
