//! Every setting in each of its forms: our TOML, .nspawn, an option. All forms of a value are the same setting.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use crate::cli::invocation::{Invocation, parse};
use crate::settings::keys;
use crate::settings::{Environment, Places, Resolved, SettingsError, machine_settings};

/// A machine's files in a directory of the test's own, and no others.
pub(super) struct Files(pub(super) tempfile::TempDir);

impl Files {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes `text` into `path` below the directory.
    pub(super) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(super) fn environment(&self) -> Environment {
        Environment {
            on_terminal: false,
            directory: "/work".into(),
            variable: |name| (name == "OURS").then(|| "from us".into()),
            read: |_| Ok(b"secret".to_vec()),
            places: Places {
                spinney: self.0.path().join("spinney"),
                nspawn: vec![self.0.path().join("etc"), self.0.path().join("run")],
            },
        }
    }

    /// What `spinney run` with the words of `line` asks for.
    pub(super) fn asked(&self, line: &str) -> Result<Resolved, SettingsError> {
        let line = line.replace("TREES", self.0.path().to_str().unwrap());
        let words =
            ["spinney", "run"].into_iter().chain(line.split_whitespace()).map(OsString::from).collect();
        let Ok(Invocation::Run(invocation)) = parse(words) else { panic!("not a run: {line}") };
        super::asked(&invocation).and_then(|asked| machine_settings(&asked, &self.environment()))
    }
}

/// A setting; it in TOML, in .nspawn ("" where it is not there), and as a command line ("" where there is no option);
/// the command line that goes with the files.
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

const ROWS: &[Row] = &[
    (
        "machine.hostname",
        "hostname = 'h.example'",
        "Exec Hostname=h.example",
        "--hostname=h.example /m",
        "/m",
    ),
    (
        "machine.uuid",
        "uuid = '0123456789abcdef0123456789abcdef'",
        "Exec MachineID=0123456789abcdef0123456789abcdef",
        "--uuid=01234567-89ab-cdef-0123-456789abcdef /m",
        "/m",
    ),
    (
        "machine.root-hash",
        "root-hash = '000102030405060708090a0b0c0d0e0f'",
        "",
        "--root-hash=000102030405060708090A0B0C0D0E0F /m",
        "/m",
    ),
    ("machine.verity-data", "verity-data = '/h'", "", "--verity-data=/h /m", "/m"),
    ("machine.root-hash-sig", "root-hash-sig = 'base64:YWI='", "", "--root-hash-sig=base64:YWI= /m", "/m"),
    ("machine.ephemeral", "ephemeral = true", "Exec Ephemeral=yes", "-x /m", "/m"),
    ("users.private-users", "private-users = false", "Exec PrivateUsers=no", "--private-users=no /m", "/m"),
    (
        "users.private-users",
        "private-users = '524288:65536'",
        "Exec PrivateUsers=524288:65536",
        "--private-users=524288:65536 /m",
        "/m",
    ),
    (
        "network.private-network",
        "private-network = false",
        "Network Private=no",
        "--private-network=no /m",
        "/m",
    ),
    (
        "network.private-network",
        "private-network = true",
        "Network Private=yes",
        "--private-network /m",
        "/m",
    ),
    (
        "network.network-namespace-path",
        "network-namespace-path = '/run/netns/a'",
        "Network NamespacePath=/run/netns/a",
        "--network-namespace-path=/run/netns/a /m",
        "/m",
    ),
    ("network.network-veth", "network-veth = true", "Network VirtualEthernet=yes", "-n /m", "/m"),
    (
        "network.network-veth",
        "network-veth = false",
        "Network VirtualEthernet=no",
        "--network-veth=no /m",
        "/m",
    ),
    (
        "network.network-veth-extra",
        "network-veth-extra = ['a:b', 'c']",
        "Network VirtualEthernetExtra=a:b\nVirtualEthernetExtra=c",
        "--network-veth-extra=a:b --network-veth-extra=c /m",
        "/m",
    ),
    (
        "network.network-interface",
        "network-interface = ['a:b', 'c']",
        "Network Interface=a:b c",
        "--network-interface=a:b --network-interface=c /m",
        "/m",
    ),
    (
        "network.network-macvlan",
        "network-macvlan = 'eth0'",
        "Network MACVLAN=eth0",
        "--network-macvlan=eth0 /m",
        "/m",
    ),
    (
        "network.network-ipvlan",
        "network-ipvlan = 'eth0'",
        "Network IPVLAN=eth0",
        "--network-ipvlan=eth0 /m",
        "/m",
    ),
    (
        "network.network-bridge",
        "network-bridge = 'br0'",
        "Network Bridge=br0",
        "--network-bridge=br0 /m",
        "/m",
    ),
    ("network.network-zone", "network-zone = 'lab'", "Network Zone=lab", "--network-zone=lab /m", "/m"),
    (
        "network.port",
        "port = ['80', 'udp:53:5353']",
        "Network Port=80\nPort=udp:53:5353",
        "-p 80 --port=53:5353/udp /m",
        "/m",
    ),
    ("network.ip", "ip = ['10.0.0.7/24', 'fd00::7']", "", "--ip=10.0.0.7/24 --ip=fd00::7 /m", "/m"),
    ("network.mac", "mac = '02-00-00-00-00-01'", "", "--mac=02:00:00:00:00:01 /m", "/m"),
    ("network.gateway", "gateway = '10.0.0.1'", "", "--gateway=10.0.0.1 /m", "/m"),
    ("network.dns", "dns = ['9.9.9.9', '::1']", "", "--dns=9.9.9.9 --dns=::1 /m", "/m"),
    ("network.hosts", "hosts = ['db:10.0.0.9']", "", "--hosts=db:10.0.0.9 /m", "/m"),
    ("network.offer", "offer = ['5432', '/run/x']", "", "--offer=5432 --offer=/run/x /m", "/m"),
    ("network.net-spoofing", "net-spoofing = true", "", "--net-spoofing /m", "/m"),
    ("network.net-delay", "net-delay = '50ms'", "", "--net-delay=50ms /m", "/m"),
    ("network.net-loss", "net-loss = '1%'", "", "--net-loss=1% /m", "/m"),
    ("console.mode", "mode = 'passive'", "", "--console=passive /m", "/m"),
    (
        "execution.boot",
        "boot = true\nparameters = ['single']",
        "Exec Boot=yes\nParameters=single",
        "--boot /m -- single",
        "/m",
    ),
    ("execution.parameters", "parameters = ['ls', '-l']", "Exec Parameters='ls' -l", "/m -- ls -l", "/m"),
    ("execution.init", "init = '/sbin/init'", "", "--init=/sbin/init /m", "/m"),
    ("execution.process-two", "process-two = false", "Exec ProcessTwo=no", "--as-pid1 /m ls", "/m ls"),
    ("execution.chdir", "chdir = '/srv'", "Exec WorkingDirectory=/srv", "--chdir=/srv /m", "/m"),
    ("execution.user", "user = 'www-data'", "Exec User=www-data", "--uid=www-data /m ls", "/m ls"),
    (
        "execution.setenv",
        "setenv = ['A=1', 'OURS', 'A=2']",
        "Exec Environment=A=1 'OURS' \"A=2\"",
        "-E A=1 -E OURS -E A=2 /m",
        "/m",
    ),
    ("execution.setenv", "setenv = { B = 1, A = '2' }", "Exec Environment=B=1 A=2", "-E B=1 -E A=2 /m", "/m"),
    ("execution.kill-signal", "kill-signal = 'TERM'", "Exec KillSignal=SIGTERM", "--kill-signal=15 /m", "/m"),
    ("execution.notify-ready", "notify-ready = true", "Exec NotifyReady=yes", "--notify-ready /m", "/m"),
    ("execution.suppress-sync", "suppress-sync = true", "Exec SuppressSync=yes", "--suppress-sync /m", "/m"),
    ("execution.timeout-ready", "timeout-ready = 5", "", "--timeout-ready=5s /m", "/m"),
    ("execution.timeout-stop", "timeout-stop = '2min'", "", "--timeout-stop=120 /m", "/m"),
    ("execution.boot-clock", "boot-clock = false", "", "--boot-clock=no /m", "/m"),
    ("files.read-only", "read-only = true", "Files ReadOnly=yes", "--read-only /m", "/m"),
    ("files.volatile", "volatile = true", "Files Volatile=yes", "--volatile /m", "/m"),
    ("files.volatile", "volatile = 'overlay'", "Files Volatile=overlay", "--volatile=overlay /m", "/m"),
    ("files.pivot-root", "pivot-root = '/a:/b'", "Exec PivotRoot=/a:/b", "--pivot-root=/a:/b /m", "/m"),
    (
        "files.bind",
        "bind = ['/a:/b:idmap', '+/c:/d']",
        "Files Bind=/a:/b:idmap\nBind=+/c:/d",
        "--bind=/a:/b:idmap --bind=+/c:/d /m",
        "/m",
    ),
    ("files.bind-ro", "bind-ro = '/a'", "Files BindReadOnly=/a", "--bind-ro=/a /m", "/m"),
    ("files.inaccessible", "inaccessible = ['/a']", "Files Inaccessible=/a", "--inaccessible=/a /m", "/m"),
    (
        "files.tmpfs",
        "tmpfs = ['/a:size=1M']",
        "Files TemporaryFileSystem=/a:size=1M",
        "--tmpfs=/a:size=1M /m",
        "/m",
    ),
    ("files.overlay", "overlay = ['/l::/o']", "Files Overlay=/l::/o", "--overlay=/l::/o /m", "/m"),
    (
        "files.overlay-ro",
        "overlay-ro = ['/l:/o']",
        "Files OverlayReadOnly=/l:/o",
        "--overlay-ro=/l:/o /m",
        "/m",
    ),
    ("integration.resolv-conf", "resolv-conf = 'off'", "Exec ResolvConf=off", "--resolv-conf=off /m", "/m"),
    ("integration.timezone", "timezone = 'bind'", "Exec Timezone=bind", "--timezone=bind /m", "/m"),
    ("integration.link-journal", "link-journal = 'try-guest'", "Exec LinkJournal=try-guest", "-j /m", "/m"),
    ("credentials.set-credential", "set-credential = { a = 'x' }", "", "--set-credential=a:x /m", "/m"),
    ("credentials.load-credential", "load-credential = ['a:/b']", "", "--load-credential=a:/b /m", "/m"),
    (
        "security.capability",
        "capability = ['CAP_NET_ADMIN', 'sys_time']",
        "Exec Capability=CAP_NET_ADMIN CAP_SYS_TIME",
        "--capability=CAP_NET_ADMIN,CAP_SYS_TIME /m",
        "/m",
    ),
    (
        "security.drop-capability",
        "drop-capability = 'CAP_MKNOD'",
        "Exec DropCapability=CAP_MKNOD",
        "--drop-capability=mknod /m",
        "/m",
    ),
    (
        "security.ambient-capability",
        "ambient-capability = ['CAP_NET_RAW']",
        "Exec AmbientCapability=CAP_NET_RAW",
        "--ambient-capability=CAP_NET_RAW /m ls",
        "/m ls",
    ),
    (
        "security.no-new-privileges",
        "no-new-privileges = true",
        "Exec NoNewPrivileges=1",
        "--no-new-privileges /m",
        "/m",
    ),
    (
        "security.system-call-filter",
        "system-call-filter = ['@clock', '~bpf ptrace']",
        "Exec SystemCallFilter=@clock\nSystemCallFilter=~bpf ptrace",
        "--system-call-filter=@clock --system-call-filter=~bpf,ptrace /m",
        "/m",
    ),
    ("security.selinux-context", "selinux-context = 'a:b:c'", "", "-Z a:b:c /m", "/m"),
    ("security.selinux-apifs-context", "selinux-apifs-context = 'a:b:c'", "", "-L a:b:c /m", "/m"),
    ("security.nesting", "nesting = true", "", "--nesting /m", "/m"),
    (
        "resources.rlimit",
        "rlimit = { NOFILE = '5:6', RLIMIT_CORE = 0 }",
        "Exec LimitNOFILE=5:6\nLimitCORE=0",
        "--rlimit=NOFILE=5:6 --rlimit=CORE=0 /m",
        "/m",
    ),
    (
        "resources.oom-score-adjust",
        "oom-score-adjust = -5",
        "Exec OOMScoreAdjust=-5",
        "--oom-score-adjust=-5 /m",
        "/m",
    ),
    (
        "resources.cpu-affinity",
        "cpu-affinity = [0, 2]",
        "Exec CPUAffinity=0\nCPUAffinity=2",
        "--cpu-affinity=0,2 /m",
        "/m",
    ),
    ("resources.memory-max", "memory-max = '1G'", "", "-m 1G /m", "/m"),
    ("resources.memory-high", "memory-high = 4096", "", "--memory-high=4K /m", "/m"),
    ("resources.memory-low", "memory-low = '1M'", "", "--memory-low=1M /m", "/m"),
    ("resources.memory-min", "memory-min = '1M'", "", "--memory-min=1M /m", "/m"),
    ("resources.memory-swap-max", "memory-swap-max = 0", "", "--memory-swap-max=0 /m", "/m"),
    ("resources.cpu-quota", "cpu-quota = '150%'", "", "--cpus=1.5 /m", "/m"),
    ("resources.cpu-weight", "cpu-weight = 50", "", "--cpu-weight=50 /m", "/m"),
    ("resources.allowed-cpus", "allowed-cpus = [0, 1]", "", "--allowed-cpus=0-1 /m", "/m"),
    ("resources.allowed-memory-nodes", "allowed-memory-nodes = '0'", "", "--allowed-memory-nodes=0 /m", "/m"),
    ("resources.tasks-max", "tasks-max = 100", "", "--property=TasksMax=100 /m", "/m"),
    ("resources.io-weight", "io-weight = 20", "", "--io-weight=20 /m", "/m"),
    (
        "resources.io-device-weight",
        "io-device-weight = ['/dev/a:20']",
        "",
        "--io-device-weight=/dev/a:20 /m",
        "/m",
    ),
    (
        "resources.io-read-bandwidth-max",
        "io-read-bandwidth-max = ['/dev/a:1M', '/dev/b 2M', '/dev/a 3M']",
        "",
        "--io-read-bandwidth-max=/dev/b:2M --io-read-bandwidth-max=/dev/a:3M /m",
        "/m",
    ),
    (
        "resources.io-write-bandwidth-max",
        "io-write-bandwidth-max = '/dev/a:1M'",
        "",
        "--device-write-bps=/dev/a:1M /m",
        "/m",
    ),
    (
        "resources.io-read-iops-max",
        "io-read-iops-max = '/dev/a:1'",
        "",
        "--io-read-iops-max=/dev/a:1 /m",
        "/m",
    ),
    (
        "resources.io-write-iops-max",
        "io-write-iops-max = '/dev/a:1'",
        "",
        "--io-write-iops-max=/dev/a:1 /m",
        "/m",
    ),
    ("resources.device", "device = ['/dev/fuse']", "", "--device=/dev/fuse /m", "/m"),
    ("resources.device-allow", "device-allow = ['char-pts']", "", "--device-allow=char-pts /m", "/m"),
    ("resources.network-class", "network-class = '1:2'", "", "--network-class=1:2 /m", "/m"),
    ("resources.network-priority", "network-priority = ['eth0:3']", "", "--network-priority=eth0:3 /m", "/m"),
    ("autostart.enabled", "enabled = true", "", "", "/m"),
    ("autostart.after", "after = ['a', 'b']", "", "", "/m"),
    ("autostart.requires", "requires = ['a']", "", "", "/m"),
    ("autostart.wants", "wants = ['a']", "", "", "/m"),
    ("autostart.delay", "delay = '5s'", "", "", "/m"),
    #[cfg(target_arch = "x86_64")]
    ("resources.personality", "personality = 'x86'", "Exec Personality=x86", "--personality=x86 /m", "/m"),
];

/// All that is asked for, as text: secrets but for their length.
fn settings(files: &Files, line: &str) -> String {
    match files.asked(line) {
        Ok(resolved) if resolved.warnings.is_empty() => format!("{:#?}", resolved.settings),
        Ok(resolved) => panic!("{line}: {:?}", resolved.warnings),
        Err(error) => {
            panic!("{line}: {error}: {:?}", std::error::Error::source(&error).map(ToString::to_string))
        }
    }
}

#[test]
fn all_forms_of_a_setting_are_the_same() {
    for (path, toml, nspawn, line, base) in ROWS {
        let table = path.split_once('.').unwrap().0;
        let built_in = settings(&Files::new(), base);
        let mut forms = Vec::new();
        if !line.is_empty() {
            forms.push(settings(&Files::new(), line));
        }
        let files = Files::new();
        files.write("spinney/machines/m.toml", format!("[{table}]\n{toml}\n"));
        forms.push(settings(&files, base));
        if let Some((section, lines)) = nspawn.split_once(' ') {
            let files = Files::new();
            files.write("etc/m.nspawn", format!("[{section}]\n{lines}\n"));
            forms.push(settings(&files, base));
        }
        for form in &forms {
            assert_ne!(*form, built_in, "{path} changes nothing");
            assert_eq!(*form, forms[0], "{path}: {toml}, {nspawn}, {line}");
        }
    }
}

#[test]
fn every_setting_and_every_form_is_in_the_table() {
    let in_table = |path: &str, form: fn(&Row) -> &str| {
        ROWS.iter().filter(|row| row.0 == path).map(form).collect::<Vec<_>>().join("\n")
    };
    for key in keys::all() {
        let path = key.path();
        // Where the tree is is decided before there are settings.
        let place = ["machine.directory", "machine.image", "machine.mstack"].contains(&path.as_str());
        if place || cfg!(not(target_arch = "x86_64")) && key.name == "personality" {
            continue;
        }
        assert!(in_table(&path, |row| row.1).contains(&format!("{} = ", key.name)), "{path} is in no row");
        let (nspawn, option) = (in_table(&path, |row| row.2), in_table(&path, |row| row.3));
        let limits = key.name == "rlimit";
        for known in key.nspawn.iter().filter(|_| !limits) {
            assert!(nspawn.contains(&format!("{}=", known.name)), "{}= is in no row", known.name);
        }
        assert!(key.option.is_empty() || !option.is_empty(), "{} is in no row", key.option);
    }
}

#[test]
fn names_are_clear() {
    let mut paths = BTreeSet::new();
    let mut options = BTreeSet::new();
    let mut nspawn = BTreeSet::new();
    for key in keys::all() {
        assert!(paths.insert(key.path()), "{} is there twice", key.path());
        assert!(key.option.is_empty() || options.insert(key.option), "{} is there twice", key.option);
        for known in key.nspawn {
            assert!(nspawn.insert((known.section, known.name)), "{} is there twice", known.name);
        }
        assert!(!key.default.is_empty(), "{} has no default", key.path());
        let kebab = |text: &str| {
            text.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'0'..=b'9'))
        };
        assert!(kebab(key.table) && kebab(key.name), "{}", key.path());
        // People need to learn one name.
        let bare = key.option.trim_matches(['-', '=']);
        let other = [("console", "mode"), ("uid", "user"), ("as-pid2", "process-two")];
        assert!(bare.is_empty() || bare == key.name || other.contains(&(bare, key.name)), "{}", key.option);
    }
    // Settings of one name would be told apart by their tables only, which nobody remembers.
    let names: BTreeSet<&str> = keys::all().map(|key| key.name).collect();
    assert_eq!(names.len(), paths.len());
}

/// systemd.nspawn(5): every key is a setting, or known to be without effect.
#[test]
fn every_nspawn_key_is_known() {
    let sections = [
        (
            "Exec",
            "Boot Ephemeral ProcessTwo Parameters Environment User WorkingDirectory PivotRoot Capability DropCapability \
             AmbientCapability NoNewPrivileges KillSignal Personality MachineID PrivateUsers PrivateUsersDelegate \
             NotifyReady SystemCallFilter RestrictAddressFamilies LimitCPU LimitFSIZE LimitDATA LimitSTACK LimitCORE \
             LimitRSS LimitNOFILE LimitAS LimitNPROC LimitMEMLOCK LimitLOCKS LimitSIGPENDING LimitMSGQUEUE LimitNICE \
             LimitRTPRIO LimitRTTIME OOMScoreAdjust CPUAffinity Hostname ResolvConf Timezone LinkJournal SuppressSync",
        ),
        (
            "Files",
            "ReadOnly Volatile Bind BindReadOnly BindUser BindUserShell TemporaryFileSystem Inaccessible Overlay \
             OverlayReadOnly PrivateUsersOwnership PrivateUsersChown",
        ),
        (
            "Network",
            "Private NamespacePath VirtualEthernet VirtualEthernetExtra Interface MACVLAN IPVLAN Bridge Zone Port",
        ),
    ];
    for (section, names) in sections {
        for name in names.split_whitespace() {
            let path = Path::new("/x").into();
            // A value that some refuse: it is no unknown key all the same.
            match crate::settings::nspawn_layer::layer(&path, &format!("[{section}]\n{name}=\n"), true) {
                Ok((_, warnings)) => {
                    assert!(
                        warnings.iter().all(|text| text.contains("without effect")),
                        "{name}: {warnings:?}"
                    );
                }
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
}
