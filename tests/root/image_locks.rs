//! Locks of images beside the real systemd-nspawn's: each refuses what the other has, and both share what both only read.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use spinney::image::lock::{self, Hold};
use spinney::sys::files::open_directory;
use spinney::sys::lock_file::LockFile;

use crate::command::run;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 3] = [
        ("nspawn", nspawn),
        ("leavings", leavings),
        ("leavings_beside_another_host", leavings_beside_another_host),
    ];
    rows.map(|(name, test)| Test::new(format!("image_locks::{name}"), test)).into()
}

/// A shell in systemd-nspawn, until its stdin ends.
struct Nspawn(Child);

impl Nspawn {
    fn command(tree: &Path, read_only: bool) -> Command {
        let mut command = Command::new("systemd-nspawn");
        command
            .args(["-q", "--register=no", "--keep-unit", "--pipe", "--timezone=off", "--resolv-conf=off"])
            .args(read_only.then_some("--read-only"))
            .arg("-D")
            .arg(tree)
            .args(["/bin/sh", "-c", "echo up; read x"]);
        command
    }

    /// With the lock taken.
    fn start(tree: &Path, read_only: bool) -> Result<Self, Stop> {
        let mut command = Self::command(tree, read_only);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        assert_eq!(line, "up\n");
        Ok(Self(child))
    }
}

impl Drop for Nspawn {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// systemd's own directory in /run goes with what a test started, where /run is the test's.
pub struct Run(bool);

impl Run {
    pub fn of(context: &Context) -> Self {
        Self(!context.on_host && !Path::new("/run/systemd").exists())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if self.0 {
            let _ = std::fs::remove_dir_all("/run/systemd");
            let _ = std::fs::remove_dir_all("/run/host");
        }
    }
}

fn copy(context: &Context) -> Result<PathBuf, Stop> {
    let tree = context.subdirectory("pool").join("web");
    run(Command::new("cp").arg("-a").arg(context.tree("busybox")?).arg(&tree)).ok()?;
    Ok(tree)
}

/// Whether systemd-nspawn says that `tree` is in use.
fn busy(tree: &Path, read_only: bool) -> Result<bool, Stop> {
    let ended = run(Nspawn::command(tree, read_only).stdin(Stdio::null()));
    match ended.status {
        1 if ended.stderr.contains("is currently busy") => Ok(true),
        // Its shell's read had nothing to read.
        1 if ended.stdout == "up\n" => Ok(false),
        _ => Err(format!("{ended:#?}").into()),
    }
}

fn nspawn(context: &Context) -> TestResult {
    if run(Command::new("systemd-nspawn").arg("--version").stdin(Stdio::null())).status != 0 {
        return Err(Stop::Skip("no systemd-nspawn".to_owned()));
    }
    let _run = Run::of(context);
    let tree = copy(context)?;
    let ours = |hold| lock::try_lock_path(&tree, hold).map(|lock| lock.is_some());
    // What nspawn has: nobody else may have it, or others may read it.
    for (read_only, shared) in [(false, false), (true, true)] {
        let other = Nspawn::start(&tree, read_only)?;
        let held = if shared { Hold::Shared } else { Hold::Exclusive };
        assert_eq!(lock::held(&tree), Some(held), "{read_only}");
        assert_eq!((ours(Hold::Exclusive)?, ours(Hold::Shared)?), (false, shared), "{read_only}");
        let refused = lock::lock_path(&tree, Hold::Exclusive).err().ok_or("locked twice")?.to_string();
        let expected = format!("image \"web\" is in use: systemd-nspawn (PID {})", other.0.id());
        assert_eq!(refused, expected);
    }
    // What we have.
    for (hold, expected) in [(Hold::Exclusive, (true, true)), (Hold::Shared, (true, false))] {
        let held = lock::lock_path(&tree, hold)?;
        assert_eq!((busy(&tree, false)?, busy(&tree, true)?), expected, "{hold:?}");
        drop(held);
    }
    // Under another path, over another mount of the same: the global lock alone.
    let elsewhere = context.subdirectory("elsewhere");
    rustix::mount::mount_bind(&tree, &elsewhere)?;
    let held = lock::lock_path(&elsewhere, Hold::Exclusive);
    let seen = busy(&tree, false);
    drop(held?);
    rustix::mount::unmount(&elsewhere, rustix::mount::UnmountFlags::DETACH)?;
    assert!(seen?, "the global lock is not seen");
    let there: Vec<_> = std::fs::read_dir(context.directory.join("pool"))?.flatten().collect();
    assert_eq!(there.len(), 1, "lock files are left: {there:?}");
    Ok(())
}

/// A killed holder's files are in nobody's way, and go with the next.
fn leavings(context: &Context) -> TestResult {
    let tree = context.subdirectory("pool").join("web");
    std::fs::create_dir(&tree)?;
    let local = context.directory.join("pool/.#web.lck");
    std::fs::write(&local, "")?;
    assert_eq!(lock::held(&tree), None);
    drop(lock::lock_path(&tree, Hold::Exclusive)?);
    assert!(!local.exists());
    let name = "web".parse()?;
    let held = lock::lock_name(&name)?;
    let again = lock::lock_name(&name).err().ok_or("taken twice")?;
    assert_eq!(again.to_string(), "somebody else is making an image \"web\"");
    drop(held);
    drop(lock::lock_name(&name)?);
    Ok(())
}

/// A machine's supervisor is killed while another host has the tree too, with the local lock and a /run of its own.
fn leavings_beside_another_host(context: &Context) -> TestResult {
    let _run = Run::of(context);
    let tree = copy(context)?;
    let local = context.directory.join("pool/.#web.lck");
    let name = context.machine_name();
    let mut command = context.spinney();
    command.args(["run", "-M", &name, "--read-only", "--notify-ready"]).arg(&tree);
    let mut machine = Machine::spawn(context, &name, command);
    machine.ready()?;
    let stat = rustix::fs::stat(&tree)?;
    let global = Path::new(lock::LOCKS).join(format!("inode-{}:{}", stat.st_dev, stat.st_ino));
    assert!(global.exists() && local.exists());
    let pool = open_directory(local.parent().ok_or("a parent")?)?;
    let elsewhere = LockFile::try_take(pool, ".#web.lck", Hold::Shared)?.ok_or("it is held alone")?;
    machine.signal(libc::SIGKILL);
    machine.wait()?;
    assert!(global.exists() && local.exists());
    // The next of its name clears what it left.
    let next = run(context
        .spinney()
        .args(["run", "-q", "-x", "-M", &name])
        .arg(context.tree("busybox")?)
        .args(["--", "true"]));
    assert_eq!(next.status, 0, "{next:#?}");
    assert!(!global.exists(), "the global lock is left");
    assert!(local.exists(), "another host's lock is gone");
    drop(elsewhere);
    assert!(!local.exists());
    Ok(())
}
