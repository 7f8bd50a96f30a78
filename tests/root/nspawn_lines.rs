//! Command lines of systemd-nspawn, those of tools that call it among them, and what their payload says.

/// Which tree a line is of.
#[derive(Clone, Copy)]
pub enum Tree {
    /// A busybox tree of the test's own.
    Busybox,
    /// The cached tree of Debian 12, which nobody may write to.
    Debian,
}

/// One command line, where `{tree}`, `{name}` and `{dir}` stand for a tree, a name and a directory with a file.
pub struct Line {
    pub name: &'static str,
    pub tree: Tree,
    pub words: &'static [&'static str],
    /// On its stdin.
    pub input: Option<&'static str>,
    pub status: i32,
    /// What the payload says, where it is not enough that it says the same.
    pub stdout: Option<&'static str>,
    /// The messages are in words of our own.
    pub own_words: bool,
    /// What goes to stdout is no payload's.
    pub silent_payload: bool,
}

/// What most lines are.
const USUAL: Line = Line {
    name: "",
    tree: Tree::Busybox,
    words: &[],
    input: None,
    status: 0,
    stdout: None,
    own_words: false,
    silent_payload: false,
};

/// A line, and what its payload says.
const fn line(name: &'static str, words: &'static [&'static str], stdout: &'static str) -> Line {
    Line { name, words, stdout: Some(stdout), ..USUAL }
}

/// A line whose payload says whatever it says with the real one.
const fn alike(name: &'static str, words: &'static [&'static str]) -> Line {
    Line { name, words, ..USUAL }
}

/// The environment of PID 1, but for the machine's UUID, which is random.
const ENVIRONMENT: &str = "tr '\\0' '\\n' </proc/1/environ | grep -v ^container_uuid= | sort";

/// The type of what is mounted where the Container Interface wants something.
const MOUNTS: &str = "for i in /proc /sys /dev /dev/pts /dev/shm /dev/mqueue /run /tmp; do \
    echo $i $(grep \" $i \" /proc/mounts | tail -n 1 | cut -d ' ' -f 3); done; grep -c ' /sys .* ro,' /proc/mounts; \
    for i in null zero full random urandom tty; do test -c /dev/$i || echo no $i; done; ls -l /dev/stdin | sed 's/.*-> //'";

const INTERFACE: &str = "grep -c ' /proc/sys .* ro,' /proc/mounts; \
    cat /run/host/container-manager; head -n 1 /run/host/os-release; test -S /run/host/notify && echo notify; umask";

pub const LINES: &[Line] = &[
    line("true", &["-D", "{tree}", "-M", "{name}", "true"], ""),
    Line { status: 3, ..line("status", &["-D", "{tree}", "-M", "{name}", "sh", "-c", "exit 3"], "") },
    Line { status: 1, ..line("status_133", &["-D", "{tree}", "-M", "{name}", "sh", "-c", "exit 133"], "") },
    Line {
        status: 1,
        own_words: true,
        silent_payload: true,
        ..alike("missing_program", &["-D", "{tree}", "-M", "{name}", "nonexistent"])
    },
    line("quiet", &["-qD", "{tree}", "sh", "-c", "echo out; echo err >&2"], "out\nerr"),
    Line { input: Some("in\n"), ..line("pipe", &["-PD", "{tree}", "cat"], "in") },
    Line { input: Some("in\n"), ..line("autopipe", &["--console=autopipe", "-qD{tree}", "cat"], "in") },
    Line {
        input: Some("in\n"),
        ..line("read_only_console", &["--console=read-only", "-qD{tree}", "tty"], "/dev/pts/0")
    },
    line("pid_1", &["-qD", "{tree}", "sh", "-c", "echo $$"], "1"),
    Line { status: 7, ..line("pid_2", &["-qaD", "{tree}", "sh", "-c", "echo $$; exit 7"], "2") },
    alike("environment", &["-qD", "{tree}", "sh", "-c", ENVIRONMENT]),
    line("setenv", &["-qD{tree}", "-E", "A=b", "--setenv=C=d e", "sh", "-c", "echo \"$A|$C\""], "b|d e"),
    line("directory", &["-qD", "{tree}", "pwd"], "/"),
    line("chdir", &["--chdir=/etc", "-qD{tree}", "pwd"], "/etc"),
    line("hostname", &["--hostname=other", "-qD{tree}", "-M{name}", "hostname"], "other"),
    line(
        "uuid",
        &["--uuid=0dd10203-0405-0607-0809-0a0b0c0d0eff", "-qD{tree}", "sh", "-c", "echo $container_uuid"],
        "0dd10203-0405-0607-0809-0a0b0c0d0eff",
    ),
    Line {
        status: 1,
        ..alike("read_only", &["--read-only", "--timezone=off", "-qD{tree}", "touch", "/new"])
    },
    line(
        "binds",
        &[
            "--bind={dir}:/mnt/b",
            "--bind-ro={dir}:/mnt/r",
            "-qD{tree}",
            "sh",
            "-c",
            "cat /mnt/r/file; touch /mnt/b/new && echo rw; touch /mnt/r/other 2>/dev/null || echo ro",
        ],
        "of the host\nrw\nro",
    ),
    line(
        "bind_of_the_tree",
        &["--bind=+/etc:/mnt/e", "-qD{tree}", "sh", "-c", "cmp /mnt/e/passwd /etc/passwd && echo same"],
        "same",
    ),
    line(
        "tmpfs",
        &["--tmpfs=/mnt/t:mode=700", "-qD{tree}", "sh", "-c", "stat -c %a /mnt/t; stat -f -c %T /mnt/t"],
        "700\ntmpfs",
    ),
    line(
        "overlay",
        &["--overlay={dir}::/root", "-qD{tree}", "sh", "-c", "cat /root/file; touch /root/other && echo rw"],
        "of the host\nrw",
    ),
    line(
        "inaccessible",
        &["--inaccessible=/etc/passwd", "-qD{tree}", "stat", "-c", "%a %s", "/etc/passwd"],
        "0 0",
    ),
    alike("capabilities", &["-qD{tree}", "sh", "-c", "grep -E 'Cap(Prm|Eff|Bnd|Amb)' /proc/self/status"]),
    alike(
        "more_and_less_capabilities",
        &[
            "--capability=CAP_NET_ADMIN",
            "--drop-capability=CAP_CHOWN,CAP_KILL",
            "-qD{tree}",
            "grep",
            "CapBnd",
            "/proc/self/status",
        ],
    ),
    line("private_network", &["--private-network", "-qD{tree}", "ls", "/sys/class/net"], "lo"),
    line("rlimit", &["--rlimit=NOFILE=100", "-qD{tree}", "sh", "-c", "ulimit -n"], "100"),
    line(
        "no_new_privileges",
        &["--no-new-privileges=yes", "-qD{tree}", "grep", "NoNewPrivs", "/proc/self/status"],
        "NoNewPrivs:\t1",
    ),
    line(
        "credential",
        &["--set-credential=a:b", "-qD{tree}", "sh", "-c", "cat $CREDENTIALS_DIRECTORY/a"],
        "b",
    ),
    alike("mounts", &["-qD{tree}", "sh", "-c", MOUNTS]),
    alike("interface", &["-qD{tree}", "sh", "-c", INTERFACE]),
    alike(
        "limits",
        &["-qD{tree}", "sh", "-c", "ulimit -c; ulimit -s; ulimit -n; cat /proc/self/oom_score_adj"],
    ),
    line("oom_score", &["--oom-score-adjust=100", "-qD{tree}", "cat", "/proc/self/oom_score_adj"], "100"),
    line("personality", &["--personality=x86", "-qD{tree}", "uname", "-m"], "i686"),
    Line {
        tree: Tree::Debian,
        ..line(
            "user",
            &[
                "--volatile=overlay",
                "-qD{tree}",
                "-M{name}",
                "-u",
                "nobody",
                "sh",
                "-c",
                "id -un; echo $HOME $USER; pwd",
            ],
            "nobody\n/nonexistent nobody\n/",
        )
    },
    Line {
        tree: Tree::Debian,
        ..line(
            "volatile",
            &[
                "--volatile",
                "-qD{tree}",
                "-M{name}",
                "sh",
                "-c",
                "stat -f -c %T /; ls -A /etc | grep -c passwd || true",
            ],
            "tmpfs\n0",
        )
    },
    // What tools call.
    line(
        "mkosi",
        &[
            "--quiet",
            "--link-journal=no",
            "--suppress-sync=yes",
            "--private-network",
            "--rlimit=RLIMIT_CORE=0:infinity",
            "--console=autopipe",
            "--machine",
            "{name}",
            "--register",
            "no",
            "--directory",
            "{tree}",
            "--set-credential=agetty.autologin:root",
            "sh",
            "-c",
            "sync; ulimit -c; hostname | wc -l",
        ],
        "0\n1",
    ),
    line(
        "mock",
        &[
            "-q",
            "-M",
            "{name}",
            "-D",
            "{tree}",
            "-a",
            "--capability=cap_ipc_lock",
            "--rlimit=RLIMIT_NOFILE=1024",
            "--bind={dir}/file:/etc/resolv.conf",
            "--console=pipe",
            "--setenv=TERM=vt100",
            "--setenv=SHELL=/bin/bash",
            "--setenv=HOME=/builddir",
            "--resolv-conf=off",
            "/bin/sh",
            "-c",
            "cat /etc/resolv.conf; echo $TERM $SHELL $HOME",
        ],
        "of the host\nvt100 /bin/bash /builddir",
    ),
    Line {
        own_words: true,
        ..line(
            "arch_nspawn",
            &[
                "-q",
                "-D",
                "{tree}",
                "-E",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/bin:/bin",
                "--register=no",
                "--slice=devtools-{name}",
                "--machine={name}",
                "--as-pid2",
                "--console=autopipe",
                "--timezone=off",
                "--bind-ro={dir}:/var/cache/pkg",
                "sh",
                "-c",
                "echo $PATH; ls /var/cache/pkg",
            ],
            "/usr/local/sbin:/usr/local/bin:/usr/bin:/bin\nfile",
        )
    },
    line(
        "debspawn",
        &[
            "--chdir=/srv",
            "--link-journal=no",
            "-aqM",
            "{name}",
            "--tmpfs=/srv",
            "--bind={dir}:/srv/build",
            "-aqD",
            "{tree}",
            "sh",
            "-c",
            "pwd; ls",
        ],
        "/srv\nbuild",
    ),
    line(
        "nspawn_chroot",
        &[
            "--capability=CAP_SYS_CHROOT,CAP_NET_ADMIN,CAP_NET_RAW",
            "--resolv-conf=bind-host",
            "--link-journal=no",
            "--bind={dir}",
            "--setenv=SCRIPTDIR={dir}",
            "--console=pipe",
            "-qD",
            "{tree}",
            "--",
            "sh",
            "-c",
            "cat $SCRIPTDIR/file",
        ],
        "of the host",
    ),
    line(
        "bootstrap_script",
        &[
            "--quiet",
            "--directory={tree}",
            "--as-pid2",
            "--console=pipe",
            "--settings=no",
            "--resolv-conf=replace-host",
            "--bind-ro={dir}:/run/nsl",
            "--setenv=NSL_USER=me",
            "--",
            "/bin/sh",
            "-c",
            "echo $NSL_USER $(cat /run/nsl/file)",
        ],
        "me of the host",
    ),
];
