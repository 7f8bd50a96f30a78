//! `spinney shell` and `spinney login`: sessions.

use std::process::Command;

use crate::command::{run, run_with_input};
use crate::console::Session;
use crate::exec::machine;
use crate::harness::{Context, Row, Test, TestResult};

pub fn tests() -> Vec<Test> {
    let single: [Row; 5] = [
        ("plain", plain),
        ("session_of_logind", session_of_logind),
        ("login_prompt", login_prompt),
        ("login_prompt_of_busybox", login_prompt_of_busybox),
        ("bad_input", bad_input),
    ];
    single.map(|(name, test)| Test::new(format!("shell::{name}"), test)).into()
}

fn shell(context: &Context, arguments: &[&str]) -> Command {
    let mut command = context.spinney();
    command.arg("shell").args(arguments);
    command
}

fn plain(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    machine.says(
        "mkdir -p /home/alice /root; echo alice:x:1000:1000::/home/alice:/bin/sh >>/etc/passwd; \
         echo 'export PROFILE=read' >/etc/profile; chown 1000:1000 /home/alice",
    )?;
    let done = run_with_input(&mut shell(context, &[name]), b"echo $0; pwd; echo $PROFILE $SHELL; exit 6\n");
    assert_eq!((done.status, done.stdout.as_str()), (6, "-sh\n/root\nread /bin/sh\n"), "{done:?}");
    let user = format!("alice@{name}");
    let done = run(&mut shell(context, &[&user, "sh", "-c", "id -u; pwd; echo \"$1\"; exit 7", "x", "it's"]));
    assert_eq!((done.status, done.stdout.as_str()), (7, "1000\n/home/alice\nit's\n"), "{done:?}");
    let done = run(&mut shell(context, &["-E", "A=b", "--uid=alice", name, "env"]));
    assert!(done.stdout.lines().any(|line| line == "A=b"), "{done:?}");
    assert!(done.stdout.lines().any(|line| line == "HOME=/home/alice"), "{done:?}");

    let mut session = Session::start(shell(context, &[&user]));
    session.sees(&format!("in {name}; ^] three times within a second leaves it"));
    session.sees("$ ");
    session.types("tty; id -u; exit 5\n");
    session.sees("/dev/pts/");
    session.sees("1000\r\n");
    assert_eq!(session.ends(), 5);
    // The only machine that runs needs no name.
    let done = run_with_input(&mut shell(context, &[]), b"exit 4\n");
    assert_eq!(done.status, 4, "{done:?}");
    machine.stop()?;
    Ok(())
}

fn session_of_logind(context: &Context) -> TestResult {
    for (tree, users) in [("debian-12", "pick"), ("debian-13", "pick"), ("debian-13", "no")] {
        let machine = machine(context, tree, &[&format!("--private-users={users}")])?;
        let name = machine.name.as_str();
        machine.says("useradd -m -s /bin/bash alice")?;
        for (who, uid) in [("root", 0), ("alice", 1000)] {
            let user = format!("{who}@{name}");
            let mut session = Session::start(shell(context, &[&user]));
            session.sees("leaves it");
            session.types(
                "loginctl --no-pager --no-legend list-sessions | cat; echo dir=$XDG_RUNTIME_DIR; tty\n",
            );
            session.sees(who);
            session.sees(&format!("dir=/run/user/{uid}"));
            session.sees("/dev/pts/");
            // Its own manager comes up behind the session.
            session.types("systemctl --user is-system-running --wait; exit 8\n");
            session.sees("running");
            assert_eq!(session.ends(), 8, "{tree} {who}");
        }
        let done = run(&mut shell(
            context,
            &[
                "-E",
                "PASSED=on",
                &format!("alice@{name}"),
                "sh",
                "-c",
                "echo $XDG_SESSION_ID | wc -w; echo $PASSED; pwd; exit 9",
            ],
        ));
        assert_eq!((done.status, done.stdout.as_str()), (9, "1\non\n/home/alice\n"), "{done:?}");
        machine.stop()?;
    }
    Ok(())
}

fn login(context: &Context, name: &str) -> Command {
    let mut command = context.spinney();
    command.args(["login", name]);
    command
}

fn login_prompt(context: &Context) -> TestResult {
    let machine = machine(context, "debian-13", &[])?;
    let name = machine.name.as_str();
    machine.says("useradd -m -s /bin/bash alice; echo alice:secret-word | chpasswd")?;
    let mut session = Session::start(login(context, name));
    session.sees("login: ");
    session.types("alice\n");
    session.sees("Password: ");
    session.types("secret-word\n");
    session.sees("$ ");
    session.types("id -un; echo dir=$XDG_RUNTIME_DIR; exit\n");
    session.sees("alice\r\n");
    session.sees("dir=/run/user/1000");
    assert_eq!(session.ends(), 0);
    let mut session = Session::start(login(context, name));
    session.sees("login: ");
    session.types("\x1d\x1d\x1d");
    assert_eq!(session.ends(), 129);
    machine.stop()?;
    Ok(())
}

fn login_prompt_of_busybox(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    machine.says("sed -i 's/^root:[^:]*:/root::/' /etc/passwd; rm -f /etc/shadow")?;
    let mut session = Session::start(login(context, &machine.name));
    session.sees("login: ");
    session.types("root\n");
    session.sees("# ");
    session.types("id -u; exit\n");
    session.sees("0\r\n");
    assert_eq!(session.ends(), 0);
    machine.stop()?;
    Ok(())
}

fn bad_input(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    let (none, user) = (format!("{name}-none"), format!("nobody-at-all@{name}"));
    for (arguments, problem) in [
        (vec![none.as_str()], "no machine"),
        (vec![user.as_str()], "the machine has no user \"nobody-at-all\""),
        (vec!["-E", "1=2", name], "\"1=2\" is not an environment variable"),
    ] {
        let done = run(&mut shell(context, &arguments));
        assert_eq!(done.status, 125, "{arguments:?}: {done:?}");
        assert!(done.stderr.lines().next().is_some_and(|line| line.contains(problem)), "{done:?}");
    }
    machine.says("rm -f /bin/login /usr/bin/login /sbin/agetty /usr/sbin/agetty")?;
    let mut session = Session::start(login(context, name));
    session.sees("the machine has neither agetty nor login");
    assert_eq!(session.ends(), 125);
    machine.stop()?;
    Ok(())
}
