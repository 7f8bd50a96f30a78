//! Files in and out of machines: all that is to be kept, where things go, and what is refused.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid};

use crate::command::{Ended, run, run_with_input};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::machine::Machine;
use crate::tree_snapshot::{differences, snapshot};

const USERS: [&str; 2] = ["--private-users=pick", "--private-users=no"];

/// A name and a test for each kind of user namespace, whose option it gets.
pub type UsersRow = (&'static str, fn(&Context, &str) -> TestResult);

pub fn tests() -> Vec<Test> {
    let both = USERS.into_iter().flat_map(|users| {
        let rows: [UsersRow; 3] = [
            ("all_kinds_there_and_back", all_kinds_there_and_back),
            ("tar_streams_of_gnu_tar", tar_streams_of_gnu_tar),
            ("privileges_stay_in_the_machine", privileges_stay_in_the_machine),
        ];
        rows.map(|(name, test)| {
            Test::new(format!("copy::{name}_{users}"), move |context| test(context, users))
        })
    });
    let single: [Row; 3] =
        [("destinations", destinations), ("owners", owners), ("several_sources", several_sources)];
    both.chain(single.map(|(name, test)| Test::new(format!("copy::{name}"), test))).collect()
}

pub fn busybox(context: &Context, options: &[&str]) -> Result<Machine, String> {
    let tree = context.tree("busybox").map_err(|_| "no busybox tree".to_owned())?;
    let mut machine = Machine::start(context, &tree, options);
    machine.ready()?;
    Ok(machine)
}

/// `spinney VERB MACHINE PATHS...`
pub fn copy(context: &Context, verb: &str, machine: &Machine, arguments: &[&str]) -> Ended {
    run(context.spinney().arg(verb).arg(&machine.name).args(arguments))
}

/// Skips a test where tar(1) is another's.
pub fn need_gnu_tar() -> TestResult {
    match Command::new("tar").arg("--version").output() {
        Ok(output) if output.stdout.starts_with(b"tar (GNU tar)") => Ok(()),
        _ => Err(Stop::Skip("needs GNU tar".to_owned())),
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub fn own(path: &Path, uid: u32, gid: u32) {
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(CWD, path, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub fn set_time(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    spinney::sys::attributes::set(File::open(path).unwrap(), name.as_bytes(), value).unwrap();
}

/// A tree with all that can be copied.
pub fn everything(tree: &Path) {
    fs::create_dir_all(tree.join("deep/er/est")).unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    fs::write(tree.join("file"), "contents\n").unwrap();
    fs::write(tree.join("large"), vec![7; 3_000_001]).unwrap();
    for (mode, name) in
        [(0o000, "none"), (0o4755, "setuid"), (0o2750, "setgid"), (0o1777, "sticky"), (0o640, "group")]
    {
        fs::write(tree.join(name), name).unwrap();
        own(&tree.join(name), 12, 34);
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(tree.join("shared")).unwrap();
    own(&tree.join("shared"), 65533, 65535);
    fs::set_permissions(tree.join("shared"), fs::Permissions::from_mode(0o3770)).unwrap();
    fs::create_dir(tree.join("sealed")).unwrap();
    fs::write(tree.join("sealed/inside"), "x").unwrap();
    fs::set_permissions(tree.join("sealed"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::write(tree.join("new\nline \"quoted\" \\"), "x").unwrap();
    fs::write(tree.join(std::ffi::OsStr::from_bytes(b"not \xff\xfe UTF-8")), "x").unwrap();
    fs::write(tree.join("n".repeat(255)), "long").unwrap();
    symlink("file", tree.join("link")).unwrap();
    symlink("/nowhere/at/all", tree.join("dangling")).unwrap();
    symlink("t".repeat(4000), tree.join("long-link")).unwrap();
    own(&tree.join("link"), 1000, 1001);
    fs::hard_link(tree.join("file"), tree.join("deep/er/hard")).unwrap();
    fs::hard_link(tree.join("file"), tree.join("deep/hard")).unwrap();
    fs::hard_link(tree.join("link"), tree.join("deep/hard-link-of-link")).unwrap();
    rustix::fs::mknodat(CWD, tree.join("fifo"), FileType::Fifo, Mode::empty(), 0).unwrap();
    fs::set_permissions(tree.join("fifo"), fs::Permissions::from_mode(0o620)).unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    for at in [1 << 20, 5 << 20, 5 << 24] {
        sparse.write_all_at(&[1; 70_000], at).unwrap();
    }
    sparse.set_len((5 << 24) + 9_999_999).unwrap();
    File::create(tree.join("all-hole")).unwrap().set_len(123_456_789).unwrap();
    set_attribute(&tree.join("file"), "user.one", b"\0binary\xff=\n");
    set_attribute(&tree.join("file"), "user.two", &[b'v'; 2000]);
    set_attribute(&tree.join("deep"), "user.of-directory", b"");
    // Version 2, CAP_NET_BIND_SERVICE permitted and effective (linux/capability.h).
    let capability = [[0x01, 0, 0, 0x02], [0, 4, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
    set_attribute(&tree.join("large"), "security.capability", &capability);
    let acl = spinney::archive::acl::from_text(
        b"user::rw-,user:77:rwx,group::r--,group:65535:-w-,mask::rwx,other::---",
    );
    set_attribute(&tree.join("group"), "system.posix_acl_access", &acl.clone().unwrap());
    set_attribute(&tree.join("deep"), "system.posix_acl_default", &acl.unwrap());
    set_time(&tree.join("file"), 981_173_106, 789_012_345);
    set_time(&tree.join("link"), 1, 1);
    set_time(&tree.join("fifo"), -1, 999_999_999);
    set_time(&tree.join("sparse"), 5_000_000_000, 0);
    set_time(&tree.join("deep/er"), 86_400, 5);
    set_time(&tree.join("sealed"), 86_401, 6);
    set_time(tree, 86_402, 7);
}

fn all_kinds_there_and_back(context: &Context, users: &str) -> TestResult {
    let tree = context.subdirectory("tree");
    everything(&tree);
    let machine = busybox(context, &[users])?;
    let there = copy(context, "copy-to", &machine, &[text(&tree), "/root/copy"]);
    assert_eq!(there.status, 0, "{there:?}");
    // The guest sees its own numbers.
    let seen =
        machine.says("cd /root/copy; stat -c '%n %a %u:%g %F' setuid shared link fifo; readlink dangling")?;
    assert_eq!(
        seen,
        "setuid 4755 12:34 regular file\nshared 3770 65533:65535 directory\n\
         link 777 1000:1001 symbolic link\nfifo 620 0:0 fifo\n/nowhere/at/all"
    );
    let back = context.directory.join("back");
    let ended = copy(context, "copy-from", &machine, &["--keep-setid", "--json", "/root/copy", text(&back)]);
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""), "{ended:?}");
    let differences = differences(&snapshot(&tree), &snapshot(&back));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let report: serde_json::Value = serde_json::from_str(&ended.stdout)?;
    // Holes are no bytes that were copied.
    assert!((3_000_000..4_000_000).contains(&report["bytes"].as_u64().unwrap()), "{report}");
    assert_eq!((&report["directories"], &report["notes"]), (&6.into(), &serde_json::json!([])), "{report}");
    machine.stop()?;
    Ok(())
}

/// The tar(1) of the host on the other side of the stream, in each of its formats, both ways.
fn tar_streams_of_gnu_tar(context: &Context, users: &str) -> TestResult {
    need_gnu_tar()?;
    let tree = context.subdirectory("tree");
    everything(&tree);
    let expected = snapshot(&tree);
    let machine = busybox(context, &[users])?;
    // What the older format has no room for: nanoseconds, attributes.
    let formats: [(&str, &[&str], bool); 3] = [
        ("pax", &["--format=pax", "--xattrs", "--xattrs-include=*", "--acls"], true),
        ("gnu", &["--format=gnu"], false),
        (
            "pax-0.1",
            &["--format=pax", "--sparse-version=0.1", "--xattrs", "--xattrs-include=*", "--acls"],
            true,
        ),
    ];
    for (name, options, exact) in formats {
        let file = context.directory.join(format!("{name}.tar"));
        let mut tar = Command::new("tar");
        run(tar
            .args(["--sparse", "--numeric-owner"])
            .args(options)
            .arg("-C")
            .arg(&tree)
            .arg("-cf")
            .arg(&file)
            .arg("."))
        .ok()?;
        machine.says(&format!("mkdir /root/{name}"))?;
        let mut command = context.spinney();
        command.args(["copy-to", &machine.name, "-", &format!("/root/{name}")]);
        let ended = run(command.stdin(File::open(&file).unwrap()));
        assert_eq!(ended.status, 0, "{name}: {ended:?}");

        // Out again as a stream, which tar(1) unpacks.
        let (stream, back) =
            (context.directory.join("out.tar"), context.subdirectory(&format!("back-{name}")));
        let mut command = context.spinney();
        command.args(["copy-from", "--keep-setid", &machine.name, &format!("/root/{name}/."), "-"]);
        command.stdout(File::create(&stream).unwrap()).stderr(Stdio::piped());
        let output = command.output()?;
        assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let mut tar = Command::new("tar");
        tar.args([
            "--xattrs",
            "--xattrs-include=*",
            "--acls",
            "--numeric-owner",
            "-p",
            "--same-owner",
            "-xf",
        ]);
        run(tar.arg(&stream).arg("-C").arg(&back)).ok()?;
        let mut found = snapshot(&back);
        // The directory itself was there before, and stays as it was.
        let own = PathBuf::new();
        found.insert(own.clone(), expected[&own].clone());
        let (mut expected, mut found) = (expected.clone(), found);
        if !exact {
            for line in expected.values_mut().chain(found.values_mut()) {
                *line = without_fractions_and_attributes(line);
            }
        }
        let differences = differences(&expected, &found);
        assert!(differences.is_empty(), "{name}: {}", differences.join("\n"));
        fs::remove_file(file).unwrap();
    }
    machine.stop()?;
    Ok(())
}

fn without_fractions_and_attributes(line: &str) -> String {
    let words = line.split(' ').enumerate();
    // The third word is the time. A mode with an ACL has its mask in place of the group's bits: both have it.
    let words = words.map(|(index, word)| match (index, word.split_once('.')) {
        (2, Some((seconds, _))) => seconds.to_owned(),
        _ => word.to_owned(),
    });
    let line: Vec<String> = words.collect();
    let line = line.join(" ");
    let start =
        ["user.", "system.", "security."].iter().filter_map(|prefix| line.find(&format!(" {prefix}"))).min();
    let links = line.find(" links ").map_or("", |at| &line[at..]);
    start.map_or(line.clone(), |start| format!("{}{links}", &line[..start]))
}

/// A guest's root may not make a program that is root on the host.
fn privileges_stay_in_the_machine(context: &Context, users: &str) -> TestResult {
    need_gnu_tar()?;
    let machine = busybox(context, &[users])?;
    machine.says(
        "mkdir /root/p; cd /root/p; cp /bin/busybox su; chmod 6755 su; ln su hard; mkdir d; chmod 2775 d",
    )?;
    let capability = [[0x01, 0, 0, 0x02], [0, 4, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
    let file = context.directory.join("with-capability");
    fs::write(&file, "").unwrap();
    set_attribute(&file, "security.capability", &capability);
    copy(context, "copy-to", &machine, &[text(&file), "/root/p/"]).ok()?;
    let names = ["su", "hard", "with-capability", "d"];
    let modes = |directory: &Path| {
        names.map(|name| {
            let path = directory.join(name);
            let attributes = spinney::sys::attributes::list(File::open(&path).unwrap()).unwrap();
            (
                fs::metadata(path).unwrap().mode() & 0o7777,
                attributes.contains(&b"security.capability".to_vec()),
            )
        })
    };
    let dropped = context.directory.join("dropped");
    let ended = copy(context, "copy-from", &machine, &["/root/p", text(&dropped)]);
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(ended.stderr.contains("took the set-user-ID and set-group-ID bits off"), "{ended:?}");
    assert!(
        ended.stderr.contains("took the file capabilities off 1 file: \"p/with-capability\""),
        "{ended:?}"
    );
    assert_eq!(modes(&dropped), [(0o755, false), (0o755, false), (0o644, false), (0o2775, false)]);
    let kept = context.directory.join("kept");
    copy(context, "copy-from", &machine, &["--keep-setid", "/root/p", text(&kept)]).ok()?;
    assert_eq!(modes(&kept), [(0o6755, false), (0o6755, false), (0o644, true), (0o2775, false)]);
    // Nor by a stream.
    let mut command = context.spinney();
    let stream = command.args(["copy-from", "-q", &machine.name, "/root/p", "-"]).output()?;
    let listing =
        run_with_input(Command::new("tar").args(["-tv", "--numeric-owner"]), &stream.stdout).ok()?;
    let with_bits: Vec<&str> =
        listing.lines().filter(|line| !line.starts_with('d') && line[..10].contains('s')).collect();
    assert!(listing.lines().count() == 5 && with_bits.is_empty(), "{listing}");
    machine.stop()?;
    Ok(())
}

/// The rules of cp(1), both ways.
fn destinations(context: &Context) -> TestResult {
    let machine = busybox(context, &[])?;
    let source = context.subdirectory("source");
    fs::create_dir(source.join("dir")).unwrap();
    fs::write(source.join("dir/in"), "in").unwrap();
    fs::write(source.join("file"), "file").unwrap();
    symlink("dir", source.join("link")).unwrap();
    machine.says("mkdir /d /d/dir; ln -s d /l; echo old > /f")?;
    // Source, destination, the listing of /d and of / that is new; or the fault.
    let rows: [(&str, &str, Result<&str, &str>); 17] = [
        ("file", "/d", Ok("/d/file")),
        ("file", "/d/", Ok("/d/file")),
        ("file", "/l", Ok("/d/file")),
        ("file", "/d/new", Ok("/d/new")),
        ("dir", "/d", Ok("/d/dir/in")),
        ("dir", "/d/new", Ok("/d/new /d/new/in")),
        ("dir", "/d/new/", Ok("/d/new /d/new/in")),
        ("dir/.", "/d", Ok("/d/in")),
        ("dir/.", "/d/new", Ok("/d/new /d/new/in")),
        ("link", "/d", Ok("/d/link")),
        ("link/", "/d", Ok("/d/link /d/link/in")),
        ("file", "/f", Err("\"/f\" exists")),
        ("file", "/f/", Err("\"/f/\" is no directory")),
        ("file", "/d/new/", Err("\"/d/new/\" is no directory, and what is copied there is a file")),
        ("dir", "/f", Err("\"/f\" is no directory, and what is copied there is a directory")),
        ("dir", "/no/new", Err("\"/no\" does not exist")),
        ("file", "/d/dir/../new", Ok("/d/new")),
    ];
    for (from, to, expected) in rows {
        let ended = copy(context, "copy-to", &machine, &[&format!("{}/{from}", text(&source)), to]);
        let new = machine.says("find /d /f /l | grep -vx -e /d -e /d/dir -e /f -e /l | sort; true")?;
        match expected {
            Ok(expected) => {
                assert_eq!(ended.status, 0, "{from} {to}: {ended:?}");
                assert_eq!(new.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{from} {to}");
            }
            Err(message) => {
                let line = ended.stderr.lines().next().unwrap_or_default();
                let expected = format!("spinney: error: {message}");
                assert_eq!((ended.status, line), (125, expected.as_str()), "{from} {to}");
                assert_eq!(new, "", "{from} {to}");
            }
        }
        machine.says("rm -rf /d; mkdir -p /d/dir; [ \"$(cat /f)\" = old ]")?;
    }
    // Without a destination it is the same path, never a directory within it.
    let same = context.subdirectory("same");
    fs::write(same.join("x"), "1").unwrap();
    assert_eq!(copy(context, "copy-to", &machine, &[text(&same)]).status, 125, "its parent is not there");
    machine.says(&format!("mkdir -p {}", text(&same)))?;
    copy(context, "copy-to", &machine, &[text(&same)]).ok()?;
    assert_eq!(machine.says(&format!("find {}", text(&same)))?, format!("{0}\n{0}/x", text(&same)));
    machine.says(&format!("echo 2 > {0}/x; echo 3 > {0}/y", text(&same)))?;
    let ended = copy(context, "copy-from", &machine, &[text(&same)]);
    assert_eq!(ended.status, 125, "{ended:?}");
    copy(context, "copy-from", &machine, &["-f", text(&same)]).ok()?;
    assert_eq!(fs::read_to_string(same.join("x")).unwrap(), "2\n");
    assert_eq!(fs::read_to_string(same.join("y")).unwrap(), "3\n");
    // Out, relative to our working directory.
    machine.says("mkdir -p /out/a; echo 1 > /out/a/b")?;
    let mut command = context.spinney();
    command.current_dir(&source).args(["copy-from", &machine.name, "/out", "here"]);
    assert_eq!(run(&mut command).status, 0);
    assert_eq!(fs::read_to_string(source.join("here/a/b")).unwrap(), "1\n");
    machine.stop()?;
    Ok(())
}

fn owners(context: &Context) -> TestResult {
    let machine = busybox(context, &[])?;
    let file = context.directory.join("file");
    fs::write(&file, "x").unwrap();
    copy(context, "copy-to", &machine, &["--chown=7:8", text(&file), "/root/a"]).ok()?;
    copy(context, "copy-to", &machine, &["--chown=9", text(&file), "/root/b"]).ok()?;
    // An ID that the machine has not.
    own(&file, 100_000, 5);
    let ended = copy(context, "copy-to", &machine, &[text(&file), "/root/c"]);
    assert_eq!(ended.status, 0, "{ended:?}");
    assert!(ended.stderr.contains("gave 1 file to nobody (65534)"), "{ended:?}");
    assert_eq!(machine.says("cd /root; stat -c %u:%g a b c")?, "7:8\n9:9\n65534:5");
    let back = context.directory.join("back");
    copy(context, "copy-from", &machine, &["--chown=1:2", "/root/a", text(&back)]).ok()?;
    let metadata = fs::metadata(&back).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1, 2));
    machine.stop()?;
    Ok(())
}

fn several_sources(context: &Context) -> TestResult {
    let machine = busybox(context, &[])?;
    let sources = ["one", "two"].map(|name| context.subdirectory(name));
    fs::write(sources[0].join("x"), "x").unwrap();
    fs::hard_link(sources[0].join("x"), sources[1].join("y")).unwrap();
    machine.says("mkdir /m")?;
    copy(context, "copy-to", &machine, &[text(&sources[0]), text(&sources[1]), "/m"]).ok()?;
    assert_eq!(machine.says("stat -c %h /m/one/x; [ /m/one/x -ef /m/two/y ] && echo same")?, "2\nsame");
    let ended = copy(context, "copy-to", &machine, &[text(&sources[0]), text(&sources[1]), "/nowhere"]);
    assert_eq!(ended.status, 125, "{ended:?}");
    // One that is not there stops all, before anything is copied.
    let ended = copy(context, "copy-to", &machine, &[text(&sources[0]), "/no/such", "/root"]);
    assert_eq!((ended.status, machine.says("ls /root")?.as_str()), (125, ""), "{ended:?}");
    machine.stop()?;
    Ok(())
}
