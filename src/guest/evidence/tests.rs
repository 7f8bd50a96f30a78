//! Guests at different moments of their boot: files under a root, and PID 1's children.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::super::processes::Process;
use super::supervise::tests::status;
use super::utmp::tests::record;
use super::*;

const INITTAB: &str = "id:2:initdefault:\nsi::sysinit:/etc/init.d/rcS\nl2:2:wait:/etc/init.d/rc 2\n\
                       co:2345:respawn:/sbin/agetty console\n";
const NO_TERMINAL: &str = "id:3:initdefault:\nsi::sysinit:/etc/rc.d/rc.S\nrc:3:wait:/etc/rc.d/rc.M\n";

/// A guest's root with these files; a name that ends in `/` is a directory, `->` makes a link.
fn guest(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    for (path, contents) in files {
        let (path, target) =
            path.split_once(" -> ").map_or((*path, None), |(path, target)| (path, Some(target)));
        let at = directory.path().join(path);
        fs::create_dir_all(at.parent().unwrap_or(Path::new("/"))).unwrap();
        match target {
            Some(target) => std::os::unix::fs::symlink(target, at).unwrap(),
            None if path.ends_with('/') => fs::create_dir_all(at).unwrap(),
            None => fs::write(at, contents).unwrap(),
        }
    }
    let root = Root::open(directory.path()).unwrap();
    (directory, root)
}

/// PID 1 and its children, each `name state`.
fn processes(listed: &str) -> Processes {
    let mut all = listed.split(", ").enumerate().map(|(at, process)| {
        let (name, state) = process.split_once(' ').unwrap();
        Process {
            pid: u32::try_from(at).unwrap() + 1,
            name: name.to_owned(),
            state: state.chars().next().unwrap(),
        }
    });
    Processes { leader: all.next().unwrap(), children: all.collect() }
}

type Row<'a> = (&'a str, &'a [(&'a str, &'a [u8])], &'a str, Verdict);

fn check(evidence: Evidence, table: &[Row<'_>]) {
    for (name, files, listed, expected) in table {
        let (_directory, root) = guest(files);
        assert_eq!(evidence.check(&root, &processes(listed)), *expected, "{name}");
    }
}

use Verdict::{NotYet, Ready};

#[test]
fn sysvinit() {
    let inittab: (&str, &[u8]) = ("etc/inittab", INITTAB.as_bytes());
    let level2 = record(1, i32::from(b'2'), "~~", 384);
    let utmp: (&str, &[u8]) = ("run/utmp", &level2);
    let bare: (&str, &[u8]) = ("etc/inittab", NO_TERMINAL.as_bytes());
    let scripts = NotYet("init waits for its boot scripts");
    let before = NotYet("init has not entered its runlevel");
    check(
        Evidence::Sysvinit,
        &[
            ("just started", &[inittab], "init R", before),
            ("a child holds the console for rcS", &[inittab], "init S, init S", scripts),
            ("rcS", &[inittab], "init S, rcS S", scripts),
            ("between rcS and rc", &[inittab], "init R", before),
            ("rc, of a runlevel that is recorded", &[inittab, utmp], "init S, rc S", scripts),
            ("rc has ended and is not waited for", &[inittab, utmp], "init R, rc Z", scripts),
            ("a daemon beside rc", &[inittab, utmp], "init S, udevd S, rc S", scripts),
            ("a terminal", &[inittab, utmp], "init S, agetty S", Ready),
            ("a terminal, without utmp", &[inittab], "init S, udevd S, agetty S", Ready),
            ("terminals that fail", &[inittab, utmp], "init S, udevd S", Ready),
            ("terminals that fail, without utmp", &[inittab, ("run/runlevel", b"2")], "init S", Ready),
            (
                "the runlevel is recorded, rc not started",
                &[inittab, utmp],
                "init R",
                NotYet("init is changing the runlevel"),
            ),
            ("no terminals, rc", &[bare, utmp], "init S, rc.M S", scripts),
            ("no terminals, up", &[bare, utmp], "init S, crond S", Ready),
            ("no inittab", &[], "init S", before),
        ],
    );
}

#[test]
fn busybox() {
    let inittab: (&str, &[u8]) =
        ("etc/inittab", b"::sysinit:/etc/init.d/rcS\n::respawn:/sbin/getty -L console 0 linux\n");
    let scripts = NotYet("init waits for its boot scripts");
    let none = NotYet("init has not started a terminal");
    let starting = NotYet("init is starting something");
    check(
        Evidence::Busybox,
        &[
            ("just started", &[inittab], "init R", none),
            ("about to execute rcS", &[inittab], "init S, init R", starting),
            ("rcS", &[inittab], "init S, rcS S", scripts),
            ("between rcS and getty", &[inittab], "init R, syslogd S", none),
            ("a terminal", &[inittab], "init S, syslogd S, getty S", Ready),
            ("no inittab, rcS", &[], "init S, rcS S", scripts),
            ("no inittab, something starts", &[], "init S, init R", starting),
            ("no inittab, waits for a key", &[], "init S, init S", Ready),
            ("no inittab, a shell", &[], "init S, sh S", Ready),
            ("respawns only, a copy of init", &[inittab], "init S, init S", starting),
            ("only scripts, up", &[("etc/inittab", b"::sysinit:/etc/rc\n")], "init S, crond S", Ready),
            ("only scripts, running", &[("etc/inittab", b"::sysinit:/etc/rc\n")], "init S, rc S", scripts),
            (
                "only scripts, busy",
                &[("etc/inittab", b"::sysinit:/etc/rc\n")],
                "init R",
                NotYet("init is busy"),
            ),
        ],
    );
}

#[test]
fn openrc() {
    let starting: (&str, &[u8]) = ("run/openrc/rc.starting/", b"");
    let entering = NotYet("OpenRC has not entered its default runlevel");
    let services = NotYet("OpenRC is starting services");
    check(
        Evidence::Openrc,
        &[
            ("nothing", &[], "init S", NotYet("OpenRC has not begun")),
            ("begun", &[("run/openrc/", b"")], "init S", entering),
            ("sysinit", &[("run/openrc/softlevel", b"sysinit")], "init S", entering),
            ("sysinit, its services", &[("run/openrc/softlevel", b"sysinit"), starting], "init S", entering),
            ("boot", &[("run/openrc/softlevel", b"boot\n")], "init S", entering),
            ("default, its services", &[("run/openrc/softlevel", b"default"), starting], "init S", services),
            (
                "default, stopping those of boot",
                &[("run/openrc/softlevel", b"default"), ("run/openrc/rc.stopping/", b"")],
                "init S",
                services,
            ),
            ("default", &[("run/openrc/softlevel", b"default")], "init S", Ready),
            ("one of the user's", &[("run/openrc/softlevel", b"laptop\n")], "init S", Ready),
            ("going down", &[("run/openrc/softlevel", b"shutdown")], "init S", entering),
            (
                "softlevel leads to the host",
                &[("run/openrc/softlevel -> /proc/self/comm", b"")],
                "init S",
                entering,
            ),
        ],
    );
}

#[test]
fn runit() {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let (fresh, old) = (since + Duration::from_secs(60), since - Duration::from_secs(1));
    let running = status(fresh, b'u', 1);
    let (unborn, failing) = (status(fresh, b'u', 0), status(old, b'u', 0));
    let one: (&str, &[u8]) = ("etc/sv/one/supervise/status", &running);
    let link: (&str, &[u8]) = ("etc/service/one -> /etc/sv/one", b"");
    let waiting = NotYet("a service has not been started");
    check(
        Evidence::Runit,
        &[
            ("stage 1", &[link, one], "runit S, 1 S", NotYet("stage 2 has not started runsvdir")),
            ("no services", &[("etc/service/", b"")], "runit S, runsvdir S", Ready),
            ("no service directory that we know", &[], "runit S, runsvdir S", Ready),
            ("no runsv", &[("etc/service/one/run", b"")], "runit S, runsvdir S", waiting),
            ("runs, by an absolute link", &[link, one], "runit S, runsvdir S", Ready),
            (
                "one of two",
                &[link, one, ("etc/service/two/supervise/status", &unborn)],
                "runit S, runsvdir S",
                waiting,
            ),
            ("fails", &[("etc/service/two/supervise/status", &failing)], "runit S, runsvdir S", Ready),
            ("down", &[("etc/service/two/down", b"")], "runit S, runsvdir S", Ready),
            ("hidden", &[("etc/service/.two/run", b"")], "runit S, runsvdir S", Ready),
            ("a dangling link", &[("etc/service/two -> /nowhere", b"")], "runit S, runsvdir S", Ready),
            ("Void", &[("var/service/two/run", b"")], "runit S, runsvdir S", waiting),
        ],
    );
}

#[test]
fn finit_and_utmp() {
    let level = |level: u8| record(1, i32::from(level), "~~", 384);
    let (single, normal) = (level(b'S'), level(b'2'));
    let up: (&str, &[u8]) = ("run/finit/cond/hook/sys/up -> /run/finit/cond/reconf", b"");
    let waiting = NotYet("finit has not started the services of its runlevel");
    check(
        Evidence::Finit,
        &[
            ("nothing", &[], "init S", waiting),
            ("bootstrap", &[("run/finit/cond/hook/", b"")], "init S", waiting),
            (
                "runlevel entered",
                &[("run/finit/cond/hook/", b""), ("run/utmp", &normal)],
                "init S, keventd S",
                waiting,
            ),
            ("up", &[up], "init S", Ready),
            ("older, up", &[("run/utmp", &normal)], "init S", Ready),
            ("older, bootstrap", &[("run/utmp", &single)], "init S", waiting),
        ],
    );
    let missing = NotYet("no runlevel is recorded in /run/utmp");
    check(
        Evidence::Utmp,
        &[
            ("no file", &[], "systemd S", missing),
            ("up", &[("run/utmp", &normal)], "systemd S", Ready),
            ("single", &[("run/utmp", &single)], "systemd S", missing),
        ],
    );
}
