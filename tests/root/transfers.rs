//! From bytes to an image and back: what was put in comes out, and whatever goes wrong on the way leaves no image and
//! nothing else.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::Value;
use sha2::{Digest, Sha256};
use spinney::sys::attributes;

use crate::command::{Ended, PATIENCE, Process, capture, contents, run, run_with_input, shell_status};
use crate::harness::{Context, Row, Test, TestResult};
use crate::http_server::{HttpServer, Reply};
use crate::payload::own_busybox;
use crate::tree_snapshot::{differences, snapshot};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 12] = [
        ("round_trip", round_trip),
        ("the_same_bytes_each_time", the_same_bytes_each_time),
        ("directories", directories),
        ("disks", disks),
        ("names", names),
        ("pulled", pulled),
        ("refused", refused),
        ("stdin", stdin),
        ("cancelled", cancelled),
        ("killed_twice", killed_twice),
        ("listed_and_cancelled_by_others", listed_and_cancelled_by_others),
        ("in_use", in_use),
    ];
    rows.map(|(name, test)| Test::new(format!("transfers::{name}"), test)).into()
}

/// A store of the test's own.
pub struct Pool(pub PathBuf);

impl Pool {
    pub fn new(context: &Context) -> Self {
        Self(context.subdirectory("pool"))
    }

    /// `spinney` with `arguments`, on this store.
    pub fn command(&self, context: &Context, arguments: &[&str]) -> Command {
        let mut command = context.spinney();
        command.arg(arguments[0]).arg("--image-root").arg(&self.0).args(&arguments[1..]);
        command
    }

    pub fn run(&self, context: &Context, arguments: &[&str]) -> Ended {
        run(&mut self.command(context, arguments))
    }

    pub fn image(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// All that lies in it but our own state, hidden files too.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
        names.retain(|name| name != ".#spinney");
        names.sort();
        names
    }

    /// Fails unless the command `ended` with our own exit status, said `message`, and left nothing.
    pub fn refuses(&self, ended: &Ended, message: &str) -> TestResult {
        assert_eq!(ended.status, 125, "{ended:#?}");
        assert!(ended.stderr.contains(message), "not {message:?}: {ended:#?}");
        assert_eq!(ended.stderr.matches("error:").count(), 1, "{ended:#?}");
        assert_eq!(self.names(), Vec::<String>::new(), "{ended:#?}");
        Ok(())
    }
}

/// One of everything that a tree can have.
pub fn torture(context: &Context) -> PathBuf {
    let tree = context.subdirectory("torture");
    fs::create_dir_all(tree.join("etc/deep/er")).unwrap();
    fs::create_dir_all(tree.join("usr/bin")).unwrap();
    fs::write(tree.join("usr/bin/su"), vec![7; 100_000]).unwrap();
    std::os::unix::fs::chown(tree.join("usr/bin/su"), Some(1000), Some(70_000)).unwrap();
    fs::set_permissions(tree.join("usr/bin/su"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::hard_link(tree.join("usr/bin/su"), tree.join("usr/bin/sudo")).unwrap();
    symlink("../../nowhere", tree.join("etc/link")).unwrap();
    std::os::unix::fs::lchown(tree.join("etc/link"), Some(5), Some(6)).unwrap();
    fs::hard_link(tree.join("etc/link"), tree.join("etc/deep/link")).unwrap();
    fs::write(tree.join("etc").join("n".repeat(255)), "long").unwrap();
    fs::write(tree.join("etc/new\nline \u{1b}[31m"), "").unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    sparse.write_all_at(&[1; 65536], 4 << 20).unwrap();
    for (name, kind, mode, device) in [
        ("fifo", FileType::Fifo, 0o640, 0),
        ("null", FileType::CharacterDevice, 0o666, makedev(1, 3)),
        ("disk", FileType::BlockDevice, 0o600, makedev(259, 1_048_575)),
    ] {
        mknodat(CWD, tree.join(name), kind, Mode::empty(), device).unwrap();
        fs::set_permissions(tree.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let file = File::create(tree.join("etc/attributes")).unwrap();
    attributes::set(&file, b"user.note", b"\0binary\xff").unwrap();
    // Version 2, cap_net_raw, effective (capabilities(7)).
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    attributes::set(&file, b"security.capability", &capability).unwrap();
    // user::rw- user:1000:r-- group::r-- mask::r-- other::--- (acl(5), linux/posix_acl_xattr.h).
    let entry = |tag: u16, rights: u16, id: u32| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let none = u32::MAX;
    let acl = [
        2_u32.to_le_bytes().to_vec(),
        entry(1, 6, none),
        entry(2, 4, 1000),
        entry(4, 4, none),
        entry(16, 4, none),
        entry(32, 0, none),
    ];
    attributes::set(&file, b"system.posix_acl_access", &acl.concat()).unwrap();
    for (name, seconds) in
        [("etc/attributes", 1_000_000_000), ("etc/deep/er", 5), ("etc/deep", 2_000_000_000), ("etc", 1)]
    {
        let time = std::time::UNIX_EPOCH + std::time::Duration::new(seconds, 123_456_789);
        File::open(tree.join(name)).unwrap().set_modified(time).unwrap();
    }
    fs::set_permissions(tree.join("etc/deep/er"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o751)).unwrap();
    tree
}

/// Device numbers of all nodes, which a snapshot has not.
fn nodes(tree: &Path) -> Vec<(String, u64)> {
    let nodes = ["null", "disk", "fifo"].map(|name| (name.to_owned(), tree.join(name)));
    nodes.map(|(name, path)| (name, fs::symlink_metadata(path).map_or(1, |found| found.rdev()))).into()
}

fn same(expected: &Path, found: &Path) -> TestResult {
    let differences = differences(&snapshot(expected), &snapshot(found));
    if !differences.is_empty() {
        return Err(differences.join("\n").into());
    }
    assert_eq!(nodes(expected), nodes(found));
    Ok(())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn round_trip(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let (torture, busybox) = (torture(context), own_busybox(context)?);
    pool.run(context, &["import-fs", text(&torture), "torture"]).ok()?;
    same(&torture, &pool.image("torture"))?;
    pool.run(context, &["import", text(&busybox), "busybox"]).ok()?;
    same(&busybox, &pool.image("busybox"))?;
    for (name, endings) in
        [("torture", &["tar", "tar.gz", "tar.xz", "tar.zst", "tar.bz2"][..]), ("busybox", &["tgz"])]
    {
        for ending in endings {
            let file = context.directory.join(format!("{name}.{ending}"));
            pool.run(context, &["export", name, text(&file)]).ok()?;
            let back = format!("{name}-back");
            pool.run(context, &["import", "--force", text(&file), &back]).ok()?;
            same(&pool.image(name), &pool.image(&back)).map_err(|stop| match stop {
                crate::harness::Stop::Fail(why) => crate::harness::Stop::Fail(format!("{ending}: {why}")),
                skip => skip,
            })?;
        }
    }
    // Nor does GNU tar find anything to say.
    let listed = run(Command::new("tar").arg("-tf").arg(context.directory.join("torture.tar.zst")));
    assert_eq!((listed.status, listed.stderr.as_str()), (0, ""), "{listed:#?}");
    // And what it packs is taken as it is.
    let packed = context.directory.join("gnu.tar");
    let gnu = ["--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--numeric-owner", "--format=posix"];
    run(Command::new("tar").args(gnu).arg("-cf").arg(&packed).arg("-C").arg(&torture).arg(".")).ok()?;
    pool.run(context, &["import-tar", text(&packed), "gnu"]).ok()?;
    same(&torture, &pool.image("gnu"))
}

fn the_same_bytes_each_time(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let tree = torture(context);
    for name in ["a", "b"] {
        pool.run(context, &["import", text(&tree), name]).ok()?;
    }
    // A file that is newer in one of them.
    fs::write(pool.image("b").join("usr/bin/new"), "")?;
    fs::remove_file(pool.image("b").join("usr/bin/new"))?;
    let export = |name: &str, options: &[&str]| {
        let ended = pool.run(context, &[&["export", name, "-q"][..], options].concat()).ok()?;
        Ok::<_, String>(Sha256::digest(ended.as_bytes()).to_vec())
    };
    assert_ne!(export("a", &[])?, export("b", &[])?, "times count, unless told otherwise");
    for options in [&["--mtime=@1000000"][..], &["--mtime=2001-01-01T00:00:00Z", "--format=zstd"]] {
        assert_eq!(export("a", options)?, export("b", options)?, "{options:?}");
    }
    let clamped = |name: &str| {
        let mut command = pool.command(context, &["export", "-q", name]);
        run(command.env("SOURCE_DATE_EPOCH", "1500000000")).ok()
    };
    assert_eq!(clamped("a")?, clamped("b")?);
    Ok(())
}

fn directories(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let tree = torture(context);
    // A mount below it stays out, and its directory is there.
    let mounted = tree.join("etc/deep/er");
    rustix::mount::mount("tmpfs", &mounted, "tmpfs", rustix::mount::MountFlags::empty(), None)?;
    fs::write(mounted.join("out"), "")?;
    let ended = pool.run(context, &["import", text(&tree), "a", "--read-only", "--json"]);
    rustix::mount::unmount(&mounted, rustix::mount::UnmountFlags::empty())?;
    let output = ended.ok()?;
    let last: Value = serde_json::from_str(output.lines().last().unwrap_or_default())?;
    assert_eq!(
        (&last["event"], &last["image"], &last["kind"]),
        (&"done".into(), &"a".into(), &"directory".into())
    );
    assert_eq!(fs::read_dir(pool.image("a").join("etc/deep/er"))?.count(), 0);
    let immutable = run(Command::new("lsattr").arg("-d").arg(pool.image("a"))).ok()?;
    assert!(immutable.split(' ').next().is_some_and(|flags| flags.contains('i')), "{immutable}");
    // Read-only or not: --force replaces it.
    pool.run(context, &["import", "--force", text(&tree), "a"]).ok()?;
    same(&tree, &pool.image("a"))?;
    assert_eq!(pool.names(), ["a"]);
    Ok(())
}

fn disks(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let disk = context.directory.join("disk.raw");
    File::create(&disk)?.set_len(16 << 20)?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", text(&disk)])).ok()?;
    pool.run(context, &["import", text(&disk)]).ok()?;
    let image = pool.image("disk.raw");
    assert!(fs::read(&disk)? == fs::read(&image)?);
    assert!(fs::metadata(&image)?.blocks() * 512 < 4 << 20, "zeros are holes");
    for ending in ["raw", "raw.zst", "img.gz"] {
        let file = context.directory.join(format!("out.{ending}"));
        pool.run(context, &["export", "disk", text(&file)]).ok()?;
        pool.run(context, &["import-raw", "--force", text(&file), "back"]).ok()?;
        assert!(fs::read(&disk)? == fs::read(pool.image("back.raw"))?, "{ending}");
    }
    let qcow2 = context.directory.join("disk.qcow2");
    run(Command::new("qemu-img").args(["convert", "-c", "-O", "qcow2", text(&disk), text(&qcow2)])).ok()?;
    pool.run(context, &["import", "--read-only", text(&qcow2), "other"]).ok()?;
    assert!(fs::read(&disk)? == fs::read(pool.image("other.raw"))?);
    assert_eq!(fs::metadata(pool.image("other.raw"))?.mode() & 0o777, 0o400);
    // What it has in it, as an archive; what has one name is of one kind.
    let tar = context.directory.join("tree.tar");
    pool.run(context, &["export-tar", "disk", text(&tar)]).ok()?;
    pool.run(context, &["import", "--force", text(&tar), "other"]).ok()?;
    assert_eq!(pool.names(), ["back.raw", "disk.raw", "other"]);
    assert!(pool.image("other/lost+found").is_dir());
    Ok(())
}

fn names(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let tree = context.subdirectory("some.d");
    pool.run(context, &["import", text(&tree)]).ok()?;
    let again = pool.run(context, &["import", text(&tree)]);
    assert_eq!((again.status, pool.names()), (125, vec!["some.d".to_owned()]));
    assert!(again.stderr.contains("there is an image \"some.d\" already"), "{again:#?}");
    let empty = Pool(context.subdirectory("empty"));
    let tar = context.directory.join("some.tar");
    fs::write(&tar, "no tar")?;
    let rows: [(&[&str], &str); 12] = [
        (&["import", text(&tree), "a/b"], "\"a/b\" is a path, not a name"),
        (&["import", text(&tree), "a", "-M", "b"], "two names given: \"a\" and --machine=\"b\""),
        (&["import", "-"], "what is on stdin has no name"),
        (&["import", "/nonexistent/x.tar"], "No such file or directory"),
        (&["import-tar", text(&tree)], "is a directory"),
        (&["import-fs", text(&tar)], "is no directory"),
        (&["import", text(&tar)], "is neither a tar archive nor a disk image"),
        (&["import", "https://example.org/a.tar"], "is an address, not a file"),
        (
            &["import", text(&tree), "--class=sysext"],
            "--class=\"sysext\" is a class that spinney keeps no images of",
        ),
        (&["pull", "/srv/a.tar"], "is no address to pull from"),
        (&["pull-tar", "debian:trixie"], "\"debian:trixie\" is no address"),
        (&["export", "a", "/dev/null/x"], "no image \"a\""),
    ];
    for (line, message) in rows {
        empty.refuses(&empty.run(context, line), message)?;
    }
    let target = context.directory.join("x.tar");
    fs::write(&target, "precious")?;
    let refused = pool.run(context, &["export", "some.d", text(&target)]);
    assert_eq!((refused.status, fs::read(&target)?), (125, b"precious".to_vec()));
    assert!(refused.stderr.contains("x.tar exists"), "{refused:#?}");
    Ok(())
}

/// A tar.gz of a tree with a few megabytes in it.
pub fn archive(context: &Context) -> Vec<u8> {
    let pool = Pool(context.subdirectory("made"));
    let tree = torture(context);
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..3 << 20)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    fs::write(tree.join("usr/noise"), noise).unwrap();
    pool.run(context, &["import", text(&tree), "a"]).ok().unwrap();
    let file = context.directory.join("a.tar.gz");
    pool.run(context, &["export", "a", text(&file)]).ok().unwrap();
    fs::read(file).unwrap()
}

fn digest(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pulled(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let data = archive(context);
    let server = HttpServer::start();
    server.put("/images/web-1.tar.gz", Reply::bytes(data.clone()));
    let digest = format!("--sha256={}", digest(&data));
    let ended = pool.run(context, &["pull", &server.url("/images/web-1.tar.gz?x=/y"), &digest]);
    assert_eq!(ended.status, 0, "{ended:#?}");
    assert!(ended.stderr.contains("pulled web-1: ") && ended.stderr.contains("verified by"), "{ended:#?}");
    assert!(ended.stderr.contains("next: spinney start web-1"), "{ended:#?}");
    same(&context.directory.join("torture"), &pool.image("web-1"))?;
    // Off a terminal there is no bar, and nothing is said when that is asked for.
    let quiet = pool.run(context, &["pull-tar", "-q", &server.url("/images/web-1.tar.gz"), "b", &digest]);
    assert_eq!((quiet.status, quiet.stdout.as_str(), quiet.stderr.as_str()), (0, "", ""), "{quiet:#?}");
    let json = pool.run(context, &["pull", "-j", &server.url("/images/web-1.tar.gz"), "c", &digest]).ok()?;
    let lines: Vec<Value> = json.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert!(lines.iter().any(|line| line["event"] == "progress" && line["total"] == data.len()), "{json}");
    let last = lines.last().ok_or("no line")?;
    assert_eq!(
        (&last["event"], &last["image"], &last["sha256"]),
        (&"done".into(), &"c".into(), &digest[9..].into())
    );
    Ok(())
}

fn refused(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let data = archive(context);
    let right = digest(&data);
    let half = data[..data.len() / 2].to_vec();
    let mut damaged = data.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 100].fill(0x55);
    let server = HttpServer::start();
    let html = "<!DOCTYPE html><title>404</title>".repeat(100);
    let trailing = [data.clone(), b"garbage".to_vec()].concat();
    let rows: [(&str, Reply, Option<&str>, &str); 10] = [
        ("other", Reply::bytes(data.clone()), Some(&"7".repeat(64)), "its sha256 is"),
        ("damaged", Reply::bytes(damaged.clone()), Some(&right), "its sha256 is"),
        ("damaged-unchecked", Reply::bytes(damaged), None, "is damaged"),
        ("cut", Reply::bytes(half.clone()), Some(&right), "its sha256 is"),
        ("cut-unchecked", Reply::bytes(half), None, "ends in the middle of its gzip data"),
        ("html", Reply::bytes(html.clone()), Some(&right), "its sha256 is"),
        ("html-unchecked", Reply::bytes(html), None, "is neither a tar archive nor a disk image"),
        ("trailing", Reply::bytes(trailing), None, "something that is not gzip follows"),
        ("gone", Reply::status(404), None, "is not there (404)"),
        ("lz4", Reply::bytes(&b"\x04\x22\x4d\x18............"[..]), None, "lz4"),
    ];
    for (name, reply, sha256, message) in rows {
        let path = format!("/{name}.tar.gz");
        server.put(&path, reply);
        let check = sha256.map_or("--verify=no".to_owned(), |digest| format!("--sha256={digest}"));
        let ended = pool.run(context, &["pull", &server.url(&path), &check]);
        pool.refuses(&ended, message).map_err(|stop| match stop {
            crate::harness::Stop::Fail(why) => crate::harness::Stop::Fail(format!("{name}: {why}")),
            skip => skip,
        })?;
    }
    Ok(())
}

fn stdin(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let data = archive(context);
    let ended = run_with_input(&mut pool.command(context, &["import", "-", "web"]), &data);
    assert_eq!(ended.status, 0, "{ended:#?}");
    same(&context.directory.join("torture"), &pool.image("web"))?;
    // From here to there, by a pipe.
    let mut export = pool.command(context, &["export", "web", "--format=zstd", "-q"]);
    let mut child = export.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    let ended = run(pool.command(context, &["import", "-", "there"]).stdin(Stdio::from(stdout)));
    assert_eq!((child.wait()?.code(), ended.status), (Some(0), 0), "{ended:#?}");
    same(&pool.image("web"), &pool.image("there"))
}

/// A pull that has begun to unpack, and gets no more.
struct Stalled {
    process: Process,
    stderr: File,
}

impl Stalled {
    fn begin(context: &Context, pool: &Pool, server: &HttpServer, data: &[u8]) -> Result<Self, String> {
        server.put("/a.tar.gz", Reply::bytes(data.to_vec()).stalls_after(data.len() / 2));
        let mut command = pool.command(context, &["pull", "--verify=no", &server.url("/a.tar.gz")]);
        let stderr = capture();
        command.stdout(Stdio::null()).stderr(stderr.try_clone().unwrap());
        let mut process = Process::spawn(&mut command);
        let deadline = std::time::Instant::now() + PATIENCE;
        while pool.names().is_empty() {
            if process.wait(std::time::Duration::from_millis(5)).is_some()
                || std::time::Instant::now() > deadline
            {
                return Err(format!("it did not begin: {}", contents(&stderr)));
            }
        }
        Ok(Self { process, stderr })
    }

    fn end(mut self) -> Result<(i32, String), String> {
        let status = self.process.wait(PATIENCE).ok_or("it did not end")?;
        Ok((shell_status(status), contents(&self.stderr)))
    }
}

fn cancelled(context: &Context) -> TestResult {
    let (pool, data, server) = (Pool::new(context), archive(context), HttpServer::start());
    for (signal, expected) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let stalled = Stalled::begin(context, &pool, &server, &data)?;
        stalled.process.signal(signal);
        let (status, stderr) = stalled.end()?;
        assert_eq!(status, expected, "{stderr}");
        assert_eq!(stderr, "spinney: error: cancelled; what there was of it is removed\n");
        assert_eq!(pool.names(), Vec::<String>::new());
    }
    Ok(())
}

/// As importctl's verbs do it: the transfers that run are seen, and end when somebody else has enough of them.
fn listed_and_cancelled_by_others(context: &Context) -> TestResult {
    let (pool, data, server) = (Pool::new(context), archive(context), HttpServer::start());
    let spinney = |arguments: &[&str]| run(context.spinney().args(arguments));
    let listed = || -> Result<Vec<Value>, crate::harness::Stop> {
        let ours: Vec<Value> = serde_json::from_str(&spinney(&["list-transfers", "--json"]).ok()?)?;
        Ok(ours.into_iter().filter(|transfer| transfer["local"] == "a").collect())
    };
    assert_eq!(listed()?, Vec::<Value>::new());
    let stalled = Stalled::begin(context, &pool, &server, &data)?;
    let list = listed()?;
    assert_eq!(list.len(), 1, "{list:?}");
    let id = list[0]["id"].to_string();
    assert_eq!(
        (list[0]["kind"].as_str(), list[0]["remote"].as_str(), list[0]["pid"].as_u64()),
        (Some("pull"), Some(server.url("/a.tar.gz").as_str()), Some(stalled.process.pid().into()))
    );
    assert_eq!(list[0]["total"].as_u64(), Some(data.len() as u64));
    let table = spinney(&["list-transfers", "--full"]).ok()?;
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        words(table.lines().next().unwrap_or_default()).join(" "),
        "ID PROGRESS TYPE LOCAL REMOTE SINCE"
    );
    assert!(table.ends_with("listed.\n") && table.contains(" pull a "), "{table}");
    let none = spinney(&["cancel-transfer", "4294967295"]);
    assert_eq!(
        (none.status, none.stderr.as_str()),
        (
            125,
            "spinney: error: there is no transfer 4294967295\n  hint: spinney list-transfers shows those that run\n"
        )
    );
    let cancelled = spinney(&["cancel-transfer", &id]);
    let address = server.url("/a.tar.gz");
    assert_eq!(
        (cancelled.status, cancelled.stderr),
        (0, format!("spinney: cancelled transfer {id}, pull of {address}\n"))
    );
    let (status, stderr) = stalled.end()?;
    assert_eq!(
        (status, stderr.as_str()),
        (143, "spinney: error: cancelled; what there was of it is removed\n")
    );
    assert_eq!((pool.names(), listed()?), (Vec::new(), Vec::new()));
    // One that is killed is not listed, and the number of the dead does nothing.
    let stalled = Stalled::begin(context, &pool, &server, &data)?;
    let id = listed()?[0]["id"].to_string();
    stalled.process.signal(libc::SIGKILL);
    stalled.end()?;
    assert_eq!(spinney(&["cancel-transfer", &id]).status, 125);
    assert_eq!(listed()?, Vec::<Value>::new());
    pool.run(context, &["import", text(&context.directory.join("torture")), "b"]).ok()?;
    Ok(())
}

/// What a killed command leaves is hidden, and the next one removes it.
fn killed_twice(context: &Context) -> TestResult {
    let (pool, data, server) = (Pool::new(context), archive(context), HttpServer::start());
    let stalled = Stalled::begin(context, &pool, &server, &data)?;
    stalled.process.signal(libc::SIGKILL);
    assert_eq!(stalled.end()?.0, 128 + libc::SIGKILL);
    let left = pool.names();
    assert!(left.iter().all(|name| name.starts_with(".#a.")) && left.len() == 1, "{left:?}");
    run_with_input(&mut pool.command(context, &["import", "-", "b"]), &data).ok()?;
    assert_eq!(pool.names(), ["b"]);
    Ok(())
}

fn in_use(context: &Context) -> TestResult {
    use spinney::image::lock::{Hold, lock_path};
    let pool = Pool::new(context);
    let tree = torture(context);
    pool.run(context, &["import", text(&tree), "a"]).ok()?;
    let inode = fs::metadata(pool.image("a"))?.ino();
    let lock = lock_path(&pool.image("a"), Hold::Exclusive)?;
    let ended = pool.run(context, &["import", "--force", text(&tree), "a"]);
    assert_eq!(ended.status, 125, "{ended:#?}");
    assert!(ended.stderr.contains("image \"a\" is in use"), "{ended:#?}");
    assert_eq!(fs::metadata(pool.image("a"))?.ino(), inode);
    let exported = pool.run(context, &["export", "a", text(&context.directory.join("a.tar"))]);
    assert!(exported.status == 0 && exported.stderr.contains("a is in use"), "{exported:#?}");
    drop(lock);
    pool.run(context, &["import", "--force", text(&tree), "a"]).ok()?;
    assert_ne!(fs::metadata(pool.image("a"))?.ino(), inode);
    assert_eq!(pool.names(), ["a"]);
    Ok(())
}
