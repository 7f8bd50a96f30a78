//! What a transfer leaves when it dies or the disk is full: an image that is whole, or none; and the next command removes
//! the rest. The power is cut by copying the file under a mounted file system: what was not on disk is not in the copy.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use spinney::transfer::FAULT_POINTS;

use crate::command::{PATIENCE, Process, capture, contents, run, shell_status};
use crate::harness::{Context, Row, Test, TestResult};
use crate::transfers::{Pool, torture};
use crate::tree_snapshot::{Snapshot, differences, snapshot};

/// Points of the image itself, between those of the transfer.
const FINISH: [&str; 3] = ["finish-synced", "finish-recorded", "finish-shown"];

/// From these on the image is there.
const SHOWN: [&str; 2] = ["finish-shown", "finished"];

pub fn tests() -> Vec<Test> {
    let points = FAULT_POINTS.iter().copied().chain(FINISH);
    let points = points.map(|point| {
        Test::new(format!("transfer_faults::killed_at::{point}"), move |context| killed_at(context, point))
    });
    let rows: [Row; 4] = [
        ("full_tmpfs", full_tmpfs),
        ("full_ext4", full_ext4),
        ("power_cut_after_the_end", power_cut_after_the_end),
        ("power_cut_at_any_moment", power_cut_at_any_moment),
    ];
    points.chain(rows.map(|(name, test)| Test::new(format!("transfer_faults::{name}"), test))).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A tree, and what is imported by the kind of it: an archive of the tree, the tree, and a disk.
type Sources = (PathBuf, Vec<(&'static str, PathBuf)>);

fn sources(context: &Context) -> Result<Sources, crate::harness::Stop> {
    let tree = torture(context);
    let tar = context.directory.join("a.tar.zst");
    let made = Pool(context.subdirectory("made"));
    made.run(context, &["import", text(&tree), "a"]).ok()?;
    made.run(context, &["export", "a", text(&tar)]).ok()?;
    let disk = context.directory.join("disk");
    fs::write(&disk, [vec![0; 1 << 20], vec![7; 1 << 20]].concat())?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", text(&disk)])).ok()?;
    let sources = vec![("tar", tar), ("fs", tree.clone()), ("raw", disk)];
    Ok((tree, sources))
}

/// What a whole image of each kind looks like.
fn whole(kind: &str, pool: &Pool, tree: &Snapshot, disk: &Path) -> TestResult {
    if kind == "raw" {
        assert!(fs::read(disk)? == fs::read(pool.image("a.raw"))?);
        return Ok(());
    }
    let differences = differences(tree, &snapshot(&pool.image("a")));
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
}

fn killed_at(context: &Context, point: &str) -> TestResult {
    let (tree, sources) = sources(context)?;
    let (expected, disk) = (snapshot(&tree), context.directory.join("disk"));
    for (kind, source) in sources {
        // A directory comes from here: there is nothing to unpack or to verify.
        if kind == "fs" && ["unpacking", "verified"].contains(&point) {
            continue;
        }
        let pool = Pool(context.subdirectory(&format!("pool-{kind}")));
        let mut command = pool.command(context, &["import", text(&source), "a"]);
        let died = run(command.env("SPINNEY_FAULT", point));
        assert_eq!(died.status, 128 + libc::SIGKILL, "{point} was never come to: {died:#?}");
        let seen: Vec<_> = pool.names().into_iter().filter(|name| !name.starts_with(".#")).collect();
        assert_eq!(seen.len(), usize::from(SHOWN.contains(&point)), "{kind}: {seen:?}");
        if !seen.is_empty() {
            whole(kind, &pool, &expected, &disk)?;
        }
        // The next command removes what is left, and does its work.
        pool.run(context, &["import", "--force", text(&source), "a"]).ok()?;
        whole(kind, &pool, &expected, &disk)?;
        assert_eq!(pool.names(), [if kind == "raw" { "a.raw" } else { "a" }]);
    }
    Ok(())
}

/// Something mounted at a directory of the test's, until dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn tmpfs(context: &Context, name: &str, options: &str) -> Result<Self, crate::harness::Stop> {
        let directory = context.subdirectory(name);
        let options = std::ffi::CString::new(options)?;
        mount("tmpfs", &directory, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))?;
        Ok(Self(directory))
    }

    fn file(context: &Context, name: &str, file: &Path) -> Result<Self, crate::harness::Stop> {
        let directory = context.subdirectory(name);
        run(Command::new("mount").args(["-o", "loop", text(file), text(&directory)])).ok()?;
        Ok(Self(directory))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // mount(8) has the loop device detached with it (LO_FLAGS_AUTOCLEAR).
        let _ = unmount(&self.0, UnmountFlags::empty()).or_else(|_| unmount(&self.0, UnmountFlags::DETACH));
    }
}

fn ext4(context: &Context, name: &str, size: u64) -> Result<PathBuf, crate::harness::Stop> {
    let file = context.directory.join(name);
    File::create(&file)?.set_len(size)?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "lazy_itable_init=0", text(&file)])).ok()?;
    Ok(file)
}

/// A tar, a tree and a disk, each larger than there is room.
fn full(context: &Context, place: &Path) -> TestResult {
    let large = context.subdirectory("large/usr");
    let mut noise = vec![0; 6 << 20];
    std::io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut noise)?;
    for number in 0..3 {
        fs::write(large.join(number.to_string()), &noise)?;
    }
    let large = context.directory.join("large");
    let tar = context.directory.join("large.tar.gz");
    run(Command::new("tar").args([
        "--use-compress-program=gzip -1",
        "-cf",
        text(&tar),
        "-C",
        text(&large),
        ".",
    ]))
    .ok()?;
    let disk = context.directory.join("large.raw");
    fs::write(&disk, [&noise[..], &noise, &noise].concat())?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", "nodiscard", text(&disk)])).ok()?;
    let pool = Pool(place.join("pool"));
    fs::create_dir(&pool.0)?;
    for source in [tar, large, disk] {
        let ended = pool.run(context, &["import", text(&source), "a"]);
        pool.refuses(&ended, "No space left on device")?;
        assert!(ended.stderr.contains("hint: make room"), "{ended:#?}");
    }
    // And all of the room is there again.
    let small = torture(context);
    fs::remove_file(small.join("usr/bin/su"))?;
    pool.run(context, &["import", text(&small), "small"]).ok()?;
    // A file that there is no room for is not there either.
    let target = place.join("out.tar");
    let noise = pool.image("small/noise");
    fs::write(noise, vec![7; 6 << 20])?;
    let ended = pool.run(context, &["export", "small", text(&target)]);
    assert_eq!(ended.status, 125, "{ended:#?}");
    assert!(ended.stderr.contains("No space left on device"), "{ended:#?}");
    let left: Vec<_> = fs::read_dir(place)?.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "pool" || name == "lost+found"), "{left:?}");
    Ok(())
}

fn full_tmpfs(context: &Context) -> TestResult {
    let mounted = Mounted::tmpfs(context, "full", "size=12m")?;
    full(context, &mounted.0)
}

fn full_ext4(context: &Context) -> TestResult {
    let file = ext4(context, "small", 14 << 20)?;
    let mounted = Mounted::file(context, "full", &file)?;
    full(context, &mounted.0)
}

/// The file system in `copy`, after the power was cut, has an image that is whole, or none. Says which.
fn after(context: &Context, copy: &Path, tree: &Snapshot) -> Result<bool, crate::harness::Stop> {
    let mounted = Mounted::file(context, "after", copy)?;
    let pool = Pool(mounted.0.join("pool"));
    if !pool.0.is_dir() {
        return Ok(false);
    }
    let there = pool.image("a").exists();
    if there {
        whole("tar", &pool, tree, Path::new(""))?;
    }
    let seen = pool.names().into_iter().filter(|name| !name.starts_with(".#")).count();
    assert_eq!(seen, usize::from(there), "{:?}", pool.names());
    // The next command works on what is left, and removes it.
    let mut next = pool.command(context, &["import", "/dev/null", "b"]);
    assert_eq!(run(&mut next).status, 125);
    assert_eq!(pool.names().len(), usize::from(there), "{:?}", pool.names());
    Ok(there)
}

fn power_cut_after_the_end(context: &Context) -> TestResult {
    let (tree, sources) = sources(context)?;
    let expected = snapshot(&tree);
    for (kind, source) in sources.into_iter().filter(|(kind, _)| *kind != "raw") {
        let disk = ext4(context, "disk", 32 << 20)?;
        let mounted = Mounted::file(context, "before", &disk)?;
        let pool = Pool(mounted.0.join("pool"));
        fs::create_dir(&pool.0)?;
        pool.run(context, &["import", text(&source), "a"]).ok()?;
        // Now, with nothing synced after it.
        let copy = context.directory.join("copy");
        fs::copy(&disk, &copy)?;
        assert!(after(context, &copy, &expected)?, "{kind}: told of, but not on disk");
    }
    Ok(())
}

fn power_cut_at_any_moment(context: &Context) -> TestResult {
    let (tree, sources) = sources(context)?;
    let expected = snapshot(&tree);
    let source = &sources[0].1;
    let disk = ext4(context, "disk", 32 << 20)?;
    let mounted = Mounted::file(context, "before", &disk)?;
    let pool = Pool(mounted.0.join("pool"));
    fs::create_dir(&pool.0)?;
    let stderr = capture();
    let mut command = pool.command(context, &["import", "-q", text(source), "a"]);
    let mut process = Process::spawn(command.stderr(stderr.try_clone()?));
    let mut copies = Vec::new();
    // As often as copying allows, and once more when it has ended.
    loop {
        let ended = process.wait(Duration::ZERO);
        let copy = context.directory.join(format!("copy-{}", copies.len()));
        fs::copy(&disk, &copy)?;
        copies.push(copy);
        if let Some(status) = ended {
            assert_eq!(shell_status(status), 0, "{}", contents(&stderr));
            break;
        }
        assert!(copies.len() < 200, "it did not end within {PATIENCE:?}");
    }
    drop(mounted);
    let mut last = false;
    // All of them would take long: the last ones tell most.
    for copy in copies.iter().rev().take(8).rev() {
        last = after(context, copy, &expected)?;
    }
    assert!(last, "the last one has the image");
    Ok(())
}
