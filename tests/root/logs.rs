//! `spinney logs`: held to what the guest's own journalctl says, while machines run and after their end.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::command::{Ended, PATIENCE, run, shell_status};
use crate::detached::Detached;
use crate::harness::{Context, Row, Stop, Test, TestResult, program};
use crate::payload::{own_busybox, write_script};

/// Trees with systemd 247, 252, 257 and 262.
const SYSTEMDS: [&str; 4] = ["debian-11", "debian-12", "debian-13", "debian-forky"];

/// What is logged in each of them: importance, several lines, bytes that are no text, a field that is compressed, a field
/// that is there twice.
const LOGGED: &str = "
logger -p user.err hello
printf 'multi\\nline\\n' | systemd-cat -t x
printf 'a\\033[31mred\\001' | systemd-cat -t bin
head -c 3000 /dev/zero | tr '\\0' z | systemd-cat -t big
printf 'MESSAGE=several\\nLINK=one\\nLINK=two\\n' | logger --journald
journalctl --sync";

pub fn tests() -> Vec<Test> {
    let rows: [Row; 14] = [
        ("follow", follow),
        ("follow_through_reboot", follow_through_reboot),
        ("reader_gone", reader_gone),
        ("after_stop_ephemeral", after_stop_ephemeral),
        ("after_stop_volatile", after_stop_volatile),
        ("after_stop_persistent", after_stop_persistent),
        ("syslog", syslog),
        ("syslog_follow", syslog_follow),
        ("console", console),
        ("openrc", openrc),
        ("supervisor", supervisor),
        ("permission", permission),
        ("bad_input", bad_input),
        ("hostile_guest", hostile_guest),
    ];
    let same = SYSTEMDS.map(|tree| {
        Test::new(format!("logs::same_as_journalctl::{tree}"), move |context| {
            same_as_journalctl(context, tree)
        })
    });
    let single = rows.map(|(name, test)| Test::new(format!("logs::{name}"), test));
    same.into_iter().chain(single).collect()
}

fn logs(context: &Context, arguments: &[&str], name: &str) -> Ended {
    run(context.spinney().arg("logs").args(arguments).arg(name))
}

fn shown(context: &Context, arguments: &[&str], name: &str) -> Result<Vec<String>, Stop> {
    let ended = logs(context, arguments, name);
    if ended.status != 0 || !ended.stderr.is_empty() {
        return Err(Stop::Fail(format!("{arguments:?}: {ended:#?}")));
    }
    Ok(ended.stdout.lines().map(str::to_owned).collect())
}

fn objects(lines: &[String]) -> Vec<Value> {
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn messages(lines: &[String]) -> Vec<String> {
    objects(lines).iter().map(|object| object["MESSAGE"].as_str().unwrap_or_default().to_owned()).collect()
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Every field of every entry, all in one order; and the same lines for each choice that can be made.
fn same_as_journalctl(context: &Context, name: &str) -> TestResult {
    let tree = context.tree(name)?;
    let before = now();
    let machine = Detached::start(context, &tree, &[])?;
    machine.says(LOGGED)?;
    // Nothing that is written from now on is asked for.
    let until = format!("--until=@{}.{:06}", now().as_secs(), now().subsec_micros());
    let since = format!("--since=@{}", before.as_secs() - 60);
    let said = machine.says(&format!("journalctl --all --output=json {until}"))?;
    let expected: Vec<String> = said.lines().map(str::to_owned).collect();
    let found = objects(&shown(context, &["--json", &until], &machine.name)?);
    let expected = objects(&expected);
    assert!(expected.len() > 30, "{said}");
    assert_eq!(found.len(), expected.len());
    for (number, (mut found, expected)) in found.into_iter().zip(expected).enumerate() {
        let found = found.as_object_mut().unwrap();
        // Since systemd 254.
        found.retain(|name, _| !name.starts_with("__SEQNUM") || expected.get(name).is_some());
        let found = Value::Object(std::mem::take(found));
        assert_eq!(found, expected, "entry {number}");
    }
    let rows: [&[&str]; 16] = [
        &[],
        &["--lines=5"],
        &["--reverse", "--lines=3"],
        &["--output=cat"],
        &["--output=short-monotonic"],
        &["--output=short-precise"],
        &["--output=cat", "--priority=err"],
        &["--output=cat", "--priority=warning..notice"],
        &["--output=cat", "--unit=systemd-journald"],
        &["--output=cat", "--unit=systemd-*.service"],
        &["--output=cat", "--unit=absent"],
        &["--output=cat", "--unit=systemd-logind", "--lines=2"],
        &["--output=cat", "--boot"],
        &["--output=cat", "--boot=0", "--lines=4"],
        &["--output=cat", "--since=-1h"],
        &["--output=cat", &since, "--lines=7"],
    ];
    for options in rows {
        // Before systemd 254 the clock is that of when journald wrote it, not of when it was said; and the lines after a
        // time are the first, not the last.
        let changed = options == ["--output=short-monotonic"] || options.contains(&since.as_str());
        if changed && matches!(name, "debian-11" | "debian-12") {
            continue;
        }
        let script = format!("journalctl --all --quiet {} {until}", options.join(" "));
        let expected = machine.says(&script)?;
        let expected: Vec<&str> = expected.lines().collect();
        let arguments: Vec<&str> = options.iter().copied().chain([until.as_str()]).collect();
        let found = shown(context, &arguments, &machine.name)?;
        assert_eq!(found, expected, "{options:?}");
        let empty = options.contains(&"--unit=absent");
        assert_eq!(found.is_empty(), empty, "{options:?}");
    }
    machine.stop()?;
    Ok(())
}

/// Lines as they come, with the time at which each came.
struct Followed {
    child: Child,
    lines: Receiver<(Duration, String)>,
}

impl Followed {
    fn start(context: &Context, arguments: &[&str], name: &str) -> Self {
        let mut command = context.spinney();
        command.args(["logs", "-f"]).args(arguments).arg(name).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = sender.send((now(), line));
            }
        });
        Self { child, lines }
    }

    /// Waits for a line that `wanted` takes; gives it and those before it.
    fn until(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<(Duration, String)>, String> {
        let mut seen = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).map_err(|error| format!("{error}: {seen:#?}"))?;
            seen.push(line);
            if seen.last().is_some_and(|(_, line)| wanted(line)) {
                return Ok(seen);
            }
        }
    }

    /// All until it ends, and its exit status.
    fn rest(&mut self) -> (Vec<String>, i32) {
        let lines = self.lines.iter().map(|(_, line)| line).collect();
        (lines, shell_status(self.child.wait().unwrap()))
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line is there within a tenth of a second after it was written, and the last one too; then it is over.
fn follow(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let machine = Detached::start(context, &tree, &[])?;
    machine.says("logger before; journalctl --sync")?;
    let mut followed = Followed::start(context, &["--json"], &machine.name);
    let before = followed.until(|line| line.contains("before"))?;
    assert!(before.len() <= 10, "{before:#?}");
    let mut medians = Vec::new();
    // Whoever looked now and then would not be so quick three times of five; this host has other work as well.
    while medians.iter().all(|median| *median >= Duration::from_millis(100)) {
        assert!(medians.len() < 5, "{medians:?}");
        let mut delays = Vec::new();
        for number in 0..5 {
            let text = format!("line {}.{number}", medians.len());
            machine.says(&format!("logger '{text}'"))?;
            let seen = followed.until(|line| line.contains(&text))?;
            let (came, line) = seen.last().unwrap();
            let object: Value = serde_json::from_str(line)?;
            let written: u64 = object["__REALTIME_TIMESTAMP"].as_str().unwrap_or_default().parse()?;
            delays.push(came.saturating_sub(Duration::from_micros(written)));
        }
        delays.sort();
        medians.push(delays[2]);
    }
    machine.stop()?;
    let (rest, status) = followed.rest();
    assert_eq!((messages(&rest).last().map(String::as_str), status), (Some("Journal stopped"), 0));
    Ok(())
}

/// The guest reboots in place: the same `logs -f` shows both boots.
fn follow_through_reboot(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let machine = Detached::start(context, &tree, &[])?;
    let mut followed = Followed::start(context, &["-n", "1"], &machine.name);
    followed.until(|_| true)?;
    machine.says("logger first-boot")?;
    followed.until(|line| line.ends_with(": first-boot"))?;
    machine.shell("systemctl --no-block reboot")?;
    let seen = followed.until(|line| line.starts_with("-- Boot "))?;
    assert!(seen.iter().any(|(_, line)| line.ends_with(": Journal stopped")), "{seen:#?}");
    let state = machine.wait_for(|state| state.boots == 2 && state.ready_at.is_some())?;
    machine.says("logger second-boot")?;
    let seen = followed.until(|line| line.ends_with(": second-boot"))?;
    let starts = seen.iter().filter(|(_, line)| line.contains(": Journal started")).count();
    assert_eq!((starts, state.boots), (1, 2), "{seen:#?}");
    let first = shown(context, &["-b=-1", "--output=cat"], &machine.name)?;
    let second = shown(context, &["-b", "--output=cat"], &machine.name)?;
    assert!(first.contains(&"first-boot".to_owned()) && !first.contains(&"second-boot".to_owned()));
    assert!(second.contains(&"second-boot".to_owned()) && !second.contains(&"first-boot".to_owned()));
    machine.stop()?;
    assert_eq!(followed.rest().1, 0);
    Ok(())
}

/// Whoever has seen enough, as `| head -n 1`, does not leave a follower behind that waits for the next line.
fn reader_gone(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    let machine = Detached::start(context, &tree, &[])?;
    machine.says("echo one >/dev/console")?;
    let mut child = context.spinney().args(["logs", "-f", &machine.name]).stdout(Stdio::piped()).spawn()?;
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line)?;
    drop(reader);
    let deadline = std::time::Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break shell_status(status),
            None if std::time::Instant::now() > deadline => {
                child.kill()?;
                break -1;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    machine.stop()?;
    assert_eq!((status, line.is_empty()), (0, false));
    Ok(())
}

/// All that was there before the end is there after it, and what the end itself had to say.
fn kept(context: &Context, machine: Detached) -> TestResult {
    machine.says("logger -p user.err kept; journalctl --sync")?;
    let name = machine.name.clone();
    let before = shown(context, &["--json"], &name)?;
    machine.stop()?;
    let after = shown(context, &["--json"], &name)?;
    assert_eq!(before[..], after[..before.len()]);
    let after = messages(&after);
    assert!(before.len() > 30 && after.contains(&"kept".to_owned()));
    assert_eq!(after.last().map(String::as_str), Some("Journal stopped"));
    assert_eq!(shown(context, &["-p", "err", "-o", "cat", "-u", "init.scope"], &name)?, [] as [&str; 0]);
    assert_eq!(shown(context, &["-p", "3", "-o", "cat", "-n", "1"], &name)?, ["kept"]);
    let follow = shown(context, &["-f", "-o", "cat"], &name)?;
    assert_eq!((follow.len(), follow.last().map(String::as_str)), (10, Some("Journal stopped")));
    Ok(())
}

fn after_stop_ephemeral(context: &Context) -> TestResult {
    let tree = context.tree("debian-12")?;
    kept(context, Detached::start(context, &tree, &[])?)
}

/// The journal is in /run, which goes with the leader.
fn after_stop_volatile(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let settings = context.subdirectory("journald.conf.d");
    std::fs::write(settings.join("volatile.conf"), "[Journal]\nStorage=volatile\n")?;
    let bind = format!("--bind-ro={}:/etc/systemd/journald.conf.d", settings.display());
    let machine = Detached::start(context, &tree, &[&bind])?;
    assert_eq!(
        machine.says("ls /run/log/journal/*/system.journal | wc -l; ls /var/log/journal | wc -l")?,
        "1\n0"
    );
    kept(context, machine)
}

/// The journal stays in the tree, with that of the run before.
fn after_stop_persistent(context: &Context) -> TestResult {
    let tree = context.directory.join("tree");
    run(Command::new("cp").arg("-a").arg(context.tree("debian-11")?).arg(&tree)).ok()?;
    let name = context.machine_name();
    for number in 1..=2 {
        run(context.spinney().args(["run", "-d", "-q", "-M", &name]).arg(&tree)).ok()?;
        let machine = Detached::find(&name)?;
        machine.says(&format!("logger 'run {number}'"))?;
        kept(context, machine)?;
    }
    let archive = Path::new("/var/log/spinney").join(&name);
    assert!(archive.join("console.log").exists() && !archive.join("journal").exists());
    let said = |boot: &str| -> Result<Vec<String>, Stop> {
        let lines = shown(context, &[boot, "-o", "cat"], &name)?;
        Ok(lines.into_iter().filter(|line| line.starts_with("run ")).collect())
    };
    assert_eq!(said("--boot=0")?, ["run 2"]);
    assert_eq!(said("--boot=-1")?, ["run 1"]);
    assert_eq!(said("--boot=1")?, ["run 1"]);
    assert_eq!(said("--lines=all")?, ["run 1", "run 2"]);
    let third = logs(context, &["--boot=-2"], &name);
    let expected = format!("spinney: error: machine {name:?} has no boot -2 in its journal: there are 2\n");
    assert_eq!((third.status, third.stderr.starts_with(&expected)), (125, true), "{third:#?}");
    Ok(())
}

/// A busybox with syslogd.
fn with_syslogd(context: &Context) -> Result<Detached, Stop> {
    let tree = own_busybox(context)?;
    write_script(
        &tree.join("etc/init.d/rcS"),
        "#!/bin/sh\nmkdir -p /var/log\nsyslogd -O /var/log/messages\n",
    );
    Ok(Detached::start(context, &tree, &[])?)
}

fn syslog(context: &Context) -> TestResult {
    let machine = with_syslogd(context)?;
    // It says where it is ready by its socket.
    machine.says("while ! test -S /dev/log; do sleep 0.01; done; logger -t me one; logger -t me two")?;
    machine.says("while ! grep -q two /var/log/messages; do sleep 0.01; done")?;
    let name = machine.name.clone();
    let check = || -> TestResult {
        let all = shown(context, &[], &name)?;
        assert!(all.iter().any(|line| line.ends_with("me: one")), "{all:#?}");
        let last = shown(context, &["-n", "1"], &name)?;
        assert_eq!(last[..], all[all.len() - 1..]);
        let mut reversed = shown(context, &["-r"], &name)?;
        reversed.reverse();
        assert_eq!(reversed, all);
        assert_eq!(shown(context, &["--since", "-1h"], &name)?, all);
        assert_eq!(shown(context, &["--until", "-1h"], &name)?, [] as [&str; 0]);
        let objects = objects(&shown(context, &["--json"], &name)?);
        let texts: Vec<&str> = objects.iter().filter_map(|object| object["MESSAGE"].as_str()).collect();
        assert_eq!(texts, all);
        assert!(objects.iter().all(|object| object["__REALTIME_TIMESTAMP"].is_string()), "{objects:#?}");
        let verbose = logs(context, &["-v"], &name);
        assert_eq!(verbose.stderr, format!("spinney: the syslog log of {name}\n"));
        let unit = logs(context, &["-u", "x"], &name);
        let expected = format!(
            "spinney: error: the syslog log of machine {name:?} does not tell what --unit asks for\n  hint: "
        );
        assert_eq!((unit.status, unit.stderr.starts_with(&expected)), (125, true), "{unit:#?}");
        Ok(())
    };
    check()?;
    machine.stop()?;
    check()
}

fn syslog_follow(context: &Context) -> TestResult {
    let machine = with_syslogd(context)?;
    machine.says("while ! test -S /dev/log; do sleep 0.01; done; logger -t me one")?;
    machine.says("while ! grep -q one /var/log/messages; do sleep 0.01; done")?;
    let mut followed = Followed::start(context, &[], &machine.name);
    followed.until(|line| line.ends_with("me: one"))?;
    machine.says("logger -t me two")?;
    followed.until(|line| line.ends_with("me: two"))?;
    // Rotated: the file is another.
    machine
        .says("mv /var/log/messages /var/log/messages.0; killall syslogd; syslogd -O /var/log/messages")?;
    machine.says("while ! test -S /dev/log; do sleep 0.01; done; logger -t me three")?;
    followed.until(|line| line.ends_with("me: three"))?;
    machine.stop()?;
    assert_eq!(followed.rest().1, 0);
    Ok(())
}

/// A busybox that runs `script`, without a getty: that would say something when it likes, and drop what the console has
/// not read.
fn without_getty(context: &Context, script: &str) -> Result<std::path::PathBuf, Stop> {
    let tree = own_busybox(context)?;
    write_script(&tree.join("etc/init.d/rcS"), &format!("#!/bin/sh\n{script}\n"));
    std::fs::write(tree.join("etc/inittab"), "::sysinit:/etc/init.d/rcS\n::respawn:/bin/sleep 1000\n")?;
    Ok(tree)
}

/// A guest that logs nowhere else.
fn console(context: &Context) -> TestResult {
    let tree = without_getty(context, "echo one; echo two >/dev/console")?;
    let machine = Detached::start(context, &tree, &[])?;
    let name = machine.name.clone();
    let mut followed = Followed::start(context, &[], &name);
    followed.until(|line| line == "two")?;
    machine.says("echo three >/dev/console")?;
    followed.until(|line| line == "three")?;
    let lines = shown(context, &["--source=console"], &name)?;
    assert_eq!(lines, shown(context, &[], &name)?);
    assert_eq!(shown(context, &["-n", "1"], &name)?, ["three"]);
    machine.stop()?;
    assert_eq!(followed.rest().1, 0);
    let after = shown(context, &[], &name)?;
    assert_eq!(lines[..], after[..lines.len()]);
    for option in ["--since=today", "--until=today", "--boot", "--priority=err"] {
        let refused = logs(context, &[option, "--source=console"], &name);
        let option = option.split('=').next().unwrap_or_default();
        let expected = format!(
            "error: the console log of machine {name:?} does not tell what {option} asks for\n  hint: "
        );
        assert!(refused.status == 125 && refused.stderr.contains(&expected), "{refused:#?}");
    }
    Ok(())
}

/// No syslog daemon in it: its console is what there is.
fn openrc(context: &Context) -> TestResult {
    let tree = context.tree("debian-13-openrc")?;
    let machine = Detached::start(context, &tree, &[])?;
    let name = machine.name.clone();
    let running = shown(context, &[], &name)?;
    assert!(running.iter().any(|line| line.contains("OpenRC")), "{running:#?}");
    machine.stop()?;
    let after = shown(context, &[], &name)?;
    assert_eq!(running[..], after[..running.len()]);
    assert!(after.len() > running.len());
    Ok(())
}

fn supervisor(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let machine = Detached::start(context, &tree, &[])?;
    let name = machine.name.clone();
    machine.stop()?;
    let lines = shown(context, &["--source=supervisor"], &name)?;
    assert!(lines.iter().any(|line| line.contains(&format!(" {name} is ready after "))), "{lines:#?}");
    assert_eq!(shown(context, &["--source=supervisor", "--since", "-1h"], &name)?, lines);
    assert_eq!(shown(context, &["--source=supervisor", "--until", "-1h"], &name)?, [] as [&str; 0]);
    Ok(())
}

fn permission(context: &Context) -> TestResult {
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65534;
    let tree = context.tree("busybox")?;
    let machine = Detached::start(context, &tree, &[])?;
    let name = machine.name.clone();
    // One that others may execute.
    let own = std::env::temp_dir().join(format!("{name}-spinney"));
    std::fs::copy(program(), &own)?;
    let as_nobody = || run(Command::new(&own).args(["logs", &name]).uid(NOBODY).gid(NOBODY).current_dir("/"));
    let running = as_nobody();
    machine.stop()?;
    let stopped = as_nobody();
    std::fs::remove_file(&own)?;
    let expected = format!(
        "spinney: error: permission denied: only root may read the logs of machine {name:?}\n  hint: try again with sudo\n"
    );
    for ended in [running, stopped] {
        assert_eq!(ended, Ended { status: 125, stdout: String::new(), stderr: expected.clone() });
    }
    Ok(())
}

fn bad_input(context: &Context) -> TestResult {
    let never = context.machine_name();
    let rows: [(&[&str], &str); 12] = [
        (&[], "no machine given"),
        (&["-x"], "unknown option -x"),
        (&["a/b"], "\"a/b\" has a character that no hostname has: '/'"),
        (&[&never], &format!("there are no logs of a machine {never:?}")),
        (&["-f", &never], &format!("there are no logs of a machine {never:?}")),
        (&["--since=soon", &never], "bad value for --since=: \"soon\" is not a time"),
        (&["--until", "25:00", &never], "bad value for --until=: \"25:00\" is not a time"),
        (
            &["--since=today", "--until=yesterday", &never],
            "bad value for --until=: \"yesterday\" is before --since=",
        ),
        (&["-p", "high", &never], "bad value for --priority=: \"high\" is not a priority"),
        (&["-n", "-1", &never], "bad value for --lines=: \"-1\" is not a number of lines"),
        (&["-o", "xml", &never], "bad value for --output=: \"xml\" is not an output format"),
        (&["-f", "-r", &never], "--reverse does not go with --follow"),
    ];
    for (arguments, expected) in rows {
        let ended = run(context.spinney().arg("logs").args(arguments));
        let stderr = format!("spinney: error: {expected}\n  hint: ");
        assert!(
            ended.status == 125 && ended.stdout.is_empty() && ended.stderr.starts_with(&stderr),
            "{arguments:?}: {ended:#?}"
        );
        assert_eq!(ended.stderr.lines().count(), 2, "{ended:#?}");
    }
    Ok(())
}

/// What a guest leaves where its logs should be is not opened, waited for or believed.
fn hostile_guest(context: &Context) -> TestResult {
    let secret = context.directory.join("secret");
    std::fs::write(&secret, "LPKSHHRH the host's own\n")?;
    let tree = without_getty(context, "echo harmless")?;
    let machine = Detached::start(context, &tree, &[])?;
    let name = machine.name.clone();
    let secret = secret.display();
    machine.says(&format!(
        "set -e
        d=/var/log/journal/0123456789abcdef0123456789abcdef; mkdir -p $d; cd $d
        mkfifo system.journal fifo.journal~
        ln -s {secret} link.journal
        ln -s ../../../../../../../..{secret} up.journal
        ln -s /proc/1/root{secret} proc.journal
        ln -s /proc/kmsg kmsg.journal
        ln -s . loop.journal
        mkdir directory.journal
        printf LPKSHHRH >short.journal
        head -c 1000000 /dev/urandom >random.journal
        (printf LPKSHHRH; head -c 1000000 /dev/urandom) >damaged.journal
        (printf LPKSHHRH; head -c 1000000 /dev/zero) >zero.journal
        ln -s $d /var/log/journal/ffffffffffffffffffffffffffffffff
        ln -s {secret} /var/log/syslog
        mkfifo /var/log/messages"
    ))?;
    let check = || -> TestResult {
        let ended = run(context.spinney().args(["logs", &name]));
        assert_eq!((ended.status, ended.stdout.contains("host's own")), (0, false), "{ended:#?}");
        assert!(ended.stdout.contains("harmless"), "{ended:#?}");
        for line in ended.stderr.lines() {
            assert!(line.starts_with("spinney: warning: a journal file is left out: "), "{ended:#?}");
        }
        Ok(())
    };
    check()?;
    // Nothing of it holds up the end.
    machine.stop()?;
    let kept =
        run(Command::new("find").arg(Path::new("/var/log/spinney").join(&name)).args(["-type", "f"])).ok()?;
    for file in kept.lines() {
        assert!(!std::fs::read(file)?.windows(10).any(|window| window == b"host's own"), "{file}");
    }
    check()
}
