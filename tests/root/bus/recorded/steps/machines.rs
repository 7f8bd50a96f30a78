//! What is seen of machines, how they are ended, and what is done inside of them.

use super::{COLUMNS, Does, Hide, LISTED, SERVED, SERVICE, Step, WORDS, but, does, run};

const STATUS: &[Hide] = &[
    Hide::Shape("ffffffffffffffffffffffffffffffff"),
    Hide::After("Since: "),
    Hide::Number("Leader: "),
    // Of systemd's, on the host.
    Hide::From("Unit: "),
];

const SHOWN: &[Hide] = &[
    Hide::After("Id="),
    Hide::After("Leader="),
    Hide::After("Timestamp="),
    Hide::After("TimestampMonotonic="),
    Hide::After("Unit="),
    // Of later versions.
    Hide::Line("LeaderPIDFDId="),
    Hide::Line("SSHAddress="),
    Hide::Line("SSHPrivateKeyPath="),
    Hide::Line("Scope="),
    Hide::Line("Subgroup="),
    Hide::Line("Supervisor="),
    Hide::Line("SupervisorPIDFDId="),
    Hide::Line("UID="),
    Hide::Line("VSockCID="),
    Hide::Order,
];

/// What is seen of machines.
#[rustfmt::skip]
pub const SEEN: &[Step] = &[
    run("none", "machinectl list"),
    run("none-bare", "machinectl list --no-legend"),
    run("none-json", "machinectl list -o json"),
    run("status-unknown", "machinectl status nobody"),
    run("show-unknown", "machinectl show nobody"),
    run("terminate-unknown", "machinectl terminate nobody"),
    run("kill-unknown", "machinectl kill nobody"),
    run("poweroff-unknown", "machinectl poweroff nobody"),
    run("reboot-unknown", "machinectl reboot nobody"),
    run("bind-unknown", "machinectl bind nobody /tmp"),
    run("copy-to-unknown", "machinectl copy-to nobody /etc/hostname"),
    run("copy-from-unknown", "machinectl copy-from nobody /etc/hostname"),
    run("login-unknown", "machinectl login nobody"),
    run("shell-unknown", "machinectl shell nobody"),
    run("bad-name", "
        machinectl status '../x'
        machinectl terminate 'a b'
    "),
    does(Does::Boot("tiny", "busybox")),
    does(Does::Boot("deb", "debian-12")),
    run("list", "machinectl list").but(LISTED),
    run("list-bare", "machinectl list --no-legend").but(SERVED),
    run("list-all", "machinectl list --all").but(&[
        but("systemd-nspawn", "spinney", SERVICE),
        but("SERVICE        OS", "SERVICE OS", COLUMNS),
        but("host      -       ", "host      -", COLUMNS),
    ]),
    run("list-json", "machinectl list -o json").but(SERVED),
    run("list-json-pretty", "machinectl list -o json-pretty").but(SERVED),
    run("list-modes", "
        for mode in short short-full verbose export cat with-unit; do
            machinectl list -o $mode >$dir/out
            echo $mode $(wc -l <$dir/out)
        done
    "),
    run("list-bad-mode", "machinectl list -o pretty"),
    run("status", "machinectl status -n 0 $deb").hides(STATUS).but(SERVED),
    run("status-of-two", "machinectl status -n 0 $tiny $deb | grep -c Leader"),
    run("status-modes", "
        for mode in short short-precise short-iso short-iso-precise short-full short-monotonic short-unix short-delta \
            json json-pretty json-sse json-seq cat verbose export with-unit; do
            machinectl status -n 0 -o $mode $deb >$dir/out
            echo $mode $(grep -c Leader $dir/out)
        done
    "),
    run("show", "machinectl show $deb").hides(SHOWN).but(&[
        but("systemd-nspawn", "spinney", SERVICE),
        but("1| Unit=#\n", "", "where there is no systemd there are no units"),
    ]),
    run("show-tiny", "machinectl show $tiny").hides(SHOWN).but(&[
        but("systemd-nspawn", "spinney", SERVICE),
        but("1| Unit=#\n", "", "where there is no systemd there are no units"),
    ]),
    run("show-property", "
        machinectl show $deb -p State -p Name | sort
        machinectl show $deb --value -p Class
        machinectl show $deb -p Nothing
    "),
    run("show-all", "machinectl show --all $deb").hides(SHOWN).but(SERVED),
    run("show-modes", "
        for mode in short json json-pretty export; do machinectl show $deb -p Name -o $mode; done
    "),
    run("show-leader", "cat /proc/$(leader $deb)/comm /proc/$(leader $tiny)/comm"),
    run("show-pool", "machinectl show -p PoolPath"),
    run("addresses", "
        nsenter -t $(leader $deb) -n ip address add 192.0.2.7/24 dev lo
        nsenter -t $(leader $deb) -n ip address add 2001:db8::7/64 dev lo nodad
        machinectl list
    ").but(LISTED),
    run("addresses-one", "machinectl list --max-addresses=1").but(LISTED),
    run("addresses-all", "
        machinectl list --max-addresses=all
        machinectl list --max-addresses=none
    ").but(&[
        but("systemd-nspawn", "spinney", SERVICE),
        but("SERVICE        OS", "SERVICE OS", COLUMNS),
        but("       2001:db8", "2001:db8", COLUMNS),
    ]),
    run("addresses-bad", "machinectl list --max-addresses=many"),
    run("status-addresses", "machinectl status -n 0 $deb").hides(STATUS).but(SERVED),
];

/// What is done inside of machines.
#[rustfmt::skip]
pub const GUESTS: &[Step] = &[
    run("shell", "machinectl shell -q $deb /bin/echo it is"),
    run("shell-says", "machinectl shell $deb /bin/true"),
    run("shell-status", "machinectl shell -q $deb /bin/sh -c 'exit 3'"),
    run("shell-user", "
        machinectl shell -q daemon@$deb /usr/bin/id -un
        machinectl shell -q --uid=daemon $deb /usr/bin/id -un
    "),
    run("shell-environment", "
        machinectl shell -q -E X='y z' $deb /bin/sh -c 'echo $X; tty | tr 0-9 \"#\"'
    "),
    run("shell-relative", "machinectl shell -q $deb bin/true"),
    run("shell-bad-environment", "machinectl shell -q -E 1= $deb /bin/true"),
    run("login", r"
mkfifo $dir/in
machinectl login $deb <$dir/in >$dir/out 2>&1 &
exec 3>$dir/in
until grep -q 'login: ' $dir/out; do sleep 0.1; done
exec 3>&-
wait $!
echo $?
tr -d '\r' <$dir/out | grep -v '^$'
    ").hides(&[Hide::Number("GNU/Linux 12 localhost pts/"), Hide::Number("pts/")]),
    run("copy-to", "
        mkdir -p $dir/from/sub
        echo content >$dir/from/sub/file
        machinectl copy-to $deb $dir/from /opt/to
        machinectl shell -q $deb /bin/cat /opt/to/sub/file
    "),
    run("copy-to-again", "machinectl copy-to $deb $dir/from/sub/file /opt/to/sub/file").but(&[
        but("File exists", "\"/opt/to/sub/file\" exists (--force replaces files that exist)", WORDS),
    ]),
    run("copy-to-force", "machinectl copy-to --force $deb $dir/from/sub/file /opt/to/sub/file"),
    run("copy-to-same-path", "
        machinectl copy-to $deb /etc/passwd
        machinectl copy-to $deb /etc/machine-info-x
    ").but(&[
        but("File exists", "\"/etc/passwd\" exists (--force replaces files that exist)", WORDS),
        but("No such file or directory", "\"/etc/machine-info-x\" does not exist", WORDS),
    ]),
    run("copy-to-no-source", "machinectl copy-to $deb $dir/nothing /opt/nothing").but(&[
        but("No such file or directory", "\"DIRECTORY/nothing\" does not exist", WORDS),
    ]),
    run("copy-to-no-place", "machinectl copy-to $deb $dir/from/sub/file /opt/a/b/c").but(&[
        but("No such file or directory", "\"/opt/a/b\" does not exist (the directory to copy to is not made)", WORDS),
    ]),
    run("copy-to-relative", "machinectl copy-to $deb $dir/from/sub/file opt/x"),
    run("copy-from", "
        machinectl copy-from $deb /opt/to $dir/back
        find $dir/back -type f | sort
        cat $dir/back/sub/file
    "),
    run("copy-from-again", "machinectl copy-from $deb /opt/to/sub/file $dir/back/sub/file").but(&[
        but("File exists", "\"DIRECTORY/back/sub/file\" exists (--force replaces files that exist)", WORDS),
    ]),
    run("copy-to-into", "
        machinectl copy-to $deb $dir/from/sub/file /opt/to
        machinectl shell -q $deb /bin/ls -A /opt/to
    ").but(&[
        but("1| sub\n2| Failed to copy: File exists\n2| exit status 1\n", "1| file  sub\n", "what is copied to a directory goes into it, as with cp"),
    ]),
    run("copy-from-no-source", "machinectl copy-from $deb /opt/nothing $dir/nothing").but(&[
        but("No such file or directory", "\"/opt/nothing\" does not exist", WORDS),
    ]),
    run("bind", "
        machinectl bind --mkdir $deb $dir/from /mnt/bound
        machinectl shell -q $deb /bin/sh -c 'cat /mnt/bound/sub/file; echo >/mnt/bound/new && echo written'
    "),
    run("bind-read-only", "
        machinectl bind --mkdir --read-only $deb $dir/from /mnt/read
        machinectl shell -q $deb /bin/sh -c 'cat /mnt/read/sub/file; echo >/mnt/read/x || echo refused'
    "),
    run("bind-file", "
        machinectl bind --mkdir $deb $dir/from/sub/file /mnt/file
        machinectl shell -q $deb /bin/cat /mnt/file
    "),
    run("bind-no-place", "machinectl bind $deb $dir/from /mnt/nowhere").but(&[
        but("Failed to mount DIRECTORY/from on /mnt/nowhere in machine's namespace: No such file or directory", "\"/mnt/nowhere\" does not exist in the machine (--mkdir makes it)", WORDS),
    ]),
    run("bind-no-source", "machinectl bind --mkdir $deb $dir/nothing /mnt/x").but(&[
        but("Failed to mount DIRECTORY/nothing on /mnt/x in machine's namespace: No such file or directory", "\"DIRECTORY/nothing\" does not exist", WORDS),
    ]),
    run("bind-relative", "
        machinectl bind $deb $dir/from mnt/x
        machinectl bind $deb from /mnt/x
    "),
];

/// How they are signalled and ended.
#[rustfmt::skip]
pub const ENDED: &[Step] = &[
    run("kill-bad-whom", "machinectl kill --kill-whom=everybody $tiny"),
    run("kill-bad-signal", "machinectl kill --signal=FOO $tiny"),
    run("kill-nothing", "machinectl kill --kill-whom=leader --signal=CONT $tiny"),
    run("kill", "machinectl kill --kill-whom=all --signal=KILL $tiny"),
    does(Does::Gone("tiny")),
    run("killed", "machinectl list --no-legend").but(SERVED),
    run("reboot", "machinectl reboot $deb"),
    does(Does::BootAgain("deb")),
    run("rebooted", "
        machinectl list
        machinectl show $deb -p State
    ").but(LISTED),
    run("poweroff", "machinectl poweroff $deb"),
    does(Does::Gone("deb")),
    run("powered-off", "machinectl list"),
    does(Does::Boot("tiny", "busybox")),
    run("terminate", "machinectl terminate $tiny nobody"),
    does(Does::Gone("tiny")),
    run("terminated", "machinectl list"),
];
