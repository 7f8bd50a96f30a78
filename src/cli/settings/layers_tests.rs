//! Layers: which files there are, who wins, who is trusted.

use super::forms_tests::Files;
use crate::settings::provenance::Origin;
use crate::settings::{Payload, Resolved};

/// Names of the files of `FILES`, lowest layer first; `trees` is beside the tree.
const LAYERS: [(&str, &str); 5] = [
    ("spinney/spinney.toml", "toml"),
    ("trees/m.nspawn", "nspawn"),
    ("spinney/machines/m.toml", "toml"),
    ("spinney/machines/m.toml.d/10-a.toml", "toml"),
    ("spinney/machines/m.toml.d/20-b.toml", "toml"),
];

/// In each layer up to `highest` a value that tells which it is.
fn layered(highest: usize) -> Files {
    let files = Files::new();
    for (number, (path, kind)) in LAYERS.iter().enumerate().take(highest) {
        let number = number + 1;
        let text = match *kind {
            "toml" => format!(
                "[execution]\nkill-signal = '{number}'\nsetenv = {{ L{number} = 'x', ALL = {number} }}\n"
            ),
            _ => format!("[Exec]\nKillSignal={number}\nEnvironment=L{number}=x ALL={number}\n"),
        };
        files.write(path, text);
    }
    files
}

fn values(resolved: &Resolved) -> (i32, Vec<String>) {
    let names = resolved
        .settings
        .environment
        .iter()
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()));
    (resolved.settings.kill_signal.map_or(0, |signal| signal.0), names.collect())
}

#[test]
fn higher_layers_win_and_lists_grow() {
    for highest in 0..=LAYERS.len() {
        let files = layered(highest);
        let (signal, environment) = values(&files.asked("TREES/trees/m").unwrap());
        let mut expected: Vec<String> = (1..=highest).map(|number| format!("L{number}=x")).collect();
        if highest > 0 {
            expected.push(format!("ALL={highest}"));
        }
        assert_eq!(usize::try_from(signal), Ok(highest));
        let mut sorted = environment.clone();
        sorted.sort_by_key(|text| text.starts_with("ALL"));
        assert_eq!(sorted, expected, "up to layer {highest}");

        let (signal, environment) =
            values(&files.asked("--kill-signal=9 -E C=1 -E ALL=c TREES/trees/m").unwrap());
        assert_eq!(signal, 9);
        assert_eq!(environment[environment.len() - 2..], ["C=1", "ALL=c"]);
        assert_eq!(environment.len(), highest + 2);
    }
}

#[test]
fn modes() {
    let files = layered(LAYERS.len());
    let signal = |line: &str| values(&files.asked(line).unwrap()).0;
    assert_eq!(signal("--settings=yes --kill-signal=9 TREES/trees/m"), 9);
    assert_eq!(signal("--settings=override --kill-signal=9 TREES/trees/m"), 5);
    assert_eq!(signal("--settings=no --kill-signal=9 TREES/trees/m"), 9);
    assert_eq!(signal("--settings=no TREES/trees/m"), 0);
    assert_eq!(values(&files.asked("--settings=no TREES/trees/m").unwrap()).1, [""; 0]);
    // Defaults for all machines are not the machine's word.
    let defaults = layered(1);
    assert_eq!(values(&defaults.asked("--settings=override --kill-signal=9 TREES/trees/m").unwrap()).0, 9);
}

#[test]
fn the_first_nspawn_file_counts() {
    let files = Files::new();
    let hostname = |files: &Files, line: &str| files.asked(line).unwrap().settings.hostname;
    files.write("trees/image.nspawn", "[Exec]\nHostname=of-image\n");
    assert_eq!(hostname(&files, "-M m TREES/trees/image").as_deref(), Some("of-image"));
    files.write("trees/m.nspawn", "[Exec]\nHostname=beside\n");
    assert_eq!(hostname(&files, "-M m TREES/trees/image").as_deref(), Some("beside"));
    files.write("run/m.nspawn", "[Exec]\nHostname=in-run\n");
    assert_eq!(hostname(&files, "-M m TREES/trees/image").as_deref(), Some("in-run"));
    files.write("etc/m.nspawn", "[Exec]\nHostname=in-etc\n");
    assert_eq!(hostname(&files, "-M m TREES/trees/image").as_deref(), Some("in-etc"));
    assert_eq!(hostname(&files, "TREES/trees/image").as_deref(), Some("of-image"));
    assert_eq!(hostname(&files, "TREES/trees/other"), None);
    // Only the file that counts is read.
    files.write("run/m.nspawn", b"\xff");
    assert_eq!(hostname(&files, "-M m TREES/trees/image").as_deref(), Some("in-etc"));
}

#[test]
fn resets() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("[files]\ntmpfs = ['/a', '/b']\n", "", &["/a", "/b"]),
        ("[files]\ntmpfs = ['/a', '/b']\n", "[files]\ntmpfs = ['/c']\n", &["/a", "/b", "/c"]),
        ("[files]\ntmpfs = ['/a', '/b']\n", "[files]\ntmpfs = []\n", &[]),
        ("[files]\ntmpfs = ['/a', '/b']\n", "[files]\ntmpfs = ''\n", &[]),
        ("[files]\ntmpfs = ['/a']\nbind = ['/x']\n", "[files]\ntmpfs = []\n", &["/x"]),
        ("[files]\nbind = ['/x']\ntmpfs = ['/a']\n", "", &["/x", "/a"]),
        ("[files]\ntmpfs = ['/a']\nbind = ['/x']\n", "", &["/a", "/x"]),
    ];
    for (machine, drop_in, expected) in rows {
        let files = Files::new();
        files.write("spinney/machines/m.toml", machine);
        files.write("spinney/machines/m.toml.d/x.toml", drop_in);
        let settings = files.asked("/m").unwrap().settings;
        let targets: Vec<_> =
            settings.mounts.iter().map(|mount| mount.target().display().to_string()).collect();
        assert_eq!(targets, *expected, "{machine}{drop_in}");
    }
    // A value is taken back to what is built in.
    let files = Files::new();
    files.write("spinney/spinney.toml", "[execution]\nkill-signal = 'TERM'\n[files]\nread-only = true\n");
    files.write("spinney/machines/m.toml", "[execution]\nkill-signal = ''\n[files]\nread-only = ''\n");
    let settings = files.asked("/m").unwrap().settings;
    assert_eq!((settings.kill_signal, settings.read_only), (None, false));
    // In one .nspawn file too.
    let files = Files::new();
    files.write(
        "etc/m.nspawn",
        "[Files]\nTemporaryFileSystem=/a\nTemporaryFileSystem=\nTemporaryFileSystem=/b\n",
    );
    assert_eq!(files.asked("/m").unwrap().settings.mounts.len(), 1);
}

#[test]
fn drop_ins_are_read_by_name() {
    let files = Files::new();
    for name in ["b.toml", "a.toml", ".hidden.toml", "c.toml~", "d.conf"] {
        files.write(
            &format!("spinney/machines/m.toml.d/{name}"),
            format!("[machine]\nhostname = '{}'\n", &name[..1].replace('.', "h")),
        );
    }
    let resolved = files.asked("/m").unwrap();
    assert_eq!(resolved.settings.hostname.as_deref(), Some("b"));
    assert_eq!(files.asked("-M other /m").unwrap().settings.hostname, None);
}

const UNTRUSTED: &str = "\
[Exec]
Ephemeral=yes
Boot=no
Parameters=ls
Capability=CAP_NET_ADMIN
DropCapability=CAP_MKNOD
AmbientCapability=CAP_NET_ADMIN
MachineID=0123456789abcdef0123456789abcdef
PrivateUsers=no
NoNewPrivileges=no
SystemCallFilter=@mount
SystemCallFilter=~bpf
LimitNOFILE=5
OOMScoreAdjust=-5
CPUAffinity=0
LinkJournal=host
Hostname=h
[Files]
ReadOnly=no
Volatile=no
Bind=/:/mnt
BindReadOnly=/etc
TemporaryFileSystem=/a
Overlay=/a::/b
OverlayReadOnly=/a:/b
Inaccessible=/a
[Network]
Private=no
NamespacePath=/run/netns/x
VirtualEthernet=yes
VirtualEthernetExtra=a
Interface=eth0
MACVLAN=eth0
IPVLAN=eth0
Bridge=br0
Zone=x
Port=80
";

/// What may stand there together: it is believed in the tests of who is.
const CONTRADICTIONS: [&str; 3] = ["Private=no\n", "NamespacePath=/run/netns/x\n", "Bridge=br0\n"];

#[test]
fn what_is_not_trusted() {
    let files = Files::new();
    files.write("trees/m.nspawn", UNTRUSTED);
    files.write("spinney/spinney.toml", "[security]\nno-new-privileges = true\n[files]\nread-only = true\n");
    let resolved = files.asked("TREES/trees/m").unwrap();
    let settings = &resolved.settings;
    assert!(matches!(&settings.payload, Payload::Command { argv, .. } if argv == &["ls"]));
    assert_eq!(settings.hostname.as_deref(), Some("h"));
    assert_eq!((settings.capabilities.add, settings.capabilities.drop), (0, 1 << 27));
    assert_eq!(settings.capabilities.ambient, 0);
    assert!(
        settings.no_new_privileges
            && settings.read_only
            && settings.has_private_network()
            && !settings.ephemeral
    );
    assert_eq!(settings.system_calls.len(), 1);
    assert!(settings.mounts.is_empty() && settings.rlimits.is_empty() && settings.uuid.is_none());
    assert_eq!((settings.oom_score_adjust, &settings.cpu_affinity), (None, &None));
    let [warning] = &resolved.warnings[..] else { panic!("{:?}", resolved.warnings) };
    let expected = "m.nspawn is not trusted: Ephemeral= (line 2), Capability= (line 5), AmbientCapability= (line 7), \
                    MachineID= (line 8), PrivateUsers= (line 9), NoNewPrivileges= (line 10), SystemCallFilter= (line 11), \
                    LimitNOFILE= (line 13), OOMScoreAdjust= (line 14), CPUAffinity= (line 15), LinkJournal= (line 16), \
                    ReadOnly= (line 19), Volatile= (line 20), Bind= (line 21), BindReadOnly= (line 22), TemporaryFileSystem= (line 23), \
                    Overlay= (line 24), OverlayReadOnly= (line 25), Inaccessible= (line 26), Private= (line 28), \
                    NamespacePath= (line 29), VirtualEthernet= (line 30), VirtualEthernetExtra= (line 31), Interface= (line 32), \
                    MACVLAN= (line 33), IPVLAN= (line 34), Bridge= (line 35), Zone= (line 36), Port= (line 37) ignored \
                    (--settings=trusted believes all of it)";
    assert!(warning.ends_with(expected), "{warning}");

    assert_eq!(settings.network, Default::default());

    let believable = CONTRADICTIONS.iter().fold(UNTRUSTED.to_owned(), |text, line| text.replace(line, ""));
    files.write("trees/m.nspawn", &believable);
    let trusted = files.asked("--settings=trusted TREES/trees/m").unwrap();
    assert_eq!(trusted.warnings, [""; 0]);
    assert_eq!(trusted.settings.network.ports.len(), 1);
    assert!(!trusted.settings.no_new_privileges && !trusted.settings.read_only && trusted.settings.ephemeral);
    assert_eq!((trusted.settings.mounts.len(), trusted.settings.system_calls.len()), (6, 2));
    // The same file is trusted where only root can write.
    files.write("run/m.nspawn", &believable);
    assert_eq!(files.asked("TREES/trees/m").unwrap().warnings, [""; 0]);
}

/// Our own environment may hold secrets.
#[test]
fn who_is_not_trusted_gets_no_variables_of_ours() {
    let files = Files::new();
    files.write("trees/m.nspawn", "[Exec]\nEnvironment=A=1 OURS\n");
    let resolved = files.asked("TREES/trees/m").unwrap();
    assert_eq!(resolved.settings.environment, [("A".into(), "1".into())]);
    assert!(
        resolved.warnings[0].contains("is not trusted: Environment= (line 2) ignored"),
        "{:?}",
        resolved.warnings
    );
    let trusted = files.asked("--settings=trusted TREES/trees/m").unwrap();
    assert_eq!(trusted.settings.environment[1], ("OURS".into(), "from us".into()));
}

#[test]
fn who_is_not_trusted_takes_nothing_away() {
    let files = Files::new();
    files.write(
        "spinney/spinney.toml",
        "[security]\ndrop-capability = 'CAP_MKNOD'\nno-new-privileges = true\nsystem-call-filter = '~bpf'\n",
    );
    files.write("trees/m.nspawn", "[Exec]\nDropCapability=CAP_CHOWN\nDropCapability=\nDropCapability=CAP_KILL\nSystemCallFilter=\nNoNewPrivileges=\n");
    let settings = files.asked("TREES/trees/m").unwrap().settings;
    assert_eq!(settings.capabilities.drop, 1 << 27 | 1 << 5);
    assert_eq!(settings.system_calls.len(), 1);
    assert!(settings.no_new_privileges);
}

#[test]
fn what_runs_is_said_by_one_hand() {
    let argv = |resolved: Resolved| match resolved.settings.payload {
        Payload::Command { argv, .. } => {
            argv.iter().map(|word| word.to_string_lossy().into_owned()).collect()
        }
        Payload::Boot { arguments, .. } => {
            let words = arguments.iter().map(|word| word.to_string_lossy().into_owned());
            std::iter::once("BOOT".to_owned()).chain(words).collect::<Vec<_>>()
        }
    };
    let rows: &[(&str, &str, &[&str])] = &[
        ("", "/m", &["BOOT"]),
        ("Boot=no", "/m", &["/bin/sh", "-l"]),
        ("Parameters=ls -l", "/m", &["ls", "-l"]),
        ("Boot=yes\nParameters=single", "/m", &["BOOT", "single"]),
        ("Boot=yes\nParameters=single", "/m -- ls", &["ls"]),
        ("Boot=yes\nParameters=single", "-b /m", &["BOOT"]),
        ("Boot=yes\nParameters=single", "-b /m -- 3", &["BOOT", "3"]),
        ("Boot=yes\nParameters=single", "--settings=override /m -- ls", &["BOOT", "single"]),
        ("Boot=yes", "--settings=override /m -- ls", &["BOOT"]),
        ("Parameters=id", "--settings=override /m -- ls", &["id"]),
        ("User=u", "--settings=override /m -- ls", &["ls"]),
    ];
    for (text, command, expected) in rows {
        let files = Files::new();
        files.write("etc/m.nspawn", format!("[Exec]\n{text}\n"));
        assert_eq!(argv(files.asked(command).unwrap()), *expected, "{text} with {command}");
    }
    // A drop-in adds to its machine's file, and does not begin anew.
    let files = Files::new();
    files.write("spinney/machines/m.toml", "[execution]\nboot = true\nparameters = ['single']\n");
    files.write("spinney/machines/m.toml.d/x.toml", "[execution]\nboot = false\n");
    assert_eq!(argv(files.asked("/m").unwrap()), ["single"]);
    files.write("spinney/machines/m.toml.d/y.toml", "[execution]\nparameters = ['ls']\n");
    assert_eq!(argv(files.asked("/m").unwrap()), ["ls"]);
}

/// What is only for commands, or only for boots, is no contradiction in a file that is for both.
#[test]
fn settings_for_the_other_payload_are_not_in_force() {
    let files = Files::new();
    files.write("spinney/machines/m.toml", "[execution]\nuser = 'u'\ninit = '/i'\nprocess-two = false\n[security]\nambient-capability = 'CAP_CHOWN'\n");
    let boot = files.asked("/m").unwrap().settings;
    assert_eq!((boot.user, boot.capabilities.ambient), (None, 0));
    let command = files.asked("/m ls").unwrap().settings;
    assert_eq!((command.user.as_deref(), command.capabilities.ambient), (Some("u"), 1));
}

#[test]
fn credentials_of_files_and_the_command_line() {
    let files = Files::new();
    files.write("spinney/machines/m.toml", "[credentials]\nset-credential = { a = 'file', b = 'file' }\n");
    let credentials = |line: &str| -> Result<Vec<(String, Vec<u8>)>, String> {
        let resolved = files.asked(line).map_err(|error| error.to_string())?;
        Ok(resolved.settings.credentials.into_iter().map(|c| (c.id, c.value)).collect())
    };
    let pair = |id: &str, value: &str| (id.to_owned(), value.as_bytes().to_vec());
    assert_eq!(credentials("/m"), Ok(vec![pair("a", "file"), pair("b", "file")]));
    assert_eq!(credentials("--load-credential=a:/x /m"), Ok(vec![pair("b", "file"), pair("a", "secret")]));
    assert_eq!(
        credentials("--set-credential=a:1 --load-credential=a:/x /m"),
        Err("the credential a is given twice".to_owned())
    );
}

#[test]
fn each_value_knows_where_it_came_from() {
    let files = Files::new();
    files.write("spinney/spinney.toml", "[execution]\nkill-signal = 'TERM'\ntimeout-stop = 5\n");
    files.write("etc/m.nspawn", "[Exec]\nKillSignal=INT\nEnvironment=A=1\n");
    files.write(
        "spinney/machines/m.toml",
        "[execution]\nsetenv = ['A=2',\n  'B=2']\n[credentials]\nset-credential = ['id:value']\n",
    );
    let resolved = files.asked("--setenv=B=3 -E C=4 --memory=1G --cpus=2 TREES/m").unwrap();
    let path = |name: &str| files.0.path().join(name);
    let file = |name: &str, line| Origin::File { path: path(name), line };
    let option = |name: &str| Origin::Option(name.to_owned());
    let of = |name: &str| -> Vec<(String, Origin)> {
        let entries = resolved.provenance.settings.iter().filter(|entry| entry.name == name);
        entries.map(|entry| (entry.value.clone(), entry.source.clone())).collect()
    };
    let pair = |value: &str, origin| (value.to_owned(), origin);
    assert_eq!(of("kill-signal"), [pair("INT", file("etc/m.nspawn", 2))]);
    assert_eq!(of("timeout-stop"), [pair("5", file("spinney/spinney.toml", 3))]);
    assert_eq!(of("timeout-ready"), [pair("infinity", Origin::BuiltIn)]);
    assert_eq!(
        of("setenv"),
        [
            pair("A=2", file("spinney/machines/m.toml", 2)),
            pair("B=3", option("--setenv=")),
            pair("C=4", option("--setenv=")),
        ]
    );
    assert_eq!(of("set-credential"), [pair("id: 5 bytes", file("spinney/machines/m.toml", 5))]);
    assert_eq!(of("memory-max"), [pair("1G", option("--memory-max="))]);
    assert_eq!(of("cpu-quota"), [pair("200%", option("--cpus="))]);
    assert_eq!(of("directory"), [pair(path("m").to_str().unwrap(), Origin::CommandLine)]);
    let secret: Vec<&str> = resolved
        .provenance
        .settings
        .iter()
        .filter(|entry| entry.secret)
        .map(|entry| entry.name.as_str())
        .collect();
    assert_eq!(secret, ["setenv", "setenv", "setenv", "set-credential"]);
    assert!(!format!("{:?}", resolved.provenance).contains("value\""));

    // And it is still known when it has been kept, and what has changed since.
    let kept = serde_json::to_string(&resolved.provenance).unwrap();
    let kept: crate::settings::Provenance = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept, resolved.provenance);
    assert!(kept.changed_since_then().is_empty());
    files.write("spinney/spinney.toml", "[execution]\ntimeout-stop = 55\n");
    files.write("spinney/machines/m.toml.d/new.toml", "");
    std::fs::remove_file(path("etc/m.nspawn")).unwrap();
    let changes: Vec<_> = kept.changed_since_then().into_iter().collect();
    assert_eq!(
        changes,
        [
            (path("etc/m.nspawn"), "removed"),
            (path("spinney/machines/m.toml.d/new.toml"), "new"),
            (path("spinney/spinney.toml"), "changed"),
        ]
    );
}
