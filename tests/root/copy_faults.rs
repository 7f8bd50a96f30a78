//! Copies that cannot be made, or not to their end: what is said, and that nothing is left behind; and large ones.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::{PATIENCE, Process, capture, contents, run, run_with_input, shell_status};
use crate::copy::{busybox, copy, need_gnu_tar, text};
use crate::harness::{Context, Row, Stop, Test, TestResult};

const USERS: [&str; 2] = ["--private-users=pick", "--private-users=no"];

pub fn tests() -> Vec<Test> {
    let rows: [Row; 9] = [
        ("bad_input", bad_input),
        ("broken_and_hostile_streams", broken_and_hostile_streams),
        ("full_disk", full_disk),
        ("read_only_machine", read_only_machine),
        ("interrupted", interrupted),
        ("fifos_and_devices_do_not_hang_it", fifos_and_devices_do_not_hang_it),
        ("a_hanging_file_system", a_hanging_file_system),
        ("a_machine_that_ends", a_machine_that_ends),
        ("a_gibibyte_in_little_memory", a_gibibyte_in_little_memory),
    ];
    rows.map(|(name, test)| Test::new(format!("copy_faults::{name}"), test)).into()
}

fn bad_input(context: &Context) -> TestResult {
    let machine = busybox(context, &[])?;
    let file = context.directory.join("file");
    fs::write(&file, "x").unwrap();
    let file = text(&file).to_owned();
    let before = machine.says("find / -xdev | sort")?;
    let rows: [(&[&str], &str, bool); 16] = [
        (&["copy-to", "no-such-machine", &file], "no machine \"no-such-machine\" is running", true),
        (&["copy-to", "bad/name", &file], "bad/name", true),
        (&["copy-to", "M", "/no/such/file", "/root"], "\"/no/such/file\" does not exist", false),
        (&["copy-from", "M", "/no/such/file", "."], "\"/no/such/file\" does not exist", false),
        (&["copy-from", "M", "/etc/passwd/", "."], "\"/etc/passwd/\" is no directory", false),
        (&["copy-to", "M", &file, "relative"], "\"relative\" is no absolute path in the machine", true),
        (&["copy-from", "M", "etc/passwd", "."], "\"etc/passwd\" is no absolute path in the machine", true),
        (&["copy-to", "M", &file, "-"], "'-' is no destination in a machine", true),
        (&["copy-from", "M", "-", "."], "'-' is no source in a machine", true),
        (&["copy-to", "M", "-"], "a tar stream needs a directory to go to, and nothing beside it", true),
        (&["copy-to", "M", "-", "/no/dir"], "\"/no/dir\" does not exist", true),
        (&["copy-to", "M", "-", "/etc/passwd"], "\"/etc/passwd\" is no directory", false),
        (&["copy-to", "M", "--chown=root", &file, "/root"], "--chown=\"root\" is no owner", true),
        (&["copy-to", "M", "--timeout=soon", &file, "/root"], "--timeout=soon", true),
        (&["copy-to", "M"], "", true),
        (&["copy-from", "M", "/etc/passwd", "/no/dir/x"], "\"/no/dir\" does not exist", true),
    ];
    for (arguments, message, hint) in rows {
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|argument| if *argument == "M" { machine.name.as_str() } else { argument })
            .collect();
        let mut command = context.spinney();
        let ended = run(command.current_dir(&context.directory).args(&arguments));
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert_eq!((ended.status, ended.stdout.as_str()), (125, ""), "{arguments:?}: {ended:?}");
        assert!(
            lines[0].starts_with("spinney: error: ") && lines[0].contains(message),
            "{arguments:?}: {ended:?}"
        );
        assert!(lines.len() <= 2 && (!hint || lines.len() == 2), "{arguments:?}: {ended:?}");
        assert!(lines.get(1).is_none_or(|line| line.starts_with("  hint: ")), "{arguments:?}: {ended:?}");
    }
    assert_eq!(machine.says("find / -xdev | sort")?, before);
    assert_eq!(fs::read_dir(&context.directory).unwrap().count(), 2, "only the file and the socket");
    machine.stop()?;
    Ok(())
}

fn broken_and_hostile_streams(context: &Context) -> TestResult {
    need_gnu_tar()?;
    let machine = busybox(context, &[])?;
    let tree = context.subdirectory("tree");
    fs::write(tree.join("a"), vec![1; 100_000]).unwrap();
    fs::write(tree.join("b"), vec![2; 100_000]).unwrap();
    let tar = |options: &[&str]| {
        Command::new("tar")
            .args(options)
            .arg("-C")
            .arg(&tree)
            .args(["-cf", "-", "a", "b"])
            .output()
            .unwrap()
            .stdout
    };
    let whole = tar(&["--sort=name"]);
    // What leads out of the directory in the guest must not, either.
    machine.says("mkdir /root/in /root/out; echo precious > /root/out/f; ln -s /root/out /root/in/link")?;
    let upwards = tar(&["-P", "--transform=s,^,../out/,"]);
    let through = tar(&["--transform=s,^,link/,"]);
    let rows: [(&str, &[u8], &str); 6] = [
        ("nothing", b"", "this is no tar stream"),
        ("compressed", &[0x28, 0xb5, 0x2f, 0xfd].repeat(1000), "this is no tar stream"),
        ("cut in data", &whole[..50_000], "the tar stream ends in the middle"),
        ("cut in the second", &whole[..160_000], "the tar stream ends in the middle"),
        ("upwards", &upwards, "refused 2 files with a name that leads out of the destination"),
        ("through a link", &through, "could not copy 2 files"),
    ];
    for (name, stream, message) in rows {
        let mut command = context.spinney();
        let ended = run_with_input(command.args(["copy-to", &machine.name, "-", "/root/in"]), stream);
        assert_eq!(ended.status, 125, "{name}: {ended:?}");
        assert!(ended.stderr.contains(message), "{name}: {ended:?}");
        let left = machine.says("cd /root/in; ls -A; rm -rf a b; ls -A /root/out; cat /root/out/f")?;
        let expected = if name == "cut in the second" { "a\nlink\nf\nprecious" } else { "link\nf\nprecious" };
        assert_eq!(left, expected, "{name}");
    }
    machine.stop()?;
    Ok(())
}

fn full_disk(context: &Context) -> TestResult {
    let machine = busybox(context, &["--tmpfs=/small:size=1m,mode=0755"])?;
    let tree = context.subdirectory("tree");
    fs::write(tree.join("a"), vec![1; 100_000]).unwrap();
    fs::create_dir(tree.join("b")).unwrap();
    fs::write(tree.join("b/large"), vec![1; 4 << 20]).unwrap();
    let ended = copy(context, "copy-to", &machine, &[&format!("{}/.", text(&tree)), "/small"]);
    assert_eq!(ended.status, 125, "{ended:?}");
    let error = ended.stderr.lines().find(|line| line.contains("error")).unwrap_or_default();
    assert!(
        error.contains("/large\"") && error.ends_with("No space left on device (os error 28)"),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("hint: make room there"), "{ended:?}");
    // Whole files stay, others leave nothing.
    assert_eq!(machine.says("cd /small; rm -f a; find . | sort")?, ".\n./b");
    // Out of the machine onto a full disk of ours.
    machine.says("dd if=/dev/zero of=/root/large bs=1M count=4 2>/dev/null")?;
    let small = context.subdirectory("small");
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&small)).ok()?;
    let ended = copy(context, "copy-from", &machine, &["/root/large", text(&small)]);
    let left = fs::read_dir(&small).unwrap().count();
    run(Command::new("umount").arg(&small)).ok()?;
    assert_eq!((ended.status, left), (125, 0), "{ended:?}");
    assert!(ended.stderr.contains("No space left on device"), "{ended:?}");
    machine.stop()?;
    Ok(())
}

fn read_only_machine(context: &Context) -> TestResult {
    let machine = busybox(context, &["--read-only"])?;
    let file = context.directory.join("file");
    fs::write(&file, "x").unwrap();
    let ended = copy(context, "copy-to", &machine, &[text(&file), "/etc/new"]);
    assert_eq!(ended.status, 125, "{ended:?}");
    assert!(ended.stderr.contains("Read-only file system"), "{ended:?}");
    assert!(ended.stderr.contains("hint: that file system is read-only"), "{ended:?}");
    copy(context, "copy-to", &machine, &[text(&file), "/tmp/new"]).ok()?;
    assert_eq!(machine.says("cat /tmp/new")?, "x");
    machine.stop()?;
    Ok(())
}

/// ^C in the middle of a file: it is not there, and neither is a part of it.
fn interrupted(context: &Context) -> TestResult {
    need_gnu_tar()?;
    let machine = busybox(context, &[])?;
    let tree = context.subdirectory("tree");
    fs::write(tree.join("first"), vec![1; 10_000]).unwrap();
    File::create(tree.join("second")).unwrap().write_all(&vec![1; 5_000_000]).unwrap();
    let whole =
        Command::new("tar").arg("-C").arg(&tree).args(["-cf", "-", "first", "second"]).output()?.stdout;
    machine.says("mkdir /in")?;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGKILL] {
        let stderr = capture();
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mut command = context.spinney();
        command.args(["copy-to", &machine.name, "-", "/in"]);
        let mut process = Process::spawn(command.stdin(read).stderr(stderr.try_clone()?));
        drop(command);
        let mut write = File::from(write);
        // The pipe is full when the reader has all but its last 64 KiB.
        write.write_all(&whole[..3_000_000])?;
        wait_until("the second file", || machine.says("ls -A /in"), |names| names.contains(".#spinney-"))?;
        process.signal(signal);
        let status = process.wait(PATIENCE).map(shell_status);
        // The child of one that was killed cleans up all the same.
        wait_until("the end of it", || machine.says("ls -A /in"), |names| names == "first")?;
        let said = contents(&stderr);
        if signal == libc::SIGKILL {
            assert_eq!(status, Some(137), "{said}");
        } else {
            assert_eq!(status, Some(125), "{said}");
            assert!(said.contains("error: interrupted"), "{said}");
            assert!(said.contains("1 file, 9.77 KiB were copied before, and are whole"), "{said}");
        }
        machine.says("rm /in/first")?;
    }
    machine.stop()?;
    Ok(())
}

fn wait_until(
    what: &str,
    mut look: impl FnMut() -> Result<String, String>,
    is_so: impl Fn(&str) -> bool,
) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look()?;
        if is_so(&seen) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{what} does not come: {seen}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn fifos_and_devices_do_not_hang_it(context: &Context) -> TestResult {
    for users in USERS {
        let machine = busybox(context, &[users])?;
        machine
            .says("mkdir /s; cd /s; mkfifo fifo; echo x > file; cp -a /dev/null null 2>/dev/null; true")?;
        let before = Instant::now();
        let back = context.directory.join(format!("back{users}"));
        let ended = copy(context, "copy-from", &machine, &["/s", text(&back)]);
        assert_eq!(ended.status, 0, "{ended:?}");
        assert!(fs::symlink_metadata(back.join("fifo")).unwrap().mode() & 0o170_000 == 0o010_000);
        assert!(!back.join("null").exists());
        // Named itself, too; and a source on the host.
        for path in ["/s/fifo", "/dev/null", "/dev/console", "/dev"] {
            let name = context.directory.join(format!("one{}", path.replace('/', "-")));
            let ended = copy(context, "copy-from", &machine, &["--force", path, text(&name)]);
            assert_eq!(ended.status, 0, "{path}: {ended:?}");
            assert!(
                path == "/s/fifo" || path == "/dev/console" || ended.stderr.contains("device node"),
                "{path}: {ended:?}"
            );
        }
        copy(context, "copy-to", &machine, &[text(&back), "/s2"]).ok()?;
        let ended = copy(context, "copy-to", &machine, &["/dev/zero", "/s2/"]);
        assert!(ended.stderr.contains("left out 1 device node: \"zero\""), "{ended:?}");
        assert!(before.elapsed() < PATIENCE);
        machine.stop()?;
    }
    Ok(())
}

/// FUSE whose server never answers: it ends when it was told to, or with ^C.
fn a_hanging_file_system(context: &Context) -> TestResult {
    let machine = busybox(context, &[])?;
    let mounted = machine.shell(
        "[ -c /dev/fuse ] || exit 3; mkdir /fuse; exec 5<>/dev/fuse; \
         mount -t fuse -o fd=5,rootmode=40000,user_id=0,group_id=0 none /fuse || exit 3; \
         sleep 1000 </dev/null >/dev/null 2>&1 & echo $! > /tmp/server",
    )?;
    if mounted.status == 3 {
        return Err(Stop::Skip(format!("no FUSE here: {}", mounted.stderr)));
    }
    assert_eq!(mounted.status, 0, "{mounted:?}");
    let back = context.directory.join("back");
    let before = Instant::now();
    let ended = copy(context, "copy-from", &machine, &["--timeout=300ms", "/fuse", text(&back)]);
    assert_eq!(ended.status, 125, "{ended:?}");
    assert!(ended.stderr.contains("error: nothing moved for 300ms"), "{ended:?}");
    assert!(before.elapsed() < PATIENCE);
    let file = context.directory.join("file");
    fs::write(&file, vec![1; 4 << 20]).unwrap();
    let ended = copy(context, "copy-to", &machine, &["--timeout=300ms", text(&file), "/fuse/x"]);
    assert_eq!(ended.status, 125, "{ended:?}");
    assert!(ended.stderr.contains("nothing moved for 300ms"), "{ended:?}");

    let stderr = capture();
    let mut command = context.spinney();
    command.args(["copy-from", &machine.name, "/fuse", text(&back)]);
    let mut process = Process::spawn(command.stderr(stderr.try_clone()?));
    let child = PathBuf::from(format!("/proc/{0}/task/{0}/children", process.pid()));
    wait_until(
        "a child",
        || fs::read_to_string(&child).map_err(|error| error.to_string()),
        |text| !text.is_empty(),
    )?;
    process.signal(libc::SIGINT);
    let status = process.wait(PATIENCE).map(shell_status);
    assert_eq!(status, Some(125), "{}", contents(&stderr));
    assert!(contents(&stderr).contains("error: interrupted"), "{}", contents(&stderr));
    machine.says("kill $(cat /tmp/server)")?;
    machine.stop()?;
    Ok(())
}

/// It powers off in the middle of a copy: that is said, and nothing is left behind.
fn a_machine_that_ends(context: &Context) -> TestResult {
    need_gnu_tar()?;
    let machine = busybox(context, &[])?;
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let stderr = capture();
    let mut command = context.spinney();
    command.args(["copy-to", &machine.name, "-", "/root"]);
    let mut process = Process::spawn(command.stdin(read).stderr(stderr.try_clone()?));
    drop(command);
    let tree = context.subdirectory("tree");
    fs::write(tree.join("large"), vec![1; 5_000_000]).unwrap();
    let whole = Command::new("tar").arg("-C").arg(&tree).args(["-cf", "-", "large"]).output()?.stdout;
    let mut write = File::from(write);
    write.write_all(&whole[..3_000_000])?;
    machine.stop()?;
    // The stream goes on into what nobody sees any more, or breaks: either way it comes to an end.
    let _ = write.write_all(&whole[3_000_000..]);
    drop(write);
    let status = process.wait(PATIENCE).map(shell_status);
    assert!(status.is_some(), "{}", contents(&stderr));
    Ok(())
}

/// 1 GiB in and out: whole, and in no more memory than a small file.
fn a_gibibyte_in_little_memory(context: &Context) -> TestResult {
    /// What a debug build of the program takes by itself, its buffers, and some room.
    const LIMIT: u64 = 40 << 10;
    let free = rustix::fs::statvfs(&context.directory)?;
    if free.f_bavail * free.f_frsize < 4 << 30 {
        return Err(Stop::Skip("needs 4 GiB of disk".to_owned()));
    }
    let machine = busybox(context, &[])?;
    let file = context.directory.join("large");
    let mut large = File::create(&file).unwrap();
    let mut block: Vec<u8> = (0..=250).cycle().take(1 << 20).collect();
    for number in 0..1024_u32 {
        block[..4].copy_from_slice(&number.to_le_bytes());
        large.write_all(&block).unwrap();
    }
    drop(large);
    let back = context.directory.join("back");
    for arguments in [["copy-to", text(&file), "/root/large"], ["copy-from", "/root/large", text(&back)]] {
        let started = Instant::now();
        let mut command = context.spinney();
        command.args([arguments[0], &machine.name, arguments[1], arguments[2]]);
        let stderr = capture();
        let mut process = Process::spawn(command.stderr(stderr.try_clone()?));
        let mut peak = 0;
        let status = loop {
            if let Some(status) = process.wait(Duration::from_millis(20)) {
                break shell_status(status);
            }
            peak = peak.max(peak_of_family(process.pid()));
        };
        assert_eq!(status, 0, "{}", contents(&stderr));
        assert!(peak > 0 && peak < LIMIT, "{arguments:?}: {peak} KiB");
        println!(
            "# {}: 1 GiB in {:.1} s, {} KiB at most",
            arguments[0],
            started.elapsed().as_secs_f64(),
            peak
        );
    }
    let (mut one, mut two) = (File::open(&file).unwrap(), File::open(&back).unwrap());
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for number in 0..1024 {
        one.read_exact(&mut left).unwrap();
        two.read_exact(&mut right).unwrap();
        assert!(left == right, "block {number}");
    }
    assert_eq!(two.metadata().unwrap().len(), 1 << 30);
    machine.stop()?;
    Ok(())
}

/// The largest peak of a process and its children, in KiB.
fn peak_of_family(pid: u32) -> u64 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let family = children.split_whitespace().filter_map(|pid| pid.parse().ok()).chain([pid]);
    let peak = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    family.filter_map(peak).max().unwrap_or(0)
}
