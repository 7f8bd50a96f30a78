use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::invocation::{Invocation, parse};
use super::*;
use crate::settings::{
    CREDENTIALS_SIZE_MAX, CapabilitySettings, ConsoleMode, CustomMount, Environment, LinkJournal,
    MachineSettings, PRACTICALLY_FOR_EVER, Payload, Places, PrivateUsers, ResourceLimit, SystemCallRule,
    Volatile, machine_settings,
};

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
        places: Places { spinney: "/no".into(), nspawn: Vec::new() },
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
    super::asked(&invocation)
        .and_then(|asked| machine_settings(&asked, &environment(on_terminal)))
        .map(|resolved| resolved.settings)
        .map_err(|error| {
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
    assert!(settings.has_private_network() && settings.boot_clock);
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
        "--private-network=no /t" => |s| s.has_private_network() => false,
        "--private-network /t" => |s| s.has_private_network() => true,
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
        ("--chdir=x /t ls", r#"bad value for --chdir=: "x" has a path in the guest that is not absolute"#),
        ("--uid=a:b /t ls", r#"bad value for --uid=: "a:b" is not a user"#),
        ("--kill-signal=SIGFOO /t", r#"bad value for --kill-signal=: "SIGFOO" is not a signal"#),
        ("--notify-ready=maybe /t", r#"bad value for --notify-ready=: "maybe" is not a boolean"#),
        ("--settings=maybe /t", r#"bad value for --settings=: "maybe" is not known"#),
        ("--volatile=sometimes /t", r#"bad value for --volatile=: "sometimes" is not known"#),
        ("--bind=/a:b /t", r#"bad value for --bind=: "/a:b" has a path in the guest that is not absolute"#),
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
        ("--capability=CAP_NETADMIN /t", r#"bad value for --capability=: unknown capability "CAP_NETADMIN""#),
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
