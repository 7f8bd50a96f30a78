//! The options of `spinney run` that mount, or decide about files of the guest.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::command::run;
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::payload::{own_busybox, says, script};

pub fn tests() -> Vec<Test> {
    let single: [Row; 20] = [
        ("bind", bind),
        ("bind_to_another_place", bind_to_another_place),
        ("bind_read_only", bind_read_only),
        ("bind_of_a_file", bind_of_a_file),
        ("bind_temporary", bind_temporary),
        ("bind_of_the_tree", bind_of_the_tree),
        ("bind_submounts", bind_submounts),
        ("idmap", idmap),
        ("rootidmap", rootidmap),
        ("owneridmap", owneridmap),
        ("tmpfs", tmpfs),
        ("overlay", overlay),
        ("overlay_temporary", overlay_temporary),
        ("overlay_read_only", overlay_read_only),
        ("inaccessible", inaccessible),
        ("volatile", volatile),
        ("pivot_root", pivot_root),
        ("resolv_conf", resolv_conf),
        ("timezone", timezone),
        ("link_journal", link_journal),
    ];
    single.map(|(name, test)| Test::new(format!("options::mounts::{name}"), test)).into()
}

/// A directory of the host with a file in it.
fn source(context: &Context) -> PathBuf {
    let directory = context.subdirectory("source");
    fs::write(directory.join("file"), "of the host\n").unwrap();
    directory
}

fn option(name: &str, source: &Path, rest: &str) -> String {
    format!("--{name}={}{rest}", source.display())
}

fn bind(context: &Context) -> TestResult {
    let source = source(context);
    fs::set_permissions(source.join("file"), fs::Permissions::from_mode(0o666)).unwrap();
    let tree = context.tree("busybox")?;
    let path = source.display();
    // Its ids are not the machine's: root of the host is nobody there.
    let text =
        format!("cat {path}/file; stat -c %u {path}/file; echo more >> {path}/file; touch {path}/x 2>&1");
    let ended = script(context, &tree, &[&option("bind", &source, "")], &text);
    assert_eq!(ended.status, 1, "{ended:#?}");
    assert_eq!(ended.stdout, format!("of the host\n65534\ntouch: {path}/x: Permission denied\n"));
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "of the host\nmore\n");
    Ok(())
}

fn bind_to_another_place(context: &Context) -> TestResult {
    let option = option("bind", &source(context), ":/somewhere/new");
    assert_eq!(
        says(context, &context.tree("busybox")?, &[&option], "cat /somewhere/new/file")?,
        "of the host"
    );
    Ok(())
}

fn bind_read_only(context: &Context) -> TestResult {
    let source = source(context);
    let option = option("bind-ro", &source, ":/mnt:idmap");
    let text = "cat /mnt/file; (echo x > /mnt/file) 2>&1; touch /mnt/x 2>&1; mount -o remount,bind,rw /mnt 2>&1; true";
    let said = says(context, &context.tree("busybox")?, &[&option], text)?;
    assert!(said.starts_with("of the host\n"), "{said}");
    assert_eq!(said.matches("Read-only file system").count(), 2, "{said}");
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "of the host\n");
    assert!(!source.join("x").exists());
    Ok(())
}

fn bind_of_a_file(context: &Context) -> TestResult {
    let option = option("bind-ro", &source(context).join("file"), ":/etc/passwd");
    assert_eq!(says(context, &context.tree("busybox")?, &[&option], "cat /etc/passwd")?, "of the host");
    Ok(())
}

fn bind_temporary(context: &Context) -> TestResult {
    let text = "ls -A /mnt; echo x > /mnt/x; cat /mnt/x; stat -c %u /mnt";
    assert_eq!(says(context, &context.tree("busybox")?, &["--bind=:/mnt"], text)?, "x\n0");
    Ok(())
}

fn bind_of_the_tree(context: &Context) -> TestResult {
    let text = "head -n1 /mnt/passwd | cut -d: -f1";
    assert_eq!(says(context, &context.tree("busybox")?, &["--bind=+/etc:/mnt"], text)?, "root");
    Ok(())
}

/// A tmpfs that goes with the test.
struct Mounted(PathBuf);

impl Mounted {
    fn on(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        mount("tmpfs", &path, "tmpfs", MountFlags::empty(), None).unwrap();
        Self(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

fn bind_submounts(context: &Context) -> TestResult {
    let source = source(context);
    let submount = Mounted::on(source.join("submount"));
    fs::write(submount.0.join("inner"), "").unwrap();
    let tree = context.tree("busybox")?;
    for (rest, expected) in [(":/mnt", "inner"), (":/mnt:rbind", "inner"), (":/mnt:norbind", "")] {
        let option = option("bind", &source, rest);
        assert_eq!(says(context, &tree, &[&option], "ls /mnt/submount")?, expected, "{rest}");
    }
    Ok(())
}

/// What a bind with `rest` shows of a directory of `owner`, and who owns what the guest's root makes in it.
fn mapped(context: &Context, rest: &str, owner: u32, tree: &Path) -> Result<(String, u32), Stop> {
    let source = context.subdirectory(&format!("of-{owner}"));
    chown(&source, Some(owner), Some(owner)).unwrap();
    let option = option("bind", &source, rest);
    let said = says(context, tree, &[&option], "stat -c %u:%g /mnt; touch /mnt/made")?;
    Ok((said, fs::metadata(source.join("made")).unwrap().uid()))
}

fn idmap(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    assert_eq!(mapped(context, ":/mnt:idmap", 0, &tree)?, ("0:0".to_owned(), 0));
    assert_eq!(mapped(context, ":/mnt:idmap", 1234, &tree)?, ("1234:1234".to_owned(), 0));
    Ok(())
}

fn rootidmap(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    assert_eq!(mapped(context, ":/mnt:rootidmap", 1234, &tree)?, ("0:0".to_owned(), 1234));
    Ok(())
}

fn owneridmap(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    fs::create_dir(tree.join("mnt")).unwrap();
    chown(tree.join("mnt"), Some(77), Some(77)).unwrap();
    let source = context.subdirectory("source");
    chown(&source, Some(1234), Some(1234)).unwrap();
    let option = option("bind", &source, ":/mnt:owneridmap");
    let options = [&*option, "-u", "77"];
    assert_eq!(says(context, &tree, &options, "stat -c %u /mnt; touch /mnt/made")?, "77");
    assert_eq!(fs::metadata(source.join("made")).unwrap().uid(), 1234);
    Ok(())
}

fn tmpfs(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let text = "grep ' /mnt ' /proc/mounts | cut -d' ' -f3; stat -c '%a %u' /mnt; echo x > /mnt/x";
    assert_eq!(says(context, &tree, &["--tmpfs=/mnt"], text)?, "tmpfs\n755 0");
    assert_eq!(says(context, &tree, &["--tmpfs=/mnt:size=1m,mode=0700"], text)?, "tmpfs\n700 0");
    let full = "dd if=/dev/zero of=/mnt/x bs=1024 count=2000 2>&1";
    assert!(script(context, &tree, &["--tmpfs=/mnt:size=1m"], full).stdout.contains("No space left"));
    Ok(())
}

/// `LOWER:LOWER:UPPER`
fn layers(context: &Context) -> (PathBuf, PathBuf, PathBuf) {
    let [below, above, upper] = ["below", "above", "upper"].map(|name| context.subdirectory(name));
    for (directory, files) in [(&below, ["a", "b"]), (&above, ["b", "c"])] {
        for file in files {
            fs::write(directory.join(file), directory.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
    }
    (below, above, upper)
}

fn overlay(context: &Context) -> TestResult {
    let (below, above, upper) = layers(context);
    let option = format!("--overlay={}:{}:{}:/mnt", below.display(), above.display(), upper.display());
    let text = "for f in a b c; do cat /mnt/$f; echo; done; echo new > /mnt/new; rm /mnt/a";
    let users = "--private-users=no";
    let said = says(context, &context.tree("busybox")?, &[users, &option], text)?;
    assert_eq!(said, "below\nabove\nabove");
    assert_eq!(fs::read_to_string(upper.join("new")).unwrap(), "new\n");
    assert!(below.join("a").exists() && !above.join("new").exists());
    Ok(())
}

fn overlay_temporary(context: &Context) -> TestResult {
    let (below, ..) = layers(context);
    let tree = context.tree("busybox")?;
    for users in ["--private-users=no", "--private-users=pick"] {
        let option = format!("--overlay={}::/mnt", below.display());
        let text = "cat /mnt/a; rm /mnt/a && echo x > /mnt/b; ls /mnt";
        assert_eq!(says(context, &tree, &[users, &option], text)?, "belowb", "{users}");
    }
    assert_eq!(fs::read_to_string(below.join("b")).unwrap(), "below");
    // Of the tree itself, as in systemd-nspawn(1).
    let text = "head -c4 /etc/passwd; echo x > /etc/passwd && cat /etc/passwd";
    let own = own_busybox(context)?;
    for users in ["--private-users=no", "--private-users=pick"] {
        for root in ["--volatile=no", "--volatile=state"] {
            let mut command = context.spinney();
            command
                .args(["run", "-q", "-M", &context.machine_name(), users, root, "--overlay=+/etc::/etc"])
                .arg(&own);
            assert_eq!(run(command.args(["--", "/bin/sh", "-c", text])).ok()?, "rootx\n", "{users} {root}");
        }
        assert_eq!(says(context, &own, &[users, "--overlay=+/etc::/etc"], text)?, "rootx", "{users}");
    }
    assert!(fs::read_to_string(own.join("etc/passwd")).unwrap().starts_with("root"));
    Ok(())
}

fn overlay_read_only(context: &Context) -> TestResult {
    let (below, above, _) = layers(context);
    let option = format!("--overlay-ro={}:{}:/mnt", below.display(), above.display());
    let text = "for f in a b c; do cat /mnt/$f; echo; done; touch /mnt/new 2>&1";
    let ended = script(context, &context.tree("busybox")?, &[&option], text);
    assert_eq!(ended.stdout, "below\nabove\nabove\ntouch: /mnt/new: Read-only file system\n", "{ended:#?}");
    Ok(())
}

fn inaccessible(context: &Context) -> TestResult {
    let tree = context.tree("busybox")?;
    let options = ["--inaccessible=/etc/passwd", "--inaccessible=/etc/init.d", "--inaccessible=/not/there"];
    let text = "stat -c %a /etc/passwd /etc/init.d; wc -c < /etc/passwd; ls /etc/init.d; (echo x > /etc/passwd) 2>&1";
    let ended = script(context, &tree, &options, text);
    assert!(ended.stdout.starts_with("0\n0\n0\n"), "{ended:#?}");
    assert!(ended.stdout.contains("Read-only") || ended.stdout.contains("denied"), "{ended:#?}");
    Ok(())
}

fn volatile(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    let kind = |path: &str| format!("grep ' {path} ' /proc/mounts | tail -n1 | cut -d' ' -f3;");
    let writable = |path: &str| format!("(touch {path}/x) 2>/dev/null && echo {path} written;");
    let rows = [
        (
            "yes",
            [kind("/"), writable("/etc"), writable("/usr"), writable("/var")].concat(),
            "tmpfs\n/etc written\n/var written",
        ),
        (
            "state",
            [kind("/var"), writable("/etc"), writable("/usr"), writable("/var")].concat(),
            "tmpfs\n/var written",
        ),
        (
            "overlay",
            [kind("/"), writable("/etc"), writable("/usr"), writable("/var")].concat(),
            "overlay\n/etc written\n/usr written\n/var written",
        ),
    ];
    for users in ["pick", "no"] {
        for (mode, text, expected) in &rows {
            let text = format!("mkdir -p /etc /var; {text} true");
            let mut command = context.spinney();
            let name = context.machine_name();
            command.args([
                "run",
                "-q",
                "-M",
                &name,
                &format!("--volatile={mode}"),
                &format!("--private-users={users}"),
            ]);
            command.arg(&tree).args(["--", "/bin/sh", "-c", &text]);
            assert_eq!(run(&mut command).ok()?.trim_end(), *expected, "{mode} {users}");
        }
    }
    for path in ["etc/x", "usr/x", "var/x"] {
        assert!(!tree.join(path).exists(), "{path}");
    }
    Ok(())
}

fn pivot_root(context: &Context) -> TestResult {
    let tree = context.subdirectory("outer");
    let inner = own_busybox(context)?;
    fs::rename(&inner, tree.join("inner")).unwrap();
    fs::write(tree.join("inner/marker"), "inside\n").unwrap();
    fs::write(tree.join("outer-file"), "outside\n").unwrap();
    fs::create_dir(tree.join("inner/old")).unwrap();
    assert_eq!(
        says(context, &tree, &["--pivot-root=/inner"], "cat /marker; ls -d /outer-file 2>&1 || true")?,
        "inside\nls: /outer-file: No such file or directory"
    );
    assert_eq!(
        says(context, &tree, &["--pivot-root=/inner:/old"], "cat /marker /old/outer-file")?,
        "inside\noutside"
    );
    Ok(())
}

fn resolv_conf(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    let file = tree.join("etc/resolv.conf");
    fs::write(&file, "of the tree\n").unwrap();
    let Ok(ours) = fs::read_to_string("/etc/resolv.conf") else {
        return Err(crate::harness::Stop::Skip("this host has no /etc/resolv.conf to copy".to_owned()));
    };
    let in_it = |tree: &Path, mode: &str, network: &str| {
        let options = [&*format!("--resolv-conf={mode}"), &*format!("--private-network={network}")];
        says(context, tree, &options, "cat /etc/resolv.conf 2>/dev/null || echo none")
    };
    let ours = ours.trim_end();
    let rows = [
        ("off", "no", "of the tree"),
        ("auto", "yes", "of the tree"),
        ("auto", "no", ours),
        ("copy-host", "yes", ours),
        ("replace-host", "yes", ours),
        ("bind-host", "yes", ours),
        ("delete", "yes", "none"),
    ];
    for (mode, network, expected) in rows {
        assert_eq!(in_it(&tree, mode, network)?, expected, "{mode} {network}");
    }
    // A symlink is the tree's own arrangement: a copy leaves it, a replacement does not.
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("hosts", &file).unwrap();
    let hosts = fs::read_to_string(tree.join("etc/hosts")).unwrap();
    assert_eq!(in_it(&tree, "copy-host", "yes")?, hosts.trim_end());
    assert_eq!(in_it(&tree, "replace-host", "yes")?, ours);
    Ok(())
}

fn timezone(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    fs::write(tree.join("etc/localtime"), "of the tree\n").unwrap();
    let host = fs::read_link("/etc/localtime")
        .map_err(|_| Stop::Skip("/etc/localtime is no symlink here".into()))?;
    let zone = host.to_string_lossy().rsplit_once("zoneinfo/").unwrap().1.to_owned();
    let in_it = |mode: &str| {
        let text = "readlink /etc/localtime || head -c11 /etc/localtime 2>/dev/null | grep -a -o 'of the tree\\|TZif' || echo none";
        says(context, &tree, &[&format!("--timezone={mode}")], text)
    };
    let link = format!("../usr/share/zoneinfo/{zone}");
    let rows = [
        ("off", "of the tree"),
        ("auto", "of the tree"),
        ("copy", "TZif"),
        ("bind", "TZif"),
        ("symlink", &link),
        ("delete", "none"),
    ];
    for (mode, expected) in rows {
        assert_eq!(in_it(mode)?, expected, "{mode}");
    }
    let directory = tree.join("usr/share/zoneinfo").join(&zone);
    fs::create_dir_all(directory.parent().unwrap()).unwrap();
    fs::write(&directory, "TZif").unwrap();
    assert_eq!(in_it("auto")?, link);
    Ok(())
}

fn link_journal(context: &Context) -> TestResult {
    let tree = own_busybox(context)?;
    let id = "00112233445566778899aabbccddeeff";
    fs::write(tree.join("etc/machine-id"), format!("{id}\n")).unwrap();
    let ours = PathBuf::from("/var/log/journal").join(id);
    if ours.exists() {
        return Err(Stop::Skip(format!("{} exists", ours.display())));
    }
    let with = |mode: &str, text: &str| {
        let mut command = context.spinney();
        command
            .args(["run", "-q", "-M", &context.machine_name(), &format!("--link-journal={mode}")])
            .arg(&tree);
        run(command.args(["--", "/bin/sh", "-c", text])).ok()
    };
    let had = Path::new("/var/log/journal").exists();
    if !had {
        // Without a persistent journal of ours there is nothing to link to, and that is no error where it need not be.
        for mode in ["no", "auto", "try-guest", "try-host"] {
            assert_eq!(with(mode, "echo ran")?, "ran\n", "{mode}");
        }
        fs::create_dir_all("/var/log/journal").unwrap();
    }
    let result = (|| {
        with("host", &format!("echo x > /var/log/journal/{id}/file"))?;
        let written = fs::read_to_string(ours.join("file"));
        let _ = fs::remove_dir_all(&ours);
        assert_eq!(written.map_err(|error| error.to_string())?, "x\n");
        with("guest", &format!("mkdir -p /var/log/journal/{id}; echo y > /var/log/journal/{id}/file"))?;
        assert!(!ours.is_symlink(), "the link stays");
        Ok(())
    })();
    if !had {
        let _ = fs::remove_dir("/var/log/journal");
    }
    result
}
