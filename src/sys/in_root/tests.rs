//! `name: operation => outcome` in a hostile tree beside a host that must stay untouched.

use std::os::unix::fs::symlink;

use super::*;

/// A directory with `tree/` (opened as the root) and `host/`, which no operation may reach.
struct Yard {
    directory: tempfile::TempDir,
    root: Root,
}

fn yard() -> Yard {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    for made in ["host", "tree", "tree/etc", "tree/usr/lib/systemd", "tree/deep/er"] {
        std::fs::create_dir_all(at(made)).unwrap();
    }
    std::fs::write(at("host/secret"), "host").unwrap();
    std::fs::write(at("tree/etc/os-release"), "ID=debian\n").unwrap();
    std::fs::write(at("tree/deep/er/file"), "deep").unwrap();
    for (link, target) in [
        ("tree/absolute", "/etc"),
        ("tree/absolute-host", at("host").to_str().unwrap()),
        ("tree/dotdot", "../host"),
        ("tree/many-dotdot", "../../../../../../../../etc"),
        ("tree/deep/up", "../../../../etc"),
        ("tree/loop", "loop"),
        ("tree/ping", "pong"),
        ("tree/pong", "ping"),
        ("tree/dangling", "/nowhere/at/all"),
        ("tree/file-link", "/etc/os-release"),
        ("tree/etc/magic", "/proc/self/root"),
        ("tree/sbin", "usr/lib"),
    ] {
        symlink(target, at(link)).unwrap();
    }
    rustix::fs::mknodat(CWD, at("tree/fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    let root = Root::open(at("tree")).unwrap();
    Yard { directory, root }
}

fn outcome<T: fmt::Debug>(result: SysResult<T>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{} {}", error.call(), errno_name(error.errno())),
    }
}

fn errno_name(errno: Errno) -> String {
    let known = [
        (Errno::NOENT, "ENOENT"),
        (Errno::LOOP, "ELOOP"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::INVAL, "EINVAL"),
        (Errno::EXIST, "EEXIST"),
    ];
    known
        .iter()
        .find(|(known, _)| *known == errno)
        .map_or(format!("{errno:?}"), |(_, name)| (*name).to_owned())
}

fn assert_host_untouched(yard: &Yard) {
    let host = yard.directory.path().join("host");
    let names: Vec<_> = std::fs::read_dir(&host).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["secret"]);
    assert_eq!(std::fs::read(host.join("secret")).unwrap(), b"host");
}

#[test]
fn read_stays_in_the_root() {
    let yard = yard();
    let table = [
        ("plain: etc/os-release", "\"ID=debian\\n\""),
        ("leading slash: /etc/os-release", "\"ID=debian\\n\""),
        ("many slashes: ///etc//os-release", "\"ID=debian\\n\""),
        ("absolute link: absolute/os-release", "\"ID=debian\\n\""),
        ("link to a file: file-link", "\"ID=debian\\n\""),
        ("dot dot is the root: ../../etc/os-release", "\"ID=debian\\n\""),
        ("link of dot dots: many-dotdot/os-release", "\"ID=debian\\n\""),
        ("link of dot dots below: deep/up/os-release", "\"ID=debian\\n\""),
        ("limit: deep/er/file", "\"deep\""),
        ("to the host by dot dot: dotdot/secret", "openat2 ENOENT"),
        ("to the host by its path: absolute-host/secret", "openat2 ENOENT"),
        ("loop: loop", "openat2 ELOOP"),
        ("loop of two: ping/x", "openat2 ELOOP"),
        ("dangling: dangling", "openat2 ENOENT"),
        ("directory: etc", "openat2 EISDIR"),
        ("the root: /", "openat2 EISDIR"),
        ("fifo: fifo", "openat2 EINVAL"),
        ("below a file: etc/os-release/x", "openat2 ENOTDIR"),
    ];
    for (row, expected) in table {
        let (name, path) = row.split_once(": ").unwrap();
        let read = yard.root.read(path, 64).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(outcome(read), expected, "{name}");
    }
    assert_eq!(outcome(yard.root.read("deep/er/file", 2)), "[100, 101]");
}

#[test]
fn read_grows_to_the_limit() {
    let yard = yard();
    let contents: Vec<u8> = (0..100_000_u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
    std::fs::write(yard.directory.path().join("tree/big"), &contents).unwrap();
    for limit in [0, 1, 4095, 4096, 4097, 70_000, 100_000, 200_000] {
        let expected = &contents[..limit.min(contents.len())];
        assert!(yard.root.read("big", limit).unwrap() == expected, "limit {limit}");
    }
}

#[test]
fn magic_links_are_refused() {
    // A proc file system inside the root: the host's own root seen as a tree.
    let root = Root::open("/").unwrap();
    for path in ["proc/self/root/etc", "proc/self/cwd", "proc/self/exe"] {
        assert_eq!(outcome(root.open_path(path)), "openat2 ELOOP", "{path}");
    }
    let yard = yard();
    assert_eq!(outcome(yard.root.open_path("etc/magic/etc")), "openat2 ENOENT");
}

#[test]
fn metadata_follows_or_not() {
    let Yard { root, directory: _directory } = yard();
    let table = [
        ("dir: etc", "Directory", "Directory"),
        ("absolute link: absolute", "Directory", "Symlink"),
        ("link below: sbin/systemd", "Directory", "Directory"),
        ("file link: file-link", "RegularFile", "Symlink"),
        ("loop: loop", "openat2 ELOOP", "Symlink"),
        ("dangling: dangling", "openat2 ENOENT", "Symlink"),
        ("dot dot: dotdot", "openat2 ENOENT", "Symlink"),
        ("link below dir: deep/up", "Directory", "Symlink"),
        ("missing: nothing", "openat2 ENOENT", "fstatat ENOENT"),
        ("missing below: etc/nothing", "openat2 ENOENT", "openat2 ENOENT"),
        ("fifo: fifo", "Fifo", "Fifo"),
        ("parent of the root: ..", "Directory", "Directory"),
    ];
    for (row, followed, itself) in table {
        let (name, path) = row.split_once(": ").unwrap();
        let kind = |metadata: SysResult<Metadata>| match metadata {
            Ok(metadata) => format!("{:?}", metadata.kind()),
            error => outcome(error),
        };
        assert_eq!(kind(root.metadata(path)), followed, "{name}");
        assert_eq!(kind(root.symlink_metadata(path)), itself, "{name}, not followed");
    }
}

#[test]
fn links_and_presence() {
    let Yard { root, directory: _directory } = yard();
    for (path, target) in [("absolute", "\"/etc\""), ("deep/up", "\"../../../../etc\""), ("loop", "\"loop\"")]
    {
        assert_eq!(outcome(root.read_link(path)), target, "{path}");
    }
    assert_eq!(outcome(root.read_link("etc")), "readlinkat EINVAL");
    let presence =
        [("etc", "true"), ("dangling", "false"), ("etc/os-release/x", "false"), ("loop", "openat2 ELOOP")];
    for (path, there) in presence {
        assert_eq!(outcome(root.exists(path)), there, "{path}");
    }
    assert_eq!(outcome(root.open_path_no_symlinks("absolute/os-release").map(drop)), "openat2 ELOOP");
    assert_eq!(outcome(root.open_path_no_symlinks("etc/os-release").map(drop)), "()");
}

#[test]
fn mkdir_all_makes_only_inside() {
    let yard = yard();
    let mode = Mode::from_raw_mode(0o755);
    let table = [
        ("one: srv", "()", "srv"),
        ("deep: a/b/c", "()", "a/b/c"),
        ("there already: usr/lib/systemd", "()", "usr/lib/systemd"),
        ("by an absolute link: absolute/new/er", "()", "etc/new/er"),
        ("by dot dots: many-dotdot/x", "()", "etc/x"),
        ("dot dot in the path: ../../y/../z", "()", "z"),
        ("a link to the host's path: dotdot/made", "mkdirat EEXIST", ""),
        ("another: absolute-host/made", "mkdirat EEXIST", ""),
        ("dangling: dangling/made", "mkdirat EEXIST", ""),
        ("loop: loop/made", "openat2 ELOOP", ""),
        ("below a file: etc/os-release/made", "openat2 ENOTDIR", ""),
        ("a file: etc/os-release", "openat2 ENOTDIR", ""),
    ];
    for (row, expected, made) in table {
        let (name, path) = row.split_once(": ").unwrap();
        assert_eq!(outcome(yard.root.mkdir_all(path, mode).map(drop)), expected, "{name}");
        assert!(yard.directory.path().join("tree").join(made).is_dir(), "{name}");
    }
    assert_host_untouched(&yard);
}

#[test]
fn files_are_made_only_inside() {
    let yard = yard();
    let root = &yard.root;
    let mode = Mode::from_raw_mode(0o644);
    let read = |path: &str| std::fs::read_to_string(yard.directory.path().join("tree").join(path));

    assert_eq!(outcome(root.write("absolute/resolv.conf", b"one", mode)), "()");
    assert_eq!(outcome(root.write("etc/resolv.conf", b"two", mode)), "()");
    assert_eq!(read("etc/resolv.conf").unwrap(), "two");

    symlink(yard.directory.path().join("host/secret"), yard.directory.path().join("tree/etc/localtime"))
        .unwrap();
    assert_eq!(outcome(root.write("etc/localtime", b"mine", mode)), "()");
    assert_eq!(read("etc/localtime").unwrap(), "mine");

    let table = [
        ("over a directory: etc", "renameat EISDIR"),
        ("by a link to the host: dotdot/secret", "openat2 ENOENT"),
        ("the root: /", "openat2 EINVAL"),
        ("a dot dot: etc/..", "openat2 EINVAL"),
    ];
    for (row, expected) in table {
        let (name, path) = row.split_once(": ").unwrap();
        assert_eq!(outcome(root.write(path, b"x", mode)), expected, "{name}");
    }
    assert!(read(".#etc").is_err(), "a temporary stayed behind");

    assert_eq!(outcome(root.create_file("dangling", mode).map(drop)), "openat EEXIST");
    assert_eq!(outcome(root.create_file("absolute/fresh", mode).map(drop)), "()");
    assert_eq!(read("etc/fresh").unwrap(), "");
    assert_eq!(outcome(root.symlink("/run", "etc/run")), "()");
    assert_eq!(outcome(root.symlink("/run", "etc/run")), "symlinkat EEXIST");
    assert_eq!(outcome(root.unlink("etc/run")), "()");
    assert_eq!(outcome(root.unlink("absolute-host/secret")), "openat2 ENOENT");
    assert_eq!(root.rmdir("deep/er").unwrap_err().errno(), Errno::NOTEMPTY);
    assert_host_untouched(&yard);
}

#[test]
fn ensure_file_makes_a_mount_target() {
    let yard = yard();
    let table = [
        ("there: etc/os-release", "()"),
        ("a link to one: file-link", "()"),
        ("new, with parents: run/host/os-release", "()"),
        ("fifo: fifo", "()"),
        ("directory: etc", "openat2 EISDIR"),
        ("dangling: dangling", "openat EEXIST"),
        ("by the host: dotdot/new", "mkdirat EEXIST"),
    ];
    for (row, expected) in table {
        let (name, path) = row.split_once(": ").unwrap();
        assert_eq!(outcome(yard.root.ensure_file(path).map(drop)), expected, "{name}");
    }
    assert_host_untouched(&yard);
}

#[test]
fn a_subroot_is_a_root() {
    let yard = yard();
    let etc = yard.root.subroot("absolute").unwrap();
    assert_eq!(outcome(etc.read("../../os-release", 64).map(|b| b.len())), "10");
    assert_eq!(outcome(etc.try_clone().unwrap().exists("deep")), "false");
}

#[test]
fn errors_read_like_strace() {
    let yard = yard();
    let error = yard.root.open_path("/etc/nothing").unwrap_err();
    let (number, tree) = (yard.root.as_fd().as_raw_fd(), yard.directory.path().join("tree"));
    assert_eq!(
        error.to_string(),
        format!(
            "openat2({number}<{}>, \"etc/nothing\", RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS)",
            tree.display()
        )
    );
}
