//! A guest that would lure copies out of itself, by swapping directories for links as fast as it can.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags};

use crate::command::run;
use crate::copy::UsersRow;
use crate::harness::{Context, Test, TestResult};
use crate::machine::Machine;
use crate::payload::own_busybox;
use crate::tree_snapshot::{Snapshot, differences, snapshot};

/// How often each copy is made against each link.
const ROUNDS: u32 = 3;

pub fn tests() -> Vec<Test> {
    ["--private-users=pick", "--private-users=no"]
        .into_iter()
        .flat_map(|users| {
            let rows: [UsersRow; 3] =
                [("in", into_the_machine), ("out", out_of_the_machine), ("host", onto_the_host)];
            rows.map(|(name, test)| {
                Test::new(format!("copy_attack::{name}_{users}"), move |context| test(context, users))
            })
        })
        .collect()
}

/// A directory of the host's that nobody may touch or read.
struct Outside {
    directory: PathBuf,
    before: Snapshot,
}

const SECRET: &str = "of the host alone";

impl Outside {
    fn new(context: &Context) -> Self {
        let directory = context.subdirectory("outside");
        fs::create_dir_all(directory.join("a/b")).unwrap();
        for name in ["f0", "f1", "a/f0", "a/b/f0", "precious"] {
            fs::write(directory.join(name), SECRET).unwrap();
        }
        let before = snapshot(&directory);
        Self { directory, before }
    }

    fn check(&self) {
        let differences = differences(&self.before, &snapshot(&self.directory));
        assert!(differences.is_empty(), "the host was touched:\n{}", differences.join("\n"));
    }

    /// Links that lead there, by the rules of who follows them.
    fn links(&self) -> Vec<PathBuf> {
        let relative = self.directory.strip_prefix("/").unwrap();
        let mut links = vec![
            self.directory.clone(),
            Path::new("../../../../../../../../../..").join(relative),
            Path::new("/proc/1/root").join(relative),
            Path::new("/proc/self/root").join(relative),
            Path::new("/proc/self/cwd").join(Path::new("../../../../../..").join(relative)),
        ];
        // Whatever of ours is open: directories of the host among them.
        links.extend(
            (3..12).map(|fd| PathBuf::from(format!("/proc/self/fd/{fd}/../../../../..")).join(relative)),
        );
        links
    }
}

/// A machine on a tree of its own, which can be changed from here as by the guest.
fn machine(context: &Context, users: &str) -> Result<(Machine, PathBuf), crate::harness::Stop> {
    let tree = own_busybox(context)?;
    let name = context.machine_name();
    let mut command = context.spinney();
    command.args(["run", "-M", &name, "--console=read-only", "--notify-ready", users]).arg(&tree);
    let mut machine = Machine::spawn(context, &name, command);
    machine.ready()?;
    Ok((machine, tree))
}

/// Exchanges `one` and `two` all the while `work` is done.
fn while_swapping<T>(one: &Path, two: &Path, work: impl FnOnce() -> T) -> T {
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // What is not there just now is there a moment later.
                if rustix::fs::renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).is_ok() {
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        result
    });
    if one.is_symlink() {
        // We follow links of the tree: they are to be where they were.
        rustix::fs::renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).unwrap();
    }
    assert!(swaps.into_inner() > 100, "the attacker did not come to it");
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A tree with files in directories that the attacker has, too.
fn bait(directory: &Path, contents: &str) {
    fs::create_dir_all(directory.join("a/b")).unwrap();
    for number in 0..15 {
        for place in ["", "a", "a/b"] {
            fs::write(directory.join(place).join(format!("f{number}")), contents).unwrap();
        }
    }
}

fn into_the_machine(context: &Context, users: &str) -> TestResult {
    let outside = Outside::new(context);
    let source = context.subdirectory("source");
    bait(&source, "ours");
    let (machine, tree) = machine(context, users)?;
    let mut landed = 0;
    for link in outside.links() {
        let pit = tree.join("pit");
        fs::create_dir_all(pit.join("dst/a")).unwrap();
        symlink(&link, pit.join("evil")).unwrap();
        // The destination itself, and a directory that is filled below it.
        for (swapped, destination) in [("dst", "/pit/dst"), ("dst/a", "/pit/dst")] {
            while_swapping(&pit.join(swapped), &pit.join("evil"), || {
                for _ in 0..ROUNDS {
                    let from = format!("{}/.", source.display());
                    let mut command = context.spinney();
                    command.args(["copy-to", "-q", "--force", &machine.name, &from, destination]);
                    landed += u32::from(run(&mut command).status == 0);
                }
            });
            outside.check();
        }
        fs::remove_dir_all(&pit).unwrap();
    }
    assert!(landed > 0, "no copy came through: nothing was raced");
    machine.stop()?;
    Ok(())
}

fn out_of_the_machine(context: &Context, users: &str) -> TestResult {
    let outside = Outside::new(context);
    let (machine, tree) = machine(context, users)?;
    let mut landed = 0;
    for link in outside.links() {
        let pit = tree.join("pit");
        bait(&pit.join("src"), "the guest's");
        symlink(&link, pit.join("evil")).unwrap();
        for (swapped, source) in [("src", "/pit/src/."), ("src", "/pit/src/a/"), ("src/a", "/pit/src")] {
            while_swapping(&pit.join(swapped), &pit.join("evil"), || {
                for round in 0..ROUNDS {
                    let to = context.directory.join(format!("out-{round}"));
                    let mut command = context.spinney();
                    command.args(["copy-from", "-q", &machine.name, source]).arg(&to);
                    landed += u32::from(run(&mut command).status == 0);
                    if to.exists() {
                        for (path, line) in snapshot(&to) {
                            let file = to.join(&path);
                            let leaked = file.is_file()
                                && !file.is_symlink()
                                && fs::read_to_string(&file).unwrap().contains(SECRET);
                            assert!(!leaked, "{path:?} came out by {link:?}: {line}");
                        }
                        fs::remove_dir_all(&to).unwrap();
                    }
                }
            });
        }
        outside.check();
        fs::remove_dir_all(&pit).unwrap();
    }
    assert!(landed > 0, "no copy came through: nothing was raced");
    machine.stop()?;
    Ok(())
}

/// On the host, somebody who may write where copies go.
fn onto_the_host(context: &Context, users: &str) -> TestResult {
    let outside = Outside::new(context);
    let (machine, tree) = machine(context, users)?;
    bait(&tree.join("src"), "the guest's");
    let pit = context.subdirectory("pit");
    fs::create_dir_all(pit.join("dst/a")).unwrap();
    symlink(&outside.directory, pit.join("evil")).unwrap();
    let mut landed = 0;
    while_swapping(&pit.join("dst/a"), &pit.join("evil"), || {
        for _ in 0..4 * ROUNDS {
            let mut command = context.spinney();
            command.args(["copy-from", "-q", "--force", &machine.name, "/src/."]).arg(pit.join("dst"));
            landed += u32::from(run(&mut command).status == 0);
        }
    });
    outside.check();
    assert!(landed > 0, "no copy came through: nothing was raced");
    machine.stop()?;
    Ok(())
}
