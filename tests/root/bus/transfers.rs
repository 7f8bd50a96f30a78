//! Images that systemd's clients move in and out.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::fixture::Bus;
use super::images::{Pool, Scene, error_name};
use super::polkit::Polkit;
use crate::command::{Ended, PATIENCE, Process, capture, contents, run, shell_status};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::http_server::{HttpServer, Reply};
use crate::tree_snapshot::{differences, snapshot};

const NAME: &str = "org.freedesktop.import1";
const MANAGER: [&str; 3] = [NAME, "/org/freedesktop/import1", "org.freedesktop.import1.Manager"];
const TRANSFER: &str = "org.freedesktop.import1.Transfer";

pub fn tests() -> Vec<Test> {
    let rows: [Row; 9] = [
        ("in_and_out", in_and_out),
        ("disks", disks),
        ("pulled", pulled),
        ("verified", verified),
        ("told", told),
        ("cancelled", cancelled),
        ("of_the_command_line", of_the_command_line),
        ("manager_killed", manager_killed),
        ("refused", refused),
    ];
    let rows = rows.into_iter().chain([("access", access as fn(&Context) -> TestResult)]);
    rows.map(|(name, test)| Test::new(format!("{}transfers::{name}", super::TIER), test)).collect()
}

/// A tree with more than plain files, and its archive.
fn archive(context: &Context, scene: &Scene) -> Result<(PathBuf, PathBuf), Stop> {
    let tree = scene.pool.tree("source")?;
    std::os::unix::fs::chown(tree.join("etc/hostname"), Some(7), Some(70_000))?;
    std::os::unix::fs::symlink("../nowhere", tree.join("etc/link"))?;
    fs::hard_link(tree.join("etc/hostname"), tree.join("usr/name"))?;
    fs::write(tree.join("usr/noise"), vec![7; 300_000])?;
    let file = context.directory.join("source.tar");
    run(Command::new("tar").arg("-C").arg(&tree).args(["--format=posix", "-cf"]).arg(&file).arg(".")).ok()?;
    Ok((tree, file))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn in_and_out(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let (tree, file) = archive(context, &scene)?;
    let said = scene.machinectl(&["import-tar", text(&file), "@a"]);
    assert_eq!((said.status, said.stdout.as_str()), (0, ""), "{said:?}");
    assert!(
        said.stderr.starts_with("Enqueued transfer job 1. Press C-c to continue download in background.\n"),
        "{said:?}"
    );
    assert!(said.stderr.contains(&format!("imported {}: ", scene.pool.name("a"))), "{said:?}");
    let same = |name: &str| differences(&snapshot(&tree), &snapshot(&scene.pool.path(name)));
    assert_eq!(same("a"), Vec::<String>::new());
    // It is there already: why, comes as a message of the transfer's.
    let again = scene.machinectl(&["import-tar", text(&file), "@a"]);
    assert_eq!(again.status, 1);
    assert!(again.stderr.contains("there is an image"), "{again:?}");
    scene.machinectl(&["import-tar", "--force", "--read-only", text(&file), "@a"]).ok()?;
    assert_eq!(scene.rows(&["list-images", "--no-legend"], 3)?, ["a directory yes", "source directory no"]);
    scene.machinectl(&["import-fs", text(&tree), "@b"]).ok()?;
    assert_eq!(same("b"), Vec::<String>::new());
    let origin = run(context.spinney().args(["images", "--json", &scene.pool.name("b")])).ok()?;
    assert!(!origin.contains("/proc/self"), "{origin}");
    for (ending, magic) in
        [("tar", None), ("tar.gz", Some("gzip")), ("tar.xz", Some("xz")), ("tar.bz2", Some("bzip2"))]
    {
        let out = context.directory.join(format!("out.{ending}"));
        scene.machinectl(&["export-tar", "@b", text(&out)]).ok()?;
        let tool = magic.unwrap_or("cat");
        let arguments: &[&str] = if magic.is_some() { &["-dc"] } else { &[] };
        let plain = Command::new(tool).args(arguments).arg(&out).output()?;
        assert!(plain.status.success(), "{ending}");
        fs::write(&out, plain.stdout)?;
        scene.machinectl(&["import-tar", "--force", text(&out), "@c"]).ok()?;
        assert_eq!(same("c"), Vec::<String>::new(), "{ending}");
    }
    let missing = scene.machinectl(&["export-tar", "@nobody", text(&context.directory.join("x"))]);
    assert_eq!(missing.status, 1);
    assert!(missing.stderr.contains("no image"), "{missing:?}");
    assert!(!Path::new("/run/spinney/transfers").exists());
    scene.over()
}

/// A disk with the beginning of a partition table, and nothing else.
fn disk_of(size: usize) -> Vec<u8> {
    let mut disk = vec![0; size];
    disk[512..520].copy_from_slice(b"EFI PART");
    disk
}

fn disks(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let disk = context.directory.join("disk.raw");
    fs::write(&disk, disk_of(3 << 20))?;
    scene.machinectl(&["import-raw", text(&disk), "@d"]).ok()?;
    let image = scene.pool.path("d").with_extension("raw");
    assert_eq!(fs::read(&image)?, fs::read(&disk)?);
    // Without a partition table: a file system, and what nobody knows. A page of words is no disk.
    let (bare, page) = (context.directory.join("bare.raw"), context.directory.join("page"));
    File::create(&bare)?.set_len(2 << 20)?;
    run(Command::new("mkfs.ext4").arg("-q").arg(&bare)).ok()?;
    scene.machinectl(&["import-raw", text(&bare), "@bare"]).ok()?;
    assert_eq!(fs::read(scene.pool.path("bare").with_extension("raw"))?, fs::read(&bare)?);
    fs::write(&bare, [&vec![0; 1 << 20][..], &[1; 512]].concat())?;
    scene.machinectl(&["import-raw", "--force", text(&bare), "@bare"]).ok()?;
    assert_eq!(fs::read(scene.pool.path("bare").with_extension("raw"))?, fs::read(&bare)?);
    scene.machinectl(&["remove", "@bare"]).ok()?;
    fs::write(&page, "<!doctype html>\n<h1>404</h1>\n")?;
    let wrong = scene.machinectl(&["import-raw", text(&page), "@bare"]);
    assert!(
        wrong.status == 1 && wrong.stderr.contains("is neither a tar archive nor a disk image"),
        "{wrong:?}"
    );
    let out = context.directory.join("out.raw");
    scene.machinectl(&["export-raw", "@d", text(&out)]).ok()?;
    assert_eq!(fs::read(&out)?, fs::read(&disk)?);
    scene.pool.tree("web")?;
    let wrong = scene.machinectl(&["export-raw", "@web", text(&out)]);
    assert!(wrong.status == 1 && wrong.stderr.contains("is no disk image"), "{wrong:?}");
    // An archive is none either.
    let tar = context.directory.join("web.tar.gz");
    scene.machinectl(&["export-tar", "@web", text(&tar)]).ok()?;
    let wrong = scene.machinectl(&["import-raw", text(&tar), "@x"]);
    assert_eq!(wrong.status, 1, "{wrong:?}");
    assert_eq!(scene.rows(&["list-images", "--no-legend"], 2)?, ["d raw", "web directory"]);
    scene.over()
}

fn digest(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pulled(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let (tree, file) = archive(context, &scene)?;
    let (server, data) = (HttpServer::start(), fs::read(&file)?);
    server.put("/a.tar", Reply::bytes(data.clone()));
    scene.machinectl(&["pull-tar", "--verify=no", &server.url("/a.tar"), "@a"]).ok()?;
    assert_eq!(differences(&snapshot(&tree), &snapshot(&scene.pool.path("a"))), Vec::<String>::new());
    // A checksum file beside it, right and wrong and not there.
    let pull = |arguments: &[&str]| scene.machinectl(arguments);
    server.put("/SHA256SUMS", Reply::bytes(format!("{}  a.tar\n", digest(&data))));
    pull(&["pull-tar", "--verify=checksum", "--force", &server.url("/a.tar"), "@a"]).ok()?;
    server.put("/SHA256SUMS", Reply::bytes(format!("{}  a.tar\n", digest(b"another"))));
    let wrong = pull(&["pull-tar", "--verify=checksum", &server.url("/a.tar"), "@b"]);
    assert_eq!(wrong.status, 1, "{wrong:?}");
    assert!(wrong.stderr.contains("a.tar") && wrong.stderr.contains("SHA256SUMS"), "{wrong:?}");
    // Where nothing is said, a signature it must be.
    let unsigned = pull(&["pull-tar", &server.url("/a.tar"), "@b"]);
    assert_eq!(unsigned.status, 1, "{unsigned:?}");
    let missing = pull(&["pull-tar", "--verify=no", &server.url("/none.tar"), "@b"]);
    assert!(missing.status == 1 && missing.stderr.contains("404"), "{missing:?}");
    assert_eq!(scene.rows(&["list-images", "--no-legend"], 1)?, ["a", "source"]);
    // Disks, and files of this host.
    let disk = disk_of(1 << 20);
    server.put("/d.raw", Reply::bytes(disk.clone()));
    server.put("/d.raw.sha256", Reply::bytes(format!("{}  d.raw\n", digest(&disk))));
    pull(&["pull-raw", "--verify=checksum", &server.url("/d.raw"), "@d"]).ok()?;
    assert_eq!(fs::read(scene.pool.path("d").with_extension("raw"))?, disk);
    pull(&["pull-tar", "--verify=no", &format!("file://{}", file.display()), "@e"]).ok()?;
    assert_eq!(scene.rows(&["list-images", "--no-legend"], 1)?, ["a", "d", "e", "source"]);
    scene.over()
}

/// gpg with a home of the test's own.
fn gpg(context: &Context, arguments: &[&str]) -> Result<String, String> {
    let home = context.subdirectory("gnupg");
    let mut command = Command::new("gpg");
    command.env("GNUPGHOME", home).args(["--batch", "--quiet", "--no-permission-warning", "--passphrase="]);
    run(command.args(["--pinentry-mode=loopback"]).args(arguments).stdin(Stdio::null())).ok()
}

/// With the host's keyring, and without one.
fn verified(context: &Context) -> TestResult {
    if Command::new("gpg").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Err(Stop::Skip("no gpg here".to_owned()));
    }
    let pool = Pool::new(context)?;
    let bus = Bus::start(context)?;
    let keyring = context.directory.join("keyring.gpg");
    gpg(context, &["--quick-generate-key", "Tester <tester@example.org>", "ed25519", "sign", "never"])?;
    gpg(context, &["--output", text(&keyring), "--export"])?;
    let manager = bus.manager_with(&[], &[("SYSTEMD_OPENPGP_KEYRING", text(&keyring))])?;
    let scene = Scene { bus, manager, pool };
    let (_, file) = archive(context, &scene)?;
    let (server, data) = (HttpServer::start(), fs::read(&file)?);
    let sums = context.directory.join("SHA256SUMS");
    fs::write(&sums, format!("{}  a.tar\n", digest(&data)))?;
    gpg(context, &["--detach-sign", text(&sums)])?;
    server.put("/a.tar", Reply::bytes(data));
    server.put("/SHA256SUMS", Reply::bytes(fs::read(&sums)?));
    server.put("/SHA256SUMS.gpg", Reply::bytes(fs::read(sums.with_extension("sig"))?));
    scene.machinectl(&["pull-tar", &server.url("/a.tar"), "@a"]).ok()?;
    // Of another list it is no signature.
    server.put("/SHA256SUMS", Reply::bytes(format!("{}  a.tar\n# x\n", digest(&fs::read(&file)?))));
    let wrong = scene.machinectl(&["pull-tar", "--verify=signature", &server.url("/a.tar"), "@b"]);
    assert!(wrong.status == 1 && wrong.stderr.contains("the signature of "), "{wrong:?}");
    assert_eq!(scene.rows(&["list-images", "--no-legend"], 1)?, ["a", "source"]);
    scene.over()
}

/// What passes on the bus, as busctl sees it.
pub struct Signals {
    process: Process,
    lines: Receiver<String>,
}

/// A signal: its name, the last element of its path, what it says.
pub type Told = (String, String, Vec<Value>);

impl Signals {
    pub fn listen(bus: &Bus) -> Result<Self, Stop> {
        let mut command = bus.command("busctl");
        command.args(["--system", "monitor", "--json=short", "--match"]);
        command.arg(format!("type='signal',path_namespace='{}'", MANAGER[1]));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut stderr = BufReader::new(child.stderr.take().ok_or("no stderr")?);
        let process = Process::of(child);
        // It says so once it listens.
        let mut line = String::new();
        stderr.read_line(&mut line)?;
        assert!(line.starts_with("Monitoring"), "{line}");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let _stderr = stderr;
            stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Ok(Self { process, lines })
    }

    fn until_that(&mut self, is_it: impl Fn(&Told) -> bool) -> Result<Vec<Told>, Stop> {
        let mut told = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                return Err(format!("it was never told: {told:?}").into());
            };
            let said: Value = serde_json::from_str(&line)?;
            let word = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
            let last = word("path").rsplit('/').next().unwrap_or_default().to_owned();
            let one = (word("member"), last, said["payload"]["data"].as_array().cloned().unwrap_or_default());
            let found = is_it(&one);
            told.push(one);
            if found {
                return Ok(told);
            }
        }
    }

    /// What was told until `member` was.
    pub fn until(&mut self, member: &str) -> Result<Vec<Told>, Stop> {
        self.until_that(|told| told.0 == member)
    }

    /// What was told until a transfer has said `beginning`.
    fn until_line(&mut self, beginning: &str) -> Result<Vec<Told>, Stop> {
        self.until_that(|told| {
            told.0 == "LogMessage" && told.2[1].as_str().is_some_and(|line| line.starts_with(beginning))
        })
    }

    pub fn stop(self) {
        self.process.signal(rustix::process::Signal::TERM.as_raw());
    }
}

/// A client of `import-tar -` that waits for what comes next.
struct Waiting {
    client: Process,
    stderr: File,
    input: PipeWriter,
}

impl Waiting {
    fn begin(scene: &Scene, name: &str, data: &[u8]) -> Result<Self, Stop> {
        let (output, mut input) = std::io::pipe()?;
        let stderr = capture();
        let mut command = scene.bus.command("machinectl");
        command.args(["import-tar", "-", &scene.pool.name(name)]).stdin(output);
        let client = Process::spawn(command.stdout(Stdio::null()).stderr(stderr.try_clone()?));
        drop(command);
        input.write_all(data)?;
        Ok(Self { client, stderr, input })
    }

    fn end(mut self) -> Result<(i32, String), Stop> {
        drop(self.input);
        let status = self.client.wait(PATIENCE).ok_or("it did not end")?;
        Ok((shell_status(status), contents(&self.stderr)))
    }
}

/// Waits until there is one transfer, and gives its number.
fn only_transfer(scene: &Scene) -> Result<String, Stop> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let listed = scene.machinectl(&["list-transfers", "--no-legend"]).ok()?;
        if let Some(id) = listed.split_whitespace().next() {
            return Ok(id.to_owned());
        }
        if std::time::Instant::now() > deadline {
            return Err("no transfer came".into());
        }
    }
}

/// Its signals and its object, from the beginning to the end.
fn told(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let (_, file) = archive(context, &scene)?;
    let data = fs::read(&file)?;
    let mut signals = Signals::listen(&scene.bus)?;
    let (first, rest) = data.split_at(4096);
    let mut waiting = Waiting::begin(&scene, "a", first)?;
    let new = signals.until("TransferNew")?.pop().ok_or("nothing")?;
    assert_eq!(new.2, [Value::from(1), format!("{}/transfer/_1", MANAGER[1]).into()]);
    let object = format!("{}/transfer/_1", MANAGER[1]);
    let property = |name: &str| {
        run(scene.bus.command("busctl").args(["--system", "get-property", NAME, &object, TRANSFER, name]))
            .ok()
    };
    let expected = [
        ("Id", "u 1\n".to_owned()),
        ("Type", "s \"import-tar\"\n".to_owned()),
        ("Local", format!("s \"{}\"\n", scene.pool.name("a"))),
        ("Remote", "s \"\"\n".to_owned()),
        ("Verify", "s \"\"\n".to_owned()),
        ("Progress", "d -1.79769e+308\n".to_owned()),
    ];
    for (name, value) in expected {
        assert_eq!(property(name)?, value, "{name}");
    }
    let listed = scene.bus.call(&[&MANAGER[..], &["ListTransfersEx", "st", "machine", "0"]].concat()).ok()?;
    let local = scene.pool.name("a");
    assert_eq!(
        listed,
        format!("a(ussssdo) 1 1 \"import-tar\" \"\" \"{local}\" \"machine\" -1.79769e+308 \"{object}\"\n")
    );
    let none = scene.bus.call(&[&MANAGER[..], &["ListTransfersEx", "st", "portable", "0"]].concat()).ok()?;
    assert_eq!(none, "a(ussssdo) 0\n");
    waiting.input.write_all(rest)?;
    let (status, stderr) = waiting.end()?;
    assert_eq!(status, 0, "{stderr}");
    let mut told = signals.until("TransferRemoved")?;
    let removed = told.pop().ok_or("nothing")?;
    assert_eq!(removed.2, [Value::from(1), object.clone().into(), "done".into()]);
    let lines: Vec<&Value> =
        told.iter().filter(|told| told.0 == "LogMessage").map(|told| &told.2[1]).collect();
    assert_eq!(lines.first().and_then(|line| line.as_str()), Some(format!("importing {local}").as_str()));
    assert!(
        lines.last().and_then(|line| line.as_str()).is_some_and(|line| line.starts_with("imported ")),
        "{lines:?}"
    );
    assert!(told.iter().all(|told| told.1 == "_1"), "{told:?}");
    assert!(property("Id").is_err());
    // A download, of which the end is known.
    let server = HttpServer::start();
    server.put("/a.tar", Reply::bytes(data));
    scene.machinectl(&["pull-tar", "--verify=no", "--force", &server.url("/a.tar"), "@a"]).ok()?;
    let told = signals.until("TransferRemoved")?;
    // Numbers are not given again while somebody could wait for the one before.
    assert_eq!(told.first().map(|told| told.2[0].clone()), Some(Value::from(2)));
    let progress: Vec<f64> =
        told.iter().filter(|told| told.0 == "ProgressUpdate").filter_map(|told| told.2[0].as_f64()).collect();
    assert!(progress.is_sorted() && progress.iter().all(|part| (0.0..=1.0).contains(part)), "{progress:?}");
    signals.stop();
    scene.over()
}

fn cancelled(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let (_, file) = archive(context, &scene)?;
    let data = fs::read(&file)?;
    let before = scene.pool.entries();
    // By another client, by its number; and by its object.
    for object in [false, true] {
        let waiting = Waiting::begin(&scene, "a", &data[..100_000])?;
        let id = only_transfer(&scene)?;
        match object {
            false => scene.machinectl(&["cancel-transfer", &id]),
            true => scene.bus.call(&[NAME, &format!("{}/transfer/_{id}", MANAGER[1]), TRANSFER, "Cancel"]),
        }
        .ok()?;
        let (status, stderr) = waiting.end()?;
        assert_eq!(status, 1, "{stderr}");
        assert_eq!(scene.machinectl(&["list-transfers"]).ok()?, "No transfers.\n");
        assert_eq!(scene.pool.entries(), before);
        let gone = scene.machinectl(&["cancel-transfer", &id]);
        assert_eq!(gone.stderr, format!("Could not cancel transfer: No transfer by id {id}\n"));
    }
    // A client that dies stops nothing.
    let Waiting { mut client, stderr: _stderr, mut input } = Waiting::begin(&scene, "a", &data[..100_000])?;
    only_transfer(&scene)?;
    client.signal(libc::SIGKILL);
    client.wait(PATIENCE).ok_or("it did not end")?;
    let mut signals = Signals::listen(&scene.bus)?;
    input.write_all(&data[100_000..])?;
    drop(input);
    let removed = signals.until("TransferRemoved")?.pop().ok_or("nothing")?;
    assert_eq!(removed.2[2], "done");
    assert!(scene.pool.path("a").join("etc/hostname").exists());
    signals.stop();
    scene.over()
}

/// They are transfers as others: listed, told of, and to be cancelled.
fn of_the_command_line(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let (_, file) = archive(context, &scene)?;
    let (server, data) = (HttpServer::start(), fs::read(&file)?);
    server.put("/a.tar", Reply::bytes(data.clone()).stalls_after(data.len() / 2));
    let mut signals = Signals::listen(&scene.bus)?;
    let pull = |name: &str| {
        let mut command = context.spinney();
        command.args(["pull", "-q", "--verify=no", &server.url("/a.tar"), &scene.pool.name(name)]);
        Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))
    };
    let mut process = pull("a");
    signals.until_line("pulling ")?;
    let listed = scene.rows(&["list-transfers", "--no-legend"], 5)?;
    assert_eq!(listed, [format!("1 {} pull a {}", percent(&listed), server.url("/a.tar"))]);
    let property = |name: &str| {
        let object = format!("{}/transfer/_1", MANAGER[1]);
        run(scene.bus.command("busctl").args(["--system", "get-property", NAME, &object, TRANSFER, name]))
            .ok()
    };
    assert_eq!(property("Verify")?, "s \"no\"\n");
    scene.machinectl(&["cancel-transfer", "1"]).ok()?;
    assert_eq!(process.wait(PATIENCE).map(shell_status), Some(143));
    assert_eq!(
        signals.until("TransferRemoved")?.pop().map(|told| told.2[2].clone()),
        Some("canceled".into())
    );
    // One that is killed has failed, whoever it was; what it left goes with the next command.
    let process = pull("a");
    signals.until_line("pulling ")?;
    process.signal(libc::SIGKILL);
    assert_eq!(signals.until("TransferRemoved")?.pop().map(|told| told.2[2].clone()), Some("failed".into()));
    server.put("/a.tar", Reply::bytes(data));
    let mut process = pull("a");
    assert_eq!(process.wait(PATIENCE).map(shell_status), Some(0));
    assert_eq!(signals.until("TransferRemoved")?.pop().map(|told| told.2[2].clone()), Some("done".into()));
    signals.stop();
    scene.over()
}

/// The second column.
fn percent(rows: &[String]) -> String {
    rows.first().and_then(|row| row.split_whitespace().nth(1)).unwrap_or_default().to_owned()
}

/// A transfer goes on without the manager, and the next one finds it.
fn manager_killed(context: &Context) -> TestResult {
    let mut scene = Scene::new(context)?;
    let (_, file) = archive(context, &scene)?;
    let data = fs::read(&file)?;
    let (output, mut input) = std::io::pipe()?;
    let mut command = scene.bus.command("machinectl");
    command.args(["import-tar", "-", &scene.pool.name("a")]).stdin(output);
    let mut client = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
    drop(command);
    input.write_all(&data[..100_000])?;
    let id = only_transfer(&scene)?;
    scene.manager.signal(libc::SIGKILL);
    scene.manager.wait(PATIENCE).ok_or("the manager does not end")?;
    scene.manager = scene.bus.manager(&[])?;
    assert_eq!(only_transfer(&scene)?, id);
    let mut signals = Signals::listen(&scene.bus)?;
    input.write_all(&data[100_000..])?;
    drop(input);
    let removed = signals.until("TransferRemoved")?.pop().ok_or("nothing")?;
    assert_eq!(
        removed.2,
        [Value::from(id.parse::<u32>()?), format!("{}/transfer/_{id}", MANAGER[1]).into(), "done".into()]
    );
    assert!(scene.pool.path("a").join("usr/noise").exists());
    client.signal(libc::SIGKILL);
    client.wait(PATIENCE).ok_or("the client does not end")?;
    signals.stop();
    scene.over()
}

/// A call that no fd goes with: method, arguments, the error's name, and what is said.
fn refused(context: &Context) -> TestResult {
    let scene = Scene::new(context)?;
    let invalid = "org.freedesktop.DBus.Error.InvalidArgs";
    let unsupported = "org.freedesktop.DBus.Error.NotSupported";
    let (url, long) = ("http://127.0.0.1:1/a.tar", "x".repeat(100_000));
    let rows: &[(&[&str], &str, &str)] = &[
        (&["CancelTransfer", "u", "7"], "org.freedesktop.import1.NoSuchTransfer", "No transfer by id 7"),
        (&["CancelTransfer", "u", "0"], invalid, "Invalid transfer id"),
        (&["PullTar", "sssb", "ftp://a/b", "a", "no", "no"], invalid, "URL ftp://a/b is invalid"),
        (&["PullTar", "sssb", "/etc/passwd", "a", "no", "no"], invalid, "URL /etc/passwd is invalid"),
        (&["PullRaw", "sssb", url, "a/b", "no", "no"], invalid, "Local image name a/b is invalid"),
        (&["PullRaw", "sssb", url, &long, "no", "no"], invalid, "Local image name xxx"),
        (&["PullRaw", "sssb", url, "a", "perhaps", "no"], invalid, "Unknown verification mode perhaps"),
        (&["PullTarEx", "sssst", url, "a", "sysext", "no", "0"], unsupported, "Images of class sysext"),
        (&["PullTarEx", "sssst", url, "a", "x", "no", "0"], invalid, "Image class 'x' not known"),
        (&["PullTarEx", "sssst", url, "a", "machine", "no", "8"], invalid, "Flags 0x8 invalid"),
        (&["PullTar", "sssb", url, "", "no", "no"], unsupported, "Downloads without a local name"),
        (&["PullOci", "ssst", "/etc", "a", "machine", "0"], invalid, "Reference /etc is invalid"),
        (&["ListTransfersEx", "st", "x", "0"], invalid, "Image class 'x' not known"),
        (&["ListTransfersEx", "st", "", "1"], invalid, "Flags 0x1 invalid"),
        (&["ListImages", "st", "x", "0"], invalid, "Image class 'x' not known"),
    ];
    for (arguments, name, text) in rows {
        let said = scene.bus.call(&[&MANAGER[..], arguments].concat());
        assert_eq!(said.status, 1, "{arguments:?}");
        assert!(said.stderr.contains(text), "{:?}: {}", arguments.first(), said.stderr);
        let words: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        assert_eq!(error_name(&scene.bus, &MANAGER, &words)?, *name, "{:?}", arguments.first());
    }
    // What is no file, pipe or directory.
    let wrong: &[&[&str]] = &[
        &["import-fs", "/dev/null", "@a"],
        &["import-tar", "/dev/zero", "@a"],
        &["export-tar", "@a", "/dev/null"],
    ];
    for arguments in wrong {
        assert_eq!(scene.machinectl(arguments).status, 1, "{arguments:?}");
    }
    // The same twice.
    let server = HttpServer::start();
    server.put("/a.tar", Reply::bytes(vec![0; 100_000]).stalls_after(50_000));
    let pull = |name: &str| {
        let arguments = ["PullTar", "sssb", &server.url("/a.tar"), &scene.pool.name(name), "no", "no"];
        scene.bus.call(&[&MANAGER[..], &arguments].concat())
    };
    assert_eq!(pull("a").ok()?, format!("uo 1 \"{}/transfer/_1\"\n", MANAGER[1]));
    let again = pull("b");
    assert_eq!(
        again.stderr,
        format!("Call failed: Transfer for {} already in progress.\n", server.url("/a.tar"))
    );
    let mut signals = Signals::listen(&scene.bus)?;
    scene.machinectl(&["cancel-transfer", "1"]).ok()?;
    signals.until("TransferRemoved")?;
    signals.stop();
    let listed = scene.bus.call(&[&MANAGER[..], &["ListImages", "st", "portable", "0"]].concat()).ok()?;
    assert_eq!(listed, "a(ssssbtttttt) 0\n");
    let listed = scene.bus.call(&[&MANAGER[..], &["ListImages", "st", "", "0"]].concat()).ok()?;
    assert!(listed.starts_with("a(ssssbtttttt) 1 \"machine\" \".host\" \"directory\" \"/\" "), "{listed}");
    scene.over()
}

/// Command lines of machinectl, and the action that they take.
const ACTIONS: &[(&[&str], &str)] = &[
    (&["import-tar", "FILE", "@a"], "import"),
    (&["import-raw", "FILE", "@a"], "import"),
    (&["import-fs", "DIRECTORY", "@a"], "import"),
    (&["export-tar", "@a", "OUT"], "export"),
    (&["export-raw", "@a", "OUT"], "export"),
    (&["pull-tar", "http://127.0.0.1:1/a.tar", "@a"], "pull"),
    (&["pull-raw", "http://127.0.0.1:1/a.raw", "@a"], "pull"),
    (&["cancel-transfer", "7"], "cancel"),
];

/// What a user who is not root may do.
fn access(context: &Context) -> TestResult {
    let pool = Pool::new(context)?;
    let bus = Bus::strict(context)?;
    let manager = bus.manager(&[])?;
    let scene = Scene { bus, manager, pool };
    let directory = PathBuf::from(format!("/tmp/{}", context.prefix));
    fs::create_dir_all(&directory)?;
    std::os::unix::fs::chown(&directory, Some(65534), Some(65534))?;
    let (file, out) = (directory.join("file"), directory.join("out"));
    fs::write(&file, "x")?;
    let polkit = Polkit::start(&scene.bus)?;
    let call = |arguments: &[&str]| -> Ended {
        let word = |argument: &&str| match *argument {
            "FILE" => file.display().to_string(),
            "DIRECTORY" => directory.display().to_string(),
            "OUT" => out.display().to_string(),
            other => scene.named(other),
        };
        run(scene.bus.command_of_nobody("machinectl").args(arguments.iter().map(word)))
    };
    for (arguments, word) in ACTIONS {
        let action = format!("{NAME}.{word}");
        polkit.allow(&[]);
        let said = call(arguments);
        assert!(said.status == 1 && said.stderr.ends_with("Access denied\n"), "{arguments:?}: {said:?}");
        let asked: Vec<String> = polkit.asked().into_iter().map(|asked| asked.action).collect();
        assert_eq!(asked, std::slice::from_ref(&action), "{arguments:?}");
        polkit.allow(&[&action]);
        let said = call(arguments);
        polkit.asked();
        assert!(!said.stderr.contains("denied"), "{arguments:?}: {said:?}");
    }
    // What everybody may see.
    drop(polkit);
    let listed = run(scene.bus.command_of_nobody("machinectl").arg("list-transfers")).ok()?;
    assert_eq!(listed, "No transfers.\n");
    fs::remove_dir_all(&directory)?;
    scene.over()
}
