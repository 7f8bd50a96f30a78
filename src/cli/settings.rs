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
            Self::Value { source, .. } => Some(source.hint()),
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
mod tests {
    use super::super::invocation::{Invocation, parse};
    use super::*;

    fn environment(on_terminal: bool) -> Environment {
        Environment {
            on_terminal,
            directory: "/work".into(),
            variable: |name| match name {
                "OURS" => Some("from us".into()),
                "CREDENTIALS_DIRECTORY" => Some("/run/credentials/x".into()),
                _ => None,
            },
            read: |path| match path.to_str() {
                Some("/run/credentials/x/own") => Ok(b"own".to_vec()),
                Some("/etc/secret") => Ok(b"secret\n".to_vec()),
                Some("/etc/huge") => Ok(vec![b'x'; CREDENTIALS_SIZE_MAX]),
                _ => Err(io::ErrorKind::NotFound.into()),
            },
        }
    }

    /// The settings of `spinney run` with the words of `line`, off a terminal.
    fn asked(line: &str) -> Result<MachineSettings, (String, Option<String>)> {
        asked_of(line.split_whitespace(), false)
    }

    fn asked_of<'a>(
        words: impl Iterator<Item = &'a str>,
        on_terminal: bool,
    ) -> Result<MachineSettings, (String, Option<String>)> {
        let words = ["spinney", "run"].into_iter().chain(words).map(OsString::from).collect();
        let Ok(Invocation::Run(invocation)) = parse(words) else { panic!("not a run") };
        settings(&invocation, &environment(on_terminal)).map_err(|error| {
            let mut line = error.to_string();
            if let Some(source) = error.source() {
                line = format!("{line}: {source}");
            }
            (line, error.hint().map(str::to_owned))
        })
    }

    fn command(argv: &[&str]) -> Payload {
        Payload::Command { argv: argv.iter().map(OsString::from).collect(), as_pid1: false }
    }

    /// `line => |settings| what of them => expected`.
    macro_rules! table {
        ($($line:literal => |$settings:ident| $of:expr => $expected:expr),+ $(,)?) => {$({
            let $settings = asked($line).unwrap();
            assert_eq!($of, $expected, "{}", $line);
        })+};
    }

    #[test]
    fn defaults() {
        let settings = asked("t").unwrap();
        assert_eq!(settings.tree, PathBuf::from("/work/t"));
        assert_eq!(settings.payload, Payload::Boot { init: None, arguments: vec![] });
        assert_eq!(settings.private_users, PrivateUsers::Pick);
        assert_eq!(settings.console, Some(ConsoleMode::ReadOnly));
        assert_eq!((settings.timeout_ready, settings.timeout_stop), (None, Duration::from_secs(90)));
        assert!(settings.private_network && settings.boot_clock);
        assert!(!settings.ephemeral && !settings.read_only && !settings.nesting && !settings.notify_ready);
        assert!(!settings.no_new_privileges && !settings.suppress_sync);
        assert_eq!(settings.machine, None);
        assert!(settings.environment.is_empty() && settings.mounts.is_empty());
        assert_eq!(settings.capabilities, CapabilitySettings::default());
    }

    #[test]
    fn payloads() {
        table! {
            "/t -- ls -l" => |s| s.payload => command(&["ls", "-l"]),
            "-a /t ls" => |s| s.payload => command(&["ls"]),
            "--as-pid1 /t sh" => |s| s.payload => Payload::Command { argv: vec!["sh".into()], as_pid1: true },
            "--init=/sbin/init /t" =>
                |s| s.payload => Payload::Boot { init: Some("/sbin/init".into()), arguments: vec![] },
            "-b /t -- 3 LANG=C a.b=c" =>
                |s| s.payload => Payload::Boot { init: None, arguments: vec!["3".into(), "a.b=c".into()] },
            "-b -E LANG=de /t -- LANG=C" => |s| s.environment => [("LANG".into(), "C".into())],
        }
    }

    #[test]
    fn consoles() {
        use ConsoleMode::{Interactive, Passive, Pipe, ReadOnly};
        let rows = [
            ("/t", Interactive, ReadOnly),
            ("/t ls", Interactive, Pipe),
            ("-P /t", Pipe, Pipe),
            ("--console=interactive /t ls", Interactive, Interactive),
            ("--console=autopipe /t", Interactive, Pipe),
            ("--console=passive /t ls", Passive, Passive),
        ];
        for (line, on_terminal, off_terminal) in rows {
            let console = |terminal| asked_of(line.split_whitespace(), terminal).unwrap().console;
            assert_eq!((console(true), console(false)), (Some(on_terminal), Some(off_terminal)), "{line}");
        }
    }

    #[test]
    fn options_become_settings() {
        use crate::settings::{CpuSet, Personality, PivotRoot, ResolvConf, SignalNumber, Timezone};
        table! {
            "-x /t" => |s| s.ephemeral => true,
            "--read-only /t" => |s| s.read_only => true,
            "--read-only --volatile=no /t" => |s| s.volatile => Volatile::No,
            "--volatile /t" => |s| s.volatile => Volatile::Yes,
            "--volatile=true /t" => |s| s.volatile => Volatile::Yes,
            "--volatile=overlay /t" => |s| s.volatile => Volatile::Overlay,
            "--pivot-root=/a:/b /t" => |s| s.pivot_root => Some(PivotRoot { new: "/a".into(), old: Some("/b".into()) }),
            "-M web-1 /t" => |s| s.machine.unwrap().to_string() => "web-1",
            "--hostname=h.example /t" => |s| s.hostname.as_deref() => Some("h.example"),
            "--uuid=0123456789abcdef0123456789abcdef /t" =>
                |s| s.uuid.unwrap().to_string() => "01234567-89ab-cdef-0123-456789abcdef",
            "-E A=1 -E A=2 -E OURS -E NOT_OURS /t" =>
                |s| s.environment => [("A".into(), "2".into()), ("OURS".into(), OsString::from("from us"))],
            "--chdir=/srv /t ls" => |s| s.chdir => Some("/srv".into()),
            "-u www-data /t ls" => |s| s.user.as_deref() => Some("www-data"),
            "--user=33 /t ls" => |s| s.user.as_deref() => Some("33"),
            "--kill-signal=SIGRTMIN+3 /t" => |s| s.kill_signal => Some(SignalNumber(37)),
            "--notify-ready /t" => |s| s.notify_ready => true,
            "--notify-ready=no /t" => |s| s.notify_ready => false,
            "--private-users=no /t" => |s| s.private_users => PrivateUsers::No,
            "--private-users /t" => |s| s.private_users => PrivateUsers::Yes,
            "--private-users=no -U /t" => |s| s.private_users => PrivateUsers::Pick,
            "--private-users=524288:65536 /t" =>
                |s| s.private_users => PrivateUsers::Range { base: 524_288, size: 65536 },
            "--private-network=no /t" => |s| s.private_network => false,
            "--private-network /t" => |s| s.private_network => true,
            "--capability=CAP_NET_ADMIN /t" => |s| s.capabilities.add => 1 << 12,
            "--drop-capability=CAP_NET_ADMIN /t" => |s| s.capabilities.drop => 1 << 12,
            "--ambient-capability=CAP_NET_ADMIN /t ls" => |s| s.capabilities.ambient => 1 << 12,
            "--no-new-privileges=yes /t" => |s| s.no_new_privileges => true,
            "--system-call-filter=@clock --system-call-filter=~bpf /t" =>
                |s| s.system_calls => [
                    SystemCallRule { allow: true, names: vec!["@clock".into()] },
                    SystemCallRule { allow: false, names: vec!["bpf".into()] },
                ],
            "-Z a:b:c -L d:e:f /t" =>
                |s| (s.selinux_context.as_deref(), s.selinux_apifs_context.as_deref()) => (Some("a:b:c"), Some("d:e:f")),
            "--nesting /t" => |s| s.nesting => true,
            "--rlimit=NOFILE=5 --rlimit=CORE=0 --rlimit=NOFILE=6:7 /t" =>
                |s| s.rlimits => [
                    ResourceLimit { resource: libc::RLIMIT_CORE, soft: 0, hard: 0 },
                    ResourceLimit { resource: libc::RLIMIT_NOFILE, soft: 6, hard: 7 },
                ],
            "--oom-score-adjust=-5 /t" => |s| s.oom_score_adjust => Some(-5),
            "--oom-score-adjust -5 /t" => |s| s.oom_score_adjust => Some(-5),
            "--cpu-affinity=0-1 /t" => |s| s.cpu_affinity => Some(CpuSet(vec![0, 1])),
            "--resolv-conf=copy-host /t" => |s| s.resolv_conf => ResolvConf::CopyHost,
            "--timezone=off /t" => |s| s.timezone => Timezone::Off,
            "--link-journal=host /t" => |s| s.link_journal => LinkJournal::Host,
            "-j /t" => |s| s.link_journal => LinkJournal::TryGuest,
            "--suppress-sync=yes /t" => |s| s.suppress_sync => true,
            "--timeout-ready=2min /t" => |s| s.timeout_ready => Some(Duration::from_secs(120)),
            "--timeout-ready=infinity /t" => |s| s.timeout_ready => None,
            "--timeout-stop=500ms /t" => |s| s.timeout_stop => Duration::from_millis(500),
            "--timeout-stop=infinity /t" => |s| s.timeout_stop => PRACTICALLY_FOR_EVER,
            "--boot-clock=no /t" => |s| s.boot_clock => false,
            "--settings=override -q /t" => |s| s.tree => PathBuf::from("/t"),
        }
        #[cfg(target_arch = "x86_64")]
        table! {
            "--personality=x86 /t" => |s| s.personality => Some(Personality::Linux32),
        }
    }

    #[test]
    fn mounts_are_absolute_and_in_order() {
        let settings = asked("--tmpfs=/var --bind-ro=data:/data --bind=+/a:/b --overlay=l:u:/o /t").unwrap();
        let targets: Vec<_> = settings.mounts.iter().map(CustomMount::target).collect();
        assert_eq!(targets, ["/var", "/data", "/b", "/o"].map(Path::new));
        assert!(matches!(
            &settings.mounts[1],
            CustomMount::Bind { source: Some(source), read_only: true, .. } if source == Path::new("/work/data")
        ));
        assert!(matches!(
            &settings.mounts[3],
            CustomMount::Overlay { upper: Some(Some((upper, false))), .. } if upper == Path::new("/work/u")
        ));
    }

    #[test]
    fn credentials_from_values_and_files() {
        let line = "--set-credential=a:x --load-credential=b:own --load-credential=c:/etc/secret /t";
        let pairs: Vec<_> = asked(line).unwrap().credentials.into_iter().map(|c| (c.id, c.value)).collect();
        let expected = [("a", &b"x"[..]), ("b", b"own"), ("c", b"secret\n")];
        assert_eq!(pairs, expected.map(|(id, value)| (id.to_owned(), value.to_vec())));
    }

    #[test]
    fn a_refusal_names_the_option_and_has_a_hint() {
        let rows = [
            ("-M a_b /t", r#"bad value for --machine=: "a_b" has a character that no hostname has: '_'"#),
            (
                "--hostname=-h /t",
                r#"bad value for --hostname=: "-h" has a dash at the beginning or end of a part"#,
            ),
            ("--uuid=5 /t", r#"bad value for --uuid=: "5" is not a UUID"#),
            (
                "--uuid=00000000-0000-0000-0000-000000000000 /t",
                r#"bad value for --uuid=: "00000000-0000-0000-0000-000000000000" is all zeroes"#,
            ),
            ("-E 1=2 /t", r#"bad value for --setenv=: "1=2" is not an environment variable"#),
            (
                "--chdir=x /t ls",
                r#"bad value for --chdir=: "x" has a path in the guest that is not absolute"#,
            ),
            ("--uid=a:b /t ls", r#"bad value for --uid=: "a:b" is not a user"#),
            ("--kill-signal=SIGFOO /t", r#"bad value for --kill-signal=: "SIGFOO" is not a signal"#),
            ("--notify-ready=maybe /t", r#"bad value for --notify-ready=: "maybe" is not a boolean"#),
            ("--settings=maybe /t", r#"bad value for --settings=: "maybe" is not known"#),
            ("--volatile=sometimes /t", r#"bad value for --volatile=: "sometimes" is not known"#),
            (
                "--bind=/a:b /t",
                r#"bad value for --bind=: "/a:b" has a path in the guest that is not absolute"#,
            ),
            ("--bind-ro=/a:/b:x /t", r#"bad value for --bind-ro=: "x" is not an option of a bind mount"#),
            ("--tmpfs=a /t", r#"bad value for --tmpfs=: "a" has a path in the guest that is not absolute"#),
            ("--overlay=/a /t", r#"bad value for --overlay=: "/a" has fewer than two paths"#),
            (
                "--inaccessible=/ /t",
                r#"bad value for --inaccessible=: "/" would hide the whole tree behind a mount on /"#,
            ),
            ("--rlimit=X=1 /t", r#"bad value for --rlimit=: "X" is not a resource limit"#),
            (
                "--oom-score-adjust=5000 /t",
                r#"bad value for --oom-score-adjust=: "5000" is not an OOM score adjustment"#,
            ),
            ("--cpu-affinity=x /t", r#"bad value for --cpu-affinity=: "x" is not a list of CPUs"#),
            (
                "--personality=vax /t",
                r#"bad value for --personality=: "vax" is not a personality of this machine"#,
            ),
            ("--console=vt100 /t", r#"bad value for --console=: "vt100" is not known"#),
            ("--set-credential=a /t", r#"bad value for --set-credential=: "a" has no ':'"#),
            (
                "--load-credential=a:gone /t",
                "cannot read the credential a from /run/credentials/x/gone: entity not found",
            ),
            ("--set-credential=a:b --set-credential=a:c /t", "the credential a is given twice"),
            (
                "--load-credential=a:/etc/huge --set-credential=b:c /t",
                "the credentials are larger than 1 MiB together",
            ),
            ("--resolv-conf=x /t", r#"bad value for --resolv-conf=: "x" is not known"#),
            ("--timezone=x /t", r#"bad value for --timezone=: "x" is not known"#),
            ("--link-journal=x /t", r#"bad value for --link-journal=: "x" is not known"#),
            (
                "--pivot-root=x /t",
                r#"bad value for --pivot-root=: "x" has a path in the guest that is not absolute"#,
            ),
            (
                "--capability=CAP_NETADMIN /t",
                r#"bad value for --capability=: unknown capability "CAP_NETADMIN""#,
            ),
            ("--drop-capability=X /t", r#"bad value for --drop-capability=: unknown capability "X""#),
            ("--ambient-capability= /t ls", "bad value for --ambient-capability=: no capability given"),
            ("--private-users=maybe /t", r#"bad value for --private-users=: "maybe" is no user namespace"#),
            ("--system-call-filter=~ /t", r#"bad value for --system-call-filter=: "~" names no system call"#),
            ("--init=x /t", r#"bad value for --init=: "x" has a path in the guest that is not absolute"#),
            ("--timeout-stop=soon /t", r#"bad value for --timeout-stop=: "soon" is not a time span"#),
            ("--timeout-ready=0 /t", r#"bad value for --timeout-ready=: "0" is no time at all"#),
            ("--as-pid1 -a /t ls", "--as-pid1 and --as-pid2 do not go together"),
            ("--as-pid1 /t", "--as-pid1 and --as-pid2 are for commands, not for boots"),
            ("-a -b /t", "--as-pid1 and --as-pid2 are for commands, not for boots"),
            ("--init=/sbin/init /t ls", "--init= is for boots, and a command was given"),
            ("-u root /t", "--uid= is for commands: an init runs as root"),
            ("--ambient-capability=CAP_NET_ADMIN /t", "--ambient-capability= is for commands, not for boots"),
            ("--read-only --volatile /t", "--read-only and --volatile do not go together"),
        ];
        for (line, expected) in rows {
            let (message, hint) = asked(line).unwrap_err();
            assert_eq!(message, expected, "{line}");
            assert!(hint.is_some_and(|hint| !hint.is_empty()), "{line} has no hint");
        }
    }

    #[test]
    fn an_empty_command_is_refused() {
        let (message, _) = asked_of(["/t", "--", ""].into_iter(), false).unwrap_err();
        assert_eq!(message, "the command is an empty string");
    }
}
