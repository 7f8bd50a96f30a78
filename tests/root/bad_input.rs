//! What cannot work is refused with one line, a hint and exit status 125, and leaves nothing behind (the harness looks).

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::{Ended, run};
use crate::harness::{Context, Row, Stop, Test, TestResult, program};
use crate::hosts::{UNMOUNT_CGROUP2, after_mounts};
use crate::machine::Machine;
use crate::payload::{self, own_busybox, write_script};

/// Of whoever is nobody.
const NOBODY: u32 = 65534;

pub fn tests() -> Vec<Test> {
    let values = VALUES.iter().map(|(options, error)| {
        Test::new(format!("bad_input::value::{}", options.join("_")), move |context| {
            refused(&run(context.spinney().arg("run").args(*options).arg(context.tree("busybox")?)), error)
        })
    });
    let single: [Row; 21] = [
        ("missing_tree", missing_tree),
        ("empty_directory", empty_directory),
        ("file_instead_of_directory", file_instead_of_directory),
        ("foreign_architecture", foreign_architecture),
        ("no_init", no_init),
        ("init_that_is_no_program", init_that_is_no_program),
        ("init_that_is_missing", init_that_is_missing),
        ("init_that_exits", init_that_exits),
        ("init_that_is_killed", init_that_is_killed),
        ("init_that_never_gets_ready", init_that_never_gets_ready),
        ("init_that_is_stopped_while_it_boots", init_that_is_stopped_while_it_boots),
        ("name_too_long", name_too_long),
        ("name_in_use", name_in_use),
        ("ids_in_use", ids_in_use),
        ("unknown_user", unknown_user),
        ("missing_bind_source", missing_bind_source),
        ("not_root", not_root),
        ("no_cgroup2", no_cgroup2),
        ("read_only_tree", read_only_tree),
        ("tree_is_a_dangling_link", tree_is_a_dangling_link),
        ("selinux_without_selinux", selinux_without_selinux),
    ];
    values.chain(single.map(|(name, test)| Test::new(format!("bad_input::{name}"), test))).collect()
}

/// A busybox init that waits for its first program for ever.
pub const NEVER_UP: &str =
    "::sysinit:/bin/sh -c 'echo still waiting; exec sleep 1000'\n::respawn:/sbin/getty 0 console\n";

/// `options => part of the error`
const VALUES: &[(&[&str], &str)] = &[
    (&["--machine=-bad-"], "-bad-"),
    (&["--machine=a/b"], "a/b"),
    (&["--machine="], "--machine"),
    (&["--hostname=a b"], "a b"),
    (&["--uuid=xyz"], "xyz"),
    (&["--root-hash=xyz"], "xyz"),
    (&["--root-hash=00112233445566778899aabbccddeeff"], "is no disk image"),
    (&["--root-hash-sig=base64:?"], "is no signature"),
    (&["--uuid=00000000-0000-0000-0000-000000000000"], "00000000"),
    (&["--private-users=maybe"], "maybe"),
    (&["--private-users=5:0"], "--private-users="),
    (&["--private-users=4294967295:65536"], "4294967295"),
    (&["--volatile=some"], "some"),
    (&["--setenv=1=2"], "1=2"),
    (&["--chdir=relative"], "relative"),
    (&["-x", "--chdir=/no/such"], "cannot go to \"/no/such\" in the guest"),
    (&["--bind=relative:/x"], "relative"),
    (&["--bind=/tmp:/x:nonsense"], "nonsense"),
    (&["--tmpfs=relative"], "relative"),
    (&["--overlay=/only"], "/only"),
    (&["--capability=CAP_NONSENSE"], "CAP_NONSENSE"),
    (&["--system-call-filter=no_such_call"], "no_such_call"),
    (&["--rlimit=NONSENSE=1"], "NONSENSE"),
    (&["--rlimit=NOFILE=2:1"], "2:1"),
    (&["--oom-score-adjust=1001"], "1001"),
    (&["--cpu-affinity=x"], "x"),
    (&["-x", "--cpu-affinity=8191"], "cannot run on these processors"),
    (&["-x", "--cpu-affinity=1000"], "cannot run on these processors"),
    (&["--personality=pdp11"], "pdp11"),
    (&["--set-credential=novalue"], "novalue"),
    (&["--set-credential=../x:y"], "../x"),
    (&["--load-credential=a:/no/such/file"], "/no/such/file"),
    (&["--resolv-conf=some"], "some"),
    (&["--timezone=some"], "some"),
    (&["--link-journal=some"], "some"),
    (&["--console=some"], "some"),
    (&["--kill-signal=SIGNOPE"], "SIGNOPE"),
    (&["--timeout-ready=soon"], "soon"),
    (&["--notify-ready=perhaps"], "perhaps"),
    (&["--pivot-root=relative"], "relative"),
    (&["--init=relative"], "relative"),
    (&["--explain=xml"], "xml"),
    (&["--no-such-option"], "--no-such-option"),
];

/// One line of error that says `what`, a hint, status 125; warnings are no errors.
fn refused(ended: &Ended, what: &str) -> TestResult {
    refused_with_console(ended, what).map(|console| assert!(console.is_empty(), "{ended:#?}"))
}

/// The same, where lines of the console come between the two; gives them.
fn refused_with_console(ended: &Ended, what: &str) -> Result<Vec<String>, Stop> {
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let errors: Vec<usize> =
        (0..lines.len()).filter(|at| lines[*at].starts_with("spinney: error: ")).collect();
    let [error] = errors[..] else { return Err(Stop::Fail(format!("not one error: {ended:#?}"))) };
    let after = &lines[error + 1..];
    let (hint, console) = after.split_last().ok_or_else(|| format!("no hint: {ended:#?}"))?;
    assert_eq!(ended.status, 125, "{ended:#?}");
    assert!(lines[error].contains(what), "{what:?} is not told: {ended:#?}");
    assert!(hint.starts_with("  hint: ") && hint.len() > "  hint: ".len(), "no hint: {ended:#?}");
    Ok(console.iter().map(|line| (*line).to_owned()).collect())
}

fn boot(context: &Context, options: &[&str], tree: &Path) -> Ended {
    run(context.spinney().args(["run", "-x", "-M", &context.machine_name()]).args(options).arg(tree))
}

fn missing_tree(context: &Context) -> TestResult {
    let tree = context.directory.join("missing");
    refused(&boot(context, &[], &tree), tree.to_str().unwrap())
}

fn tree_is_a_dangling_link(context: &Context) -> TestResult {
    let tree = context.directory.join("link");
    std::os::unix::fs::symlink("/no/such/tree", &tree).unwrap();
    refused(&boot(context, &[], &tree), tree.to_str().unwrap())
}

fn empty_directory(context: &Context) -> TestResult {
    refused(&boot(context, &[], &context.subdirectory("void")), "empty")
}

fn file_instead_of_directory(context: &Context) -> TestResult {
    let file = context.directory.join("tree.tar");
    fs::write(&file, "").unwrap();
    refused(&boot(context, &[], &file), "it has neither a partition table nor a file system")
}

/// A busybox tree whose only program has been changed by `change`.
fn changed_busybox(context: &Context, change: impl Fn(&mut Vec<u8>)) -> Result<PathBuf, Stop> {
    let tree = own_busybox(context)?;
    let program = tree.join("bin/busybox");
    let mut bytes = fs::read(&program).unwrap();
    change(&mut bytes);
    fs::write(&program, bytes).unwrap();
    Ok(tree)
}

fn foreign_architecture(context: &Context) -> TestResult {
    // e_machine (elf(5)) of RISC-V, or of x86-64 where that is what we are not.
    let machine: u8 = if cfg!(target_arch = "riscv64") { 62 } else { 243 };
    let tree = changed_busybox(context, |bytes| bytes[18] = machine)?;
    let ended = boot(context, &[], &tree);
    refused(&ended, if machine == 243 { "riscv" } else { "x86" })?;
    assert!(ended.stderr.contains(std::env::consts::ARCH.replace('_', "-").as_str()), "{ended:#?}");
    Ok(())
}

fn no_init(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    for path in ["sbin/init", "usr/sbin/init", "linuxrc", "bin/init", "etc/init"] {
        let _ = fs::remove_file(tree.join(path));
    }
    // A shell is no init.
    refused(&boot(context, &[], &tree), "init")
}

fn init_that_is_no_program(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    write_script(&tree.join("bin/text"), "just words\n");
    refused(&boot(context, &["--init=/bin/text"], &tree), "/bin/text")
}

fn init_that_is_missing(context: &Context) -> TestResult {
    refused(&boot(context, &["--init=/sbin/nothing"], &context.tree("busybox")?), "/sbin/nothing")
}

fn init_that_exits(context: &Context) -> TestResult {
    let script =
        "#!/bin/sh\nfor i in $(seq 40); do echo \"line $i\"; done\nprintf 'last \\033[31mwords\\n'\nexit 3\n";
    let dying = context.directory.join("dying");
    write_script(&dying, script);
    // It is known by the file in the tree, and dies as the one over it.
    let bind = format!("--bind-ro={}:/usr/lib/systemd/systemd", dying.display());
    let ended = boot(context, &[&bind], &context.tree("debian-13")?);
    let console = refused_with_console(&ended, "systemd 257")?;
    assert!(ended.stderr.contains("exited with status 3 before it was up"), "{ended:#?}");
    let last = console.last().map(String::as_str).unwrap_or_default();
    assert!(last.contains("last") && last.contains("words"), "{ended:#?}");
    assert!(console.iter().any(|line| line.ends_with("line 40")), "{ended:#?}");
    assert!(!console.iter().any(|line| line.ends_with("line 2")), "{ended:#?}");
    assert!(!ended.stderr.contains('\x1b'), "{ended:#?}");
    Ok(())
}

fn init_that_is_killed(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    fs::write(tree.join("etc/inittab"), NEVER_UP).unwrap();
    let mut machine = Machine::start(context, &tree, &["--notify-ready=no"]);
    machine.ready()?;
    let leader = rustix::process::Pid::from_raw(machine.state()?.leader).unwrap();
    rustix::process::kill_process(leader, rustix::process::Signal::KILL).unwrap();
    let status = machine.wait()?;
    refused_with_console(&Ended { status, stdout: String::new(), stderr: machine.messages() }, "signal 9")
        .map(drop)
}

fn init_that_never_gets_ready(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    fs::write(tree.join("etc/inittab"), NEVER_UP).unwrap();
    let ended = boot(context, &["--timeout-ready=2", "--timeout-stop=1"], &tree);
    let console = refused_with_console(&ended, "not ready after 2 s")?;
    assert!(console.iter().any(|line| line.contains("still waiting")), "{ended:#?}");
    Ok(())
}

/// It need not come up any more: that it stops later than it had to be up is no failure to start.
fn init_that_is_stopped_while_it_boots(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    fs::write(tree.join("etc/inittab"), "::sysinit:/bin/sh -c 'trap : USR2 TERM; echo booting; sleep 60'\n")
        .unwrap();
    let mut machine = Machine::start(context, &tree, &["--timeout-ready=2", "--timeout-stop=3"]);
    machine.wait_for_console("booting")?;
    let told = Instant::now();
    machine.signal(libc::SIGTERM);
    let status = machine.wait()?;
    assert!(
        !machine.messages().contains("not ready"),
        "{status} after {:?}: {}",
        told.elapsed(),
        machine.output()
    );
    assert!(told.elapsed() > Duration::from_secs(2), "it stops at once, and proves nothing");
    Ok(())
}

fn name_too_long(context: &Context) -> TestResult {
    let name = "a".repeat(65);
    let tree = context.tree("busybox")?;
    refused(&run(context.spinney().args(["run", "-x", "-M", &name]).arg(&tree)), &name)?;
    // The longest that goes, goes.
    let name = format!("{}-{}", context.prefix, "a".repeat(63 - context.prefix.len()));
    let ended = run(context.spinney().args(["run", "-x", "-M", &name]).arg(&tree).args(["--", "hostname"]));
    assert_eq!((ended.status, ended.stdout.trim_end()), (0, &*name), "{ended:#?}");
    Ok(())
}

fn name_in_use(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let mut machine = Machine::start(context, &tree, &[]);
    machine.ready()?;
    let second =
        run(context.spinney().args(["run", "-x", "-M", &machine.name]).arg(&tree).args(["--", "true"]));
    refused(&second, &machine.name)?;
    assert!(second.stderr.contains("running"), "{second:#?}");
    // It was not harmed.
    assert_eq!(machine.says("echo well")?, "well");
    machine.stop()?;
    Ok(())
}

fn ids_in_use(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let option = "--private-users=2000027648:65536";
    let mut machine = Machine::start(context, &tree, &[option]);
    machine.ready()?;
    refused(&boot(context, &[option], &tree), "2000027648")?;
    machine.stop()?;
    Ok(())
}

fn unknown_user(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    refused(&run(&mut payload::command(context, &tree, &["-u", "nosuchuser"], &["true"])), "nosuchuser")?;
    refused(&boot(context, &["-u", "root"], &tree), "--uid=")
}

fn missing_bind_source(context: &Context) -> TestResult {
    refused(&boot(context, &["--bind=/no/such/source"], &context.tree("busybox")?), "/no/such/source")
}

fn not_root(context: &Context) -> TestResult {
    // Where nobody may go, nobody has a copy of the program of its own.
    let own = PathBuf::from(format!("/tmp/{}", context.prefix));
    fs::copy(program(), &own).unwrap();
    let mut command = Command::new(&own);
    command.args(["run", "/"]).uid(NOBODY).gid(NOBODY).current_dir("/");
    let ended = run(&mut command);
    let gc = run(Command::new(&own).arg("gc").uid(NOBODY).gid(NOBODY));
    fs::remove_file(&own).unwrap();
    refused(&ended, "root")?;
    refused(&gc, "root")
}

/// `spinney run` after `script` has changed the mounts of a namespace of its own.
fn run_after_mounts(context: &Context, script: &str, tree: &Path, rest: &[&str]) -> Command {
    let mut command = after_mounts(script);
    command.args(["run", "-x", "-M", &context.machine_name()]).arg(tree).args(rest);
    command
}

fn no_cgroup2(context: &Context) -> TestResult {
    let filesystems = context.directory.join("filesystems");
    let ours = fs::read_to_string("/proc/filesystems").unwrap();
    let without: String =
        ours.lines().filter(|line| !line.ends_with("cgroup2")).map(|line| format!("{line}\n")).collect();
    fs::write(&filesystems, without).unwrap();
    let script = format!("{UNMOUNT_CGROUP2}\nmount --bind {} /proc/filesystems", filesystems.display());
    let ended = run(&mut run_after_mounts(context, &script, &context.tree("busybox")?, &[]));
    refused(&ended, "cgroup v2")
}

fn read_only_tree(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let at = context.subdirectory("read-only");
    let script =
        format!("mount --bind {} {at}; mount -o remount,bind,ro {at}", tree.display(), at = at.display());
    let mut command = after_mounts(&script);
    command.args(["run", "-M", &context.machine_name()]).arg(&at);
    refused(&run(&mut command), "read-only")?;
    // On a layer of its own it runs.
    let ended =
        run(&mut run_after_mounts(context, &script, &at, &["--", "/bin/sh", "-c", "touch /x && echo ran"]));
    assert_eq!((ended.status, ended.stdout.as_str()), (0, "ran\n"), "{ended:#?}");
    Ok(())
}

fn selinux_without_selinux(context: &Context) -> TestResult {
    if Path::new("/sys/fs/selinux/enforce").exists() {
        return Err(Stop::Skip("this host has SELinux".to_owned()));
    }
    refused(&boot(context, &["--selinux-context=a:b:c"], &context.tree("busybox")?), "SELinux")
}
