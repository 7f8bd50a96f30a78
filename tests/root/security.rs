//! What a guest's root cannot do or see, in the default user namespace.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::run;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::payload::{command, own_busybox, script};

/// `script => stdout`: what is refused says so by its exit status.
const ROWS: &[(&str, &str, &str)] = &[
    (
        "host_sysctls",
        "echo x > /proc/sys/kernel/core_pattern || echo no; echo 1 > /proc/sys/vm/overcommit_memory || echo no",
        "no\nno",
    ),
    ("own_sysctls", "echo 1 > /proc/sys/net/ipv4/ip_forward && echo yes", "yes"),
    ("sysrq", "echo h > /proc/sysrq-trigger || echo no", "no"),
    (
        "kernel_log",
        "dmesg || echo no; test -e /dev/kmsg || echo none; timeout 1 cat /proc/kmsg || echo no",
        "no\nnone\nno",
    ),
    ("kernel_addresses", "wc -c < /proc/kallsyms || echo 0", "0"),
    ("keys", "wc -c < /proc/keys || echo 0", "0"),
    ("block_device", "mknod /tmp/b b 254 0 || echo no; mknod /dev/b b 8 0 || echo no", "no\nno"),
    ("character_device", "mknod /tmp/c c 1 1 || echo no", "no"),
    ("kernel_memory", "for f in /dev/mem /dev/kmem /proc/kcore; do head -c 1 $f; done | wc -c", "0"),
    ("clock", "date -s 2000-01-01 > /dev/null; date +%Y | grep -c 2000", "0"),
    ("modules", "printf x > /tmp/m.ko; insmod /tmp/m.ko || echo no", "no"),
    ("swap", "dd if=/dev/zero of=/x bs=1k count=64; mkswap /x > /dev/null; swapon /x || echo no", "no"),
    (
        "sysfs",
        "touch /sys/x || echo no; for f in /sys/kernel/*; do test -w $f -a -f $f && echo x > $f && echo written; done; true",
        "no",
    ),
    (
        "device_mounts",
        "mount -t devtmpfs x /mnt || mkdir -p /mnt && mount -t devtmpfs x /mnt || echo no",
        "no",
    ),
    // Masks are the guest's to undo; what is below them is the kernel's, and says no as well.
    (
        "without_masks",
        "umount /proc/keys; umount /proc/sys/net; mount -o remount,bind,rw /proc/sys; \
         echo x > /proc/sys/kernel/core_pattern || echo no",
        "no",
    ),
    // Nor has a fresh proc any.
    (
        "a_fresh_proc_is_no_way_out",
        "mkdir /p; mount -t proc p /p; for f in sys/kernel/core_pattern sys/kernel/modprobe sysrq-trigger; do \
         echo x > /p/$f && echo $f; done; true",
        "",
    ),
    ("seccomp", "grep -w Seccomp /proc/self/status", "Seccomp:\t2"),
    ("processes", "ls -d /proc/[0-9]* | wc -l | grep -c '^[1-6]$'", "1"),
    ("priority", "renice -n -20 $$ || echo no", "no"),
];

pub fn tests() -> Vec<Test> {
    let rows = ROWS.iter().map(|(name, text, expected)| {
        Test::new(format!("security::{name}"), move |context| {
            let ended = script(context, &context.tree("busybox")?, &[], &format!("exec 2>/dev/null; {text}"));
            assert_eq!(ended.stdout.trim_end(), *expected, "{text}: {ended:#?}");
            Ok(())
        })
    });
    let single: [Row; 10] = [
        ("stub_shows_nothing_of_the_host", stub_shows_nothing_of_the_host),
        ("program_cannot_be_overwritten", program_cannot_be_overwritten),
        ("init_shows_nothing_of_the_host", init_shows_nothing_of_the_host),
        ("setuid_files_stay_out_of_reach", setuid_files_stay_out_of_reach),
        ("cgroup_is_the_guests_root", cgroup_is_the_guests_root),
        ("limits_are_not_the_guests", limits_are_not_the_guests),
        ("ids_are_nobodys", ids_are_nobodys),
        ("fds_are_not_inherited", fds_are_not_inherited),
        ("device_nodes_of_the_tree", device_nodes_of_the_tree),
        ("read_only_stays", read_only_stays),
    ];
    rows.chain(single.map(|(name, test)| Test::new(format!("security::{name}"), test))).collect()
}

const SECRET: &str = "precious-secret";

/// Our reaping PID 1 was our own program: its memory, command line, environment and root are the host's business.
fn stub_shows_nothing_of_the_host(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let marker = context.directory.join("marker");
    fs::write(&marker, SECRET)?;
    let credential = format!("--set-credential=given:{SECRET}");
    let text = format!(
        "cat /proc/1/root{marker}; cat /proc/1/cwd{marker}; cat /proc/1/environ; cat /proc/1/cmdline; cat /proc/1/maps; \
         ls -l /proc/1/fd /proc/1/exe /proc/1/map_files; cat /proc/1/mem; cat /proc/1/auxv; cat /proc/1/stack; \
         cat /proc/*/environ /proc/*/cmdline",
        marker = marker.display()
    );
    let text =
        format!("({text}) 2>/dev/null | strings | grep -v '^cat' > /tmp/all; grep -v 'cat /proc' /tmp/all");
    let mut command = command(context, &tree, &[&credential], &["/bin/sh", "-c", &text]);
    let said = run(command.env("SECRET_OF_THE_HOST", SECRET)).stdout;
    assert!(!said.contains(SECRET) && !said.contains("SECRET_OF_THE_HOST"), "{said}");
    assert!(!said.contains("SPINNEY") && !said.contains("/target/"), "{said}");
    let denied = "for f in mem maps environ auxv; do cat /proc/1/$f > /dev/null 2>&1 && echo $f; done; ls /proc/1/fd; \
                  readlink /proc/1/exe /proc/1/root /proc/1/cwd; true";
    assert_eq!(script(context, &tree, &[], denied).stdout, "");
    Ok(())
}

/// CVE-2019-5736: the host's program must not be had through /proc/1/exe.
fn program_cannot_be_overwritten(context: &Context) -> TestResult {
    let ours = |path: &Path| {
        fs::metadata(path).map(|metadata| (metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
    };
    let path = crate::harness::program();
    let before = ours(&path)?;
    let text = "for p in /proc/[0-9]*; do (echo x >> $p/exe; cat $p/exe > /tmp/copy; : > $p/exe) 2>/dev/null; done; \
                (exec 9< /proc/1/exe) 2>/dev/null && echo opened; true";
    for tree in ["busybox", "debian-13"] {
        let ended = script(context, &context.tree(tree)?, &[], text);
        assert_eq!((ended.status, ended.stdout.as_str()), (0, ""), "{ended:#?}");
    }
    assert_eq!(ours(&path)?, before);
    Ok(())
}

/// An init of the tree's own is readable to its root, and has nothing of ours.
fn init_shows_nothing_of_the_host(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let name = context.machine_name();
    let mut command = context.spinney();
    command.args([
        "run",
        "-x",
        "--notify-ready",
        "--console=read-only",
        "-M",
        &name,
        "--set-credential=given:1",
    ]);
    command.arg(&tree).env("SECRET_OF_THE_HOST", SECRET).env("SUDO_USER", SECRET);
    let mut machine = Machine::spawn(context, &name, command);
    machine.ready()?;
    let environment = machine.says("tr '\\0' '\\n' < /proc/1/environ | cut -d= -f1 | sort | tr '\\n' ' '")?;
    for variable in environment.split_whitespace() {
        let known = [
            "PATH",
            "container",
            "TERM",
            "HOME",
            "USER",
            "LOGNAME",
            "NOTIFY_SOCKET",
            "CREDENTIALS_DIRECTORY",
            "LANG",
        ];
        assert!(known.contains(&variable) || variable.starts_with("container_"), "{environment}");
    }
    assert_eq!(machine.says("cat /proc/1/cmdline | tr '\\0' ' '")?.trim(), "/sbin/init");
    let marker = context.directory.join("marker");
    fs::write(&marker, SECRET)?;
    assert_eq!(machine.shell(&format!("cat /proc/1/root{0} /proc/*/root{0}", marker.display()))?.stdout, "");
    // What it can see of mounts is its own.
    let mounts = machine.says("cut -d' ' -f5 /proc/1/mountinfo")?;
    assert!(!mounts.contains("spinney") && !mounts.contains("/var/tmp"), "{mounts}");
    machine.stop()?;
    Ok(())
}

fn setuid_files_stay_out_of_reach(context: &Context) -> TestResult {
    const NOBODY: u32 = 65534;
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    machine.says("cp /bin/busybox /x && chmod 4755 /x")?;
    let upper = PathBuf::from("/var/lib/spinney/scratch").join(&machine.name).join("upper/x");
    let metadata = fs::metadata(&upper).map_err(|error| format!("{}: {error}", upper.display()))?;
    assert_eq!(metadata.mode() & 0o7777, 0o4755, "the layer is elsewhere, this test looks at nothing");
    let root = PathBuf::from(format!("/proc/{}/root/x", machine.state()?.leader));
    for path in [upper, root] {
        let ran = Command::new(&path).arg("id").uid(NOBODY).gid(NOBODY).output();
        assert!(ran.is_err(), "{} ran for nobody: {ran:?}", path.display());
    }
    machine.stop()?;
    Ok(())
}

fn cgroup_is_the_guests_root(context: &Context) -> TestResult {
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    assert_eq!(machine.says("cat /proc/1/cgroup | grep '^0::'")?, "0::/");
    assert_eq!(
        machine.says("grep -c ' /sys/fs/cgroup ' /proc/mounts; ls /sys/fs/cgroup | grep -c spinney; true")?,
        "1\n0"
    );
    // It is delegated: the guest makes cgroups in it, and moves its processes.
    machine.says(
        "mkdir /sys/fs/cgroup/own && echo 1 > /sys/fs/cgroup/own/cgroup.procs && grep own /proc/1/cgroup",
    )?;
    machine.stop()?;
    Ok(())
}

/// Limits are the outer cgroup's: what is the guest's own root has none that it may write.
fn limits_are_not_the_guests(context: &Context) -> TestResult {
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let text = "for f in memory.max memory.high pids.max cpu.max io.max cpuset.cpus cgroup.max.depth cgroup.freeze; do \
                test -e /sys/fs/cgroup/$f && (echo 1 > /sys/fs/cgroup/$f) 2>/dev/null && echo $f; done; true";
    assert_eq!(machine.says(text)?, "");
    machine.stop()?;
    Ok(())
}

fn ids_are_nobodys(context: &Context) -> TestResult {
    let mut machine = Machine::start(context, &context.tree("busybox")?, &[]);
    machine.ready()?;
    let state = machine.state()?;
    assert!(state.id_base >= 524_288 && state.id_base.is_multiple_of(65_536), "{}", state.id_base);
    let status = fs::read_to_string(format!("/proc/{}/status", state.leader))?;
    let uids = format!("Uid:\t{0}\t{0}\t{0}\t{0}", state.id_base);
    assert!(status.contains(&uids), "{status}");
    let owner = fs::metadata(format!("/proc/{}/ns/user", state.leader)).map(|metadata| metadata.uid());
    drop(owner);
    machine.stop()?;
    Ok(())
}

/// Neither ours nor those that we were given ourselves.
fn fds_are_not_inherited(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let given = context.directory.join("given");
    fs::write(&given, SECRET)?;
    let mut outer = Command::new("/bin/sh");
    let line = format!("exec 7< {} 8< / ; exec \"$@\"", given.display());
    outer.args(["-c", &line, "sh"]).arg(crate::harness::program());
    outer.args(["run", "-q", "-x", "-M", &context.machine_name()]).arg(&tree);
    outer.args(["--", "/bin/sh", "-c", "ls /proc/self/fd | sort -n | tr '\\n' ' '; cat <&7; ls <&8"]);
    let said = run(outer.stdin(std::process::Stdio::null())).stdout;
    // The fourth is that of ls itself.
    if said.trim() != "0 1 2 3" {
        return Err(Stop::Fail(format!("inherited: {said}")));
    }
    let mut machine = Machine::start(context, &tree, &[]);
    machine.ready()?;
    let fds = machine.says("ls -l /proc/1/fd | grep -v '/dev/\\|total\\|pts' | wc -l")?;
    assert_eq!(fds, "0", "{}", machine.says("ls -l /proc/1/fd")?);
    machine.stop()?;
    Ok(())
}

/// A node in the tree itself, which nobody had to make in the guest.
fn device_nodes_of_the_tree(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    let device = fs::metadata("/dev/zero")?.rdev();
    let (major, minor) = (libc::major(device).to_string(), libc::minor(device).to_string());
    run(Command::new("mknod").args(["-m", "666"]).arg(tree.join("zero")).args(["c", &major, &minor])).ok()?;
    let text =
        "stat -c %F /zero; head -c1 /zero > /dev/null 2>&1 || echo refused; head -c1 /dev/zero | wc -c";
    for layer in ["--ephemeral", "--volatile=overlay", "--volatile=state", "--volatile=no"] {
        let mut command = context.spinney();
        command
            .args(["run", "-q", "-M", &context.machine_name(), layer])
            .arg(&tree)
            .args(["--", "/bin/sh", "-c", text]);
        assert_eq!(run(&mut command).ok()?, "character special file\nrefused\n1\n", "{layer}");
    }
    Ok(())
}

/// What the host gives read-only cannot be made writable, nor taken away to see what is below.
fn read_only_stays(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    let source = context.subdirectory("source");
    fs::create_dir(tree.join("mnt"))?;
    let bind = format!("--bind-ro={}:/mnt:idmap", source.display());
    let text = "for at in / /mnt; do mount -o remount,bind,rw $at; mount -o remount,rw $at; umount -l $at; \
                touch $at/x && echo written; mkdir -p /tmp/c && mount --bind $at /tmp/c && \
                mount -o remount,bind,rw /tmp/c; touch /tmp/c/x && echo written; umount /tmp/c; done; \
                unshare -m sh -c 'mount -o remount,bind,rw /mnt; touch /mnt/x && echo written'; \
                unshare -Urm sh -c 'mount -o remount,bind,rw /mnt; umount /mnt; touch /mnt/x && echo written'; true";
    for options in [&["--read-only", "--ephemeral"] as &[&str], &["--read-only"], &["--volatile=state"]] {
        let mut command = context.spinney();
        command.args(["run", "-q", "-M", &context.machine_name(), &bind]).args(options).arg(&tree);
        let ended = run(command.args(["--", "/bin/sh", "-c", &format!("exec 2>/dev/null; {text}")]));
        assert_eq!((ended.status, ended.stdout.as_str()), (0, ""), "{options:?}: {ended:#?}");
    }
    assert!(!source.join("x").exists() && !tree.join("x").exists() && !tree.join("mnt/x").exists());
    Ok(())
}
