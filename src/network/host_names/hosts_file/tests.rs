use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

fn host(number: u8) -> HostName {
    HostName {
        machine: format!("m{number}"),
        name: format!("m{number}.spinney.internal"),
        addresses: vec![IpAddr::from([10, 213, 0, number])],
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("one").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn the_file_stays_what_it_is() {
    let temporary = tempfile::tempdir().expect("tempdir");
    let (path, locks) = (temporary.path().join("hosts"), temporary.path().join("locks"));
    std::fs::write(&path, "127.0.0.1 localhost\n").expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("chmod");
    let file = std::fs::File::open(&path).expect("open");
    let has_attributes = attributes::set(&file, b"user.x", b"1").is_ok();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12), Some(34)).expect("chown");
    }
    let before = std::fs::metadata(&path).expect("metadata");
    std::fs::write(temporary.path().join(".#hosts.spinney"), "left by one that was killed").expect("write");
    let hosts = HostsFile::at(&path, &locks);
    hosts.add(&host(1)).expect("add");
    let after = std::fs::metadata(&path).expect("metadata");
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert_ne!(after.ino(), before.ino());
    let file = std::fs::File::open(&path).expect("open");
    assert_eq!(attributes::get(&file, b"user.x").expect("get").is_some(), has_attributes);
    assert!(
        std::fs::read_to_string(&path)
            .expect("read")
            .contains("10.213.0.1 m1.spinney.internal # spinney: m1")
    );
    hosts.keep(|_| false).expect("keep none");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), "127.0.0.1 localhost\n");
    assert_eq!(names(temporary.path()), ["hosts"]);
    // Nothing to do, nothing done.
    let unchanged = std::fs::metadata(&path).expect("metadata").ino();
    hosts.keep(|_| false).expect("keep none");
    assert_eq!(std::fs::metadata(&path).expect("metadata").ino(), unchanged);
}

/// Another replaces the file between our look at it and our asking for its path: it is not taken for one called "hosts (deleted)", which
/// is not there, so that there would be nothing to remove.
#[test]
fn a_file_that_is_replaced_is_found() {
    let temporary = tempfile::tempdir().expect("tempdir");
    let (path, locks) = (temporary.path().join("hosts"), temporary.path().join("locks"));
    std::fs::write(&path, "127.0.0.1 localhost\n").expect("write");
    let hosts = HostsFile::at(&path, &locks);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let next = temporary.path().join("next");
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::write(&next, "127.0.0.1 localhost\n").expect("write");
                std::fs::rename(&next, &path).expect("rename");
            }
        });
        let odd: Vec<String> = (0..20_000)
            .filter_map(|_| hosts.place().ok())
            .map(|place| place.name)
            .filter(|name| name != "hosts")
            .collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(odd, Vec::<String>::new());
    });
}

/// As where a container has the host's file mounted, and the host replaces it: what cannot be changed holds nothing of ours, and keeps no
/// machine from being cleared.
#[test]
fn a_file_without_a_name_holds_nothing_of_ours() {
    let temporary = tempfile::tempdir().expect("tempdir");
    let (path, locks) = (temporary.path().join("hosts"), temporary.path().join("locks"));
    std::fs::write(&path, "127.0.0.1 localhost\n").expect("write");
    let file = std::fs::File::open(&path).expect("open");
    std::fs::remove_file(&path).expect("remove");
    let hosts = HostsFile::at(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())), &locks);
    let added = hosts.add(&host(1)).expect_err("it cannot be replaced");
    assert!(matches!(added, HostsFileError::Fixed { .. }), "{added:?}");
    hosts.keep(|_| false).expect("nothing is there to be removed");
    assert_eq!(names(temporary.path()), Vec::<String>::new());
    // Nor one that has another name, beside that by which it was found.
    std::fs::write(&path, "127.0.0.1 localhost\n").expect("write");
    let (file, backup) = (std::fs::File::open(&path).expect("open"), temporary.path().join("backup"));
    std::fs::hard_link(&path, &backup).expect("link");
    std::fs::remove_file(&path).expect("remove");
    let hosts = HostsFile::at(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())), &locks);
    let added = hosts.add(&host(1)).expect_err("it cannot be replaced");
    assert!(matches!(added, HostsFileError::Fixed { .. }), "{added:?}");
    assert_eq!(names(temporary.path()), ["backup"]);
}

#[test]
fn links_are_followed() {
    let temporary = tempfile::tempdir().expect("tempdir");
    let store = temporary.path().join("store");
    std::fs::create_dir(&store).expect("mkdir");
    std::fs::write(store.join("real"), "a\n").expect("write");
    symlink("store/real", temporary.path().join("hosts")).expect("symlink");
    symlink("nowhere", temporary.path().join("dangling")).expect("symlink");
    let hosts = |name: &str| HostsFile::at(&temporary.path().join(name), &temporary.path().join("locks"));
    hosts("hosts").add(&host(1)).expect("add");
    assert!(std::fs::read_to_string(store.join("real")).expect("read").contains("m1.spinney.internal"));
    assert!(temporary.path().join("hosts").is_symlink());
    symlink("/dev/null", temporary.path().join("null")).expect("symlink");
    let large = std::fs::File::create(temporary.path().join("large")).expect("create");
    large.set_len(LIMIT as u64 + 1).expect("a hole");
    for name in ["dangling", "null", "large", "store"] {
        let error = hosts(name).add(&host(1));
        assert!(matches!(error, Err(HostsFileError::Change { .. } | HostsFileError::Large { .. })), "{name}");
        // Nothing of ours is in there, and no machine is kept by it.
        assert!(hosts(name).keep(|_| false).is_ok(), "{name}");
    }
    // One that is not there comes and goes.
    hosts("none").add(&host(1)).expect("add");
    assert!(temporary.path().join("none").exists());
    hosts("none").keep(|_| false).expect("keep");
    assert!(!temporary.path().join("none").exists());
}

#[test]
fn what_others_write_meanwhile_is_kept() {
    let temporary = tempfile::tempdir().expect("tempdir");
    let path = temporary.path().join("hosts");
    std::fs::write(&path, "a\n").expect("write");
    let hosts = HostsFile::at(&path, &temporary.path().join("locks"));
    let others = std::cell::Cell::new(0);
    let edit = |text: Option<&[u8]>| with(text, &host(1));
    let interfere = |_: &OwnedFd| {
        others.set(others.get() + 1);
        if others.get() < 3 {
            std::fs::write(&path, "b\n".repeat(others.get() + 1)).expect("write");
        }
    };
    hosts.change(edit, interfere).expect("change");
    let text = std::fs::read_to_string(&path).expect("read");
    assert!(text.starts_with("b\nb\nb\n") && text.contains("m1.spinney.internal"), "{text:?}");
    assert_eq!((others.get(), names(temporary.path())), (3, vec!["hosts".to_owned()]));
}

#[test]
fn many_at_once() {
    let temporary = tempfile::tempdir().expect("tempdir");
    let path = temporary.path().join("hosts");
    std::fs::write(&path, "a").expect("write");
    let hosts = HostsFile::at(&path, &temporary.path().join("locks"));
    std::thread::scope(|scope| {
        for number in 0..16 {
            let hosts = &hosts;
            scope.spawn(move || {
                while let Err(error) = hosts.add(&host(number)) {
                    assert!(matches!(error, HostsFileError::Busy { .. }), "{error}");
                }
            });
        }
    });
    let text = std::fs::read_to_string(&path).expect("read");
    assert_eq!(text.lines().filter(|line| line.contains("# spinney: m")).count(), 16);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let hosts = &hosts;
            let own = format!("m{number}");
            scope.spawn(move || hosts.keep(|machine| machine != own).expect("keep"));
        }
    });
    assert_eq!(std::fs::read_to_string(&path).expect("read"), "a");
    assert_eq!(names(temporary.path()), ["hosts"]);
}

/// One that was killed before its lines were there: nobody has anything to remove from the file, and what it left goes all the same.
#[test]
fn leavings_of_the_killed_go() {
    let temporary = tempfile::tempdir().expect("tempdir");
    let (path, locks) = (temporary.path().join("hosts"), temporary.path().join("locks"));
    let hosts = HostsFile::at(&path, &locks);
    for (text, lock, new) in [("a\n", true, true), ("a\n", true, false), ("a\n", false, true)] {
        std::fs::write(&path, text).expect("write");
        if lock {
            std::fs::create_dir(&locks).expect("mkdir");
            std::fs::write(locks.join(LOCK), "").expect("write");
        }
        if new {
            std::fs::write(temporary.path().join(".#hosts.spinney"), "half").expect("write");
        }
        hosts.keep(|_| false).expect("keep none");
        assert_eq!(names(temporary.path()), ["hosts"], "{lock} {new}");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
    }
    // One that lives is neither waited for nor disturbed.
    let held = hosts.try_lock().expect("the lock");
    std::fs::write(temporary.path().join(".#hosts.spinney"), "half").expect("write");
    let begun = Instant::now();
    hosts.keep(|_| false).expect("keep none");
    assert!(begun.elapsed() < PATIENCE, "it was waited for");
    assert_eq!(names(temporary.path()), [".#hosts.spinney", "hosts", "locks"]);
    drop(held);
}
