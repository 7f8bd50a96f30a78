//! A machine's settings while values are put into them; then what only all of them together decide.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::assignment::{Assignment, LayerNumber, Source};
use super::keys::{self, Key};
use super::network::Choice;
use super::refused::SettingsError;
use super::surroundings::Environment;
use super::{
    CREDENTIALS_SIZE_MAX, ConsoleMode, ConsoleRequest, Credential, CredentialFile, MachineName,
    MachineSettings, Payload, Variable, Volatile, divide_boot_arguments,
};

/// A credential as it was asked for.
#[derive(Debug)]
pub(super) enum AskedCredential {
    /// With its contents.
    Value(Credential),
    /// To be read.
    File(CredentialFile),
}

/// What values are put into, one by one.
#[derive(Debug)]
pub struct Draft {
    /// What a value alone decides.
    pub(super) settings: MachineSettings,
    /// Whose network it has.
    pub(super) network: Choice,
    /// `--directory=`
    pub(super) directory: Option<PathBuf>,
    /// Boot the init, or do not.
    pub(super) boot: Option<bool>,
    /// The command, or the init's arguments.
    pub(super) parameters: Vec<OsString>,
    /// Run a command below the stub init, or as PID 1.
    pub(super) process_two: Option<bool>,
    /// `--init=`
    pub(super) init: Option<PathBuf>,
    /// `--console=`
    pub(super) console: Option<ConsoleRequest>,
    /// `--setenv=`
    pub(super) variables: Vec<Variable>,
    /// `--set-credential=` and `--load-credential=`
    pub(super) credentials: Vec<AskedCredential>,
}

/// What runs where neither a command nor the init is asked for, as systemd-nspawn does: a login shell.
const SHELL: [&str; 2] = ["/bin/sh", "-l"];

impl Draft {
    /// What holds when nobody says anything.
    pub(super) fn built_in() -> Self {
        Self {
            settings: MachineSettings::built_in(),
            network: Choice::default(),
            directory: None,
            boot: None,
            parameters: Vec::new(),
            process_two: None,
            init: None,
            console: None,
            variables: Vec::new(),
            credentials: Vec::new(),
        }
    }

    /// The settings of machine `name` from `tree`, given what of `effective` was put into the draft.
    pub(super) fn finish(
        mut self,
        tree: PathBuf,
        name: Option<MachineName>,
        effective: &[Assignment],
        environment: &Environment,
    ) -> Result<MachineSettings, SettingsError> {
        let given = GivenBy(effective);
        self.settings.tree = tree;
        self.settings.machine = name;
        let payload = self.payload(&given)?;
        self.mac_of_environment(environment)?;
        std::mem::take(&mut self.network).decide(&mut self.settings.network, &payload, &given)?;
        self.settings.environment = resolved(std::mem::take(&mut self.variables), environment.variable);
        self.settings.console = Some(console(self.console, &payload, environment.on_terminal));
        self.settings.credentials = read(std::mem::take(&mut self.credentials), environment)?;
        self.settings.payload = payload;
        refuse_combinations(&self.settings, &given)?;
        Ok(self.settings)
    }

    /// systemd-nspawn's variable, which stands for the option that it has not. It asks for no network by itself.
    fn mac_of_environment(&mut self, environment: &Environment) -> Result<(), SettingsError> {
        const VARIABLE: &str = "SYSTEMD_NSPAWN_NETWORK_MAC";
        if self.settings.network.mac.is_none()
            && let Some(text) = (environment.variable)(VARIABLE)
        {
            let mac = text.to_string_lossy().parse().map_err(|error| SettingsError::option(VARIABLE, error));
            self.settings.network.mac = Some(mac?);
        }
        Ok(())
    }

    /// What runs. Settings that are for the other kind of payload are refused when they stand on the command line, and
    /// are not in force when they come from files: those are for all runs of a machine.
    fn payload(&mut self, given: &GivenBy<'_>) -> Result<Payload, SettingsError> {
        let refuse = |problem: &str, hint: &str| {
            Err(SettingsError::Combination { problem: problem.to_owned(), hint: hint.to_owned() })
        };
        let boots = self.boot.unwrap_or(self.parameters.is_empty());
        if boots {
            if given.on_command_line("execution.process-two") {
                return refuse(
                    "--as-pid1 and --as-pid2 are for commands, not for boots",
                    "spinney run TREE -- COMMAND",
                );
            }
            if given.on_command_line("execution.user") {
                return refuse(
                    "--uid= is for commands: an init runs as root",
                    "spinney run --uid=USER TREE -- COMMAND",
                );
            }
            if given.on_command_line("security.ambient-capability") {
                return refuse(
                    "--ambient-capability= is for commands, not for boots",
                    "--capability= gives capabilities to a booted machine",
                );
            }
            self.settings.user = None;
            self.settings.capabilities.ambient = 0;
            let (environment, arguments) = divide_boot_arguments(std::mem::take(&mut self.parameters));
            self.variables.extend(environment);
            return Ok(Payload::Boot { init: self.init.take(), arguments });
        }
        if given.on_command_line("execution.init") {
            return refuse(
                "--init= is for boots, and a command was given",
                "add --boot to give what follows -- to the init",
            );
        }
        let mut argv = std::mem::take(&mut self.parameters);
        if argv.is_empty() {
            argv = SHELL.map(OsString::from).to_vec();
        }
        if argv.first().is_some_and(|program| program.is_empty()) {
            return refuse("the command is an empty string", "spinney run TREE -- COMMAND [ARG...]");
        }
        Ok(Payload::Command { argv, as_pid1: self.process_two == Some(false) })
    }
}

/// Who gave which setting.
pub(super) struct GivenBy<'a>(&'a [Assignment]);

impl GivenBy<'_> {
    fn last(&self, path: &str) -> Option<&Assignment> {
        let key = keys::known(path)?;
        self.0.iter().rev().find(|assignment| assignment.key == key)
    }

    fn source(&self, path: &str) -> Option<(&'static Key, &Source)> {
        self.last(path).map(|assignment| (assignment.key, &assignment.source))
    }

    /// The highest layer that gave it.
    pub(super) fn layer(&self, path: &str) -> Option<LayerNumber> {
        self.last(path).map(|assignment| assignment.layer)
    }

    /// Whether a .nspawn file gave it.
    pub(super) fn is_nspawn(&self, path: &str) -> bool {
        let file = self.source(path).and_then(|(_, source)| source.path());
        file.and_then(Path::extension).is_some_and(|extension| extension == "nspawn")
    }

    pub(super) fn on_command_line(&self, path: &str) -> bool {
        self.source(path).is_some_and(|(_, source)| source.is_command_line())
    }

    /// How a sentence calls the setting.
    pub(super) fn name(&self, path: &str) -> String {
        self.source(path).map_or_else(|| path.to_owned(), |(key, source)| source.setting(key))
    }
}

fn refuse_combinations(settings: &MachineSettings, given: &GivenBy<'_>) -> Result<(), SettingsError> {
    if settings.volatile != Volatile::No && settings.read_only {
        let (read_only, volatile) = (given.name("files.read-only"), given.name("files.volatile"));
        return Err(SettingsError::Combination {
            problem: format!("{read_only} and {volatile} do not go together"),
            hint: "--volatile leaves the tree on disk alone by itself".to_owned(),
        });
    }
    Ok(())
}

/// The last assignment of each name wins; a name without a value takes ours, or goes when we have none.
fn resolved(variables: Vec<Variable>, ours: fn(&str) -> Option<OsString>) -> Vec<(OsString, OsString)> {
    let mut result: Vec<(OsString, OsString)> = Vec::with_capacity(variables.len());
    for variable in variables {
        result.retain(|(name, _)| name != OsStr::new(&variable.name));
        if let Some(value) = variable.value.or_else(|| ours(&variable.name)) {
            result.push((variable.name.into(), value));
        }
    }
    result
}

fn console(request: Option<ConsoleRequest>, payload: &Payload, on_terminal: bool) -> ConsoleMode {
    match (request, payload) {
        (Some(request), _) => request.resolve(on_terminal),
        (None, Payload::Command { .. }) => ConsoleRequest::AutoPipe.resolve(on_terminal),
        (None, Payload::Boot { .. }) if on_terminal => ConsoleMode::Interactive,
        (None, Payload::Boot { .. }) => ConsoleMode::ReadOnly,
    }
}

/// Reads the credentials that are in files. Each is there once: see [`super::merge`].
fn read(asked: Vec<AskedCredential>, environment: &Environment) -> Result<Vec<Credential>, SettingsError> {
    let inherited = (environment.variable)("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let mut credentials: Vec<Credential> = Vec::with_capacity(asked.len());
    for asked in asked {
        let credential = match asked {
            AskedCredential::Value(credential) => credential,
            AskedCredential::File(file) => read_one(file, inherited.as_deref(), environment.read)?,
        };
        if credentials.iter().any(|earlier| earlier.id == credential.id) {
            return Err(SettingsError::Combination {
                problem: format!("the credential {} is given twice", credential.id),
                hint: "give each credential once".to_owned(),
            });
        }
        credentials.push(credential);
    }
    if credentials.iter().map(|credential| credential.value.len()).sum::<usize>() > CREDENTIALS_SIZE_MAX {
        return Err(SettingsError::Combination {
            problem: "the credentials are larger than 1 MiB together".to_owned(),
            hint: "bind large files with --bind-ro=".to_owned(),
        });
    }
    Ok(credentials)
}

fn read_one(
    file: CredentialFile,
    inherited: Option<&Path>,
    read: fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<Credential, SettingsError> {
    let path = file
        .file(inherited)
        .map_err(|error| SettingsError::value(&Source::Option("--load-credential="), error.into()))?;
    match read(&path) {
        Ok(value) => Ok(Credential { id: file.id, value }),
        Err(source) => Err(SettingsError::CredentialFile { id: file.id, path, source }),
    }
}
