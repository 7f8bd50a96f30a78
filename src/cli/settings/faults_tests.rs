//! What is wrong with settings files, and how it is told.

use std::error::Error;

use super::forms_tests::Files;
use crate::settings::SettingsError;

fn line(error: &SettingsError) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let rows: &[(&str, &[u8], &str, &str)] = &[
        (
            "spinney.toml",
            b"[execution]\nkill-singal = 'TERM'\n",
            r#":2: "kill-singal": unknown key in [execution]"#,
            "did you mean kill-signal?",
        ),
        (
            "spinney.toml",
            b"[execution]\n\nkill-signal = 'SIGFOO'\n",
            r#":3: kill-signal: "SIGFOO" is not a signal"#,
            "a name such as SIGTERM, TERM, SIGRTMIN+3, or a number from 1 to 64",
        ),
        ("spinney.toml", b"[exceution]\n", r#":1: "exceution": unknown table"#, "did you mean [execution]?"),
        (
            "spinney.toml",
            b"[security]\nbind = []\n",
            r#":2: "bind": unknown key in [security]"#,
            "bind belongs in [files]",
        ),
        (
            "spinney.toml",
            b"[execution]\nWorkingDirectory = '/'\n",
            r#":2: "WorkingDirectory": unknown key in [execution]"#,
            "it is called chdir here, in [execution]",
        ),
        (
            "spinney.toml",
            b"[files]\nbind-read-only = []\n",
            r#":2: "bind-read-only": unknown key in [files]"#,
            "it is called bind-ro here, in [files]",
        ),
        (
            "spinney.toml",
            b"[resources]\nMemoryMax = '1G'\n",
            r#":2: "MemoryMax": unknown key in [resources]"#,
            "it is called memory-max here, in [resources]",
        ),
        (
            "spinney.toml",
            b"memory-max = '1G'\n",
            r#":1: "memory-max": unknown table"#,
            "memory-max belongs in [resources]",
        ),
        (
            "spinney.toml",
            b"[users]\nxyzzy = 1\n",
            r#":2: "xyzzy": unknown key in [users]"#,
            "[users] has private-users",
        ),
        (
            "spinney.toml",
            b"machine = 3\n",
            ":1: machine: not a table",
            "write [machine], and its settings below",
        ),
        (
            "spinney.toml",
            b"[machine]\nhostname = 'h'\n",
            ":2: hostname: makes no sense for all machines",
            "write it into /etc/spinney/machines/NAME.toml",
        ),
        (
            "machines/m.toml",
            b"[machine]\nhostname = true\n",
            ":2: hostname: a boolean is not what it takes",
            "hostname takes: string",
        ),
        (
            "machines/m.toml",
            b"[files]\nread-only = ['yes']\n",
            ":2: read-only: an array is not what it takes",
            "read-only takes: boolean",
        ),
        (
            "machines/m.toml",
            b"[security]\ncapability = [\n 'CAP_CHOWN',\n 'CAP_NETADMIN',\n]\n",
            r#":4: capability: unknown capability "CAP_NETADMIN""#,
            r#"did you mean "CAP_NET_ADMIN"?"#,
        ),
        (
            "machines/m.toml",
            b"[files]\nbind = ['data:/data']\n",
            r#":2: bind: "data:/data" has a path of the host that is not absolute"#,
            "in a file, paths begin with / (or with +/ for a path in the tree)",
        ),
        (
            "machines/m.toml",
            b"[machine]\nhostname = 'a'\nhostname = 'b'\n",
            ":3: duplicate key",
            "a setting is NAME = VALUE below its [table], text in quotes",
        ),
        (
            "machines/m.toml",
            b"[machine\n",
            ":1: ",
            "a setting is NAME = VALUE below its [table], text in quotes",
        ),
        (
            "machines/m.toml",
            b"[resources]\nmemory-max = 'lots'\n",
            r#":2: memory-max: "lots" is not a size of memory"#,
            "bytes with K, M, G or T (512M, 1.5G), a share of the host's memory (25%), or infinity",
        ),
        (
            "machines/m.toml",
            b"[machine]\nhostname = '\xff'\n",
            ": it is not UTF-8 on line 2",
            "settings files are UTF-8 texts",
        ),
        ("machines/m.toml", b"a\0", ": it has a NUL byte on line 1", "settings files are texts"),
        (
            "machines/m.toml",
            &[b'#'; (1 << 20) + 1],
            ": it is larger than 1 MiB",
            "settings files are short texts",
        ),
        (
            "machines/m.toml.d/x.toml",
            b"[machine]\nhostname = '-'\n",
            r#":2: hostname: "-" has a dash at the beginning or end of a part"#,
            "a hostname: letters, digits, '-' and '.', at most 64 characters, for example web-1",
        ),
        (
            "../etc/m.nspawn",
            b"[Exec]\n\nHostname=-\n",
            r#":3: Hostname: "-" has a dash at the beginning or end of a part"#,
            "a hostname: letters, digits, '-' and '.', at most 64 characters, for example web-1",
        ),
        (
            "../etc/m.nspawn",
            b"[Exec]\nParameters='a\n",
            r#":2: Parameters: "'a" has a quote that is not closed"#,
            "words with spaces in them in quotes",
        ),
        (
            "../etc/m.nspawn",
            b"[Exec]\nLimitNOFILE=x\n",
            r#":2: LimitNOFILE: "NOFILE=x" has a limit that is no number"#,
            "NAME=SOFT:HARD or NAME=VALUE, for example NOFILE=1024:4096 or CORE=infinity",
        ),
    ];
    for (path, text, expected, hint) in rows {
        let files = Files::new();
        files.write(&format!("spinney/{path}"), text);
        let error = files.asked("/m").unwrap_err();
        let line = line(&error);
        let shown = path.rsplit('/').next().unwrap();
        let (_, told) = line.split_once(shown).unwrap_or_else(|| panic!("{shown} is not in {line}"));
        assert!(told.starts_with(expected), "{line}\nis not\n{shown}{expected}");
        assert_eq!(error.hint(), Some(*hint), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(files.asked("--settings=no /m").is_ok(), "{line}");
    }
}

#[test]
fn a_wrong_value_is_told_where_another_one_wins() {
    let files = Files::new();
    files.write("spinney/spinney.toml", "[execution]\nkill-signal = 'SIGFOO'\n");
    assert!(files.asked("--kill-signal=TERM /m").is_err());
}

#[test]
fn files_that_are_no_files() {
    use std::os::unix::fs::symlink;
    let files = Files::new();
    let file = files.0.path().join("spinney/spinney.toml");
    let told = || line(&files.asked("/m").unwrap_err());
    std::fs::create_dir_all(&file).unwrap();
    assert_eq!(told(), format!("cannot read {}: it is a directory", file.display()));
    std::fs::remove_dir(&file).unwrap();
    symlink("/no/such/file", &file).unwrap();
    assert_eq!(told(), format!("cannot read {}: it is a link to nothing", file.display()));
    std::fs::remove_file(&file).unwrap();
    symlink("spinney.toml", &file).unwrap();
    assert!(
        told().starts_with(&format!("cannot read {}: Too many levels of symbolic links", file.display()))
    );
    std::fs::remove_file(&file).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(told(), format!("cannot read {}: it is not a regular file", file.display()));
}

#[test]
fn odd_lines_of_nspawn_files_are_warned_of() {
    let files = Files::new();
    files.write("etc/m.nspawn", "Boot=yes\n[Exec]\nBot=yes\nBind=/a\nnothing\n[X-Own]\na=b\n[Exce]\nBoot=yes\n[Files]\nBindUser=a\nBindUserShell=b\nX-b=c\n[Exec\n");
    let resolved = files.asked("/m").unwrap();
    let path = files.0.path().join("etc/m.nspawn").display().to_string();
    let told: Vec<&str> =
        resolved.warnings.iter().map(|warning| warning.strip_prefix(&path).unwrap()).collect();
    assert_eq!(
        told,
        [
            ":5: no '='; the line is ignored",
            ":14: a section without ']'; the line is ignored",
            r#":1: "Boot" stands before any section; the line is ignored"#,
            r#":3: unknown key "Bot" in [Exec], ignored; did you mean "Boot"?"#,
            r#":4: unknown key "Bind" in [Exec], ignored; it belongs in [Files]"#,
            r#":9: unknown section "Exce", "Boot" is ignored; did you mean "Exec"?"#,
            ": BindUser= (line 11), BindUserShell= (line 12) without effect in spinney so far",
        ]
    );
}

#[test]
fn contradictions_name_both_places() {
    let files = Files::new();
    files.write("spinney/spinney.toml", "[files]\nread-only = true\n");
    let error = files.asked("--volatile /m").unwrap_err();
    let path = files.0.path().join("spinney/spinney.toml");
    assert_eq!(
        error.to_string(),
        format!("read-only ({}:2) and --volatile do not go together", path.display())
    );
    assert!(files.asked("--volatile --read-only=no /m").is_ok());
}
