//! Trees that would have us touch the host: links that point out of them, wherever a mount or a file of ours goes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::command::{Ended, run};
use crate::harness::{Context, Row, Test, TestResult};
use crate::payload::own_busybox;

/// Directories at the top of a tree that we mount on or write in.
const TOP: [&str; 7] = ["dev", "proc", "sys", "run", "etc", "tmp", "var"];

/// Deeper places, with options that lead us there.
const DEEP: &[(&str, &[&str])] = &[
    ("etc/resolv.conf", &["--resolv-conf=replace-host"]),
    ("etc/resolv.conf", &["--resolv-conf=copy-host"]),
    ("etc/resolv.conf", &["--resolv-conf=bind-host"]),
    ("etc/resolv.conf", &["--resolv-conf=delete"]),
    ("etc/localtime", &["--timezone=symlink"]),
    ("etc/localtime", &["--timezone=bind"]),
    ("etc/localtime", &["--timezone=delete"]),
    ("etc/machine-id", &["--uuid=12345678-9abc-4def-8123-456789abcdef"]),
    ("etc/passwd", &["--uid=root"]),
    ("etc/os-release", &[]),
    ("mnt", &["--bind=/usr/share:/mnt"]),
    ("mnt", &["--bind=/usr/share:/mnt/below"]),
    ("mnt", &["--bind=/etc/passwd:/mnt/below"]),
    ("mnt", &["--tmpfs=/mnt"]),
    ("mnt", &["--tmpfs=/mnt/a/b/c"]),
    ("mnt", &["--overlay=/usr/share::/mnt"]),
    ("mnt", &["--overlay-ro=/usr/share:/usr/lib:/mnt"]),
    ("mnt", &["--inaccessible=/mnt"]),
    ("mnt", &["--bind=+/mnt:/opt"]),
    ("mnt", &["--overlay=+/mnt::/opt"]),
    ("mnt", &["--pivot-root=/mnt"]),
    ("var/log/journal", &["--link-journal=guest"]),
    ("var/log/journal", &["--link-journal=host"]),
    ("root", &["--chdir=/root"]),
    ("sbin/init", &[]),
    ("bin/sh", &[]),
];

/// Where the links point, from the top of the tree.
fn targets(outside: &Path) -> [PathBuf; 3] {
    let relative = outside.strip_prefix("/").unwrap();
    [outside.to_owned(), Path::new("../../../../../../../../..").join(relative), "/proc/1/root".into()]
}

pub fn tests() -> Vec<Test> {
    let top = TOP.map(|name| Test::new(format!("attack::{name}"), move |context| top_level(context, name)));
    let deep = DEEP.iter().map(|(path, options)| {
        let name = format!(
            "attack::{path}{}",
            options.first().map(|option| format!("_{option}")).unwrap_or_default()
        );
        Test::new(name, move |context| deep(context, path, options))
    });
    let single: [Row; 6] = [
        ("mount_points_in_api_directories", mount_points_in_api_directories),
        ("tree_changes_while_it_starts", tree_changes_while_it_starts),
        ("console_escapes", console_escapes),
        ("state_is_not_the_guests", state_is_not_the_guests),
        ("home_is_a_link_to_our_fds", home_is_a_link_to_our_fds),
        ("systemctl_speaks_to_our_terminal", systemctl_speaks_to_our_terminal),
    ];
    top.into_iter()
        .chain(deep)
        .chain(single.map(|(name, test)| Test::new(format!("attack::{name}"), test)))
        .collect()
}

/// A directory of the host's that nobody may touch, looking enough like a tree to be mounted on.
struct Outside {
    directory: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Outside {
    fn new(context: &Context) -> Self {
        let directory = context.subdirectory("outside");
        for name in ["pts", "sys/net", "host", "init.d", "a/b/c", "below", "mqueue", "shm", "log/journal"] {
            fs::create_dir_all(directory.join(name)).unwrap();
        }
        for name in
            ["resolv.conf", "localtime", "machine-id", "passwd", "console", "ptmx", "null", "precious"]
        {
            fs::write(directory.join(name), "precious\n").unwrap();
        }
        let before = everything(&directory);
        Self { directory, before }
    }

    fn is_untouched(&self, ended: &Ended) {
        assert_eq!(everything(&self.directory), self.before, "the host was touched\n{ended:#?}");
    }
}

/// All files below `directory`: what they are, whose, what is in them and when they were changed.
fn everything(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let (mode, uid, nanoseconds) = (metadata.mode(), metadata.uid(), metadata.ctime_nsec());
        let contents = if metadata.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
        if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        found.insert(path, format!("{mode:o} {uid} {}.{nanoseconds} {contents:?}", metadata.ctime()));
    }
    found
}

fn replace_by_link(tree: &Path, path: &str, target: &Path) {
    let at = tree.join(path);
    match fs::symlink_metadata(&at) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&at).unwrap(),
        Ok(_) => fs::remove_file(&at).unwrap(),
        Err(_) => fs::create_dir_all(at.parent().unwrap()).unwrap(),
    }
    symlink(target, &at).unwrap();
}

/// What a root is made of.
const LAYERS: [&str; 3] = ["--volatile=no", "--ephemeral", "--volatile=yes"];

/// Every way to run `tree`: with and without a layer, a user namespace, and an init.
fn attempts(
    context: &Context,
    tree: &Path,
    layers: &[&str],
    options: &[&str],
    outside: &Outside,
) -> Vec<Ended> {
    let mut all = Vec::new();
    for layer in layers {
        for users in ["--private-users=pick", "--private-users=no"] {
            for command in [&["--", "/bin/busybox", "true"] as &[&str], &[]] {
                let mut spinney = context.spinney();
                spinney.args(["run", "-M", &context.machine_name(), "--timeout-ready=2", "--timeout-stop=1"]);
                if command.is_empty() {
                    // What boots is let go at once.
                    spinney.arg("--init=/bin/false");
                }
                spinney.args([layer, users]).args(options).arg(tree).args(command);
                let ended = run(&mut spinney);
                outside.is_untouched(&ended);
                all.push(ended);
            }
        }
    }
    all
}

fn top_level(context: &Context, name: &str) -> TestResult {
    let outside = Outside::new(context);
    for target in targets(&outside.directory) {
        let tree = context.directory.join("tree");
        let _ = fs::remove_dir_all(&tree);
        let tree = own_busybox(context)?;
        replace_by_link(&tree, name, &target);
        for ended in attempts(context, &tree, &LAYERS, &[], &outside) {
            // A link out of the tree is said to be one.
            assert_eq!(ended.status, 125, "{target:?}: {ended:#?}");
            let message = format!("/{name} of the tree is a symlink");
            assert!(
                ended.stderr.contains(&message) && ended.stderr.contains("hint: "),
                "{target:?}: {ended:#?}"
            );
        }
        assert_eq!(fs::read_link(tree.join(name)).unwrap(), target);
    }
    Ok(())
}

fn deep(context: &Context, path: &str, options: &[&str]) -> TestResult {
    let outside = Outside::new(context);
    for target in targets(&outside.directory) {
        let tree = context.directory.join("tree");
        let _ = fs::remove_dir_all(&tree);
        let tree = own_busybox(context)?;
        replace_by_link(&tree, path, &target);
        attempts(context, &tree, &LAYERS[..2], options, &outside);
    }
    Ok(())
}

/// Links where our own mounts hang: below directories that are proper ones.
fn mount_points_in_api_directories(context: &Context) -> TestResult {
    let outside = Outside::new(context);
    let tree = own_busybox(context)?;
    for name in
        ["dev/pts", "dev/shm", "dev/mqueue", "dev/console", "proc/sys", "sys/fs", "run/host", "run/systemd"]
    {
        replace_by_link(&tree, name, &outside.directory);
    }
    for ended in attempts(context, &tree, &LAYERS, &[], &outside).iter().step_by(2) {
        // Fresh file systems cover all of them.
        assert_eq!(ended.status, 0, "{ended:#?}");
    }
    Ok(())
}

/// Directories that become links and directories again, all the while machines start.
fn tree_changes_while_it_starts(context: &Context) -> TestResult {
    use std::sync::atomic::{AtomicBool, Ordering};
    let outside = Outside::new(context);
    let tree = own_busybox(context)?;
    fs::create_dir(tree.join("mnt")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let names = ["proc", "sys", "dev", "run", "etc", "mnt"];
            while !stop.load(Ordering::Relaxed) {
                for name in names {
                    let (real, hidden) = (tree.join(name), tree.join(format!(".{name}")));
                    if fs::rename(&real, &hidden).is_ok() {
                        let _ = symlink(&outside.directory, &real);
                        let _ = fs::remove_file(&real);
                        let _ = fs::rename(&hidden, &real);
                    }
                }
            }
        });
        for _ in 0..60 {
            let mut command = context.spinney();
            command.args([
                "run",
                "-M",
                &context.machine_name(),
                "--tmpfs=/mnt",
                "--resolv-conf=replace-host",
            ]);
            run(command.arg(&tree).args(["--", "/bin/busybox", "true"]));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let nothing = Ended { status: 0, stdout: String::new(), stderr: String::new() };
    outside.is_untouched(&nothing);
    Ok(())
}

/// What a tree says of itself comes to the terminal of root: without control characters.
fn console_escapes(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    fs::remove_file(tree.join("etc/os-release")).unwrap();
    fs::write(tree.join("etc/os-release"), "PRETTY_NAME=\"evil\x1b]0;owned\x07 \x1b[2J\rX\"\n").unwrap();
    let ended = run(context
        .spinney()
        .args(["run", "-x", "-M", &context.machine_name(), "--timeout-ready=1", "--timeout-stop=1"])
        .arg("--init=/bin/false")
        .arg(&tree));
    assert!(ended.stderr.contains("evil"), "{ended:#?}");
    assert!(!ended.stderr.contains(['\x1b', '\x07', '\r']), "{ended:#?}");
    Ok(())
}

/// A guest that is late is asked by its own systemctl. That is in no session of ours: /dev/tty is not the terminal of who
/// started it, in whose name it could type there (TIOCSTI).
fn systemctl_speaks_to_our_terminal(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let script = context.directory.join("systemctl");
    let said =
        "echo hello host > /dev/tty; { tr '\\0' ' ' < /proc/$$/cmdline; cat /proc/1/comm; } > /var/log/asked";
    crate::payload::write_script(&script, &format!("#!/bin/sh\n{said}; sync; exit 0\n"));
    let kept = context.subdirectory("kept");
    fs::write(
        context.directory.join("slow.service"),
        "[Service]\nType=oneshot\nExecStart=/bin/sleep 1000\n",
    )?;
    let bind = |from: &str, to: &str| format!("--bind-ro={}:{to}", context.directory.join(from).display());
    let spinney = context.spinney();
    let mut command = std::process::Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(spinney.get_program());
    for (name, value) in spinney.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(["run", "-x", "-b", "-M", &context.machine_name(), "--timeout-ready=3s"]);
    command.arg(bind("systemctl", "/usr/local/sbin/systemctl"));
    command.arg(bind("slow.service", "/etc/systemd/system/slow.service"));
    command.arg(format!("--bind={}:/var/log:idmap", kept.display()));
    command.arg(&tree).args(["--", "systemd.wants=slow.service"]);
    let mut session = crate::console::Session::start(command);
    session.sees("was not ready after 3 s");
    let shown = session.said();
    assert!(kept.join("asked").exists(), "systemctl was not asked:\n{shown}");
    assert!(!shown.contains("hello host"), "{shown}");
    assert_eq!(session.ends(), 125);
    Ok(())
}

/// Nobody but root may read or change what the supervisor keeps.
fn state_is_not_the_guests(context: &Context) -> TestResult {
    let mut machine = crate::machine::Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let directory = PathBuf::from("/run/spinney/machines").join(&machine.name);
    for entry in fs::read_dir(&directory).unwrap().flatten() {
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        assert_eq!(metadata.uid(), 0, "{:?}", entry.path());
        assert_eq!(metadata.mode() & 0o022, 0, "{:?} {:o}", entry.path(), metadata.mode());
        if metadata.is_dir() {
            assert_eq!(metadata.mode() & 0o777, 0o700, "{:?}", entry.path());
        }
    }
    let scratch = fs::metadata("/var/lib/spinney/scratch").unwrap();
    assert_eq!((scratch.mode() & 0o777, scratch.uid()), (0o700, 0));
    machine.stop()?;
    Ok(())
}

/// A home directory that leads, by what the leader still has open, out to the host (CVE-2024-21626).
fn home_is_a_link_to_our_fds(context: &Context) -> TestResult {
    /// More than a leader has.
    const FDS: std::ops::Range<u32> = 3..24;
    let tree = own_busybox(context)?;
    let secret = context.directory.join("secret");
    fs::write(&secret, "of the host").unwrap();
    let climb = format!("cat {}{} 2>/dev/null || true", "../".repeat(12), secret.display());
    for (fd, users) in
        FDS.flat_map(|fd| ["--private-users=pick", "--private-users=no"].map(|users| (fd, users)))
    {
        let link = PathBuf::from(format!("/proc/self/fd/{fd}"));
        replace_by_link(&tree, "root", &link);
        let ended = run(context
            .spinney()
            .args(["run", "-M", &context.machine_name(), users])
            .arg(&tree)
            .args(["--", "/bin/sh", "-c", &climb]));
        assert!(!ended.stdout.contains("of the host"), "{link:?}: {ended:#?}");
    }
    Ok(())
}
