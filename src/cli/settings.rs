//! Arguments to [`MachineSettings`]: a pure function of them and of our [`Environment`].

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::arguments::RunArguments;
use super::invocation::{MountOption, RunInvocation};
use crate::settings::{
    CREDENTIALS_SIZE_MAX, CapabilitySettings, ConsoleMode, ConsoleRequest, Credential, CredentialFile,
    CustomMount, LinkJournal, MachineSettings, Payload, PrivateUsers, ResourceLimit, SystemCallRule, Uuid,
    ValueError, Variable, Volatile, Words, check_hostname, divide_boot_arguments, parse_boolean,
    parse_capability_list, parse_duration, parse_guest_path, parse_oom_score_adjust, parse_user,
};

/// As systemd's DefaultTimeoutStopSec= (systemd-system.conf(5)).
const TIMEOUT_STOP: Duration = Duration::from_secs(90);

/// What `--timeout-stop=infinity` becomes: longer than any machine runs, and safe to add to a point in time.
const PRACTICALLY_FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What the settings depend on beside the arguments.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Both stdin and stdout are terminals.
    pub on_terminal: bool,
    /// Our working directory.
    pub directory: PathBuf,
    /// Looks up one of our environment variables.
    pub variable: fn(&str) -> Option<OsString>,
    /// Reads a file of the host.
    pub read: fn(&Path) -> io::Result<Vec<u8>>,
}

impl Environment {
    /// The one we really have.
    pub fn ours() -> io::Result<Self> {
        Ok(Self {
            on_terminal: io::stdin().is_terminal() && io::stdout().is_terminal(),
            directory: std::env::current_dir()?,
            variable: |name| std::env::var_os(name),
            read: read_credential,
        })
    }
}

/// Reads a credential's file, no further than one byte past the size at which it is refused: it may be /dev/zero.
fn read_credential(path: &Path) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    let limit = u64::try_from(CREDENTIALS_SIZE_MAX).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut value)?;
    Ok(value)
}

/// Why arguments give no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// One option's value is wrong.
    #[error("bad value for {option}")]
    Value {
        /// The option, as it is written.
        option: &'static str,
        /// What is wrong with the value.
        #[source]
        source: ValueError,
    },
    /// The value of an option that limits the machine is wrong.
    #[error("bad value for {option}")]
    Limit {
        /// The option, as it is written.
        option: String,
        /// What is wrong with the value.
        #[source]
        source: ValueError,
    },
    /// The same, said by a parser that puts the right form behind a semicolon.
    #[error("bad value for {option}: {problem}")]
    Access {
        /// The option, as it is written.
        option: &'static str,
        /// What is wrong with the value.
        problem: String,
        /// The right form.
        hint: String,
    },
    /// Options that do not go together.
    #[error("{problem}")]
    Combination {
        /// Which, and why.
        problem: String,
        /// The way out.
        hint: &'static str,
    },
    /// A credential's file cannot be read.
    #[error("cannot read the credential {id} from {}", path.display())]
    CredentialFile {
        /// The credential.
        id: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Our working directory is gone or unreadable.
    #[error("cannot tell the working directory")]
    Directory(#[source] io::Error),
}

impl SettingsError {
    /// The next step.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Value { source, .. } | Self::Limit { source, .. } => Some(source.hint()),
            Self::Access { hint, .. } => Some(hint),
            Self::Combination { hint, .. } => Some(hint),
            Self::CredentialFile { .. } => Some("--load-credential=ID:PATH reads PATH on the host"),
            Self::Directory(_) => Some("change to a directory that exists"),
        }
    }
}

/// The settings that `invocation` asks for in `environment`.
pub fn settings(
    invocation: &RunInvocation,
    environment: &Environment,
) -> Result<MachineSettings, SettingsError> {
    let options = &invocation.options;
    refuse_combinations(options, &invocation.command)?;
    let mut variables = options
        .setenv
        .iter()
        .map(|text| at("--setenv=", Variable::parse(text)))
        .collect::<Result<Vec<_>, _>>()?;
    let payload = payload(options, &invocation.command, &mut variables)?;
    let machine = optional("--machine=", options.machine.as_deref(), str::parse)?;
    let console = console(options, &payload, environment.on_terminal)?;
    Ok(MachineSettings {
        tree: environment.directory.join(&invocation.tree),
        machine,
        payload,
        ephemeral: options.ephemeral,
        volatile: optional("--volatile=", options.volatile.as_deref(), Volatile::from_word_or_boolean)?
            .unwrap_or_default(),
        read_only: options.read_only,
        pivot_root: optional("--pivot-root=", options.pivot_root.as_deref(), str::parse)?,
        hostname: optional("--hostname=", options.hostname.as_deref(), |name| {
            check_hostname(name).map(|()| name.to_owned())
        })?,
        uuid: optional("--uuid=", options.uuid.as_deref(), parse_machine_uuid)?,
        environment: resolved(variables, environment.variable),
        chdir: optional("--chdir=", options.chdir.as_deref(), parse_guest_path)?,
        user: optional("--uid=", options.uid.as_deref(), parse_user)?,
        kill_signal: optional("--kill-signal=", options.kill_signal.as_deref(), str::parse)?,
        notify_ready: boolean("--notify-ready=", options.notify_ready.as_deref(), false)?,
        mounts: mounts(&invocation.mounts, &environment.directory)?,
        private_users: private_users(options)?,
        private_network: boolean("--private-network=", options.private_network.as_deref(), true)?,
        capabilities: CapabilitySettings {
            add: capabilities("--capability=", &options.capability)?,
            drop: capabilities("--drop-capability=", &options.drop_capability)?,
            ambient: capabilities("--ambient-capability=", &options.ambient_capability)?,
        },
        no_new_privileges: boolean("--no-new-privileges=", options.no_new_privileges.as_deref(), false)?,
        system_calls: system_calls(&options.system_call_filter)?,
        rlimits: rlimits(&options.rlimit)?,
        oom_score_adjust: optional(
            "--oom-score-adjust=",
            options.oom_score_adjust.as_deref(),
            parse_oom_score_adjust,
        )?,
        cpu_affinity: optional("--cpu-affinity=", options.cpu_affinity.as_deref(), str::parse)?,
        personality: optional("--personality=", options.personality.as_deref(), str::parse)?,
        console: Some(console),
        credentials: credentials(options, environment)?,
        resolv_conf: optional("--resolv-conf=", options.resolv_conf.as_deref(), str::parse)?
            .unwrap_or_default(),
        timezone: optional("--timezone=", options.timezone.as_deref(), str::parse)?.unwrap_or_default(),
        link_journal: link_journal(options)?,
        suppress_sync: boolean("--suppress-sync=", options.suppress_sync.as_deref(), false)?,
        selinux_context: options.selinux_context.clone(),
        selinux_apifs_context: options.selinux_apifs_context.clone(),
        timeout_ready: optional("--timeout-ready=", options.timeout_ready.as_deref(), parse_timeout_ready)?
            .flatten(),
        timeout_stop: optional("--timeout-stop=", options.timeout_stop.as_deref(), parse_duration)?
            .map_or(TIMEOUT_STOP, |limit| limit.unwrap_or(PRACTICALLY_FOR_EVER).min(PRACTICALLY_FOR_EVER)),
        boot_clock: boolean("--boot-clock=", options.boot_clock.as_deref(), true)?,
        nesting: boolean("--nesting=", options.nesting.as_deref(), false)?,
        limits: options.limits.limits()?,
    })
}

/// Names the option in whose value something is wrong.
fn at<T>(option: &'static str, result: Result<T, ValueError>) -> Result<T, SettingsError> {
    result.map_err(|source| SettingsError::Value { option, source })
}

/// The same for the parsers of privileges, whose errors say both what is wrong and, after a semicolon, what is right.
fn at_access<T, E: Error>(option: &'static str, result: Result<T, E>) -> Result<T, SettingsError> {
    result.map_err(|error| {
        let text = error.to_string();
        let (problem, hint) = match text.split_once("; ") {
            Some((problem, hint)) => (problem.to_owned(), hint.to_owned()),
            None => (text, format!("{option}help lists what it takes")),
        };
        SettingsError::Access { option, problem, hint }
    })
}

/// The value of an option that may not be given.
pub(super) fn optional<T>(
    option: &'static str,
    value: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, ValueError>,
) -> Result<Option<T>, SettingsError> {
    value.map(|text| at(option, parse(text))).transpose()
}

fn each<T>(
    option: &'static str,
    values: &[String],
    parse: impl Fn(&str) -> Result<T, ValueError>,
) -> Result<Vec<T>, SettingsError> {
    values.iter().map(|text| at(option, parse(text))).collect()
}

fn boolean(option: &'static str, value: Option<&str>, default: bool) -> Result<bool, SettingsError> {
    Ok(optional(option, value, parse_boolean)?.unwrap_or(default))
}

fn refuse_combinations(options: &RunArguments, command: &[OsString]) -> Result<(), SettingsError> {
    let boots = options.boot || command.is_empty();
    let refuse = |problem: &str, hint| Err(SettingsError::Combination { problem: problem.to_owned(), hint });
    if options.as_pid1 && options.as_pid2 {
        return refuse("--as-pid1 and --as-pid2 do not go together", "--as-pid2 is the default");
    }
    if boots && (options.as_pid1 || options.as_pid2) {
        return refuse(
            "--as-pid1 and --as-pid2 are for commands, not for boots",
            "spinney run TREE -- COMMAND",
        );
    }
    if !boots && options.init.is_some() {
        return refuse(
            "--init= is for boots, and a command was given",
            "add --boot to give what follows -- to the init",
        );
    }
    if boots && options.uid.is_some() {
        return refuse(
            "--uid= is for commands: an init runs as root",
            "spinney run --uid=USER TREE -- COMMAND",
        );
    }
    if boots && !options.ambient_capability.is_empty() {
        return refuse(
            "--ambient-capability= is for commands, not for boots",
            "--capability= gives capabilities to a booted machine",
        );
    }
    if let Some(mode) = options.settings.as_deref() {
        // Nothing to choose between yet; a wrong word is an error all the same.
        at(
            "--settings=",
            match mode {
                "override" | "trusted" => Ok(true),
                _ => parse_boolean(mode)
                    .map_err(|_| ValueError::new(mode, "is not known", "yes, no, override or trusted")),
            },
        )?;
    }
    let volatile = options.volatile.as_deref().is_some_and(|mode| parse_boolean(mode) != Ok(false));
    if volatile && options.read_only {
        return refuse(
            "--read-only and --volatile do not go together",
            "--volatile leaves the tree on disk alone by itself",
        );
    }
    Ok(())
}

fn payload(
    options: &RunArguments,
    command: &[OsString],
    variables: &mut Vec<Variable>,
) -> Result<Payload, SettingsError> {
    if options.boot || command.is_empty() {
        let (environment, arguments) = divide_boot_arguments(command.to_vec());
        variables.extend(environment);
        let init = optional("--init=", options.init.as_deref(), parse_guest_path)?;
        return Ok(Payload::Boot { init, arguments });
    }
    if command[0].is_empty() {
        return Err(SettingsError::Combination {
            problem: "the command is an empty string".to_owned(),
            hint: "spinney run TREE -- COMMAND [ARG...]",
        });
    }
    Ok(Payload::Command { argv: command.to_vec(), as_pid1: options.as_pid1 })
}

/// An ID that machine-id(5) allows.
fn parse_machine_uuid(text: &str) -> Result<Uuid, ValueError> {
    let uuid: Uuid = text.parse()?;
    if uuid.is_nil() {
        return Err(ValueError::new(text, "is all zeroes", "a UUID that is not nil (machine-id(5))"));
    }
    Ok(uuid)
}

/// Nobody can be ready in no time: `0`, which systemd units write for "no limit", would only mislead.
fn parse_timeout_ready(text: &str) -> Result<Option<Duration>, ValueError> {
    match parse_duration(text)? {
        Some(Duration::ZERO) => Err(ValueError::new(text, "is no time at all", "infinity waits for ever")),
        limit => Ok(limit.map(|limit| limit.min(PRACTICALLY_FOR_EVER))),
    }
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

fn mounts(given: &[(MountOption, String)], directory: &Path) -> Result<Vec<CustomMount>, SettingsError> {
    given
        .iter()
        .map(|(option, text)| {
            let mount = match option {
                MountOption::Bind => CustomMount::parse_bind(text, false),
                MountOption::BindReadOnly => CustomMount::parse_bind(text, true),
                MountOption::Inaccessible => CustomMount::parse_inaccessible(text),
                MountOption::Tmpfs => CustomMount::parse_tmpfs(text),
                MountOption::Overlay => CustomMount::parse_overlay(text, false),
                MountOption::OverlayReadOnly => CustomMount::parse_overlay(text, true),
            };
            Ok(at(option.name(), mount)?.absolute(directory))
        })
        .collect()
}

fn private_users(options: &RunArguments) -> Result<PrivateUsers, SettingsError> {
    if options.private_users_pick {
        return Ok(PrivateUsers::Pick);
    }
    let given = options.private_users.as_deref();
    let parsed = given.map(|text| at_access("--private-users=", text.parse())).transpose()?;
    Ok(parsed.unwrap_or_default())
}

fn capabilities(option: &'static str, lists: &[String]) -> Result<u64, SettingsError> {
    lists.iter().try_fold(0, |all, list| Ok(all | at_access(option, parse_capability_list(list))?))
}

fn system_calls(rules: &[String]) -> Result<Vec<SystemCallRule>, SettingsError> {
    rules.iter().map(|rule| at_access("--system-call-filter=", rule.parse())).collect()
}

/// The last limit of each resource wins (systemd-nspawn(1)).
fn rlimits(given: &[String]) -> Result<Vec<ResourceLimit>, SettingsError> {
    let mut limits: Vec<ResourceLimit> = Vec::with_capacity(given.len());
    for limit in each("--rlimit=", given, str::parse::<ResourceLimit>)? {
        limits.retain(|earlier| earlier.resource != limit.resource);
        limits.push(limit);
    }
    Ok(limits)
}

fn console(
    options: &RunArguments,
    payload: &Payload,
    on_terminal: bool,
) -> Result<ConsoleMode, SettingsError> {
    if options.pipe {
        return Ok(ConsoleMode::Pipe);
    }
    let request = optional("--console=", options.console.as_deref(), str::parse::<ConsoleRequest>)?;
    Ok(match (request, payload) {
        (Some(request), _) => request.resolve(on_terminal),
        (None, Payload::Command { .. }) => ConsoleRequest::AutoPipe.resolve(on_terminal),
        (None, Payload::Boot { .. }) if on_terminal => ConsoleMode::Interactive,
        (None, Payload::Boot { .. }) => ConsoleMode::ReadOnly,
    })
}

fn link_journal(options: &RunArguments) -> Result<LinkJournal, SettingsError> {
    if options.link_journal_try_guest {
        return Ok(LinkJournal::TryGuest);
    }
    Ok(optional("--link-journal=", options.link_journal.as_deref(), str::parse)?.unwrap_or_default())
}

fn credentials(options: &RunArguments, environment: &Environment) -> Result<Vec<Credential>, SettingsError> {
    const SET: &str = "--set-credential=";
    const LOAD: &str = "--load-credential=";
    let mut credentials = each(SET, &options.set_credential, Credential::parse)?;
    let inherited = (environment.variable)("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    for file in each(LOAD, &options.load_credential, CredentialFile::parse)? {
        let path = at(LOAD, file.file(inherited.as_deref()))?;
        match (environment.read)(&path) {
            Ok(value) => credentials.push(Credential { id: file.id, value }),
            Err(source) => return Err(SettingsError::CredentialFile { id: file.id, path, source }),
        }
    }
    for (index, credential) in credentials.iter().enumerate() {
        if credentials[..index].iter().any(|earlier| earlier.id == credential.id) {
            return Err(SettingsError::Combination {
                problem: format!("the credential {} is given twice", credential.id),
                hint: "give each credential once",
            });
        }
    }
    if credentials.iter().map(|credential| credential.value.len()).sum::<usize>() > CREDENTIALS_SIZE_MAX {
        return Err(SettingsError::Combination {
            problem: "the credentials are larger than 1 MiB together".to_owned(),
            hint: "bind large files with --bind-ro=",
        });
    }
    Ok(credentials)
}

#[cfg(test)]
mod tests;
