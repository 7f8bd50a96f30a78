//! Options of methods (`a{sv}`) as words of a command line of ours. Pure.
//!
//! A machine's settings are those of the table in [`crate::settings::keys`], called as in its TOML files: `ephemeral`, or
//! `machine.ephemeral` with the table's name. What is wrong with a value is said by who parses the command line.

use zbus::{Array, Dict, Variant};

use super::variants::Dictionary;
use crate::manager::problem::{Kind as ProblemKind, Problem};
use crate::settings::keys::{self, Key, Kind};

/// What an option of a verb takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// `b`: `--name`, or nothing.
    Flag,
    /// A text or a number: `--name=VALUE`.
    Value,
    /// `as`: the same for each.
    Values,
    /// A time: `t` in microseconds, or a text such as `30s`.
    Time,
}

/// Options of a verb of ours that is no start: their names, and what they take.
pub type VerbOptions = [(&'static str, Takes)];

/// What may be started, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartOptions {
    /// Settings, as options of `spinney run`.
    pub settings: Vec<String>,
    /// What comes after `--`: the command, or arguments of the init.
    pub parameters: Vec<String>,
    /// The machine's name.
    pub machine: Option<String>,
    /// The call is answered when the machine is up.
    pub wait: bool,
}

impl StartOptions {
    /// Sorts `options`.
    ///
    /// # Errors
    /// [`ProblemKind::InvalidArgument`] for what is no setting, or of another type.
    pub fn of(options: &Dictionary) -> Result<Self, Problem> {
        let mut result = Self::default();
        // The same options are the same command line.
        let mut names: Vec<&String> = options.keys().collect();
        names.sort_unstable();
        for name in names {
            let Some(value) = options.get(name) else { continue };
            match name.as_str() {
                "wait" => result.wait = boolean(name, value)?,
                "machine" => result.machine = Some(text(name, value)?),
                "boot" | "execution.boot" => {
                    result.settings.extend(boolean(name, value)?.then(|| "--boot".to_owned()));
                }
                "parameters" | "execution.parameters" => result.parameters = texts(name, value)?,
                _ => result.settings.extend(setting(name, value)?),
            }
        }
        Ok(result)
    }
}

/// Words for one setting.
fn setting(name: &str, value: &Variant<'_>) -> Result<Vec<String>, Problem> {
    let key = key(name)?;
    if key.option.is_empty() {
        return Err(invalid(format!("{} is for settings files only", key.path())));
    }
    if key.name == "process-two" {
        // Two options stand for the two values.
        return Ok(vec![if boolean(name, value)? { "--as-pid2" } else { "--as-pid1" }.to_owned()]);
    }
    let option = key.option.trim_end_matches('=');
    let words = match key.kind {
        Kind::Boolean => vec![yes_no(boolean(name, value)?).to_owned()],
        Kind::Word | Kind::Text | Kind::Number | Kind::Numbers => vec![one(name, value)?],
        Kind::List | Kind::Command => texts(name, value)?,
        Kind::Pairs(between) => pairs(name, value, between)?,
    };
    Ok(words.into_iter().map(|word| format!("{option}={word}")).collect())
}

/// The setting called `name`, with its table or without.
fn key(name: &str) -> Result<&'static Key, Problem> {
    if let Some((table, name)) = name.split_once('.') {
        return keys::find(table, name)
            .map_err(|way| invalid(format!("Unknown option {table}.{name}: {way}")));
    }
    keys::all().find(|key| key.name == name).ok_or_else(|| {
        let nearest = crate::settings::nearest(name, keys::all().map(|key| key.name));
        let way = nearest.map(|nearest| format!(": did you mean {nearest}?")).unwrap_or_default();
        invalid(format!("Unknown option {name:?}{way}"))
    })
}

/// Words for options of a verb.
///
/// # Errors
/// [`ProblemKind::InvalidArgument`] for others, or values of another type.
pub fn words(options: &Dictionary, known: &VerbOptions) -> Result<Vec<String>, Problem> {
    let mut names: Vec<&String> = options.keys().filter(|name| *name != "wait").collect();
    names.sort_unstable();
    let mut result = Vec::new();
    for name in names {
        let Some(value) = options.get(name) else { continue };
        let Some((_, takes)) = known.iter().find(|(known, _)| known == name) else {
            let all: Vec<&str> = known.iter().map(|(name, _)| *name).chain(["wait"]).collect();
            return Err(invalid(format!("Unknown option {name:?}: there are {}", all.join(", "))));
        };
        match takes {
            Takes::Flag => result.extend(boolean(name, value)?.then(|| format!("--{name}"))),
            Takes::Value => result.push(format!("--{name}={}", one(name, value)?)),
            Takes::Values => {
                result.extend(texts(name, value)?.into_iter().map(|text| format!("--{name}={text}")));
            }
            Takes::Time => result.push(format!("--{name}={}", time(name, value)?)),
        }
    }
    Ok(result)
}

/// Whether the caller wants its answer when all is done.
///
/// # Errors
/// [`ProblemKind::InvalidArgument`] for what is no boolean.
pub fn waits(options: &Dictionary) -> Result<bool, Problem> {
    options.get("wait").map_or(Ok(false), |value| boolean("wait", value))
}

/// A boolean, also as a word of systemd's.
///
/// # Errors
/// [`ProblemKind::InvalidArgument`] for anything else.
pub fn boolean(name: &str, value: &Variant<'_>) -> Result<bool, Problem> {
    match value {
        Variant::Bool(value) => Ok(*value),
        Variant::Str(text) => match text.as_str() {
            "yes" | "true" | "on" | "1" => Ok(true),
            "no" | "false" | "off" | "0" => Ok(false),
            _ => Err(wrong(name, "a boolean")),
        },
        _ => Err(wrong(name, "a boolean")),
    }
}

/// A text.
///
/// # Errors
/// [`ProblemKind::InvalidArgument`] for anything else.
pub fn text(name: &str, value: &Variant<'_>) -> Result<String, Problem> {
    match value {
        Variant::Str(text) => Ok(text.as_str().to_owned()),
        _ => Err(wrong(name, "a string")),
    }
}

/// A list of texts, or one text.
///
/// # Errors
/// [`ProblemKind::InvalidArgument`] for anything else.
pub fn texts(name: &str, value: &Variant<'_>) -> Result<Vec<String>, Problem> {
    match value {
        Variant::Array(array) => array.inner().iter().map(|value| one(name, value)).collect(),
        value => Ok(vec![one(name, value)?]),
    }
}

/// A time as it is written: `30s`, or a number of microseconds.
///
/// # Errors
/// [`ProblemKind::InvalidArgument`] for anything else.
pub fn time(name: &str, value: &Variant<'_>) -> Result<String, Problem> {
    match value {
        Variant::Str(text) => Ok(text.as_str().to_owned()),
        value => match number(value) {
            Some(number) => Ok(format!("{number}us")),
            None => Err(wrong(name, "a number of microseconds, or a string such as \"30s\"")),
        },
    }
}

/// Pairs as `KEY between VALUE`.
fn pairs(name: &str, value: &Variant<'_>, between: char) -> Result<Vec<String>, Problem> {
    match value {
        Variant::Dict(dict) => {
            let mut words = fields(name, dict)?;
            words.sort_unstable();
            Ok(words.into_iter().map(|(key, value)| format!("{key}{between}{value}")).collect())
        }
        value => texts(name, value),
    }
}

/// A table of texts: `a{ss}`, or `as` of `NAME=value`.
///
/// # Errors
/// [`ProblemKind::InvalidArgument`] for anything else.
pub fn assignments(name: &str, value: &Variant<'_>) -> Result<Vec<String>, Problem> {
    pairs(name, value, '=')
}

fn fields(name: &str, dict: &Dict<'_, '_>) -> Result<Vec<(String, String)>, Problem> {
    dict.iter().map(|(key, value)| Ok((one(name, key)?, one(name, value)?))).collect()
}

/// One value as text: a list of numbers with commas, a boolean as yes or no.
fn one(name: &str, value: &Variant<'_>) -> Result<String, Problem> {
    match value {
        Variant::Str(text) => Ok(text.as_str().to_owned()),
        Variant::Bool(value) => Ok(yes_no(*value).to_owned()),
        Variant::F64(number) => Ok(number.to_string()),
        Variant::Variant(value) => one(name, value),
        Variant::Array(array) => numbers(name, array),
        value => number(value).ok_or_else(|| wrong(name, "a string or a number")),
    }
}

fn numbers(name: &str, array: &Array<'_>) -> Result<String, Problem> {
    let numbers = array.inner().iter().map(|value| number(value).ok_or_else(|| wrong(name, "numbers")));
    Ok(numbers.collect::<Result<Vec<_>, _>>()?.join(","))
}

fn number(value: &Variant<'_>) -> Option<String> {
    Some(match value {
        Variant::U8(number) => number.to_string(),
        Variant::I16(number) => number.to_string(),
        Variant::U16(number) => number.to_string(),
        Variant::I32(number) => number.to_string(),
        Variant::U32(number) => number.to_string(),
        Variant::I64(number) => number.to_string(),
        Variant::U64(number) => number.to_string(),
        Variant::Variant(value) => return number(value),
        _ => return None,
    })
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

fn wrong(name: &str, expected: &str) -> Problem {
    invalid(format!("Option {name:?} is to be {expected}"))
}

fn invalid(text: impl Into<String>) -> Problem {
    Problem::new(ProblemKind::InvalidArgument, text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use zbus::OwnedVariant;

    use super::*;

    fn owned<'a>(value: impl Into<Variant<'a>>) -> OwnedVariant {
        OwnedVariant::try_from(value.into()).unwrap()
    }

    fn start(options: &[(&str, OwnedVariant)]) -> Result<StartOptions, String> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        StartOptions::of(&options).map_err(|problem| problem.text)
    }

    #[test]
    fn settings() {
        let table: Vec<(&str, OwnedVariant, &[&str])> = vec![
            ("ephemeral", owned(true), &["--ephemeral=yes"]),
            ("machine.ephemeral", owned("no"), &["--ephemeral=no"]),
            ("hostname", owned("web"), &["--hostname=web"]),
            ("port", owned(vec!["8080:80", "udp:53"]), &["--port=8080:80", "--port=udp:53"]),
            ("port", owned("8080:80"), &["--port=8080:80"]),
            ("setenv", owned(HashMap::from([("B", "2"), ("A", "1")])), &["--setenv=A=1", "--setenv=B=2"]),
            ("setenv", owned(vec!["A=1"]), &["--setenv=A=1"]),
            ("memory-max", owned(1u64 << 30), &["--memory-max=1073741824"]),
            ("resources.memory-max", owned("1G"), &["--memory-max=1G"]),
            ("allowed-cpus", owned(vec![0u32, 2]), &["--allowed-cpus=0,2"]),
            ("private-users", owned(false), &["--private-users=no"]),
            ("process-two", owned(false), &["--as-pid1"]),
            ("boot", owned(true), &["--boot"]),
            ("boot", owned(false), &[]),
            ("timeout-ready", owned("30s"), &["--timeout-ready=30s"]),
        ];
        for (name, value, words) in table {
            assert_eq!(start(&[(name, value)]).unwrap().settings, words, "{name}");
        }
        let all = start(&[
            ("wait", owned(true)),
            ("machine", owned("web")),
            ("parameters", owned(vec!["-s", "x y"])),
        ]);
        let expected = StartOptions {
            settings: Vec::new(),
            parameters: vec!["-s".to_owned(), "x y".to_owned()],
            machine: Some("web".to_owned()),
            wait: true,
        };
        assert_eq!(all.unwrap(), expected);
    }

    #[test]
    fn refused() {
        let table = [
            ("ephemerl", owned(true), "Unknown option \"ephemerl\": did you mean ephemeral?"),
            (
                "files.ephemeral",
                owned(true),
                "Unknown option files.ephemeral: ephemeral belongs in [machine]",
            ),
            ("enabled", owned(true), "autostart.enabled is for settings files only"),
            ("ephemeral", owned(3u32), "Option \"ephemeral\" is to be a boolean"),
            ("wait", owned("maybe"), "Option \"wait\" is to be a boolean"),
            ("machine", owned(3u32), "Option \"machine\" is to be a string"),
        ];
        for (name, value, text) in table {
            assert_eq!(start(&[(name, value)]).unwrap_err(), text);
        }
    }

    /// Every setting that `spinney run` has an option for can be given.
    #[test]
    fn every_setting_has_a_word() {
        for key in keys::all().filter(|key| !key.option.is_empty() && key.name != "boot") {
            let words = start(&[(&key.path(), owned("yes"))]).unwrap().settings;
            let [word] = words.as_slice() else { panic!("{}: {words:?}", key.path()) };
            assert!(word.starts_with("--"), "{word}");
        }
    }

    #[test]
    fn options_of_verbs() {
        let known = [
            ("force", Takes::Flag),
            ("verify", Takes::Value),
            ("unit", Takes::Values),
            ("after", Takes::Time),
        ];
        let options: Dictionary = [
            ("force", owned(true)),
            ("verify", owned("no")),
            ("unit", owned(vec!["a", "b"])),
            ("after", owned(5u64)),
            ("wait", owned(true)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        assert_eq!(
            words(&options, &known).unwrap(),
            ["--after=5us", "--force", "--unit=a", "--unit=b", "--verify=no"]
        );
        assert!(waits(&options).unwrap());
        let other = Dictionary::from([("x".to_owned(), owned(true))]);
        assert_eq!(
            words(&other, &known).unwrap_err().text,
            "Unknown option \"x\": there are force, verify, unit, after, wait"
        );
    }
}
