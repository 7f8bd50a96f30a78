//! The command line as one more layer of settings: which option gives which setting. Their values are judged where all
//! settings are (`crate::settings`).

use std::ffi::OsString;

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::arguments::RunArguments;
use super::invocation::RunInvocation;
use crate::settings::assignment::{Assignment, Change, Source};
use crate::settings::keys::{self, Key};
use crate::settings::{Asked, Manner, SettingsError, SettingsMode, ValueError, Words};

/// Options that stand for one value of another, by clap's name: how people know them, and what they give.
const SHORTHANDS: &[(&str, &str, &str, &str)] = &[
    ("as_pid2", "--as-pid2", "execution.process-two", "yes"),
    ("as_pid1", "--as-pid1", "execution.process-two", "no"),
    ("private_users_pick", "-U", "users.private-users", "pick"),
    ("link_journal_try_guest", "-j", "integration.link-journal", "try-guest"),
    ("pipe", "--pipe", "console.mode", "pipe"),
];

/// Options that say what runs, and where: not values of their own, but told by [`asked`].
const NOT_BY_VALUE: [&str; 5] = ["boot", "directory", "image", "mstack", "as_pid2"];

/// One option as it was given.
#[derive(Debug, Clone)]
pub struct GivenOption {
    key: &'static Key,
    option: &'static str,
    value: OsString,
}

/// The options in `matches` that give settings, in the order in which they stand on the command line.
pub fn given_in_order(matches: &ArgMatches) -> Vec<GivenOption> {
    let mut found: Vec<(usize, GivenOption)> = Vec::new();
    for key in keys::all().filter(|key| !key.option.is_empty()) {
        let id = key.option.trim_matches(['-', '=']).replace('-', "_");
        if NOT_BY_VALUE.contains(&id.as_str()) {
            continue;
        }
        let values = values_of(matches, &id);
        found.extend(values.map(|(at, value)| (at, GivenOption { key, option: key.option, value })));
    }
    for (id, option, path, word) in SHORTHANDS {
        let Some(key) = keys::known(path) else { continue };
        let values = values_of(matches, id);
        found.extend(values.map(|(at, _)| (at, GivenOption { key, option, value: word.into() })));
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, given)| given).collect()
}

/// The values of the option that clap calls `id`, with their places; none if this verb has no such option.
fn values_of(matches: &ArgMatches, id: &str) -> impl Iterator<Item = (usize, OsString)> {
    let given = matches!(matches.try_contains_id(id), Ok(true))
        && matches.value_source(id) == Some(ValueSource::CommandLine);
    let values: Vec<(usize, OsString)> = match given {
        true => {
            let places = matches.indices_of(id).into_iter().flatten();
            places.zip(matches.get_raw(id).into_iter().flatten().map(OsString::from)).collect()
        }
        false => Vec::new(),
    };
    values.into_iter()
}

/// What `invocation` asks for.
///
/// # Errors
/// Options that do not go together.
pub fn asked(invocation: &RunInvocation) -> Result<Asked, SettingsError> {
    let options = &invocation.options;
    if options.as_pid1 && options.as_pid2 {
        return Err(SettingsError::Combination {
            problem: "--as-pid1 and --as-pid2 do not go together".to_owned(),
            hint: "--as-pid2 is the default".to_owned(),
        });
    }
    let mut assignments: Vec<Assignment> = invocation
        .given
        .iter()
        .map(|given| Assignment::of_option(given.key, given.option, given.value.clone()))
        .collect();
    assignments.extend(options.limits.assignments()?);
    assignments.extend(payload(options, &invocation.command));
    Ok(Asked {
        tree: invocation.tree.clone(),
        by_name: false,
        machine: optional("--machine=", options.machine.as_deref(), str::parse)?,
        mode: optional("--settings=", options.settings.as_deref(), mode)?.unwrap_or_default(),
        manner: Manner::Spinney,
        assignments,
    })
}

/// What runs, if the command line says so: then it says all of it.
fn payload(options: &RunArguments, command: &[OsString]) -> Vec<Assignment> {
    let (Some(boot), Some(parameters)) = (keys::known("execution.boot"), keys::known("execution.parameters"))
    else {
        return Vec::new();
    };
    let mut assignments = Vec::new();
    if options.boot {
        assignments.push(Assignment::of_option(boot, "--boot", "yes"));
        assignments.push(Assignment::of_operands(parameters, Change::Reset));
    } else if !command.is_empty() {
        assignments.push(Assignment::of_operands(boot, Change::Give("no".into())));
    }
    let words = command.iter().cloned().map(Change::Give);
    assignments.extend(words.map(|word| Assignment::of_operands(parameters, word)));
    assignments
}

fn mode(text: &str) -> Result<SettingsMode, ValueError> {
    SettingsMode::from_word_or_boolean(text)
        .map_err(|_| ValueError::new(text, "is not known", "yes, no, override or trusted"))
}

/// The value of an option that may not be given.
pub(super) fn optional<T>(
    option: &'static str,
    value: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<Option<T>, SettingsError> {
    value
        .map(|text| parse(text).map_err(|error| SettingsError::value(&Source::Option(option), error.into())))
        .transpose()
}

#[cfg(test)]
mod documentation_tests;
#[cfg(test)]
mod faults_tests;
#[cfg(test)]
mod forms_tests;
#[cfg(test)]
mod layers_tests;
#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod tests;
