//! Little trees in temporary directories, and the cached test trees of this machine where there are any.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::super::elf::tests::program;
use super::super::init::{Init, Rc};
use super::*;

/// A tree with a directory, executable or link for each line: `name/`, `name = contents`, `name -> target`.
pub(crate) fn tree(lines: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, contents) in lines {
        let (path, target) =
            path.split_once(" -> ").map_or((*path, None), |(path, target)| (path, Some(target)));
        let at = directory.path().join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        match target {
            Some(target) => symlink(target, at).unwrap(),
            None if path.ends_with('/') => fs::create_dir_all(at).unwrap(),
            None => {
                fs::write(&at, contents).unwrap();
                fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
    }
    directory
}

const FOREIGN: u16 = if cfg!(target_arch = "aarch64") { 62 } else { 183 };

/// An ELF program for this host.
pub(crate) fn native(interpreter: Option<&str>, libraries: &[&str]) -> Vec<u8> {
    let own = fs::read("/proc/self/exe").unwrap();
    program(u16::from_ne_bytes([own[18], own[19]]), interpreter, libraries)
}

fn inspected(directory: &tempfile::TempDir, init: Option<&str>) -> String {
    let tree = Tree::open(directory.path()).unwrap();
    match tree.inspect(init.map(Path::new)) {
        Ok(facts) => {
            let init = facts.init.unwrap();
            format!("{init} at {}", init.path.display())
        }
        Err(error) => error.to_string().replace(directory.path().to_str().unwrap(), "TREE"),
    }
}

#[test]
fn boots() {
    let systemd = native(None, &["libsystemd-core-257.so", "libsystemd-shared-257.so", "libc.so.6"]);
    let linked = native(Some("/lib/ld.so"), &["libc.so.6"]);
    let other = native(None, &[]);
    let foreign = program(FOREIGN, None, &[]);
    let sysvinit = [native(None, &[]), b"\0INIT_VERSION=sysvinit-3.14\0".to_vec()].concat();
    type Row<'a> = (&'a str, &'a [(&'a str, &'a [u8])], Option<&'a str>, &'a str);
    let table: [Row<'_>; 20] = [
        ("empty", &[], None, "tree TREE is empty, there is no operating system in it"),
        (
            "no init",
            &[("etc/", b"")],
            None,
            "tree TREE has no init; looked at /sbin/init, /usr/lib/systemd/systemd, /lib/systemd/systemd, /etc/init, \
             /bin/init, /init",
        ),
        (
            "systemd",
            &[("sbin/init -> ../lib/systemd/systemd", b""), ("lib/systemd/systemd", &systemd)],
            None,
            "systemd 257 at /sbin/init",
        ),
        (
            "systemd without links",
            &[("usr/lib/systemd/systemd", &systemd)],
            None,
            "systemd 257 at /usr/lib/systemd/systemd",
        ),
        (
            "an absolute link stays in the tree",
            &[("sbin/init -> /lib/systemd/systemd", b""), ("lib/systemd/systemd", &systemd)],
            None,
            "systemd 257 at /sbin/init",
        ),
        (
            "/sbin/init decides",
            &[("sbin/init", &sysvinit), ("lib/systemd/systemd", &systemd)],
            None,
            "sysvinit 3.14 at /sbin/init",
        ),
        (
            "--init decides",
            &[("sbin/init", &sysvinit), ("lib/systemd/systemd", &systemd)],
            Some("/lib/systemd/systemd"),
            "systemd 257 at /lib/systemd/systemd",
        ),
        (
            "--init misses",
            &[("sbin/init", &sysvinit)],
            Some("/opt/init"),
            "init /opt/init does not exist in tree TREE",
        ),
        ("no ELF we know", &[("sbin/init", &other)], None, "unknown init at /sbin/init"),
        (
            "a script",
            &[("sbin/init", b"#!/bin/sh -e\nexec sleep"), ("bin/sh", &other)],
            None,
            "unknown init at /sbin/init",
        ),
        (
            "a script without its interpreter",
            &[("sbin/init", b"#!/bin/sh\n")],
            None,
            "/sbin/init in the tree needs /bin/sh, which is not in the tree",
        ),
        (
            "a script that interprets itself",
            &[("sbin/init", b"#!/sbin/init\n")],
            None,
            "/sbin/init in the tree is neither an ELF program nor a script",
        ),
        (
            "a program without its linker",
            &[("sbin/init", &linked)],
            None,
            "/sbin/init in the tree needs /lib/ld.so, which is not in the tree",
        ),
        (
            "a program with it",
            &[("sbin/init", &linked), ("lib/ld.so", b"")],
            None,
            "unknown init at /sbin/init",
        ),
        (
            "text",
            &[("sbin/init", b"exec sleep\n")],
            None,
            "/sbin/init in the tree is neither an ELF program nor a script",
        ),
        ("a directory", &[("sbin/init/", b"")], None, "/sbin/init in the tree is not an executable file"),
        (
            "a directory, and systemd",
            &[("sbin/init/", b""), ("lib/systemd/systemd", &systemd)],
            None,
            "systemd 257 at /lib/systemd/systemd",
        ),
        (
            "a link to the host",
            &[("sbin/init -> /proc/self/exe", b""), ("etc/", b"")],
            None,
            "tree TREE has no init; looked at /sbin/init, /usr/lib/systemd/systemd, /lib/systemd/systemd, /etc/init, \
             /bin/init, /init",
        ),
        (
            "foreign",
            &[("sbin/init", &foreign)],
            None,
            if cfg!(target_arch = "aarch64") {
                "the tree is for x86-64 (/sbin/init), this host is arm64"
            } else {
                "the tree is for arm64 (/sbin/init), this host is x86-64"
            },
        ),
        (
            "/dev leads to the host",
            &[("sbin/init", &other), ("dev -> /root", b"")],
            None,
            "/dev of the tree is a symlink that points out of the tree, to /root",
        ),
    ];
    for (name, lines, init, expected) in table {
        assert_eq!(inspected(&tree(lines), init), expected, "{name}");
    }
}

#[test]
fn not_executable() {
    let directory = tree(&[("sbin/init", b"#!/bin/sh\n")]);
    fs::set_permissions(directory.path().join("sbin/init"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(inspected(&directory, None), "/sbin/init in the tree is not an executable file");
}

#[test]
fn places_that_are_no_trees() {
    let directory = tree(&[("file", b"")]);
    for (path, expected, hint) in [
        ("nothing", "does not exist", "give the directory"),
        ("file", "is not a directory", "disk images and archives"),
        ("file/below", "is not a directory", "disk images and archives"),
    ] {
        let error = Tree::open(&directory.path().join(path)).unwrap_err();
        assert!(error.to_string().ends_with(expected), "{path}: {error}");
        assert!(error.hint().unwrap().starts_with(hint), "{path}: {:?}", error.hint());
    }
}

#[test]
fn commands() {
    let native = native(None, &[]);
    let directory = tree(&[
        ("bin/true", &native),
        ("usr/bin/foreign", &program(FOREIGN, None, &[])),
        ("usr/bin/env/", b""),
        ("bin/env", &native),
        ("bin/text", b"echo\n"),
        ("bin/script", b"#!/usr/bin/python3\n"),
    ]);
    let tree = Tree::open(directory.path()).unwrap();
    let table = [
        ("/bin/true", "Some(\"/bin/true\")"),
        ("true", "Some(\"/bin/true\")"),
        ("env", "Some(\"/bin/env\")"),
        ("nothing", "None"),
        ("/bin/nothing", "None"),
        ("/usr/bin/env", "Some(\"/usr/bin/env\")"),
        ("text", "Some(\"/bin/text\")"),
        ("script", "Some(\"/bin/script\")"),
    ];
    for (command, expected) in table {
        let facts = tree.inspect_for_command(Path::new(command)).unwrap();
        assert_eq!(format!("{:?}", facts.command), expected, "{command}");
        assert_eq!(facts.init, None);
    }
    let error = tree.inspect_for_command(Path::new("foreign")).unwrap_err();
    assert!(matches!(error, TreeError::ForeignArchitecture { .. }), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = Tree::open(empty.path()).unwrap().inspect_for_command(Path::new("true")).unwrap_err();
    assert!(matches!(error, TreeError::Empty { .. }), "{error}");
}

#[test]
fn facts() {
    let native = native(None, &[]);
    let directory = tree(&[
        ("sbin/init", &native),
        ("bin -> usr/bin", b""),
        ("usr/lib/os-release", b"ID=debian\nVERSION_ID=\"13\"\n"),
        ("etc/os-release -> ../usr/lib/os-release", b""),
        ("etc/machine-id", b"uninitialized\n"),
    ]);
    let facts = Tree::open(directory.path()).unwrap().inspect(None).unwrap();
    assert_eq!(facts.os_release.as_ref().map(|os| (os.id(), os.version_id())), Some(("debian", Some("13"))));
    assert_eq!(facts.machine_id, MachineIdState::Uninitialized);
    assert_eq!(facts.architecture, Architecture::host());
    let missing: Vec<_> =
        facts.base.iter().filter(|(_, state)| !state.is_there()).map(|(name, _)| name).collect();
    assert_eq!((facts.base.merged_usr, missing), (true, vec!["dev", "proc", "sys", "run", "tmp", "var"]));
}

/// The test trees that `images/build-tree` has made, with what is in them.
#[test]
fn real_trees() {
    let cache = std::env::var_os("SPINNEY_TREES").unwrap_or("/var/cache/spinney/trees".into());
    let table = [
        ("debian-11", "debian", Init::Systemd, Some(247)),
        ("debian-12", "debian", Init::Systemd, Some(252)),
        ("debian-13", "debian", Init::Systemd, Some(257)),
        ("debian-forky", "debian", Init::Systemd, Some(262)),
        ("debian-13-sysvinit", "debian", Init::Sysvinit { rc: Rc::Scripts }, Some(3)),
        ("debian-13-openrc", "debian", Init::Sysvinit { rc: Rc::Openrc }, Some(3)),
        ("debian-13-runit", "debian", Init::Runit, None),
        ("debian-13-finit", "debian", Init::Finit, Some(4)),
        ("busybox", "busybox", Init::Busybox { rc: Rc::Scripts }, Some(1)),
    ];
    for (name, id, kind, version) in table {
        let path = Path::new(&cache).join(name);
        if !path.exists() {
            println!("skipped: there is no tree {}", path.display());
            continue;
        }
        let facts = Tree::open(&path).unwrap().inspect(None).unwrap();
        let init = facts.init.unwrap();
        let found = init.version.as_ref().map(|version| version.major);
        assert_eq!((init.kind, found), (kind, version), "{name}");
        assert_eq!(facts.os_release.unwrap().id(), id, "{name}");
        assert!(facts.base.iter().all(|(_, state)| state.is_there()), "{name}: {:?}", facts.base);
        let command = Tree::open(&path).unwrap().inspect_for_command(Path::new("true")).unwrap().command;
        assert!(command.is_some_and(|command| command.ends_with("true")), "{name}");
    }
    let openrc = Path::new(&cache).join("debian-13-openrc");
    if openrc.exists() {
        let facts = Tree::open(&openrc).unwrap().inspect(Some(Path::new("/sbin/openrc-init"))).unwrap();
        let init = facts.init.unwrap();
        assert_eq!((init.kind, init.to_string().as_str()), (Init::Openrc, "openrc-init 0.56"));
    }
}

#[test]
fn hints_are_next_steps() {
    let path = || PathBuf::from("/srv/tree");
    let program = || PathBuf::from("/sbin/init");
    let host = Architecture::X86_64;
    let table = [
        (TreeError::Empty { path: path() }, Some("fill it, for example: mmdebstrap")),
        (TreeError::NoInit { path: path(), looked_at: vec![] }, Some("install one in the tree")),
        (TreeError::InitMissing { path: path(), init: program() }, Some("--init= is a path inside")),
        (TreeError::NotExecutable { program: program() }, Some("in the tree: chmod +x /sbin/init")),
        (TreeError::UnknownFormat { program: program() }, Some("it may be cut off")),
        (
            TreeError::InterpreterMissing { program: program(), interpreter: "/lib64/ld.so".into() },
            Some("is the tree whole? Where /usr is merged"),
        ),
        (
            TreeError::ForeignArchitecture { program: program(), tree: Architecture::Aarch64, host },
            Some("register qemu-aarch64 with binfmt_misc"),
        ),
        (TreeError::ForeignArchitecture { program: program(), tree: Architecture::Other(7), host }, None),
        (
            TreeError::BaseNotADirectory { name: "run" },
            Some("make it a directory: the guest's own /run goes there"),
        ),
    ];
    for (error, expected) in table {
        let hint = error.hint();
        match (hint.as_deref(), expected) {
            (Some(hint), Some(expected)) => assert!(hint.starts_with(expected), "{error}: {hint}"),
            (found, expected) => assert_eq!(found, expected, "{error}"),
        }
        assert!(!error.to_string().contains('\n') && !error.to_string().ends_with('.'), "{error}");
    }
}
