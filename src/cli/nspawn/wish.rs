//! A parsed command line to what it wishes for: settings, and what is not one. Pure; nothing is looked for here.

use std::ffi::OsString;
use std::path::PathBuf;

use super::options::{Meaning, NEVER_CHOWNED, Option as Known};
use super::parse::{CommandLine, GivenOption};
use crate::cli::refusal::Refusal;
use crate::cli::run::words_of;
use crate::settings::assignment::{Assignment, Change};
use crate::settings::{MachineName, SettingsMode, Slice, ValueError, Words, keys, limits};
use crate::supervisor::Register;

/// What a command line wishes for.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// `--directory=`, `--image=` or `--mstack=`.
    pub(super) tree: Option<PathBuf>,
    /// `--template=`
    pub(super) template: Option<PathBuf>,
    /// `--machine=`
    pub(super) machine: Option<MachineName>,
    /// `--settings=`
    pub(super) mode: SettingsMode,
    /// `--ephemeral`
    pub(super) ephemeral: bool,
    /// `--quiet`
    pub(super) quiet: bool,
    /// `--keep-unit`
    pub(super) keep_unit: bool,
    /// `--register=`
    pub(super) register: Option<Register>,
    /// `--slice=`
    pub(super) slice: Option<Slice>,
    /// `--cleanup`
    pub(super) cleanup: bool,
    /// Settings, in order.
    pub(super) assignments: Vec<Assignment>,
    /// What goes worse than asked.
    pub(super) warnings: Vec<String>,
}

/// How the payload is started, if the command line says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Boot,
    BelowInit,
}

/// What is put together while options are read.
#[derive(Debug, Default)]
struct Reader {
    wish: Wish,
    start: Option<Start>,
    directory: Option<PathBuf>,
    image: Option<PathBuf>,
    mstack: Option<PathBuf>,
    properties: Vec<String>,
}

/// What `line`, of a program called `program`, wishes for.
///
/// # Errors
/// What is wrong with it, or the help that it asks for.
pub(super) fn wish(line: CommandLine, program: &str) -> Result<Wish, Refusal> {
    let mut reader = Reader::default();
    for given in line.options {
        reader.option(given, program)?;
    }
    reader.finish(line.parameters)
}

impl Reader {
    fn option(&mut self, given: GivenOption, program: &str) -> Result<(), Refusal> {
        let GivenOption { option, value } = given;
        match option.meaning {
            Meaning::Own => self.own(option, value.unwrap_or_default(), program),
            Meaning::Nothing => Ok(()),
            Meaning::Refused(why) => Err(Refusal::error(format!("--{} is not supported", option.long), why)),
            Meaning::Word(path, word) => {
                self.wish.ephemeral |= path == "machine.ephemeral";
                self.assign(keys::known(path), word.into());
                Ok(())
            }
            Meaning::Setting => {
                if value.as_ref().is_some_and(|value| value == "help")
                    && let Some(words) = words_of(option.long)
                {
                    return Err(Refusal::Display(words.join("\n") + "\n"));
                }
                // An empty name is none, as if it had not been given.
                let unset = option.long == "hostname" && value.as_ref().is_some_and(|value| value.is_empty());
                if !unset {
                    self.assign(keys::of_option(option.long), value.unwrap_or_else(|| "yes".into()));
                }
                Ok(())
            }
        }
    }

    fn assign(&mut self, key: Option<&'static keys::Key>, value: OsString) {
        let assignment = key.map(|key| Assignment::of_option(key, key.option, value));
        self.wish.assignments.extend(assignment);
    }

    /// The options that are no settings.
    fn own(&mut self, option: &Known, value: OsString, program: &str) -> Result<(), Refusal> {
        let text = || value.to_str().unwrap_or_default();
        let bad = |hint: &'static str| {
            refused(option, ValueError::new(value.to_string_lossy(), "is not known", hint))
        };
        match option.long {
            "help" => return Err(Refusal::Display(super::help::text(program))),
            "version" => return Err(Refusal::Display(format!("spinney {}\n", env!("CARGO_PKG_VERSION")))),
            "quiet" => self.wish.quiet = true,
            "cleanup" => self.wish.cleanup = true,
            "keep-unit" => self.wish.keep_unit = true,
            "settings" => {
                self.wish.mode = SettingsMode::from_word_or_boolean(text())
                    .map_err(|_| bad("yes, no, override or trusted"))?;
            }
            "directory" => self.directory = Some(path(option, value)?),
            "image" => self.image = Some(path(option, value)?),
            "mstack" => self.mstack = Some(path(option, value)?),
            "template" => self.wish.template = Some(path(option, value)?),
            "image-policy" if text() != "*" => {
                return Err(Refusal::error(
                    "--image-policy= is not supported but for *",
                    "all known partitions of an image are taken; --image-policy=* says so",
                ));
            }
            "boot" => self.start(Start::Boot)?,
            "as-pid2" => self.start(Start::BelowInit)?,
            "machine" => {
                let name = Some(text()).filter(|text| !text.is_empty() || !value.is_empty());
                let name = name.map(|name| name.parse().map_err(|error| refused(option, error)));
                self.wish.machine = name.transpose()?;
            }
            "slice" => self.wish.slice = Some(text().parse().map_err(|error| refused(option, error))?),
            "property" => self.properties.push(text().to_owned()),
            "register" => {
                self.wish.register = Some(text().parse().map_err(|error| refused(option, error))?);
            }
            "private-users-ownership" => match text() {
                "help" => return Err(Refusal::Display("off\nmap\nforeign\nauto\n".to_owned())),
                // A tree's owner tells which IDs it has, and those are mapped to the container's whatever they are.
                "off" | "map" | "foreign" | "auto" => {}
                "chown" => {
                    return Err(Refusal::error(
                        "--private-users-ownership=chown is not supported",
                        NEVER_CHOWNED,
                    ));
                }
                _ => return Err(bad("off, map, foreign or auto")),
            },
            "user" if value.is_empty() => {
                return Err(Refusal::error(
                    "--user without a name is not supported: containers of users who are not root",
                    "sudo spinney-nspawn ...; --uid=NAME is for who runs the command inside",
                ));
            }
            "user" => self.assign(keys::of_option("uid"), value),
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, start: Start) -> Result<(), Refusal> {
        if self.start.is_some_and(|before| before != start) {
            return Err(Refusal::error(
                "--boot and --as-pid2 may not be combined",
                "an init needs no other one",
            ));
        }
        self.start = Some(start);
        Ok(())
    }

    fn finish(mut self, parameters: Vec<OsString>) -> Result<Wish, Refusal> {
        let apart = |one: &str, other: &str| {
            Err(Refusal::error(format!("{one} and {other} may not be combined"), "give one of them"))
        };
        let given = [
            ("--directory=", self.directory.take()),
            ("--image=", self.image.take()),
            ("--mstack=", self.mstack.take()),
        ];
        let mut trees = given.into_iter().filter_map(|(option, tree)| Some((option, tree?)));
        let (first, second) = (trees.next(), trees.next());
        if let (Some((one, _)), Some((other, _))) = (&first, &second) {
            return apart(one, other);
        }
        let wish = &mut self.wish;
        if wish.template.is_some() {
            match &first {
                Some((option @ ("--image=" | "--mstack="), _)) => return apart("--template=", option),
                Some(_) if wish.ephemeral => return apart("--ephemeral", "--template="),
                None if !wish.ephemeral && wish.machine.is_none() => {
                    return Err(Refusal::error(
                        "--template= needs --directory= or --machine=",
                        "--directory= is where the copy of the template goes",
                    ));
                }
                _ => {}
            }
        }
        wish.tree = first.map(|(_, tree)| tree);
        if wish.tree.is_none() && wish.ephemeral {
            // Nothing of it would stay: it is run from the template as it is.
            wish.tree = wish.template.take();
        }
        self.limits()?;
        self.payload(parameters);
        Ok(self.wish)
    }

    /// What would be the scope's.
    fn limits(&mut self) -> Result<(), Refusal> {
        if self.wish.register == Some(Register::No) && self.wish.keep_unit {
            if self.wish.slice.take().is_some() || !self.properties.is_empty() {
                self.wish.warnings.push(
                    "Machine and scope registration turned off, --slice= and --property= settings will have no effect."
                        .to_owned(),
                );
            }
            return Ok(());
        }
        for property in std::mem::take(&mut self.properties) {
            let (key, value) = limits::keys::property(&property).map_err(|error| {
                Refusal::error(format!("--property={property} is not supported: {error}"), error.hint())
            })?;
            self.assign(keys::of_option(key.name), value.into());
        }
        Ok(())
    }

    /// What runs, if the command line says so: then it says all of it.
    fn payload(&mut self, parameters: Vec<OsString>) {
        if self.start.is_none() && parameters.is_empty() {
            return;
        }
        let word = |yes: bool| OsString::from(if yes { "yes" } else { "no" });
        self.assign(keys::known("execution.boot"), word(self.start == Some(Start::Boot)));
        if self.start == Some(Start::BelowInit) {
            self.assign(keys::known("execution.process-two"), word(true));
        }
        if let Some(key) = keys::known("execution.parameters") {
            let words = parameters.into_iter().map(|word| Assignment::of_operands(key, Change::Give(word)));
            self.wish.assignments.extend(words);
        }
    }
}

fn path(option: &Known, value: OsString) -> Result<PathBuf, Refusal> {
    match value.is_empty() {
        true => Err(refused(option, ValueError::new("", "is no path", "a path of the host"))),
        false => Ok(value.into()),
    }
}

fn refused(option: &Known, error: ValueError) -> Refusal {
    Refusal::error(format!("bad value for --{}=: {error}", option.long), error.hint())
}

#[cfg(test)]
#[path = "wish_tests.rs"]
mod tests;
