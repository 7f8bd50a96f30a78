//! Running a tool: what it says becomes progress, and when it fails, its last lines are the error's.

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::Error;
use super::plan::Command;
use crate::sys::process::signal_group;
use crate::sys::signal::unblock_in;
use crate::transfer::{Context, Event};

/// How many of its last lines are kept.
const KEPT: usize = 12;

/// The longest line that is looked at.
const LINE: usize = 300;

/// How often it is looked whether the user has enough of it.
const TICK: Duration = Duration::from_millis(100);

/// How long a tool may take to clean up when it is told to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What of our environment a tool sees: what makes its work what it is (SOURCE_DATE_EPOCH of reproducible-builds.org), and
/// the ways to the network.
const KEPT_VARIABLES: [&str; 13] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "TERM",
    "SOURCE_DATE_EPOCH",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// Runs `command` of `tool` to its end. As long as it, or a child of it, lives, `lock` stays open and its lock held: whoever
/// sweeps up what killed commands left leaves its directory alone.
pub(super) fn run(
    tool: &'static str,
    command: &Command,
    lock: BorrowedFd<'_>,
    context: &Context,
) -> Result<(), Error> {
    let program = command.program.display().to_string();
    let failed = |source: std::io::Error| Error::Run { program: program.clone(), source };
    let (reader, writer) = std::io::pipe().map_err(failed)?;
    // Without close-on-exec, this one alone.
    let inherited = rustix::io::dup(lock).map_err(|errno| failed(errno.into()))?;
    let mut tool_command = std::process::Command::new(&command.program);
    tool_command
        .args(&command.arguments)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| KEPT_VARIABLES.iter().any(|kept| name == kept)))
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .envs(command.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(failed)?)
        .stderr(writer)
        // A group of its own, which Ctrl-C on the terminal does not reach: we end it, and see to its end.
        .process_group(0)
        .current_dir("/");
    // Those that cancel a transfer are blocked in it, and are what the tool is to hear.
    let mut child = unblock_in(&mut tool_command).spawn().map_err(failed)?;
    drop(tool_command);
    drop(inherited);
    let (sender, lines) = sync_channel(64);
    // It ends with the pipe, which a daemon that the tool left may hold open for ever.
    std::thread::spawn(move || read(reader, |line| sender.send(line).is_ok()));
    let mut log = VecDeque::new();
    let result = follow(tool, &lines, &mut log, || has_ended(&child), context);
    if result.is_err() {
        end(&child);
    } else {
        // Agents and daemons of its packages: the tree is nobody's to write to any more. The group cannot be another's while
        // the tool has not been waited for.
        signal(&child, libc::SIGKILL);
    }
    drop(lines);
    let status = child.wait().map_err(failed)?;
    result?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Failed { tool, status: status.to_string(), last: why(&log), log: log.into() })
}

/// Whether it has, without waiting for it: its number stays its own.
fn has_ended(child: &Child) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| matches!(waitid(WaitId::Pid(pid), options), Ok(Some(_))))
}

/// Takes lines until there are no more, or the tool `has_ended` and nothing was said since.
fn follow(
    tool: &'static str,
    lines: &Receiver<String>,
    log: &mut VecDeque<String>,
    has_ended: impl Fn() -> bool,
    context: &Context,
) -> Result<(), Error> {
    let mut ended = false;
    loop {
        context.check().map_err(|_| Error::Cancelled)?;
        match lines.recv_timeout(TICK) {
            Ok(line) => {
                if let Some(what) = stage(&line) {
                    context.tell(Event::Stage { what: format!("{tool}: {what}"), total: None });
                }
                if !line.is_empty() {
                    log.push_back(line);
                }
                if log.len() > KEPT {
                    log.pop_front();
                }
            }
            // What it said last is read within one more.
            Err(RecvTimeoutError::Timeout) if ended => return Ok(()),
            Err(RecvTimeoutError::Timeout) => ended = has_ended(),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Ends the tool and all in its group.
fn end(child: &Child) {
    signal(child, libc::SIGTERM);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && !has_ended(child) {
        std::thread::sleep(TICK);
    }
    // Also those whom it left behind.
    signal(child, libc::SIGKILL);
}

/// Sends `signal` to the tool and all in its group.
fn signal(child: &Child, signal: i32) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = signal_group(group, signal);
    }
}

/// Gives `take` each line of `reader`, made safe to print, until it does not want any more.
fn read(mut reader: impl Read, mut take: impl FnMut(String) -> bool) {
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for &byte in &buffer[..count] {
            // Bars end their lines with a carriage return.
            if byte == b'\n' || byte == b'\r' {
                if !take(printable(&line)) {
                    return;
                }
                line.clear();
            } else if line.len() < LINE {
                line.push(byte);
            }
        }
    }
    if !line.is_empty() {
        take(printable(&line));
    }
}

fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let clean: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    clean.trim().to_owned()
}

/// What a line says that is going on: mmdebstrap and apt begin these with `I:`.
fn stage(line: &str) -> Option<&str> {
    let what = line.strip_prefix("I: ")?.trim_end_matches('.').trim();
    (!what.is_empty() && !what.starts_with("success")).then_some(what)
}

/// The line that says why it failed: the first error in the log, or the last line.
fn why(log: &VecDeque<String>) -> String {
    let error = log
        .iter()
        .find(|line| ["E: ", "error: ", "ERROR: ", "Error: "].iter().any(|start| line.starts_with(start)));
    error.or_else(|| log.back()).cloned().unwrap_or_else(|| "it said nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::sys::signal::SignalSet;
    use crate::transfer::Watcher;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Watcher for Heard {
        fn take(&self, event: Event) {
            self.0.lock().unwrap().push(event);
        }
    }

    fn shell(script: &str) -> Command {
        Command {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("GIVEN", "given".to_owned())],
        }
    }

    fn try_out(script: &str, context: &Context) -> Result<(), Error> {
        let lock = tempfile::tempfile().unwrap();
        run("tool", &shell(script), lock.as_fd(), context)
    }

    #[test]
    fn what_it_says_is_told() {
        let heard = Arc::new(Heard::default());
        let context = Context::new(heard.clone());
        try_out("echo 'I: one...'; echo noise; printf 'I: t\\033[2Jwo\\rI: success in 1 s\\n' >&2", &context)
            .unwrap();
        let stage = |what: &str| Event::Stage { what: what.to_owned(), total: None };
        assert_eq!(*heard.0.lock().unwrap(), [stage("tool: one"), stage("tool: t [2Jwo")]);
    }

    #[test]
    fn why_it_failed() {
        let rows = [
            ("echo a; echo 'E: no mirror'; echo b; exit 3", "tool failed (exit status: 3): E: no mirror"),
            ("echo a; echo b; exit 1", "tool failed (exit status: 1): b"),
            ("exit 1", "tool failed (exit status: 1): it said nothing"),
            ("kill -9 $$", "tool failed (signal: 9 (SIGKILL)): it said nothing"),
            (
                "test \"$GIVEN\" = given && test -z \"$CARGO\" && echo ok; exit 1",
                "tool failed (exit status: 1): ok",
            ),
        ];
        for (script, expected) in rows {
            let error = try_out(script, &Context::silent()).unwrap_err();
            assert_eq!(error.to_string(), expected, "{script}");
        }
        let error = try_out("for i in $(seq 100); do echo $i; done; exit 1", &Context::silent()).unwrap_err();
        let Error::Failed { log, .. } = error else { panic!("{error}") };
        assert_eq!(log.len(), KEPT);
    }

    #[test]
    fn what_it_leaves_running_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let started = Instant::now();
        for (script, status) in
            [("", Ok(())), ("; exit 3", Err("tool failed (exit status: 3): on".to_owned()))]
        {
            // It has the pipe, and with setsid it is in no group of ours.
            let script = format!("sleep 600 & echo $! >{}; setsid sleep 30 & echo on{script}", pid.display());
            let ended = try_out(&script, &Context::silent()).map_err(|error| error.to_string());
            assert_eq!(ended, status, "{script}");
            let pid = std::fs::read_to_string(&pid).unwrap();
            while std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
                .is_ok_and(|stat| !stat.contains(") Z "))
            {
                assert!(started.elapsed() < PATIENCE, "{pid} lives");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        assert!(started.elapsed() < PATIENCE);
    }

    /// As of a transfer that is told of a cancel by a signal itself.
    #[test]
    fn it_hears_that_it_is_to_end() {
        let blocked = SignalSet::of(&[libc::SIGTERM]).block().unwrap();
        let said = try_out("grep SigBlk /proc/self/status; exit 1", &Context::silent()).unwrap_err();
        blocked.set_mask().unwrap();
        let expected = "tool failed (exit status: 1): SigBlk: 0000000000000000";
        assert_eq!(said.to_string(), expected);
    }

    #[test]
    fn cancelled_it_ends_with_all_that_it_started() {
        struct Canceller(Mutex<Option<Context>>);
        impl Watcher for Canceller {
            fn take(&self, _: Event) {
                self.0.lock().unwrap().as_ref().unwrap().cancel();
            }
        }
        let watcher = Arc::new(Canceller(Mutex::new(None)));
        let context = Context::new(watcher.clone());
        *watcher.0.lock().unwrap() = Some(context.clone());
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; echo 'I: on'; wait; sleep 600", pid.display());
        let started = Instant::now();
        assert!(matches!(try_out(&script, &context), Err(Error::Cancelled)));
        assert!(started.elapsed() < PATIENCE, "it took {:?}", started.elapsed());
        let pid = std::fs::read_to_string(pid).unwrap();
        // Killed, it ends when the kernel comes to it.
        loop {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{state}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        *watcher.0.lock().unwrap() = None;
    }
}
