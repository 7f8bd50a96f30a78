//! `org.varlink.service` (<https://varlink.org/Service>): what every service says of itself and of its interfaces.

use serde_json::{Map, Value, json};

use super::{Call, Fault, Interface, Parameters};

/// The interface that every service has.
pub const INTERFACE: Interface = Interface {
    name: "org.varlink.service",
    about: "What every Varlink service has: it describes itself.",
    members: &[
        "# Says what this service is, and which interfaces it has.
method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)",
        "# Gives the description of an interface.
method GetInterfaceDescription(interface: string) -> (description: string)",
        "# There is no such interface here.
error InterfaceNotFound(interface: string)",
        "# The interface has no such method.
error MethodNotFound(method: string)",
        "# The interface has the method, but it is not implemented here.
error MethodNotImplemented(method: string)",
        "# An argument is missing, of another type, or makes no sense.
error InvalidParameter(parameter: string)",
        "# The caller may not do this.
error PermissionDenied()",
        "# The method has to be called with \"more\".
error ExpectedMore()",
    ],
};

/// Who we are.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Who makes it.
    pub vendor: &'static str,
    /// Its name.
    pub product: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Where more is to be read.
    pub url: &'static str,
}

impl Service {
    /// Answers a call of `org.varlink.service`; `None` if it is of another interface. `interfaces` are names and descriptions of
    /// all others.
    pub fn answer(
        &self,
        call: &Call,
        interfaces: &[(&str, &dyn Fn() -> String)],
    ) -> Option<Result<Map<String, Value>, Fault>> {
        let (interface, method) = call.interface_and_name();
        if interface != INTERFACE.name {
            return None;
        }
        let mut parameters = Parameters::new(call.parameters.clone());
        Some(match method {
            "GetInfo" => parameters.finish().map(|()| self.info(interfaces)),
            "GetInterfaceDescription" => {
                parameters.text("interface").and_then(|name| described(name, parameters, interfaces))
            }
            _ => Err(Fault::method_not_found(&call.method)),
        })
    }

    fn info(&self, interfaces: &[(&str, &dyn Fn() -> String)]) -> Map<String, Value> {
        let names = std::iter::once(INTERFACE.name).chain(interfaces.iter().map(|(name, _)| *name));
        object(json!({
            "vendor": self.vendor,
            "product": self.product,
            "version": self.version,
            "url": self.url,
            "interfaces": names.collect::<Vec<_>>(),
        }))
    }
}

fn described(
    name: Option<String>,
    rest: Parameters,
    interfaces: &[(&str, &dyn Fn() -> String)],
) -> Result<Map<String, Value>, Fault> {
    rest.finish()?;
    let name = name.ok_or_else(|| Fault::invalid_parameter("interface"))?;
    let description = if name == INTERFACE.name {
        INTERFACE.description()
    } else {
        let found = interfaces.iter().find(|(known, _)| *known == name);
        found.ok_or_else(|| Fault::interface_not_found(&name))?.1()
    };
    Ok(object(json!({ "description": description })))
}

/// The map of a JSON object; anything else is an empty one.
pub fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_describes_itself() {
        let service = Service { vendor: "V", product: "P", version: "1", url: "https://x.example/" };
        let answer = |method: &str, parameters: Value| {
            let call = Call::new(method, object(parameters));
            service.answer(&call, &[("org.x", &|| "interface org.x\n".to_owned())])
        };
        let (info, describe) = ("org.varlink.service.GetInfo", "org.varlink.service.GetInterfaceDescription");
        let rows = [
            ("org.x.Y", json!({}), None),
            (
                info,
                json!({}),
                Some(Ok(object(
                    json!({"vendor": "V", "product": "P", "version": "1", "url": "https://x.example/",
                    "interfaces": ["org.varlink.service", "org.x"]}),
                ))),
            ),
            (info, json!({"x": 1}), Some(Err(Fault::invalid_parameter("x")))),
            (
                describe,
                json!({"interface": "org.x"}),
                Some(Ok(object(json!({"description": "interface org.x\n"})))),
            ),
            (describe, json!({}), Some(Err(Fault::invalid_parameter("interface")))),
            (describe, json!({"interface": "org.y"}), Some(Err(Fault::interface_not_found("org.y")))),
            (
                "org.varlink.service.Other",
                json!({}),
                Some(Err(Fault::method_not_found("org.varlink.service.Other"))),
            ),
        ];
        for (method, parameters, expected) in rows {
            assert_eq!(answer(method, parameters.clone()), expected, "{method} {parameters}");
        }
    }

    #[test]
    fn the_description_is_one() {
        let members = crate::varlink::grammar::parse(&INTERFACE.description()).expect("a description");
        assert_eq!(members.interface, "org.varlink.service");
        assert_eq!(members.methods, ["GetInfo", "GetInterfaceDescription"]);
        assert_eq!(members.errors.len(), 6);
    }
}
