//! Errors that a call is answered with: a name of an interface, and details.

use serde_json::{Map, Value};

/// An error reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Its name, with the interface before it.
    pub name: String,
    /// Its details.
    pub parameters: Map<String, Value>,
}

impl Fault {
    /// One without details.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), parameters: Map::new() }
    }

    /// The same with one detail more.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.parameters.insert(key.to_owned(), value.into());
        self
    }

    /// The service has no such interface.
    pub fn interface_not_found(interface: &str) -> Self {
        Self::new("org.varlink.service.InterfaceNotFound").with("interface", interface)
    }

    /// The interface has no such method.
    pub fn method_not_found(method: &str) -> Self {
        Self::new("org.varlink.service.MethodNotFound").with("method", method)
    }

    /// An argument is missing, of another type, or makes no sense.
    pub fn invalid_parameter(parameter: &str) -> Self {
        Self::new("org.varlink.service.InvalidParameter").with("parameter", parameter)
    }

    /// The method has more than one reply, which the call does not take.
    pub fn expected_more() -> Self {
        Self::new("org.varlink.service.ExpectedMore")
    }
}
