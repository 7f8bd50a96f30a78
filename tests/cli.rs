//! The command line from outside: help, refusals, exit statuses. Needs no root and starts no machine.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic, its helpers too")]

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

const NOBODY: u32 = 65534;

fn spinney(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spinney"));
    command.args(arguments).stdin(Stdio::null()).env_remove("NO_COLOR");
    command
}

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = spinney(arguments).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn help_and_version_go_to_stdout() {
    for arguments in [
        &["--help"] as &[&str],
        &["-h"],
        &["help"],
        &["run", "--help"],
        &["run", "/t", "-h"],
        &["gc", "--help"],
    ] {
        let (status, stdout, stderr) = output(arguments);
        assert_eq!((status, stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(stdout.contains("Usage: spinney"), "{arguments:?}: {stdout}");
    }
    let version = format!("spinney {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(output(&["--version"]), (Some(0), version, String::new()));
}

#[test]
fn help_of_run_has_every_option_heading_and_examples() {
    let (_, help, _) = output(&["run", "--help"]);
    let options = "\
        -D --directory -x --ephemeral --volatile --read-only -M --machine --hostname --uuid -E --setenv --chdir -u --uid \
        --kill-signal --notify-ready --bind --bind-ro --tmpfs --overlay --overlay-ro --inaccessible --private-users -U \
        --private-network --capability --drop-capability --ambient-capability --no-new-privileges \
        --system-call-filter --rlimit --oom-score-adjust --cpu-affinity --personality --console -P --pipe \
        --set-credential --load-credential --resolv-conf --timezone --link-journal -j --suppress-sync --pivot-root \
        -Z --selinux-context -L --selinux-apifs-context --settings -q --quiet -b --boot -a --as-pid2 --as-pid1 --init \
        --timeout-ready --timeout-stop --boot-clock --nesting --explain -h --help";
    let words: Vec<&str> = help.split([' ', ',', '[', '\n']).collect();
    for option in options.split_whitespace() {
        assert!(words.contains(&option), "{option} is not in:\n{help}");
    }
    for heading in [
        "Operands:",
        "General options:",
        "Image options:",
        "Execution options:",
        "System identity options:",
        "User namespacing options:",
        "Networking options:",
        "Security options:",
        "Resource options:",
        "Integration options:",
        "Mount options:",
        "Input/output options:",
        "Credential options:",
        "Examples:",
    ] {
        assert!(help.lines().any(|line| line == heading), "{heading} is not in:\n{help}");
    }
    assert!(help.lines().all(|line| line.chars().count() <= 110), "{help}");
}

#[test]
fn words_of_an_option() {
    let rows = [
        ("--console=help", "interactive\nread-only\npassive\npipe\nautopipe\n"),
        ("--volatile=help", "no\nyes\nstate\noverlay\n"),
        ("--timezone=help", "off\ncopy\nbind\nsymlink\ndelete\nauto\n"),
        ("--link-journal=help", "no\nhost\ntry-host\nguest\ntry-guest\nauto\n"),
    ];
    for (option, expected) in rows {
        assert_eq!(output(&["run", option, "/t"]), (Some(0), expected.to_owned(), String::new()), "{option}");
    }
    for (option, word) in [
        ("--kill-signal=help", "SIGRTMIN+4"),
        ("--drop-capability=help", "CAP_SYS_ADMIN"),
        ("--rlimit=help", "RLIMIT_NOFILE"),
        ("--resolv-conf=help", "copy-uplink"),
    ] {
        let (status, stdout, _) = output(&["run", option, "/t"]);
        assert_eq!(status, Some(0), "{option}");
        assert!(stdout.lines().any(|line| line == word), "{option}: {stdout}");
    }
}

#[test]
fn bad_input_gets_one_line_a_hint_and_125() {
    let long = "x".repeat(5000);
    let rows: &[(&[&str], &str)] = &[
        (&[], "no command given"),
        (&["boot", "/t"], "unknown command \"boot\""),
        (&["run"], "no tree given"),
        (&["run", "--nonsense", "/t"], "unknown option --nonsense"),
        (&["run", "--slice=a/b", "/t"], "bad value for --slice=: \"a/b\" is no name of a slice"),
        (&["run", "--register=maybe", "/t"], "bad value for --register=: \"maybe\" is not known"),
        (&["run", "/t", "--machine"], "--machine needs a value"),
        (&["run", "/t", "--directory=/u"], "two trees given: /t and --directory="),
        (
            &["run", "--machine=my_tree", "/t"],
            "bad value for --machine=: \"my_tree\" has a character that no hostname has: '_'",
        ),
        (
            &["run", "--machine", "a\nb", "/t"],
            "bad value for --machine=: \"a\\nb\" has a character that no hostname has: '\\n'",
        ),
        (
            &["run", "--rlimit=NOFILE=x", "/t"],
            "bad value for --rlimit=: \"NOFILE=x\" has a limit that is no number",
        ),
        (&["run", "--explain=xml", "/t"], "bad value for --explain=: \"xml\" is not known"),
        (&["gc", "everything"], "unexpected argument \"everything\""),
    ];
    for (arguments, expected) in rows {
        let (status, stdout, stderr) = output(arguments);
        assert_eq!((status, stdout.as_str()), (Some(125), ""), "{arguments:?}");
        let lines: Vec<&str> = stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{arguments:?}: {stderr}");
        assert_eq!(lines[0], format!("spinney: error: {expected}"), "{arguments:?}");
        assert!(lines[1].starts_with("  hint: "), "{arguments:?}: {stderr}");
    }
    let (status, _, stderr) = output(&["run", "--machine", &long, "/t"]);
    assert_eq!(status, Some(125));
    assert!(stderr.len() < 400 && stderr.contains("is too long: 5000 characters, 64 at most"), "{stderr}");
}

#[test]
fn values_that_are_not_utf8_are_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let mut command = spinney(&["run", "--machine"]);
    let Output { status, stderr, .. } = command.arg(OsStr::from_bytes(b"\xff")).arg("/t").output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(125));
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
}

#[test]
fn root_is_asked_for_after_the_values_are_checked() {
    let as_nobody = |arguments: &[&str]| {
        let mut command = spinney(arguments);
        if rustix::process::geteuid().is_root() {
            command.gid(NOBODY).uid(NOBODY);
        }
        match command.output() {
            Ok(output) => Some(output),
            Err(error) => {
                println!("skipped: nobody cannot execute {}: {error}", env!("CARGO_BIN_EXE_spinney"));
                None
            }
        }
    };
    let rows: &[(&[&str], &str)] = &[
        (
            &["run", "/t"],
            "spinney: error: permission denied: spinney run needs root\n  hint: sudo spinney run ...\n",
        ),
        (&["gc"], "spinney: error: permission denied: spinney gc needs root\n  hint: sudo spinney gc\n"),
    ];
    for (arguments, expected) in rows {
        let Some(Output { status, stderr, .. }) = as_nobody(arguments) else { return };
        assert_eq!((status.code(), String::from_utf8(stderr).unwrap().as_str()), (Some(125), *expected));
    }
    let Some(output) = as_nobody(&["run", "--uuid=5", "/t"]) else { return };
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("spinney: error: bad value for --uuid=: "), "{stderr}");
}

#[test]
fn a_closed_stdout_is_no_failure() {
    let mut child = spinney(&["run", "--help"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
