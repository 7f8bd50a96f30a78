//! Options that limit a machine, of every verb that takes them. They are made of the one table of limits.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::settings::assignment::{Assignment, Change, Source};
use crate::settings::limits::Limits;
use crate::settings::limits::amount::cpus_as_quota;
use crate::settings::limits::keys::{KEYS, LimitKey, property, set_property};
use crate::settings::{SettingsError, ValueError, keys};

const HEADING: &str = "Limit options";
const CPUS: &str = "cpus";
const PROPERTY: &str = "property";

/// The limits that were said, in order.
#[derive(Debug, Clone, Default)]
pub struct LimitOptions {
    given: Vec<(Said, String)>,
}

/// How a limit was said.
#[derive(Debug, Clone, Copy)]
enum Said {
    Key(&'static LimitKey),
    /// `--cpus=`, which is docker's and counts CPUs.
    Cpus,
    /// `--property=`, which is systemd-nspawn's.
    Property,
}

impl Said {
    /// The option's name.
    fn option(self) -> &'static str {
        match self {
            Self::Key(key) => key.name,
            Self::Cpus => CPUS,
            Self::Property => PROPERTY,
        }
    }
}

impl LimitOptions {
    /// Nothing was said.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// What was said, as options again.
    pub fn arguments(&self) -> impl Iterator<Item = String> + '_ {
        self.given.iter().map(|(said, text)| format!("--{}={text}", said.option()))
    }

    /// The same, and then `properties`, each `NAME=VALUE`.
    pub fn with_properties(mut self, properties: Vec<String>) -> Self {
        self.given.extend(properties.into_iter().map(|text| (Said::Property, text)));
        self
    }

    /// What was said. A later value of a limit takes the place of an earlier one.
    ///
    /// # Errors
    /// For the first value that is not right.
    pub fn limits(&self) -> Result<Limits, SettingsError> {
        let mut limits = Limits::default();
        self.add_to(&mut limits)?;
        Ok(limits)
    }

    /// The same, on top of what `limits` says already.
    ///
    /// # Errors
    /// As [`LimitOptions::limits`].
    pub fn add_to(&self, limits: &mut Limits) -> Result<(), SettingsError> {
        for (said, text) in &self.given {
            let done = match said {
                Said::Key(key) => limits.set(key, text),
                Said::Cpus => cpus(limits, text),
                Said::Property => set_property(limits, text),
            };
            done.map_err(|error| SettingsError::option(&format!("--{}=", said.option()), error))?;
        }
        Ok(())
    }

    /// What was said, as a layer of settings.
    ///
    /// # Errors
    /// For a property that is no limit, or a number of CPUs that is none. All other values are judged with the settings.
    pub fn assignments(&self) -> Result<Vec<Assignment>, SettingsError> {
        self.given.iter().map(|(said, text)| said.assignment(text)).collect()
    }
}

impl Said {
    fn assignment(self, text: &str) -> Result<Assignment, SettingsError> {
        let (option, name, value) = match self {
            Self::Key(key) => (None, key.name, text.to_owned()),
            Self::Cpus if text.is_empty() => (Some("--cpus="), "cpu-quota", String::new()),
            Self::Cpus => {
                let quota = cpus_as_quota(text).map_err(|error| SettingsError::option("--cpus=", error))?;
                (Some("--cpus="), "cpu-quota", quota.to_string())
            }
            Self::Property => {
                let (key, value) =
                    property(text).map_err(|error| SettingsError::option("--property=", error))?;
                (Some("--property="), key.name, value.to_owned())
            }
        };
        let Some(key) = keys::known(&format!("resources.{name}")) else {
            return Err(SettingsError::combination(
                format!("{name} is no setting"),
                "this is a fault in spinney",
            ));
        };
        let change = if value.is_empty() { Change::Reset } else { Change::Give(value.into()) };
        Ok(Assignment::new(key, change, Source::Option(option.unwrap_or(key.option))))
    }
}

fn cpus(limits: &mut Limits, text: &str) -> Result<(), ValueError> {
    limits.cpu_quota = if text.is_empty() { None } else { Some(cpus_as_quota(text)?) };
    Ok(())
}

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    let option = Arg::new(name).long(name).value_name(value).help(help).help_heading(HEADING);
    option.action(ArgAction::Append).value_parser(clap::value_parser!(String))
}

impl clap::Args for LimitOptions {
    fn augment_args(command: Command) -> Command {
        let keys = KEYS.iter().map(|key| {
            let option = option(key.name, key.value, key.help).visible_aliases(key.aliases.iter().copied());
            match key.short {
                Some(letter) => option.short(letter),
                None => option,
            }
        });
        command
            .args(keys)
            .arg(option(CPUS, "NUMBER", "The same as --cpu-quota=, counted in CPUs: 0.5, 2"))
            .arg(option(PROPERTY, "NAME=VALUE", "A limit by its name in systemd.resource-control(5)"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for LimitOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let all = KEYS.iter().map(|key| (key.name, Said::Key(key)));
        let mut found = Vec::new();
        for (id, said) in all.chain([(CPUS, Said::Cpus), (PROPERTY, Said::Property)]) {
            let indices = matches.indices_of(id).into_iter().flatten();
            let values = matches.get_many::<String>(id).into_iter().flatten();
            found.extend(indices.zip(values).map(|(index, value)| (index, said, value.clone())));
        }
        found.sort_by_key(|(index, ..)| *index);
        Ok(Self { given: found.into_iter().map(|(_, said, value)| (said, value)).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    fn limits(line: &[&str]) -> Result<String, String> {
        let command = LimitOptions::augment_args(Command::new("x").no_binary_name(true));
        let matches = command.try_get_matches_from(line).unwrap();
        let options = LimitOptions::from_arg_matches(&matches).unwrap();
        assert_eq!(options.is_empty(), line.is_empty());
        let again = LimitOptions::augment_args(Command::new("x").no_binary_name(true));
        let again = again.try_get_matches_from(options.arguments()).unwrap();
        let again = LimitOptions::from_arg_matches(&again).unwrap();
        assert_eq!(again.arguments().collect::<Vec<_>>(), options.arguments().collect::<Vec<_>>());
        let limits = options.limits().map_err(|error| {
            format!("{error}: {}; {}", std::error::Error::source(&error).unwrap(), error.hint().unwrap())
        })?;
        Ok(serde_json::to_string(&limits).unwrap())
    }

    #[test]
    fn what_was_said() {
        for (line, expected) in [
            (&[] as &[&str], "{}"),
            (&["--memory-max=1K"], "{\"memory-max\":[\"1024\"]}"),
            (&["--memory=1K", "-m", "2K"], "{\"memory-max\":[\"2048\"]}"),
            (&["-m2K", "--property=MemoryMax=1K"], "{\"memory-max\":[\"1024\"]}"),
            (&["-m2K", "--memory-max="], "{}"),
            (&["--cpus=1.5"], "{\"cpu-quota\":[\"150%\"]}"),
            (&["--cpu-quota=50%", "--cpus", "2"], "{\"cpu-quota\":[\"200%\"]}"),
            (&["--cpus=2", "--cpu-quota=50%"], "{\"cpu-quota\":[\"50%\"]}"),
            (&["--pids-limit=9", "--cpuset-cpus=0,1"], "{\"allowed-cpus\":[\"0-1\"],\"tasks-max\":[\"9\"]}"),
            (
                &["--device=/dev/fuse", "--device", "/dev/kvm:rw"],
                "{\"device\":[\"/dev/fuse:/dev/fuse:rwm\",\"/dev/kvm:/dev/kvm:rw\"]}",
            ),
        ] {
            assert_eq!(limits(line).as_deref(), Ok(expected), "{line:?}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (line, expected) in [
            (
                "--memory-max=lots",
                "bad value for --memory-max=: \"lots\" is not a size of memory; bytes with K, M, G or T (512M, 1.5G), \
                 a share of the host's memory (25%), or infinity",
            ),
            ("--cpus=x", "bad value for --cpus=: \"x\" is not a number of CPUs; for example 1.5"),
            (
                "--property=TasksMaks=5",
                "bad value for --property=: \"TasksMaks\" is not a limit; did you mean \"TasksMax\"?; one of: MemoryMax, \
                 MemoryHigh, MemoryLow, MemoryMin, MemorySwapMax, CPUQuota, CPUWeight, AllowedCPUs, AllowedMemoryNodes, \
                 TasksMax, IOWeight, IODeviceWeight, IOReadBandwidthMax, IOWriteBandwidthMax, IOReadIOPSMax, \
                 IOWriteIOPSMax, Device, DeviceAllow, NetClass, NetPriority",
            ),
        ] {
            assert_eq!(limits(&[line]).unwrap_err(), expected);
        }
    }
}
