//! What becomes of /etc/resolv.conf of machines on the host's network, at the start and when the host's changes later.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::{PATIENCE, run};
use crate::harness::{Context, Row, Stop, Test, TestResult, program};
use crate::machine::Machine;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 3] = [("copied", copied), ("bound", bound), ("left_alone", left_alone)];
    rows.map(|(name, test)| Test::new(format!("resolv_conf::{name}"), test)).into()
}

const HOST: &str = "/etc/resolv.conf";

/// The resolv.conf of this host, which the test changes, and puts back.
struct HostFile {
    before: Option<Vec<u8>>,
    elsewhere: PathBuf,
}

impl HostFile {
    fn take(context: &Context) -> Result<Self, Stop> {
        if context.on_host {
            return Err(Stop::Skip("changes /etc/resolv.conf".to_owned()));
        }
        Ok(Self { before: fs::read(HOST).ok(), elsewhere: context.subdirectory("resolver") })
    }

    /// Changes it as programs do: a new file in its place, the same file rewritten, a link to another file, that file replaced.
    fn change(&self, how: usize, text: &str) -> TestResult {
        let replace = |path: &Path| -> TestResult {
            let new = path.with_extension("new");
            fs::write(&new, text)?;
            Ok(fs::rename(new, path)?)
        };
        let other = self.elsewhere.join("resolv.conf");
        match how {
            0 => replace(Path::new(HOST)),
            1 => Ok(fs::write(HOST, text)?),
            2 => {
                fs::write(&other, text)?;
                let link = Path::new("/etc/resolv.conf.link");
                symlink(&other, link)?;
                Ok(fs::rename(link, HOST)?)
            }
            _ => replace(&other),
        }
    }
}

const WAYS: usize = 4;

impl Drop for HostFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(HOST);
        if let Some(before) = &self.before {
            let _ = fs::write(HOST, before);
        }
    }
}

/// A busybox tree that has an /etc/resolv.conf.
fn tree(context: &Context) -> Result<PathBuf, Stop> {
    let tree = context.directory.join("tree");
    if !tree.exists() {
        run(Command::new("cp").arg("-a").arg(context.tree("busybox")?).arg(&tree)).ok()?;
        fs::write(tree.join("etc/resolv.conf"), "# of the tree\n")?;
    }
    Ok(tree)
}

fn start(context: &Context, mode: &str) -> Result<Machine, Stop> {
    let name = context.machine_name();
    let mut command = Command::new("unshare");
    command
        .arg("--net")
        .arg(program())
        .args(["run", "-x", "-M", &name, "--console=read-only", "--notify-ready", "--private-network=no"])
        .arg(format!("--resolv-conf={mode}"))
        .arg(tree(context)?)
        .stdin(std::process::Stdio::null())
        .env(crate::harness::TEST, &context.prefix);
    let mut machine = Machine::spawn(context, &name, command);
    machine.ready()?;
    Ok(machine)
}

const LOOK: &str = "cat /etc/resolv.conf";

fn wait_for(machine: &Machine, text: &str) -> TestResult {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = machine.says(LOOK)?;
        if found == text.trim_end() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Stop::Fail(format!("{text:?} does not come, but {found:?}")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn nameserver(number: usize) -> String {
    format!("nameserver 192.0.2.{number}\n")
}

/// A copy follows the host's file until the guest has one of its own, over a reboot too.
fn copied(context: &Context) -> TestResult {
    let host = HostFile::take(context)?;
    host.change(0, &nameserver(100))?;
    let (mut one, own) = (start(context, "auto")?, start(context, "replace-host")?);
    for machine in [&one, &own] {
        assert_eq!(machine.says(LOOK)?, nameserver(100).trim_end());
    }
    own.says("echo '# own' >/etc/resolv.conf")?;
    for how in 0..WAYS {
        host.change(how, &nameserver(how))?;
        wait_for(&one, &nameserver(how))?;
    }
    assert_eq!(own.says(LOOK)?, "# own");
    one.shell("reboot")?;
    one.ready()?;
    assert_eq!(one.says(LOOK)?, nameserver(WAYS - 1).trim_end());
    own.stop()?;
    one.stop()?;
    Ok(())
}

/// A bound one is the host's at any time, and the guest cannot write it.
fn bound(context: &Context) -> TestResult {
    let host = HostFile::take(context)?;
    host.change(0, &nameserver(100))?;
    let mut machine = start(context, "bind-host")?;
    assert_eq!(machine.says(LOOK)?, nameserver(100).trim_end());
    for how in 0..WAYS {
        host.change(how, &nameserver(how))?;
        wait_for(&machine, &nameserver(how))?;
    }
    assert_ne!(machine.shell("echo own >/etc/resolv.conf")?.status, 0);
    machine.shell("reboot")?;
    machine.ready()?;
    host.change(3, &nameserver(7))?;
    wait_for(&machine, &nameserver(7))?;
    machine.stop()?;
    Ok(())
}

/// `off` leaves the tree's file, `delete` removes it.
fn left_alone(context: &Context) -> TestResult {
    let _host = HostFile::take(context)?;
    for (mode, expected) in [("off", "# of the tree"), ("delete", "none")] {
        let machine = start(context, mode)?;
        assert_eq!(machine.says("cat /etc/resolv.conf 2>/dev/null || echo none")?, expected, "{mode}");
        machine.stop()?;
    }
    Ok(())
}
