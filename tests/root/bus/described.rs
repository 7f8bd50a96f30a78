//! What objects on the bus say of themselves (Introspect), all of them.

use std::collections::BTreeMap;

use super::own_client::Client;
use crate::harness::Stop;

/// Those that every object has, and that of all objects.
pub const COMMON: &str = "org.freedesktop.DBus.";

/// A method, property or signal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// `method`, `property` or `signal`.
    pub kind: String,
    /// What is given to it: names and types. Of a property, and of what a signal says, too.
    pub takes: Vec<(String, String)>,
    /// What it gives.
    pub gives: Vec<(String, String)>,
    /// The words of its description.
    pub text: String,
}

impl Member {
    /// Types of what is given to it.
    pub fn types(&self) -> Vec<String> {
        self.takes.iter().map(|(_, kind)| kind.clone()).collect()
    }

    /// As it is written down: `Get(s name) → o machine`, `Name s`.
    pub fn signature(&self, name: &str) -> String {
        let words = |list: &[(String, String)]| {
            let words = list.iter().map(|(name, kind)| format!("{kind} {name}").trim_end().to_owned());
            words.collect::<Vec<_>>().join(", ")
        };
        let takes = words(&self.takes);
        match (self.kind.as_str(), words(&self.gives)) {
            ("property", _) => format!("{name} {takes}"),
            (_, gives) if gives.is_empty() => format!("{name}({takes})"),
            (_, gives) => format!("{name}({takes}) → {gives}"),
        }
    }
}

/// Members by name.
pub type Interface = BTreeMap<String, Member>;

/// An object: its interfaces, and what is below it.
#[derive(Debug, Default)]
pub struct Object {
    pub interfaces: BTreeMap<String, Interface>,
    pub below: Vec<String>,
}

impl Object {
    /// Reads XML as zbus writes it: a tag a line.
    fn parse(xml: &str) -> Self {
        let mut object = Self::default();
        let (mut interface, mut member, mut text) = (String::new(), String::new(), String::new());
        let mut comment = false;
        for line in xml.lines().map(str::trim) {
            if comment || line.starts_with("<!--") {
                comment = !line.ends_with("-->");
                let words = line.trim_start_matches("<!--").trim_end_matches("-->").trim();
                text.push_str(words);
                text.push(' ');
                continue;
            }
            let Some((tag, attributes)) = line.strip_prefix('<').and_then(|tag| tag.split_once(' ')) else {
                if line.starts_with("</interface") {
                    interface.clear();
                }
                continue;
            };
            let attribute = |name: &str| {
                let (_, rest) = attributes.split_once(&format!("{name}=\""))?;
                Some(rest.split_once('"')?.0.to_owned())
            };
            let name = attribute("name").unwrap_or_default();
            match tag {
                "node" => object.below.push(name),
                "interface" => {
                    interface = name;
                    object.interfaces.insert(interface.clone(), Interface::new());
                    text.clear();
                }
                "method" | "property" | "signal" => {
                    member = name;
                    let takes = if tag == "property" { attribute("type") } else { None };
                    let (kind, text) = (tag.to_owned(), std::mem::take(&mut text).trim().to_owned());
                    let new = Member {
                        kind,
                        takes: takes.into_iter().map(|kind| (String::new(), kind)).collect(),
                        gives: Vec::new(),
                        text,
                    };
                    object.interfaces.entry(interface.clone()).or_default().insert(member.clone(), new);
                }
                "arg" => {
                    let of =
                        object.interfaces.get_mut(&interface).and_then(|members| members.get_mut(&member));
                    let is_given = attribute("direction").as_deref() == Some("out");
                    if let (Some(of), Some(kind)) = (of, attribute("type")) {
                        let list =
                            if is_given && of.kind == "method" { &mut of.gives } else { &mut of.takes };
                        list.push((name, kind));
                    }
                }
                _ => {}
            }
        }
        object
    }
}

/// All objects of the service `name`, by path.
pub fn objects(client: &Client, name: &str) -> Result<BTreeMap<String, Object>, Stop> {
    let mut found = BTreeMap::new();
    let mut paths = vec!["/".to_owned()];
    while let Some(path) = paths.pop() {
        let method = "org.freedesktop.DBus.Introspectable.Introspect";
        let answer = client.message_to(name, &path, method, &())?;
        let object = Object::parse(answer.body().deserialize()?);
        let below = object.below.iter().map(|name| match path.as_str() {
            "/" => format!("/{name}"),
            path => format!("{path}/{name}"),
        });
        paths.extend(below);
        found.insert(path, object);
    }
    Ok(found)
}

/// All interfaces of these objects but the common ones: those of one name are the same everywhere.
pub fn interfaces(objects: &BTreeMap<String, Object>) -> BTreeMap<String, Interface> {
    let mut all = BTreeMap::new();
    for (path, object) in objects {
        for (name, members) in object.interfaces.iter().filter(|(name, _)| !name.starts_with(COMMON)) {
            let first = all.entry(name.clone()).or_insert_with(|| members.clone());
            assert_eq!(first, members, "{name} at {path}");
        }
    }
    all
}
