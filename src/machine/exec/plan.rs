//! What will be executed in a machine, as data: of what the user asked for, of how the machine's leader was launched, and
//! of what the guest's files say about the user. Pure.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use crate::guest::users::User;
use crate::runtime::capability::CapabilityPlan;
use crate::runtime::environment::DEFAULT_PATH;
use crate::runtime::plan::UserPlan;
use crate::supervisor::launch_record::LaunchRecord;

/// What runs in the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A program and its arguments.
    Command(Vec<OsString>),
    /// A login shell of the user, or a command that it runs.
    Shell(Vec<OsString>),
    /// A login prompt.
    Login,
}

/// What a user asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to run.
    pub payload: Payload,
    /// `USER[:GROUP]`, names or numbers of the guest; root without.
    pub user: Option<String>,
    /// Where; the root directory, or a shell's home, without.
    pub directory: Option<PathBuf>,
    /// Variables that win over all others.
    pub environment: Vec<(OsString, OsString)>,
    /// With a terminal of the guest's own; its type, as TERM has it.
    pub terminal: Option<String>,
    /// How long it may take.
    pub timeout: Option<Duration>,
    /// How long it may take from then on before it is killed.
    pub kill_after: Duration,
}

impl Request {
    /// `argv` as the machine's root, without a terminal or limits.
    pub fn command(argv: Vec<OsString>) -> Self {
        Self {
            payload: Payload::Command(argv),
            user: None,
            directory: None,
            environment: Vec::new(),
            terminal: None,
            timeout: None,
            kill_after: Duration::from_secs(10),
        }
    }
}

/// What of the guest matters to the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFacts {
    /// Who it is that runs it.
    pub user: User,
    /// The group that was asked for.
    pub group: Option<u32>,
    /// `su`, where logind runs: only PAM opens a session with it.
    pub session_opener: Option<PathBuf>,
    /// What prompts for a login: agetty, or login itself.
    pub login: Option<PathBuf>,
}

/// What will be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecPlan {
    /// The file, a path or a name for PATH.
    pub file: Vec<u8>,
    /// Its arguments, its own name first.
    pub argv: Vec<Vec<u8>>,
    /// `NAME=value`.
    pub environment: Vec<Vec<u8>>,
    /// Where.
    pub directory: PathBuf,
    /// The root directory does as well, where that is missing.
    pub directory_is_a_wish: bool,
    /// As whom.
    pub user: UserPlan,
    /// With which capabilities.
    pub capabilities: CapabilityPlan,
}

/// No plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is nothing that could prompt.
    #[error("the machine has neither agetty nor login")]
    NoLogin,
    /// No words.
    #[error("no command given")]
    NoCommand,
}

/// Of PID 1's environment this is its own affair, or another user's.
const NOT_PASSED: [&str; 15] = [
    "CREDENTIALS_DIRECTORY",
    "HOME",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LOGNAME",
    "MAINPID",
    "NOTIFY_SOCKET",
    "SHELL",
    "TERM",
    "USER",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Makes the plan.
///
/// # Errors
/// When the guest lacks what is asked for.
pub fn plan(request: &Request, record: &LaunchRecord, facts: &GuestFacts) -> Result<ExecPlan, PlanError> {
    let user = &facts.user;
    let mut variables = base(record);
    let mut set = |name: &str, value: &[u8]| {
        variables.retain(|(known, _)| known != name.as_bytes());
        variables.push((name.into(), value.into()));
    };
    set("HOME", user.home.as_bytes());
    set("USER", user.name.as_bytes());
    set("LOGNAME", user.name.as_bytes());
    if let Some(terminal) = &request.terminal {
        set("TERM", terminal.as_bytes());
    }
    if matches!(request.payload, Payload::Shell(_)) {
        set("SHELL", user.shell.as_bytes());
    }
    for (name, value) in &request.environment {
        variables.retain(|(known, _)| known != name.as_bytes());
        variables.push((name.as_bytes().into(), value.as_bytes().into()));
    }
    let (file, argv) = program(request, facts)?;
    let shell = matches!(request.payload, Payload::Shell(_));
    // su and login change the user themselves.
    let by_root = shell && facts.session_opener.is_some() || request.payload == Payload::Login;
    let wished = if shell && !by_root { PathBuf::from(&user.home) } else { PathBuf::from("/") };
    let user = if by_root { &User::root() } else { user };
    Ok(ExecPlan {
        file,
        argv,
        environment: variables.into_iter().map(|(name, value)| [&name, &b"="[..], &value].concat()).collect(),
        directory_is_a_wish: request.directory.is_none(),
        directory: request.directory.clone().unwrap_or(wished),
        user: UserPlan {
            uid: user.uid,
            gid: facts.group.filter(|_| !by_root).unwrap_or(user.gid),
            groups: if facts.group.is_some() { Vec::new() } else { user.groups.clone() },
            name: user.name.clone(),
            home: user.home.clone(),
        },
        capabilities: CapabilityPlan::for_joining(record.bounding, user.uid == 0),
    })
}

/// What all processes of the machine have in common with its PID 1.
fn base(record: &LaunchRecord) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut variables: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for variable in &record.environment {
        let Some(at) = variable.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (&variable[..at], &variable[at + 1..]);
        if !NOT_PASSED.iter().any(|not| not.as_bytes() == name) {
            variables.push((name.into(), value.into()));
        }
    }
    for (name, value) in [("PATH", DEFAULT_PATH), ("container", "spinney"), ("LANG", "C.UTF-8")] {
        if !variables.iter().any(|(known, _)| known == name.as_bytes()) {
            variables.push((name.into(), value.into()));
        }
    }
    variables
}

/// The file and the arguments.
fn program(request: &Request, facts: &GuestFacts) -> Result<(Vec<u8>, Vec<Vec<u8>>), PlanError> {
    let bytes = |path: &PathBuf| path.as_os_str().as_bytes().to_vec();
    match &request.payload {
        Payload::Command(words) => {
            let argv: Vec<Vec<u8>> = words.iter().cloned().map(OsString::into_vec).collect();
            Ok((argv.first().cloned().ok_or(PlanError::NoCommand)?, argv))
        }
        Payload::Shell(words) => Ok(match &facts.session_opener {
            Some(su) => (bytes(su), session(request, facts, words)),
            None => login_shell(facts, words),
        }),
        Payload::Login => {
            let path = facts.login.as_ref().ok_or(PlanError::NoLogin)?;
            let mut argv = vec![bytes(path)];
            if path.ends_with("agetty") {
                // Its own terminal is stdin already; that is not to be cleared or reset (agetty(8)).
                let terminal = request.terminal.as_deref().unwrap_or("vt220");
                argv.extend(["--noreset", "--noclear", "-", terminal].map(Into::into));
            }
            Ok((bytes(path), argv))
        }
    }
}

/// The user's shell, called as login(1) calls it. A command is its to find, after it has read its profile.
fn login_shell(facts: &GuestFacts, words: &[OsString]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let shell = command_shell(facts, words).unwrap_or(facts.user.shell.as_bytes());
    let name = shell.rsplit(|byte| *byte == b'/').next().unwrap_or(shell);
    let mut argv = vec![[b"-", name].concat()];
    if !words.is_empty() {
        argv.extend([b"-c".to_vec(), quoted(words)]);
    }
    (shell.to_vec(), argv)
}

/// What runs the command of a user who may not log in, but for whom root may run commands, as systemd-machined does.
fn command_shell(facts: &GuestFacts, words: &[OsString]) -> Option<&'static [u8]> {
    let shell = facts.user.shell.as_bytes();
    let refuses = [b"/nologin".as_slice(), b"/false"].iter().any(|name| shell.ends_with(name));
    (refuses && !words.is_empty()).then_some(b"/bin/sh")
}

/// `su`: a session of PAM's, and with that of logind's.
fn session(request: &Request, facts: &GuestFacts, words: &[OsString]) -> Vec<Vec<u8>> {
    let mut argv: Vec<Vec<u8>> = vec![b"su".into(), b"-l".into()];
    let names: Vec<&[u8]> = request.environment.iter().map(|(name, _)| name.as_bytes()).collect();
    if !names.is_empty() {
        argv.extend([b"-w".to_vec(), names.join(&b',')]);
    }
    if let Some(shell) = command_shell(facts, words) {
        argv.extend([b"-s".to_vec(), shell.to_vec()]);
    }
    if !words.is_empty() {
        argv.extend([b"-c".to_vec(), quoted(words)]);
    }
    argv.push(facts.user.name.clone().into());
    argv
}

/// Words as a shell's command line.
fn quoted(words: &[OsString]) -> Vec<u8> {
    let mut line = b"exec".to_vec();
    for word in words {
        line.extend(b" '");
        for byte in word.as_bytes() {
            match byte {
                b'\'' => line.extend(b"'\\''"),
                byte => line.push(*byte),
            }
        }
        line.push(b'\'');
    }
    line
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
