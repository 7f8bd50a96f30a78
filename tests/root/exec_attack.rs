//! Guests that would have `spinney exec` touch the host, hang, or show itself.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use crate::command::{quickest, run, run_with};
use crate::console::Session;
use crate::exec::{exec, machine};
use crate::harness::{Context, Row, Test, TestResult};

/// For what must not wait for the guest.
const SOON: Duration = Duration::from_secs(30);

pub fn tests() -> Vec<Test> {
    let single: [Row; 7] = [
        ("directories_that_lead_out", directories_that_lead_out),
        ("users_that_never_end", users_that_never_end),
        ("cgroups_that_are_frozen", cgroups_that_are_frozen),
        ("terminals_that_are_none", terminals_that_are_none),
        ("programs_that_are_ours", programs_that_are_ours),
        ("our_program_is_not_seen", our_program_is_not_seen),
        ("no_proc_no_dev", no_proc_no_dev),
    ];
    single.map(|(name, test)| Test::new(format!("exec_attack::{name}"), test)).into()
}

fn directories_that_lead_out(context: &Context) -> TestResult {
    for users in ["pick", "no"] {
        let machine = machine(context, "busybox", &[&format!("--private-users={users}")])?;
        machine.says(
            "for n in 3 4 5 6 7 8 9 10 11 12; do ln -s /proc/self/fd/$n /fd$n; done; ln -s /proc/1/root /r",
        )?;
        let links = (3..=12).map(|number| format!("/fd{number}")).chain(["/r".to_owned()]);
        for link in links.flat_map(|link| [format!("{link}/../../.."), link]) {
            let done = run(&mut exec(context, &["-w", &link, &machine.name, "pwd"]));
            assert_eq!(done.status, 125, "{link}: {done:?}");
            assert!(done.stderr.contains("cannot go to"), "{link}: {done:?}");
        }
        machine.stop()?;
    }
    Ok(())
}

fn users_that_never_end(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    let table = [
        ("rm /etc/passwd; mkfifo /etc/passwd", 125),
        ("rm /etc/passwd; truncate -s 10G /etc/passwd", 125),
        ("rm /etc/passwd; ln -s /dev/zero /etc/passwd", 125),
        ("rm /etc/passwd; ln -s /proc/kmsg /etc/passwd", 125),
        ("rm /etc/passwd; mkdir /etc/passwd", 125),
        (
            "rmdir /etc/passwd; printf 'alice:x:7:7::/:/bin/sh\\n' >/etc/passwd; rm /etc/group; mkfifo /etc/group",
            0,
        ),
    ];
    for (script, expected) in table {
        machine.says(script)?;
        let enough = Duration::from_secs(5);
        let took = quickest(enough, || {
            let done = run_with(&mut exec(context, &["-u", "alice", name, "true"]), SOON);
            assert_eq!(done.status, expected, "{script}: {done:?}");
            Ok(())
        })?;
        assert!(took < enough, "{script}");
        // root needs no file.
        assert_eq!(run_with(&mut exec(context, &[name, "true"]), SOON).status, 0, "{script}");
    }
    machine.stop()?;
    Ok(())
}

/// A guest that freezes the cgroup of its PID 1 keeps nobody out.
fn cgroups_that_are_frozen(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    machine.says(
        "mount -t cgroup2 none /mnt; mkdir -p /mnt/a/b; echo 1 > /mnt/a/b/cgroup.procs; echo 1 > /mnt/a/cgroup.freeze",
    )?;
    let done =
        run_with(&mut exec(context, &[name, "sh", "-c", "echo in; echo 0 > /mnt/a/cgroup.freeze"]), SOON);
    assert_eq!((done.status, done.stdout.as_str()), (0, "in\n"), "{done:?}");
    machine.stop()?;
    Ok(())
}

fn terminals_that_are_none(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    machine.says("mount -t tmpfs none /dev/pts")?;
    let table = [
        "true",
        "mkfifo /dev/pts/ptmx",
        "rm /dev/pts/ptmx; touch /dev/pts/ptmx",
        "rm /dev/pts/ptmx; ln -s /proc/self/fd/0 /dev/pts/ptmx",
        "rm /dev/pts/ptmx; mkdir /dev/pts/ptmx",
        "rmdir /dev/pts/ptmx; touch /dev/pts/ptmx; mount -o bind /dev/null /dev/pts/ptmx",
    ];
    for script in table {
        machine.says(script)?;
        let mut session = Session::start(exec(context, &["-t", name, "echo", "reached"]));
        session.sees("the command cannot be run in the machine: cannot get a terminal of the machine");
        assert_eq!(session.ends(), 125, "{script}");
        assert_eq!(run_with(&mut exec(context, &[name, "true"]), SOON).status, 0, "{script}");
    }
    machine.stop()?;
    Ok(())
}

fn programs_that_are_ours(context: &Context) -> TestResult {
    for users in ["pick", "no"] {
        let machine = machine(context, "busybox", &[&format!("--private-users={users}")])?;
        let name = machine.name.as_str();
        machine.says(
            "mkdir /evil; ln -s /proc/self/exe /evil/exe; ln -s /proc/self/fd/0 /evil/fd0; \
             ln -s /proc/self/fd/3 /evil/fd3; ln -s /evil/exe /evil/twice; \
             printf '#!/proc/self/exe --version\\n' >/evil/script; chmod +x /evil/script",
        )?;
        for program in ["exe", "fd0", "fd3", "twice"] {
            for arguments in [
                vec![name.to_owned(), format!("/evil/{program}"), "--version".to_owned()],
                vec!["-E".to_owned(), "PATH=/evil".to_owned(), name.to_owned(), program.to_owned()],
            ] {
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let done = run(&mut exec(context, &arguments));
                // There is no fd 3 to lead anywhere.
                let expected = if program == "fd3" { 127 } else { 126 };
                assert_eq!((done.status, done.stdout.as_str()), (expected, ""), "{arguments:?}: {done:?}");
            }
        }
        // The kernel follows this one itself: it is our program, as nobody's. It must not be one that can be written.
        let before = fs::read(crate::harness::program())?;
        machine.says(
            "printf '#!/bin/sh\\nfor p in /proc/[0-9]*; do (exec 7>>$p/exe) 2>/dev/null && echo opened >>/evil/log; done\\n' \
             >/evil/try; chmod +x /evil/try",
        )?;
        run(&mut exec(context, &[name, "/evil/script"]));
        run(&mut exec(context, &[name, "/evil/try"]));
        assert!(before == fs::read(crate::harness::program())?, "our program was written");
        machine.stop()?;
    }
    Ok(())
}

/// A guest that looks at every new process for what it executes and has open. With a user namespace it sees nothing of
/// us; without one it is root of the host, and finds a sealed copy.
fn our_program_is_not_seen(context: &Context) -> TestResult {
    const RUNS: usize = 60;
    for (users, expected) in [("pick", ""), ("no", "/memfd:spinney (deleted)")] {
        let machine = machine(context, "debian-13", &[&format!("--private-users={users}")])?;
        let name = machine.name.as_str();
        machine.says(
            "cat >/root/spy <<'END'\n#!/bin/bash\n\
             while [ ! -e /root/stop ]; do\n\
             for p in /proc/[0-9]*; do\n\
             read -r comm <$p/comm 2>/dev/null || continue\n\
             case $comm in spinney*) echo \"exe $(readlink $p/exe)\"; echo \"cmd $(tr '\\0' ' ' <$p/cmdline)\"\n\
             for f in $p/fd/* $p/root $p/cwd; do l=$(readlink $f) && echo \"fd $l\"; done;; esac\n\
             done; done >/root/seen 2>/dev/null\nEND\nchmod +x /root/spy; (setsid /root/spy >/dev/null 2>&1 &)",
        )?;
        for _ in 0..RUNS {
            let mut command = exec(context, &["-E", "SECRET=hidden", name, "true"]);
            assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success());
        }
        machine.says("touch /root/stop; while pgrep -x spy; do sleep 0.05; done")?;
        let seen = machine.says("sort -u /root/seen")?;
        println!("# seen with --private-users={users}: {:?}", seen.lines().collect::<Vec<_>>());
        for line in seen.lines() {
            match line.split_once(' ') {
                // By the second look it may have become what it was to become.
                Some(("exe", what)) => assert!(["", "/usr/bin/true", expected].contains(&what), "{line}"),
                Some(("cmd", what)) => assert!(!what.contains("hidden") && !what.contains(name), "{line}"),
                // Without a user namespace what a root may look at is not ours to forbid; with one there is nothing but
                // what the command itself has.
                Some(("fd", what)) => assert!(users == "no" || ["/", "/dev/null"].contains(&what), "{line}"),
                _ => {}
            }
        }
        machine.stop()?;
    }
    Ok(())
}

/// Half-booted, or torn down: it needs the program and nothing else.
fn no_proc_no_dev(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    machine.says("umount -l /dev; umount -l /proc; umount -l /sys; umount -l /run; rm -rf /etc")?;
    let done = run_with(&mut exec(context, &[name, "sh", "-c", "ls -a /proc | wc -l; exit 12"]), SOON);
    assert_eq!((done.status, done.stdout.as_str()), (12, "2\n"), "{done:?}");
    let done = run_with(&mut exec(context, &["-u", "5", name, "true"]), SOON);
    assert_eq!(done.status, 0, "{done:?}");
    // What is left of it does not power off any more.
    drop(machine);
    Ok(())
}
