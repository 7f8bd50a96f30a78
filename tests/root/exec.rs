//! `spinney exec`: its exit status, its streams, its terminal, its end.

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::command::{Ended, PATIENCE, Process, quickest, run, run_with_input, shell_status};
use crate::console::Session;
use crate::exec_end::guest_process;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::matrix::TREES;

pub fn tests() -> Vec<Test> {
    let single: [Row; 13] = [
        ("statuses", statuses),
        ("streams", streams),
        ("gibibyte", gibibyte),
        ("thousand", thousand),
        ("stopped_pid_1", stopped_pid_1),
        ("paused", paused),
        ("users", users),
        ("environment", environment),
        ("directories", directories),
        ("restrictions_are_the_leaders", restrictions_are_the_leaders),
        ("cgroup_is_the_leaders", cgroup_is_the_leaders),
        ("cgroup_that_takes_none", cgroup_that_takes_none),
        ("bad_input", bad_input),
    ];
    let inits = TREES.into_iter().flat_map(|(tree, _)| {
        ["pick", "no"].map(|users| {
            Test::new(format!("exec::{tree}::users_{users}"), move |context| every_init(context, tree, users))
        })
    });
    single.map(|(name, test)| Test::new(format!("exec::{name}"), test)).into_iter().chain(inits).collect()
}

/// `spinney exec`, with nothing on stdin.
pub fn exec(context: &Context, arguments: &[&str]) -> Command {
    let mut command = context.spinney();
    command.arg("exec").args(arguments);
    command
}

/// The same, to its end.
pub fn ended(context: &Context, arguments: &[&str]) -> Ended {
    run(&mut exec(context, arguments))
}

/// A machine of the tree `name` that is up.
pub fn machine(context: &Context, name: &str, options: &[&str]) -> Result<Machine, Stop> {
    let mut machine = Machine::start(context, &context.tree(name)?, options);
    machine.ready()?;
    Ok(machine)
}

fn every_init(context: &Context, tree: &str, users: &str) -> TestResult {
    let machine = machine(context, tree, &[&format!("--private-users={users}")])?;
    let name = machine.name.as_str();
    let done = ended(context, &[name, "--", "sh", "-c", "id -u; cat /proc/sys/kernel/hostname; exit 42"]);
    // finit calls itself so, where its tree has no /etc/hostname, whatever the kernel says.
    let hostname = if machine.state()?.init.starts_with("finit") { "noname" } else { name };
    assert_eq!((done.status, done.stdout.as_str()), (42, format!("0\n{hostname}\n").as_str()), "{done:?}");
    machine.stop()?;
    Ok(())
}

fn statuses(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    let table: [(&[&str], i32); 12] = [
        (&[name, "true"], 0),
        (&[name, "--", "false"], 1),
        (&[name, "sh", "-c", "exit 255"], 255),
        (&[name, "sh", "-c", "exit 125"], 125),
        (&[name, "sh", "-c", "kill -TERM $$"], 143),
        (&[name, "sh", "-c", "kill -KILL $$"], 137),
        (&[name, "no-such-command"], 127),
        (&[name, "/no/such/command"], 127),
        (&[name, "/etc/passwd"], 126),
        (&[name, "/etc"], 126),
        (&["-i", name, "sh", "-c", "exit 3"], 3),
        (&["-w", "/no/such/directory", name, "true"], 125),
    ];
    for (arguments, status) in table {
        let done = ended(context, arguments);
        assert_eq!(done.status, status, "{arguments:?}: {done:#?}");
        assert_eq!(done.stdout, "", "{arguments:?}");
    }
    machine.stop()?;
    Ok(())
}

fn streams(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    let done = ended(context, &[name, "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((done.status, done.stdout.as_str(), done.stderr.as_str()), (0, "out\n", "err\n"));
    // A file, a pipe, nothing.
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let done = run_with_input(&mut exec(context, &[name, "md5sum"]), &bytes);
    let expected = run_with_input(&mut Command::new("md5sum"), &bytes);
    assert_eq!(done.stdout, expected.stdout);
    let done = ended(context, &[name, "wc", "-c"]);
    assert_eq!(done.stdout, "0\n");
    // Our fds are nobody's there, and what is opened anew works as on any host.
    let mut command =
        exec(context, &[name, "sh", "-c", "ls /proc/self/fd; echo again >/dev/stderr; cat /dev/stdin"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().unwrap().write_all(b"typed")?;
    let done = child.wait_with_output()?;
    // 3 is how ls reads the directory.
    assert_eq!(String::from_utf8_lossy(&done.stdout), "0\n1\n2\n3\ntyped");
    assert_eq!(String::from_utf8_lossy(&done.stderr), "again\n");
    machine.stop()?;
    Ok(())
}

/// Random enough that no block is like another.
fn fill(block: &mut [u8], number: u64) {
    let (head, _) = block.split_first_chunk_mut().unwrap();
    *head = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_ne_bytes();
}

/// At the rate of large pieces, once of several times: on a busy host others have the processors. Small pieces, or one more who copies,
/// would be slower each time.
fn gibibyte(context: &Context) -> TestResult {
    let machine = machine(context, "debian-13", &[])?;
    let enough = Duration::from_millis(2147);
    let took = quickest(enough, || through(context, &machine))?;
    let rate = 1_073.741_824 / took.as_secs_f64();
    println!("# 1 GiB in {took:.2?}: {rate:.0} MB/s");
    assert!(took < enough, "{rate:.0} MB/s");
    machine.stop()?;
    Ok(())
}

/// Sends a GiB through a command, and holds it to what was sent.
fn through(context: &Context, machine: &Machine) -> TestResult {
    const BLOCK: usize = 1 << 20;
    const BLOCKS: u64 = 1024;
    let mut pattern = vec![0; BLOCK];
    fs::File::open("/dev/urandom")?.read_exact(&mut pattern)?;
    let mut child = exec(context, &[&machine.name, "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for end in [&stdin as &dyn std::os::fd::AsFd, &stdout] {
        // As a shell's user would not, and dd does: fewer turns between three processes on two processors.
        let _ = rustix::pipe::fcntl_setpipe_size(end, BLOCK);
    }
    let mut sent = pattern.clone();
    let writer = std::thread::spawn(move || {
        for number in 0..BLOCKS {
            fill(&mut sent, number);
            stdin.write_all(&sent).unwrap();
        }
    });
    let mut received = vec![0; BLOCK];
    for number in 0..BLOCKS {
        fill(&mut pattern, number);
        stdout.read_exact(&mut received)?;
        assert!(received == pattern, "block {number} has changed");
    }
    assert_eq!(stdout.read(&mut received)?, 0, "there is more than was sent");
    writer.join().unwrap();
    assert!(child.wait()?.success());
    Ok(())
}

fn thousand(context: &Context) -> TestResult {
    const RUNS: usize = 1000;
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    let facts = || -> Result<(usize, String, Vec<String>), Stop> {
        let fds = fs::read_dir(format!("/proc/{}/fd", machine.supervisor()))?.count();
        let processes = machine
            .says("ps -o stat,comm > /tmp/ps; grep -v -e ps -e sh$ /tmp/ps | sed 's/^[RD]/S/' | sort")?;
        let cgroup = format!("/sys/fs/cgroup/unified{}", machine.state()?.cgroup);
        let outer = fs::read_dir(std::path::Path::new(&cgroup).parent().unwrap()).into_iter().flatten();
        let cgroups = outer
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.path().display().to_string());
        Ok((fds, processes, cgroups.collect()))
    };
    let before = facts()?;
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= RUNS {
                        break;
                    }
                    let (script, expected) = match number % 5 {
                        4 => ("kill -9 $$".to_owned(), 137),
                        _ => (format!("exit {}", number % 256), i32::try_from(number % 256).unwrap()),
                    };
                    let mut command = exec(context, &[name, "sh", "-c", &script]);
                    let status = command.stdout(Stdio::null()).status().unwrap();
                    assert_eq!(shell_status(status), expected, "run {number}");
                }
            });
        }
    });
    println!("# {RUNS} runs in {:.1} s", started.elapsed().as_secs_f64());
    assert_eq!(facts()?, before);
    machine.stop()?;
    Ok(())
}

fn stopped_pid_1(context: &Context) -> TestResult {
    for tree in ["busybox", "debian-13"] {
        let machine = machine(context, tree, &[])?;
        let leader = machine.state()?.leader.to_string();
        let signal = |signal: &str| run(Command::new("kill").args([signal, &leader])).ok();
        signal("-STOP")?;
        let done = ended(context, &[&machine.name, "sh", "-c", "grep State /proc/1/status; exit 9"]);
        assert_eq!((done.status, done.stdout.as_str()), (9, "State:\tT (stopped)\n"), "{done:?}");
        let mut session = Session::start(exec(context, &["-t", &machine.name, "sh", "-c", "tty; exit 8"]));
        session.sees("/dev/pts/");
        assert_eq!(session.ends(), 8);
        signal("-CONT")?;
        machine.stop()?;
    }
    Ok(())
}

fn paused(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let outer = outer_cgroup(&machine)?;
    fs::write(outer.join("cgroup.freeze"), "1")?;
    let done = ended(context, &[&machine.name, "true"]);
    fs::write(outer.join("cgroup.freeze"), "0")?;
    assert_eq!(done.status, 125);
    let expected = format!(
        "spinney: error: {:?} is paused\n  hint: spinney resume NAME lets it run again\n",
        machine.name
    );
    assert_eq!(done.stderr, expected);
    assert_eq!(ended(context, &[&machine.name, "true"]).status, 0);
    machine.stop()?;
    Ok(())
}

/// The machine's own cgroup on the host.
fn outer_cgroup(machine: &Machine) -> Result<std::path::PathBuf, Stop> {
    let payload = machine.state()?.cgroup;
    let outer = std::path::Path::new(&payload).parent().unwrap().strip_prefix("/")?;
    ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .iter()
        .map(|mount| std::path::Path::new(mount).join(outer))
        .find(|path| path.is_dir())
        .ok_or_else(|| Stop::Skip("no cgroup v2 at a usual place".to_owned()))
}

fn users(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    machine.says(
        "echo alice:x:1000:1001:A:/home/alice:/bin/sh >>/etc/passwd;
         printf 'ali:x:1001:\\nsudo:x:27:bob,alice\\n' >>/etc/group",
    )?;
    let script =
        "id -u; id -g; id -G; echo $HOME $USER; grep -e CapEff -e CapPrm /proc/self/status | cut -f2";
    let none = "0000000000000000\n0000000000000000\n";
    let table = [
        ("alice", format!("1000\n1001\n1001 27\n/home/alice alice\n{none}")),
        ("1000", format!("1000\n1001\n1001 27\n/home/alice alice\n{none}")),
        ("alice:sudo", format!("1000\n27\n27\n/home/alice alice\n{none}")),
        ("alice:5", format!("1000\n5\n5\n/home/alice alice\n{none}")),
        ("4711", format!("4711\n4711\n4711\n/ 4711\n{none}")),
    ];
    for (user, expected) in table {
        for option in ["-u", "--user", "--uid"] {
            let done = ended(context, &[option, user, name, "sh", "-c", script]);
            assert_eq!((done.status, done.stdout.as_str()), (0, expected.as_str()), "{user}: {done:?}");
        }
    }
    for (user, problem) in [
        ("bob", "the machine has no user \"bob\""),
        ("alice:bob", "the machine has no group \"bob\""),
        (
            "99999999",
            "cannot become a process of the machine: setresgid(99999999): Invalid argument (os error 22)",
        ),
    ] {
        let done = ended(context, &["-u", user, name, "true"]);
        assert_eq!(done.status, 125);
        assert_eq!(
            done.stderr,
            format!("spinney: error: the command cannot be run in the machine: {problem}\n")
        );
    }
    machine.stop()?;
    Ok(())
}

fn environment(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &["--setenv=OF_THE_MACHINE=1", "--setenv=PATH=/bin:/sbin"])?;
    let name = machine.name.as_str();
    let mut command = exec(context, &["-E", "A=b=c", "-e", "OURS", "--env", "UNSET_HERE", name, "env"]);
    command.env("OURS", "x y").env("LD_PRELOAD", "/no/such/library.so").env("TERM", "xterm");
    let done = run(&mut command);
    let mut found: Vec<&str> = done.stdout.lines().collect();
    found.sort_unstable();
    found.retain(|variable| !variable.starts_with("container_"));
    let expected = [
        "A=b=c",
        "HOME=/root",
        "LANG=C.UTF-8",
        "LOGNAME=root",
        "OF_THE_MACHINE=1",
        "OURS=x y",
        "PATH=/bin:/sbin",
        "USER=root",
        "container=spinney",
    ];
    assert_eq!(found, expected);
    machine.stop()?;
    Ok(())
}

fn directories(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    machine.says("mkdir -p /srv/deep; ln -s /srv/deep /link; ln -s / /srv/up")?;
    let table = [
        (None, "/"),
        (Some("/srv/deep"), "/srv/deep"),
        (Some("/link"), "/srv/deep"),
        (Some("/srv/up/srv"), "/srv"),
        (Some("/srv/../../../../srv"), "/srv"),
        (Some("srv"), "/srv"),
    ];
    for (directory, expected) in table {
        let mut arguments = vec![name, "pwd"];
        if let Some(directory) = directory {
            arguments.splice(0..0, ["--workdir", directory]);
        }
        let done = ended(context, &arguments);
        assert_eq!((done.status, done.stdout.trim_end()), (0, expected), "{directory:?}: {done:?}");
    }
    machine.stop()?;
    Ok(())
}

/// The lines of /proc/PID/status that say what a process may do.
fn limits_of(status: &str) -> Vec<String> {
    const FIELDS: [&str; 8] = [
        "CapBnd:",
        "CapEff:",
        "CapPrm:",
        "CapInh:",
        "CapAmb:",
        "NoNewPrivs:",
        "Seccomp:",
        "Seccomp_filters:",
    ];
    let field = |line: &&str| FIELDS.iter().any(|field| line.starts_with(field));
    status.lines().filter(field).map(str::to_owned).collect()
}

fn restrictions_are_the_leaders(context: &Context) -> TestResult {
    let table: [&[&str]; 5] = [
        &[],
        &["--private-users=no"],
        &["--drop-capability=CAP_SYS_ADMIN,CAP_CHOWN", "--system-call-filter=~mount"],
        &["--no-new-privileges=yes"],
        &["--capability=CAP_SYS_RAWIO", "--private-network=no", "--oom-score-adjust=500"],
    ];
    for options in table {
        let machine = machine(context, "busybox", options)?;
        let leader = machine.state()?.leader;
        let of_leader = fs::read_to_string(format!("/proc/{leader}/status"))?;
        let done = ended(context, &[&machine.name, "cat", "/proc/self/status"]);
        assert_eq!(limits_of(&done.stdout), limits_of(&of_leader), "{options:?}: {done:?}");
        assert!(limits_of(&of_leader).len() >= 7);
        for file in ["oom_score_adj", "limits", "uid_map", "personality"] {
            let of_leader = fs::read_to_string(format!("/proc/{leader}/{file}"))?;
            let done = ended(context, &[&machine.name, "cat", &format!("/proc/self/{file}")]);
            assert_eq!(done.stdout, of_leader, "{options:?}: {file}");
        }
        for namespace in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
            let link = |process: &str| format!("readlink /proc/{process}/ns/{namespace}");
            let of_leader = fs::read_link(format!("/proc/{leader}/ns/{namespace}"))?;
            let done = ended(context, &[&machine.name, "sh", "-c", &link("self")]);
            assert_eq!(done.stdout.trim_end(), of_leader.to_string_lossy(), "{options:?}");
        }
        machine.stop()?;
    }
    Ok(())
}

fn cgroup_is_the_leaders(context: &Context) -> TestResult {
    for (tree, expected) in [("busybox", "0::/"), ("debian-13", "0::/init.scope")] {
        let machine = machine(context, tree, &[])?;
        let done = ended(context, &[&machine.name, "grep", "^0::", "/proc/self/cgroup"]);
        assert_eq!(done.stdout.trim_end(), expected, "{tree}: {done:?}");
        // The host's view: below the machine's own, in every hierarchy in which that has limits.
        let leader = fs::read_to_string(format!("/proc/{}/cgroup", machine.state()?.leader))?;
        let mut command = exec(context, &[&machine.name, "sleep", "1000"]);
        let mut process = Process::spawn(&mut command);
        let pid = guest_process(&machine, "sleep")?;
        let of_sleep = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let ours = |text: &str| -> Vec<String> {
            let prefix = &context.prefix;
            text.lines().filter(|line| line.contains(prefix.as_str())).map(str::to_owned).collect()
        };
        assert_eq!(ours(&of_sleep), ours(&leader));
        process.signal(libc::SIGTERM);
        assert_eq!(process.wait(PATIENCE).map(shell_status), Some(143));
        machine.stop()?;
    }
    Ok(())
}

fn cgroup_that_takes_none(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let outer = outer_cgroup(&machine)?;
    // PID 1 is where no process of the machine belongs: somebody on the host has moved it.
    let leader = machine.state()?.leader.to_string();
    let root = outer.parent().and_then(std::path::Path::parent).unwrap();
    fs::write(root.join("cgroup.procs"), &leader)?;
    let done = ended(context, &[&machine.name, "grep", "^0::", "/proc/self/cgroup"]);
    fs::write(outer.join("payload/cgroup.procs"), &leader)?;
    assert_eq!((done.status, done.stdout.trim_end()), (0, "0::/../joined"), "{done:?}");
    assert!(!outer.join("joined").exists(), "the leaf is left");
    machine.stop()?;
    Ok(())
}

fn bad_input(context: &Context) -> TestResult {
    let machine = machine(context, "busybox", &[])?;
    let name = machine.name.as_str();
    let none = format!("{name}-none");
    let table: [(&[&str], &str); 7] = [
        (&[&none, "true"], "no machine"),
        (&["a/b", "true"], "\"a/b\""),
        (&[name], "COMMAND"),
        (&["--timeout=soon", name, "true"], "\"soon\" is not a time span"),
        (&["-E", "1A=b", name, "true"], "\"1A=b\" is not an environment variable"),
        (&["--nonsense", name, "true"], "unknown option --nonsense"),
        (&["-u", "", name, "true", "--nonsense"], ""),
    ];
    for (arguments, problem) in table {
        let done = ended(context, arguments);
        let lines: Vec<&str> = done.stderr.lines().collect();
        if problem.is_empty() {
            // What follows the command is its own, and no user is root.
            assert_eq!(done.status, 0, "{arguments:?}: {done:?}");
            continue;
        }
        assert_eq!((done.status, lines.len()), (125, 2), "{arguments:?}: {done:?}");
        assert!(lines[0].starts_with("spinney: error: ") && lines[0].contains(problem), "{done:?}");
        assert!(lines[1].starts_with("  hint: "), "{done:?}");
    }
    let mut command = exec(context, &[name, "true"]);
    let done = run(command.stdin(fs::File::open("/")?));
    assert_eq!(done.status, 125);
    assert!(done.stderr.contains("our stdin is a directory"), "{done:?}");
    // Somebody who is not root.
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(crate::harness::program());
    let done = run(command.args(["exec", name, "true"]).env("NO_COLOR", "1"));
    if done.status == 126 || done.status == 127 {
        // The program lies where others cannot get at it.
        println!("# not tried as another user: {}", done.stderr.trim_end());
    } else {
        assert_eq!(done.status, 125, "{done:?}");
        assert!(done.stderr.contains("permission denied: only root may enter machine"), "{done:?}");
    }
    machine.stop()?;
    Ok(())
}
