//! What each option of `spinney run` does, as the guest sees it; those that mount have a file of their own.

use std::fs;

use crate::command::{run, run_with_input};
use crate::harness::{Context, Row, Test, TestResult};
use crate::machine::Machine;
use crate::payload::{command, own_busybox, says, script, write_script};

/// `option: script => stdout` in the busybox tree.
const ROWS: &[(&str, &[&str], &str, &str)] = &[
    ("setenv", &["-E", "A=b  c", "--setenv=D=e=f"], r#"echo "$A $D""#, "b  c e=f"),
    ("setenv_wins", &["-E", "HOME=/other"], "echo $HOME", "/other"),
    ("environment", &[], "echo $container $USER $HOME $PWD $TERM", "spinney root /root /root dumb"),
    ("chdir", &["--chdir=/usr/bin"], "pwd", "/usr/bin"),
    ("uid_number", &["-u", "1234"], "id -u; id -g", "1234\n1234"),
    ("uid_name", &["--uid=root"], "id -u", "0"),
    ("hostname", &["--hostname=other.example"], "hostname", "other.example"),
    ("as_pid2", &["--as-pid2"], "echo $$; cat /proc/1/comm", "2\nspinney-init"),
    ("as_pid1", &["--as-pid1"], "echo $$", "1"),
    ("private_network", &[], "ls /sys/class/net", "lo"),
    ("private_users_range", &["--private-users=1000000:65536"], "cat /proc/self/uid_map", UID_MAP_RANGE),
    ("private_users_identity", &["--private-users=identity"], "cat /proc/self/uid_map", UID_MAP_IDENTITY),
    (
        "no_new_privileges",
        &["--no-new-privileges=yes"],
        "grep NoNewPrivs /proc/self/status",
        "NoNewPrivs:\t1",
    ),
    ("new_privileges", &[], "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t0"),
    ("oom_score_adjust", &["--oom-score-adjust=321"], "cat /proc/self/oom_score_adj", "321"),
    (
        "cpu_affinity",
        &["--cpu-affinity=0"],
        "grep Cpus_allowed_list /proc/self/status",
        "Cpus_allowed_list:\t0",
    ),
    ("personality", &["--personality=x86"], "uname -m", "i686"),
    ("rlimit", &["--rlimit=RLIMIT_CORE=4096:8192"], "grep core /proc/self/limits | tr -s ' '", CORE_LIMIT),
    ("rlimit_short", &["--rlimit=CORE=4096:8192"], "grep core /proc/self/limits | tr -s ' '", CORE_LIMIT),
    ("set_credential", &["--set-credential=a.b:c d"], "cat $CREDENTIALS_DIRECTORY/a.b", "c d"),
    ("settings_is_accepted", &["--settings=no"], "echo yes", "yes"),
    ("read_only", &["--read-only"], "touch /x 2>/dev/null || echo refused; touch /run/x /tmp/x", "refused"),
    ("system_call_is_refused", &["--system-call-filter=~mkdir mkdirat"], "mkdir /x 2>&1", MKDIR_REFUSED),
    ("system_call_is_let", &[], "mkdir /x && echo made", "made"),
    ("quiet_by_default_for_commands", &[], "echo only this", "only this"),
];

const UID_MAP_RANGE: &str = "         0    1000000      65536";
const UID_MAP_IDENTITY: &str = "         0          0      65536";
const CORE_LIMIT: &str = "Max core file size 4096 8192 bytes ";
const MKDIR_REFUSED: &str = "mkdir: can't create directory '/x': Operation not permitted";

pub fn tests() -> Vec<Test> {
    let rows = ROWS.iter().map(|(name, options, script, expected)| {
        Test::new(format!("options::{name}"), move |context| {
            // Some end with a failure that is the point: what they print is what counts.
            let script = format!("({script}) || true");
            let said = says(context, &context.tree("busybox")?, options, &script)?;
            assert_eq!(said, expected.trim_end(), "{options:?}: {script}");
            Ok(())
        })
    });
    let single: [Row; 20] = [
        ("home_that_is_missing", home_that_is_missing),
        ("setenv_takes_our_own_value", setenv_takes_our_own_value),
        ("directory", directory),
        ("shifted_tree", shifted_tree),
        ("uuid", uuid),
        ("capabilities", capabilities),
        ("ambient_capability", ambient_capability),
        ("load_credential", load_credential),
        ("host_network", host_network),
        ("boot_clock", boot_clock),
        ("nesting", nesting),
        ("suppress_sync", suppress_sync),
        ("exit_statuses", exit_statuses),
        ("pipe", pipe),
        ("init", init),
        ("kill_signal", kill_signal),
        ("notify_ready_no", notify_ready_no),
        ("explain", explain),
        ("ephemeral", ephemeral),
        ("one_warning_without_cap_sys_resource", one_warning_without_cap_sys_resource),
    ];
    rows.chain(single.map(|(name, test)| Test::new(format!("options::{name}"), test))).collect()
}

/// A tree of one program, as images of containers are, has no /root: that is no reason not to run the program.
fn home_that_is_missing(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    fs::remove_dir(tree.join("root"))?;
    assert_eq!(says(context, &tree, &[], "pwd; echo $HOME")?, "/\n/root");
    fs::write(tree.join("root"), "")?;
    assert_eq!(says(context, &tree, &[], "pwd; echo $HOME")?, "/\n/root");
    Ok(())
}

fn setenv_takes_our_own_value(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let mut command =
        command(context, &tree, &["-E", "OURS"], &["/bin/sh", "-c", "echo $OURS-$NOT_ASKED_FOR"]);
    let said = run(command.env("OURS", "1").env("NOT_ASKED_FOR", "2")).ok()?;
    assert_eq!(said, "1-\n");
    Ok(())
}

/// `--directory=`, and the machine's name where none is given.
fn directory(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    let named = context.directory.join(format!("{}-named", context.prefix));
    fs::rename(&tree, &named)?;
    for line in
        [&["-D", named.to_str().unwrap(), "hostname"] as &[&str], &[named.to_str().unwrap(), "hostname"]]
    {
        let said = run(context.spinney().args(["run", "-q", "-x"]).args(line)).ok()?;
        assert_eq!(said, format!("{}-named\n", context.prefix), "{line:?}");
    }
    Ok(())
}

/// A tree that was shifted to a range of ids is run with them, or with any other, and stays as it is.
fn shifted_tree(context: &Context) -> TestResult {
    use std::os::unix::fs::{MetadataExt, lchown};
    const BASE: u32 = 1_048_576_000;
    let tree = own_busybox(context)?;
    fn shift(path: &std::path::Path) {
        let metadata = fs::symlink_metadata(path).unwrap();
        lchown(path, Some(BASE + metadata.uid()), Some(BASE + metadata.gid())).unwrap();
        // A change of owner takes such bits away.
        if metadata.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| shift(&entry.unwrap().path()));
        }
    }
    shift(&tree);
    let base_of = |options: &[&str]| {
        let text =
            "stat -c %u / /etc /etc/passwd | uniq; touch /new; stat -c %u /new; cat /proc/self/uid_map";
        let said = says(context, &tree, options, text)?;
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(words[..3], ["0", "0", "0"], "{said}");
        Ok::<u32, crate::harness::Stop>(words[3].parse().unwrap())
    };
    assert_eq!(base_of(&["--private-users=yes"])?, BASE);
    assert_ne!(base_of(&["--private-users=pick"])?, BASE);
    let mut kept = context.spinney();
    kept.args(["run", "-q", "-M", &context.machine_name()]).arg(&tree).args(["--", "touch", "/kept"]);
    run(&mut kept).ok()?;
    assert_eq!(fs::metadata(tree.join("kept"))?.uid(), BASE);
    Ok(())
}

fn uuid(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    let uuid = "12345678-9abc-4def-8123-456789abcdef";
    let options = [&*format!("--uuid={uuid}")];
    let script = "cat /run/host/container-uuid; echo $container_uuid";
    assert_eq!(says(context, &tree, &options, script)?, format!("{uuid}\n{uuid}"));
    // The tree's own comes first.
    fs::write(tree.join("etc/machine-id"), "00112233445566778899aabbccddeeff\n").unwrap();
    let own = "00112233-4455-6677-8899-aabbccddeeff";
    assert_eq!(says(context, &tree, &options, script)?, format!("{own}\n{own}"));
    Ok(())
}

fn capabilities(context: &Context) -> TestResult {
    const CHOWN: u64 = 1;
    const SYS_MODULE: u64 = 1 << 16;
    let tree = context.tree("busybox")?;
    let bounding = |options: &[&str]| {
        let said = says(context, &tree, options, "grep CapBnd /proc/self/status")?;
        let hex = said.trim_start_matches("CapBnd:").trim();
        Ok::<u64, crate::harness::Stop>(u64::from_str_radix(hex, 16).unwrap())
    };
    let usual = bounding(&[])?;
    assert_eq!(usual & (CHOWN | SYS_MODULE), CHOWN, "{usual:x}");
    assert_eq!(bounding(&["--drop-capability=CAP_CHOWN"])?, usual & !CHOWN);
    assert_eq!(bounding(&["--capability=CAP_SYS_MODULE"])?, usual | SYS_MODULE);
    let most = bounding(&["--capability=all", "--drop-capability=CAP_CHOWN"])?;
    assert_eq!((most & CHOWN, most & usual), (0, usual & !CHOWN));
    Ok(())
}

fn ambient_capability(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let options = ["-u", "1234", "--ambient-capability=CAP_CHOWN"];
    let said = says(
        context,
        &tree,
        &options,
        "grep CapAmb /proc/self/status; touch /tmp/x && chown 7 /tmp/x && echo ok",
    )?;
    assert_eq!(said, "CapAmb:\t0000000000000001\nok");
    Ok(())
}

fn load_credential(context: &Context) -> TestResult {
    let path = context.directory.join("credential");
    fs::write(&path, b"a\nb\n").unwrap();
    let option = format!("--load-credential=secret:{}", path.display());
    let script = "cat $CREDENTIALS_DIRECTORY/secret; stat -c '%a %u' $CREDENTIALS_DIRECTORY/secret";
    assert_eq!(says(context, &context.tree("busybox")?, &[&option], script)?, "a\nb\n400 0");
    Ok(())
}

fn host_network(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let ours = fs::read_link("/proc/self/ns/net").unwrap().to_string_lossy().into_owned();
    let script = "readlink /proc/self/ns/net";
    assert_eq!(says(context, &tree, &["--private-network=no"], script)?, ours);
    assert_ne!(says(context, &tree, &[], script)?, ours);
    Ok(())
}

fn boot_clock(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let uptime = |options: &[&str]| {
        let said = says(context, &tree, options, "cut -d. -f1 /proc/uptime")?;
        Ok::<u64, crate::harness::Stop>(said.parse().unwrap())
    };
    let hosts = fs::read_to_string("/proc/uptime").unwrap();
    let hosts: u64 = hosts.split('.').next().unwrap().parse().unwrap();
    assert!(uptime(&[])? < 30);
    assert!(uptime(&["--boot-clock=no"])? >= hosts);
    Ok(())
}

fn nesting(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let nested = "unshare --user --map-root-user --pid --fork --mount-proc true";
    assert_ne!(script(context, &tree, &[], nested).status, 0);
    says(context, &tree, &["--nesting"], nested)?;
    Ok(())
}

fn suppress_sync(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    // fsync(2) on a character device is EINVAL, unless nobody looks.
    let sync = "exec sync -d /dev/null 2>/dev/null";
    assert_ne!(script(context, &tree, &[], sync).status, 0);
    assert_eq!(script(context, &tree, &["--suppress-sync=yes"], sync).status, 0);
    Ok(())
}

fn exit_statuses(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let rows: [(&[&str], i32); 8] = [
        (&["true"], 0),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "exit 255"], 255),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["no-such-command"], 127),
        (&["/no/such/command"], 127),
        (&["/etc/passwd"], 126),
    ];
    for (arguments, status) in rows {
        let ended = run(&mut command(context, &tree, &[], arguments));
        assert_eq!(ended.status, status, "{arguments:?}: {ended:#?}");
        assert_eq!(ended.stderr.contains("error: cannot run"), status == 126 || status == 127, "{ended:#?}");
    }
    Ok(())
}

fn pipe(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let mut piped = command(context, &tree, &["-P"], &["sh", "-c", "cat; echo to stderr >&2; tty"]);
    let ended = run_with_input(&mut piped, b"in\0put\n");
    assert_eq!((ended.status, ended.stdout.as_str()), (1, "in\0put\nnot a tty\n"));
    assert!(ended.stderr.ends_with("to stderr\n"), "{ended:#?}");
    Ok(())
}

fn init(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    write_script(&tree.join("bin/own-init"), "#!/bin/sh\necho I am $$ of $container with $*\nexit 9\n");
    let mut boot = context.spinney();
    boot.args(["run", "-M", &context.machine_name(), "--init=/bin/own-init", "-b"])
        .arg(&tree)
        .args(["--", "a", "b"]);
    let ended = run(&mut boot);
    assert_eq!(ended.status, 9, "{ended:#?}");
    assert!(ended.stdout.contains("I am 1 of spinney with a b"), "{ended:#?}");
    Ok(())
}

fn kill_signal(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    write_script(
        &tree.join("bin/own-init"),
        "#!/bin/sh\ntrap 'echo told; exit 0' USR1\necho waiting\nwhile :; do sleep 0.05; done\n",
    );
    let mut machine = Machine::start(context, &tree, &["--init=/bin/own-init", "--kill-signal=SIGUSR1"]);
    machine.ready()?;
    machine.wait_for_console("waiting")?;
    machine.signal(libc::SIGTERM);
    assert_eq!(machine.wait()?, 0);
    assert!(machine.output().contains("told"), "{}", machine.output());
    Ok(())
}

fn notify_ready_no(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    // It never comes up, and that it was started is all that is told.
    fs::write(tree.join("etc/inittab"), crate::bad_input::NEVER_UP).unwrap();
    let mut machine = Machine::start(context, &tree, &["--notify-ready=no", "--timeout-stop=1"]);
    machine.ready()?;
    assert_eq!(machine.state()?.phase, spinney::supervisor::state::Phase::Booting);
    Ok(())
}

fn explain(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let explain = |option: &str| {
        let mut command = context.spinney();
        command.args(["run", "-x", "-M", "explained", option]).arg(&tree);
        run(&mut command).ok()
    };
    let explained: serde_json::Value = serde_json::from_str(&explain("--explain=json")?)?;
    assert_eq!(explained["plan"]["name"], "explained", "{explained}");
    let text = explain("--explain")?;
    assert!(text.contains("explained") && text.contains("/proc/sys"), "{text}");
    Ok(())
}

fn ephemeral(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    says(context, &tree, &[], "rm /etc/passwd; echo x > /etc/new; echo x >> /etc/group; mkdir /d")?;
    let same = run(std::process::Command::new("diff")
        .args(["-r", "--no-dereference", "--exclude=dev"])
        .arg(&tree)
        .arg(context.tree("busybox")?));
    assert_eq!((same.status, same.stdout.as_str()), (0, ""), "{same:#?}");
    // Without it, the tree is what is written.
    let name = context.machine_name();
    let mut command = context.spinney();
    command.args(["run", "-M", &name]).arg(&tree).args([
        "--",
        "/bin/sh",
        "-c",
        "echo y > /etc/new; chown 5 /etc/new",
    ]);
    run(&mut command).ok()?;
    let metadata = fs::metadata(tree.join("etc/new")).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        (metadata.uid(), metadata.gid(), metadata.len()),
        (5, 0, 2),
        "ids on disk are the guest's own"
    );
    Ok(())
}

fn one_warning_without_cap_sys_resource(context: &Context) -> TestResult {
    let tree = context.tree("debian-13")?;
    let mut machine = Machine::spawn(context, "unused", {
        // With a hard limit that the machine would have above ours: else nothing is missing.
        let mut command = std::process::Command::new("prlimit");
        command.args(["--nofile=1024:4096", "setpriv", "--bounding-set=-sys_resource", "--inh-caps=-all"]);
        command.arg(crate::harness::program());
        command
            .args(["run", "-x", "--notify-ready", "--console=read-only", "-M", &context.machine_name()])
            .arg(&tree);
        command
    });
    machine.ready()?;
    let messages = machine.messages();
    let warnings: Vec<&str> = messages.lines().filter(|line| line.contains("warning")).collect();
    assert_eq!(warnings.len(), 1, "{messages}");
    assert!(warnings[0].contains("CAP_SYS_RESOURCE"), "{messages}");
    machine.stop()?;
    Ok(())
}
