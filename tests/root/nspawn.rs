//! The same command lines through systemd-nspawn and through our own: what the payload says, the exit status, and the messages
//! that scripts read are the same.
//!
//! The real one runs in mount and network namespaces of its own, with an empty /run. Where its version says otherwise than
//! later ones, whose options and manner are ours, the difference stands in [`told`].

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::command::{Ended, PATIENCE, Process, capture, contents, run, run_with_input, shell_status};
use crate::harness::{Context, Row, Stop, TEST, Test, TestResult, program};
use crate::nspawn_lines::{LINES, Line, Tree};
use crate::payload::{own_busybox, write_script};

pub fn tests() -> Vec<Test> {
    let lines = LINES
        .iter()
        .map(|line| Test::new(format!("nspawn::line::{}", line.name), move |context| same(context, line)));
    let single: [Row; 9] = [
        ("poweroff", poweroff),
        ("reboot_in_a_unit", reboot_in_a_unit),
        ("reboot_in_place", reboot_in_place),
        ("init_that_exits", init_that_exits),
        ("told_to_end", told_to_end),
        ("ephemeral", ephemeral),
        ("template", template),
        ("bad_lines", bad_lines),
        ("busy_tree", busy_tree),
    ];
    lines.chain(single.map(|(name, test)| Test::new(format!("nspawn::{name}"), test))).collect()
}

/// Whose program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Real,
    Ours,
}

/// A /run with nothing in it but what systemd makes there, which the real one hides things by; then what follows.
const OWN_RUN: &str = "mount -t tmpfs tmpfs /run && mkdir -p -m 0 /run/systemd/inaccessible/dir && \
    install -m 0 /dev/null /run/systemd/inaccessible/reg && exec \"$@\"";

/// systemd-nspawn with `options`, which needs nobody of systemd's to be there.
pub fn nspawn(context: &Context, whose: Whose, options: &[String]) -> Command {
    let mut command = match whose {
        Whose::Real => {
            let mut command = Command::new("unshare");
            command.args(["-n", "-m", "sh", "-c", OWN_RUN, "sh", "systemd-nspawn"]);
            command
        }
        Whose::Ours => {
            let mut command = Command::new(program());
            command.arg0("/usr/bin/systemd-nspawn").env("NO_COLOR", "1").env(TEST, &context.prefix);
            command
        }
    };
    command.args(["--register=no", "--keep-unit"]).args(options).stdin(Stdio::null()).env("TERM", "xterm");
    command.env_remove("NOTIFY_SOCKET");
    command
}

pub fn need_real() -> TestResult {
    match run(Command::new("systemd-nspawn").arg("--version").stdin(Stdio::null())).status {
        0 => Ok(()),
        _ => Err(Stop::Skip("no systemd-nspawn".to_owned())),
    }
}

/// What both say alike: stdout without the newline that the real one ends a container's last line with, and stderr without
/// what each says of this host.
fn told(ended: Ended) -> (i32, String, String) {
    let of_the_host = |line: &str| {
        line.starts_with("Some capabilities will not be set")
            || line.starts_with("systemd-nspawn: warning: this process lacks")
            || line.starts_with("systemd-nspawn: warning: --keep-unit has no effect")
    };
    let said: Vec<String> = ended
        .stderr
        .lines()
        .filter(|line| !of_the_host(line))
        // Version 252 writes keys in another way, and 262 says which signal it sends.
        .map(|line| line.replace("Press ^]", "Press Ctrl-]"))
        .collect();
    (ended.status, ended.stdout.trim_end().to_owned(), said.join("\n"))
}

pub fn words(words: &[&str], places: &[(&str, &str)]) -> Vec<String> {
    let filled = |word: &&str| {
        places.iter().fold((*word).to_owned(), |word, (place, value)| word.replace(place, value))
    };
    words.iter().map(filled).collect()
}

/// One line of the table, both ways.
fn same(context: &Context, line: &Line) -> TestResult {
    need_real()?;
    let tree = match line.tree {
        Tree::Busybox => own_busybox(context)?,
        Tree::Debian => context.tree("debian-12")?,
    };
    let name = context.machine_name();
    let directory = context.subdirectory("shared");
    fs::write(directory.join("file"), "of the host\n")?;
    let places = [
        ("{tree}", tree.to_str().unwrap()),
        ("{name}", name.as_str()),
        ("{dir}", directory.to_str().unwrap()),
    ];
    let options = words(line.words, &places);
    let ended = |whose| {
        let _ = fs::remove_file(directory.join("new"));
        let mut command = nspawn(context, whose, &options);
        // Nothing may be left beside a tree that is everybody's.
        command.env("SYSTEMD_NSPAWN_LOCK", "0");
        match line.input {
            Some(input) => run_with_input(&mut command, input.as_bytes()),
            None => run(&mut command),
        }
    };
    let (real, ours) = (ended(Whose::Real), ended(Whose::Ours));
    let all = format!("real: {real:#?}\nours: {ours:#?}");
    let (real, mut ours) = (told(real), told(ours));
    if line.own_words {
        ours.2.clone_from(&real.2);
    }
    if line.silent_payload {
        ours.1.clone_from(&real.1);
    }
    assert_eq!(ours, real, "{all}");
    assert_eq!(real.0, line.status, "{all}");
    if let Some(expected) = line.stdout {
        assert_eq!(real.1.replace("\r\n", "\n"), expected, "{all}");
    }
    Ok(())
}

/// Boots a busybox tree whose init does `script` first, both ways; what is said of each is the same.
fn booted(context: &Context, script: &str, options: &[&str]) -> Result<(i32, String, String), Stop> {
    need_real()?;
    let tree = own_busybox(context)?;
    fs::write(tree.join("etc/inittab"), format!("::sysinit:/bin/sh -c '{script}'\n"))?;
    let name = context.machine_name();
    let mut line =
        vec!["-b".to_owned(), "-D".to_owned(), tree.to_str().unwrap().to_owned(), "-M".to_owned(), name];
    line.extend(options.iter().map(|option| (*option).to_owned()));
    let real = told(run(&mut nspawn(context, Whose::Real, &line)));
    let _ = fs::remove_file(tree.join("booted"));
    let ours = told(run(&mut nspawn(context, Whose::Ours, &line)));
    assert_eq!(ours, real);
    Ok(ours)
}

fn poweroff(context: &Context) -> TestResult {
    let (status, stdout, stderr) = booted(context, "echo up; poweroff -f", &[])?;
    assert_eq!((status, stdout.as_str()), (0, "up"));
    assert!(stderr.ends_with(" has been shut down."), "{stderr}");
    Ok(())
}

fn reboot_in_a_unit(context: &Context) -> TestResult {
    let (status, stdout, stderr) = booted(context, "echo up; reboot -f", &[])?;
    assert_eq!((status, stdout.as_str()), (133, "up"));
    assert!(stderr.ends_with(" is being rebooted."), "{stderr}");
    Ok(())
}

/// Without a unit the container is booted again by the same process. (The real one cannot do that without systemd.)
fn reboot_in_place(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    let again = "test -e /booted && poweroff -f; touch /booted; echo first; reboot -f";
    fs::write(tree.join("etc/inittab"), format!("::sysinit:/bin/sh -c '{again}'\n"))?;
    let mut command = context.spinney();
    command.arg("nspawn").args(["-bD", tree.to_str().unwrap(), "-M", &context.machine_name()]);
    let (status, stdout, stderr) = told(run(&mut command));
    assert_eq!((status, stdout.as_str()), (0, "first"), "{stderr}");
    let lines: Vec<&str> = stderr.lines().filter(|line| line.starts_with("Container ")).collect();
    assert_eq!(lines.len(), 2, "{stderr}");
    assert!(
        lines[0].ends_with(" is being rebooted.") && lines[1].ends_with(" has been shut down."),
        "{stderr}"
    );
    Ok(())
}

fn init_that_exits(context: &Context) -> TestResult {
    need_real()?;
    let tree = own_busybox(context)?;
    fs::remove_file(tree.join("usr/sbin/init"))?;
    write_script(&tree.join("usr/sbin/init"), "#!/bin/sh\nexit 5\n");
    let line = words(
        &["-bD", "{tree}", "-M", "{name}"],
        &[("{tree}", tree.to_str().unwrap()), ("{name}", &context.machine_name())],
    );
    let real = told(run(&mut nspawn(context, Whose::Real, &line)));
    let ours = told(run(&mut nspawn(context, Whose::Ours, &line)));
    assert_eq!((ours.0, &ours.2), (5, &real.2), "{real:?} {ours:?}");
    assert_eq!(real.0, 5, "{real:?}");
    Ok(())
}

/// A command is killed when its container is told to end; one that took a signal of its own choice is not.
fn told_to_end(context: &Context) -> TestResult {
    need_real()?;
    let tree = own_busybox(context)?;
    let name = context.machine_name();
    for (option, status, last) in [
        ("--settings=no", 1, format!("Container {name} terminated by signal KILL.")),
        ("--kill-signal=SIGUSR1", 7, format!("Container {name} failed with error code 7.")),
    ] {
        for whose in [Whose::Real, Whose::Ours] {
            let line = words(
                &[
                    "-D",
                    "{tree}",
                    "-M",
                    "{name}",
                    option,
                    "sh",
                    "-c",
                    "trap \"exit 7\" USR1; echo ready; while :; do sleep 1; done",
                ],
                &[("{tree}", tree.to_str().unwrap()), ("{name}", &name)],
            );
            let mut command = nspawn(context, whose, &line);
            let stderr = capture();
            command.stdout(Stdio::piped()).stderr(stderr.try_clone()?);
            let mut child = command.spawn()?;
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            let mut process = Process::of(child);
            let mut ready = String::new();
            stdout.read_line(&mut ready)?;
            assert_eq!(ready.trim_end(), "ready", "{whose:?} {option}: {}", contents(&stderr));
            process.signal(libc::SIGTERM);
            let ended = process.wait(PATIENCE).ok_or("it goes on")?;
            let said = contents(&stderr);
            assert_eq!(shell_status(ended), status, "{whose:?} {option}: {said}");
            assert_eq!(said.lines().last(), Some(last.as_str()), "{whose:?} {option}: {said}");
        }
    }
    Ok(())
}

/// Nothing stays, and two run at once: each has a name of its own.
fn ephemeral(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    let line =
        words(&["-xqD", "{tree}", "sh", "-c", "touch /new; hostname"], &[("{tree}", tree.to_str().unwrap())]);
    let mut names = Vec::new();
    for _ in 0..2 {
        names.push(run(&mut nspawn(context, Whose::Ours, &line)).ok()?.trim_end().to_owned());
    }
    assert!(!tree.join("new").exists());
    assert_ne!(names[0], names[1]);
    for name in names {
        let suffix = name.strip_prefix("tree-").ok_or_else(|| name.clone())?;
        assert!(suffix.len() == 16 && suffix.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    }
    Ok(())
}

fn template(context: &Context) -> TestResult {
    let template = own_busybox(context)?;
    let tree = context.directory.join("made");
    let places = [("{template}", template.to_str().unwrap()), ("{tree}", tree.to_str().unwrap())];
    let line = words(&["--template={template}", "-D", "{tree}", "sh", "-c", "touch /new; echo in"], &places);
    let first = told(run(&mut nspawn(context, Whose::Ours, &line)));
    assert_eq!((first.0, first.1.as_str()), (0, "in"), "{first:?}");
    let populated = format!("Populated {} from template {}.", tree.display(), template.display());
    assert!(first.2.starts_with(&populated), "{first:?}");
    assert!(tree.join("new").exists() && !template.join("new").exists());
    let second = told(run(&mut nspawn(context, Whose::Ours, &line)));
    let kept = format!(
        "Directory {} already exists, not populating from template {}.",
        tree.display(),
        template.display()
    );
    assert!(second.0 == 0 && second.2.starts_with(&kept), "{second:?}");
    // Nor does what one left that was killed at it; what another still works at does.
    let left = [".#again.0123456789abcdef", ".#again.fedcba9876543210", ".#other.0123456789abcdef"]
        .map(|name| context.directory.join(name));
    left.iter().try_for_each(|path| fs::create_dir_all(path.join("usr")))?;
    let worked_at = fs::File::open(&left[1])?;
    rustix::fs::flock(&worked_at, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    let places = [("{template}", template.to_str().unwrap()), ("{dir}", context.directory.to_str().unwrap())];
    let line = words(&["-q", "--template={template}", "-D", "{dir}/again", "sh", "-c", "echo in"], &places);
    assert_eq!(run(&mut nspawn(context, Whose::Ours, &line)).ok()?.trim_end(), "in");
    assert_eq!(left.each_ref().map(|path| path.exists()), [false, true, true]);
    left.iter().filter(|path| path.exists()).try_for_each(fs::remove_dir_all)?;
    // Nothing half-made stays where there is no template, or it cannot be copied whole.
    let places = [("{tree}", context.directory.join("other").display().to_string())];
    let places = places.each_ref().map(|(name, value)| (*name, value.as_str()));
    let line = words(&["--template=/nowhere/at/all", "-D", "{tree}", "true"], &places);
    assert_eq!(run(&mut nspawn(context, Whose::Ours, &line)).status, 1);
    let left: Vec<_> = fs::read_dir(&context.directory)?.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("other")), "{left:?}");
    Ok(())
}

/// `options => part of our error`; the real one says something else, with the same status.
const BAD: &[(&[&str], &str)] = &[
    (&["--bogus"], "unrecognized option '--bogus'"),
    (&["-y"], "invalid option -- 'y'"),
    (&["--machine"], "option '--machine' requires an argument"),
    (&["--boot=yes"], "option '--boot' doesn't allow an argument"),
    (&["--network=x"], "ambiguous"),
    (&["-M", "a_b"], "a_b"),
    (&["-ab"], "--boot and --as-pid2 may not be combined"),
    (&["--console=tv"], "tv"),
    (&["--uuid=00000000-0000-0000-0000-000000000000"], "all zeroes"),
    (&["--bind=/nowhere/at/all:/mnt"], "/nowhere/at/all"),
    (&["--chdir=relative"], "relative"),
    (&["--root-hash=xyz"], "xyz"),
    (&["--capability=CAP_NOTHING"], "CAP_NOTHING"),
    (&["--rlimit=NOFILE"], "NOFILE"),
    (&["--port=80"], "--port"),
    (&["--network-bridge=a", "--network-zone=b"], "--network-zone"),
    (&["--settings=maybe"], "maybe"),
    (&["-u", "nobody-of-that-name"], "nobody-of-that-name"),
    (&["--private-users=pick", "--private-users-ownership=x"], "--private-users-ownership="),
    (&["-i", "/nowhere/at/all"], "--directory= and --image= may not be combined"),
    (&["--oci-bundle=/nowhere"], "--oci-bundle is not supported"),
];

fn bad_lines(context: &Context) -> TestResult {
    need_real()?;
    let tree = own_busybox(context)?;
    for (options, part) in BAD {
        let mut line = vec!["-D".to_owned(), tree.to_str().unwrap().to_owned()];
        line.extend(options.iter().map(|option| (*option).to_owned()));
        let real = run(&mut nspawn(context, Whose::Real, &line));
        let ours = run(&mut nspawn(context, Whose::Ours, &line));
        assert_eq!((real.status, ours.status), (1, 1), "{options:?} {real:#?} {ours:#?}");
        let lines: Vec<&str> =
            ours.stderr.lines().filter(|line| !line.contains("warning: this process")).collect();
        let [error, hint] = lines.as_slice() else {
            return Err(Stop::Fail(format!("{options:?} {ours:#?}")));
        };
        assert!(error.starts_with("systemd-nspawn: error: ") && error.contains(part), "{options:?} {error}");
        assert!(hint.starts_with("  hint: "), "{options:?} {hint}");
    }
    for line in [&["-M", "no-such-machine"] as &[&str], &["-D", "/nowhere/at/all", "true"]] {
        let line = words(line, &[]);
        let (real, ours) =
            (run(&mut nspawn(context, Whose::Real, &line)), run(&mut nspawn(context, Whose::Ours, &line)));
        assert_eq!((real.status, ours.status), (1, 1), "{line:?} {real:#?} {ours:#?}");
    }
    let ours = run(&mut nspawn(context, Whose::Ours, &words(&["-M", "no-such-machine"], &[])));
    assert!(ours.stderr.contains("No image for machine 'no-such-machine'."), "{ours:#?}");
    let help = run(&mut nspawn(context, Whose::Ours, &words(&["--help"], &[])));
    assert!(help.status == 0 && help.stdout.contains("--bind-ro=") && help.stderr.is_empty(), "{help:#?}");
    Ok(())
}

/// A tree that somebody runs from is nobody else's, whichever of the two it is.
fn busy_tree(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    let name = context.machine_name();
    let line = words(
        &["-qD", "{tree}", "-M", "{name}", "sh", "-c", "echo ready; sleep 1000"],
        &[("{tree}", tree.to_str().unwrap()), ("{name}", &name)],
    );
    let mut command = nspawn(context, Whose::Ours, &line);
    command.stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut process = Process::of(child);
    let mut ready = String::new();
    stdout.read_line(&mut ready)?;
    let second = words(&["-D", "{tree}", "-M", "other", "true"], &[("{tree}", tree.to_str().unwrap())]);
    let ended = run(&mut nspawn(context, Whose::Ours, &second));
    let busy = format!("Directory tree {} is currently busy.", tree.display());
    assert!(ended.status == 1 && ended.stderr.contains(&busy), "{ended:#?}");
    let cleaned = run(&mut nspawn(context, Whose::Ours, &words(&["--cleanup", "-M", &name], &[])));
    let running =
        format!("systemd-nspawn: error: Container {name} is running, there is nothing to clean up.");
    assert!(cleaned.status == 1 && cleaned.stderr.starts_with(&running), "{cleaned:#?}");
    process.signal(libc::SIGTERM);
    assert_eq!(process.wait(PATIENCE).map(shell_status), Some(1));
    // Then there is none: as after a unit that ended well.
    assert_eq!(run(&mut nspawn(context, Whose::Ours, &words(&["--cleanup", "-M", &name], &[]))).ok()?, "");
    Ok(())
}
