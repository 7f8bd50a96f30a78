//! A guest whose systemd knows no cgroup v2 gets a named v1 hierarchy, by itself.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::command::run;
use crate::exec::exec;
use crate::harness::{Context, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::payload::own_busybox;

pub fn tests() -> Vec<Test> {
    vec![Test::new("legacy_cgroups::a_systemd_before_231_gets_a_named_hierarchy", named_hierarchy)]
}

/// What [`old_tree`] is run with.
pub const OPTIONS: &[&str] =
    &["--init=/usr/sbin/old-systemd", "--notify-ready=no", "--timeout-stop=1", "--link-journal=no"];

/// There is no such distribution to be had any more, so its init is one that only says so: an ELF program that calls
/// pause(2) for ever and has systemd 219's greeting in it.
pub fn old_tree(context: &Context) -> Result<PathBuf, Stop> {
    if !cfg!(target_arch = "x86_64") {
        return Err(Stop::Skip("the init of this test is x86-64 code".to_owned()));
    }
    let tree = own_busybox(context)?;
    write_init(&tree.join("usr/sbin/old-systemd"));
    Ok(tree)
}

fn named_hierarchy(context: &Context) -> TestResult {
    let mut machine = Machine::start(context, &old_tree(context)?, OPTIONS);
    machine.ready()?;
    assert_eq!(machine.state()?.init, "systemd 219");
    let cgroups = machine.says("cut -d' ' -f5,9 /proc/self/mountinfo | grep cgroup")?;
    assert_eq!(cgroups, "/sys/fs/cgroup tmpfs\n/sys/fs/cgroup/systemd cgroup");
    assert_eq!(machine.says("grep name=systemd: /proc/1/cgroup | cut -d: -f2-")?, "name=systemd:/");
    machine.says("mkdir /sys/fs/cgroup/systemd/x && echo 1 > /sys/fs/cgroup/systemd/x/cgroup.procs")?;
    assert_eq!(machine.says("grep name=systemd: /proc/1/cgroup | cut -d: -f2-")?, "name=systemd:/x");
    let done = run(&mut exec(context, &[&machine.name, "grep", "name=systemd:", "/proc/self/cgroup"]));
    assert!(done.status == 0 && done.stdout.ends_with(":name=systemd:/x\n"), "{done:?}");
    Ok(())
}

fn write_init(path: &Path) {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    // mov $34, %eax (pause); syscall; jmp back
    let code: &[u8] = &[0xb8, 0x22, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];
    let greeting: &[u8] = b"systemd 219 running in %ssystem mode\0";
    let size = HEADERS + (code.len() + greeting.len()) as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |file: &mut Vec<u8>, value: u16| file.extend(value.to_le_bytes());
    let word = |file: &mut Vec<u8>, value: u32| file.extend(value.to_le_bytes());
    let long = |file: &mut Vec<u8>, value: u64| file.extend(value.to_le_bytes());
    // The ELF header: an executable for x86-64 (elf(5)).
    half(&mut file, 2);
    half(&mut file, 62);
    word(&mut file, 1);
    for value in [BASE + HEADERS, 64, 0] {
        long(&mut file, value);
    }
    word(&mut file, 0);
    for value in [64, 56, 1, 0, 0, 0] {
        half(&mut file, value);
    }
    // Its one program header: all of the file, readable and executable.
    word(&mut file, 1);
    word(&mut file, 5);
    for value in [0, BASE, BASE, size, size, 0x1000] {
        long(&mut file, value);
    }
    file.extend(code);
    file.extend(greeting);
    std::fs::write(path, file).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
