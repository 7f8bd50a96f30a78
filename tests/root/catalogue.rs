//! Names of the catalogue, pulled: from a server of the test's own that has what the distros' servers are documented to
//! have, signed by a key of the test's own; and from a package mirror.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::catalogue_host::Distros;
use crate::command::{Ended, PATIENCE, Process, run, run_with};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::http_server::{HttpServer, Reply};
use crate::own_host::outside;

pub fn tests() -> Vec<Test> {
    let rows: [Row; 11] = [
        ("the distros' own files are pulled as they are documented to be, and refused when changed", files),
        ("an image server's trees are pulled, kept up to date, and refused when changed", image_server),
        ("sources that do not answer are passed over within ten seconds", passed_over),
        ("an archive of an OCI image is pulled from a server, and refused when changed", oci_archive),
        ("a lock file gives the same bytes again, or nothing", lock),
        ("what is asked for wrongly is told in a line", wrong),
        ("an image that is there is known by its reference, whenever its maker is killed", known_when_killed),
        ("a tool makes a tree where no image can be had", tool),
        ("a tool that is cancelled leaves nothing", cancelled),
        ("the catalogue is searched, and the image servers are", search),
        ("debian:trixie is made of packages, and boots", debian),
    ];
    rows.into_iter().map(|(name, test)| Test::new(format!("catalogue: {name}"), test)).collect()
}

/// What is pulled where.
struct Pull<'a> {
    context: &'a Context,
    catalogue: PathBuf,
    pool: PathBuf,
}

impl<'a> Pull<'a> {
    fn new(context: &'a Context, catalogue: &Path) -> Self {
        let pool = context.subdirectory("pool");
        Self { context, catalogue: catalogue.to_owned(), pool }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.context.spinney();
        command.arg("pull").args(arguments);
        command.arg(format!("--catalogue={}", self.catalogue.display()));
        command.arg(format!("--image-root={}", self.pool.display()));
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        run(&mut self.command(arguments))
    }

    /// The names in the pool but for our own directory, which begins with a dot.
    fn images(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.pool)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".#spinney")
            .collect();
        names.sort();
        names
    }

    fn empty(&self) {
        for image in self.images() {
            let path = self.pool.join(&image);
            // What is pulled is read-only, as machinectl has it.
            let _ = Command::new("chattr").arg("-i").arg(&path).stderr(Stdio::null()).status();
            if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
        }
    }
}

impl Drop for Pull<'_> {
    fn drop(&mut self) {
        self.empty();
    }
}

fn expect(ended: &Ended, status: i32, words: &[&str]) -> TestResult {
    if ended.status != status || !words.iter().all(|words| ended.stderr.contains(words)) {
        return Err(Stop::Fail(format!("expected {status} and {words:?}: {ended:#?}")));
    }
    Ok(())
}

fn equal<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> TestResult {
    if found == expected {
        Ok(())
    } else {
        Err(Stop::Fail(format!("found {found:?}, expected {expected:?}")))
    }
}

/// Every source that is a file, of every distro.
fn files(context: &Context) -> TestResult {
    let distros = Distros::new(context)?;
    let pull = Pull::new(context, &distros.catalogue);
    // reference, kind, the image's name, options, what it says of how it was verified
    let signed = "Tester <tester@example.org>";
    let rows: [(&str, &str, &str, &[&str], &str); 13] = [
        ("ubuntu:noble", "tar", "ubuntu-noble", &[], signed),
        ("arch", "tar", "arch-current", &[], signed),
        ("alpine:3.24", "tar", "alpine-3.24", &[], signed),
        ("gentoo", "tar", "gentoo-current", &[], signed),
        ("gentoo/systemd", "tar", "gentoo-current-systemd", &[], signed),
        ("almalinux:9", "disk", "almalinux-9.raw", &[], signed),
        ("fedora:44", "disk", "fedora-44.raw", &[], signed),
        ("void", "tar", "void-current", &["--verify=checksum"], "verified by"),
        ("void/musl", "tar", "void-current-musl", &["--verify=checksum"], "verified by"),
        ("opensuse:tumbleweed", "tar", "opensuse-tumbleweed", &["--verify=checksum"], "it has no init"),
        ("debian:bookworm", "disk", "debian-bookworm.raw", &["--verify=checksum"], "SHA512SUMS"),
        ("centos:9-stream", "disk", "centos-9-stream.raw", &["--verify=checksum"], "SHA256SUM"),
        ("nixos", "disk", "nixos-26.05.raw", &["--verify=no"], "not verified"),
    ];
    for (reference, kind, image, options, words) in rows {
        let source = format!("--source={kind}");
        let arguments = [&[reference, "--arch=amd64", &source], options].concat();
        expect(&pull.run(&arguments), 0, &[words])?;
        equal(pull.images(), vec![image.to_owned()])?;
        if kind == "tar" {
            let release = fs::read_to_string(pull.pool.join(image).join("etc/os-release"))?;
            equal(release, format!("ID={}\n", distros.id_of(reference)))?;
        }
        pull.empty();
        if options == ["--verify=no"] {
            continue;
        }
        // The same with a byte changed, to the same length.
        distros.change(reference, true);
        expect(&pull.run(&arguments), 125, &["error: "])?;
        equal(pull.images(), Vec::new())?;
        distros.change(reference, false);
    }
    // Without the key, plain http is not believed; by hand it is.
    fs::remove_file(&distros.key)?;
    expect(
        &pull.run(&["ubuntu:noble", "--arch=amd64", "--source=tar"]),
        125,
        &["the key that they are signed with is not here (the package ubuntu-keyring has it)"],
    )?;
    expect(
        &pull.run(&["ubuntu:noble", "--arch=amd64", "--source=tar", "--verify=signature"]),
        125,
        &["is not here"],
    )?;
    expect(
        &pull.run(&["ubuntu:noble", "--arch=amd64", "--source=tar", "--verify=checksum"]),
        0,
        &["SHA256SUMS"],
    )?;
    pull.empty();
    // Somebody else's key in the same keyring is not the distro's.
    distros.other_key_signs("ubuntu:noble");
    expect(
        &pull.run(&["ubuntu:noble", "--arch=amd64", "--source=tar"]),
        125,
        &["is signed by Other <other@example.org>", "not with the key"],
    )?;
    equal(pull.images(), Vec::new())
}

/// A simplestreams tree.
fn image_server(context: &Context) -> TestResult {
    let distros = Distros::new(context)?;
    let pull = Pull::new(context, &distros.catalogue);
    let arguments = ["debian:trixie", "--arch=amd64", "--verify=checksum"];
    expect(&pull.run(&arguments), 0, &["pulled debian-trixie", "verified by"])?;
    equal(fs::read_to_string(pull.pool.join("debian-trixie/etc/os-release"))?, "ID=debian\n".to_owned())?;
    let asked = |path: &str| distros.server.log().iter().filter(|line| line.contains(path)).count();
    let before = distros.server.log().len();
    expect(&pull.run(&arguments), 0, &["debian-trixie is there already; --refresh"])?;
    equal(distros.server.log().len(), before)?;
    let refresh = [&arguments[..], &["--refresh"]].concat();
    expect(&pull.run(&refresh), 0, &["debian-trixie is up to date with "])?;
    equal(asked("rootfs.tar.xz"), 1)?;
    distros.newer_image();
    expect(&pull.run(&refresh), 0, &["pulled debian-trixie"])?;
    equal(
        fs::read_to_string(pull.pool.join("debian-trixie/etc/os-release"))?,
        "ID=debian\nNEWER=1\n".to_owned(),
    )?;
    let record = fs::read_to_string(pull.pool.join(".#spinney/images/debian-trixie.json"))?;
    let record: serde_json::Value = serde_json::from_str(&record)?;
    equal(record["reference"].as_str(), Some("debian:trixie"))?;
    equal(record["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), true)?;
    // What is pulled is not to be changed.
    equal(fs::write(pull.pool.join("debian-trixie/new"), "").is_err(), true)?;
    pull.empty();
    // Only a squashfs: a disk image.
    let musl = ["void/musl", "--arch=arm64", "--verify=checksum", "--source=simplestreams"];
    expect(&pull.run(&musl), 0, &["pulled void-current-musl-arm64"])?;
    equal(pull.images(), vec!["void-current-musl-arm64.raw".to_owned()])?;
    pull.empty();
    // Changed on its way: no other source is tried.
    distros.change_image();
    let ended = pull.run(&arguments);
    expect(&ended, 125, &["is not what it should be"])?;
    if ended.stderr.contains("passed over") || ended.stderr.contains("mmdebstrap") {
        return Err(Stop::Fail(format!("another source was tried: {ended:#?}")));
    }
    equal(pull.images(), Vec::new())?;
    // Without --verify, http and no signature are not enough.
    expect(
        &pull.run(&["debian:trixie", "--arch=amd64", "--source=simplestreams"]),
        125,
        &["it is not reached by https, and signs nothing"],
    )?;
    expect(
        &pull.run(&["debian:trixie", "--arch=amd64", "--source=simplestreams", "--verify=signature"]),
        125,
        &["it signs nothing"],
    )
}

fn catalogue_of(context: &Context, text: &str) -> PathBuf {
    let directory = context.subdirectory("catalogue-own");
    fs::write(directory.join("oak.toml"), text).unwrap();
    directory
}

const OAK: &str = "name = \"oak\"\ntitle = \"Oak\"\ndefault = \"1\"\ninit = \"none\"\n[architectures]\namd64 = \"amd64\"\n\
                   arm64 = \"arm64\"\n[[release]]\nname = \"1\"\n";

const SEEN: &str = "documented = \"here\"\nseen = \"never\"\n";

fn passed_over(context: &Context) -> TestResult {
    let server = HttpServer::start();
    server.put("/silent/streams/v1/index.json", Reply::bytes("").silent());
    server.put("/login/streams/v1/index.json", Reply::bytes("<html>log in first</html>"));
    server.put("/none/oak.tar", Reply::status(404));
    let tree = context.subdirectory("tree");
    fs::create_dir(tree.join("etc"))?;
    fs::write(tree.join("etc/os-release"), "ID=oak\n")?;
    let archive = context.directory.join("oak.tar");
    run(Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&archive).arg(".")).ok()?;
    server.put("/here/oak.tar", Reply::bytes(fs::read(&archive)?));
    let sums = run(Command::new("sha256sum").current_dir(&context.directory).arg("oak.tar")).ok()?;
    server.put("/here/SHA256SUMS", Reply::bytes(sums));
    let streams = |url: &str| {
        format!("[[source]]\nkind = \"simplestreams\"\nurl = \"{url}\"\nalias = \"oak/1\"\n{SEEN}")
    };
    let file = |url: &str| {
        format!("[[source]]\nkind = \"tar\"\nurl = \"{url}/oak.tar\"\nchecksums = \"SHA256SUMS\"\n{SEEN}")
    };
    let text = [
        OAK.to_owned(),
        streams(&server.url("/silent")),
        // Nobody listens there.
        streams("http://127.0.0.1:1"),
        streams("http://no-such-host.invalid"),
        streams(&server.url("/login")),
        file(&server.url("/none")),
        file(&server.url("/here")),
    ]
    .concat();
    let pull = Pull::new(context, &catalogue_of(context, &text));
    let started = Instant::now();
    let ended = pull.run(&["oak", "--verify=checksum"]);
    let took = started.elapsed();
    let host = server.address().to_string();
    expect(
        &ended,
        0,
        &[
            "could not reach 127.0.0.1",
            "could not reach no-such-host.invalid: its name cannot be looked up",
            &format!(
                "passed over {host} (simplestreams): the index is no simplestreams JSON: it is something else"
            ),
            "/none/oak.tar is not there (404)",
            "pulled oak-1",
        ],
    )?;
    if took > Duration::from_secs(10) {
        return Err(Stop::Fail(format!("it took {took:?}")));
    }
    equal(ended.stderr.matches("warning: ").count(), 5)?;
    equal(pull.images(), vec!["oak-1".to_owned()])?;
    pull.empty();
    // All of them gone.
    server.put("/silent/streams/v1/index.json", Reply::status(404));
    server.put("/here/oak.tar", Reply::status(503));
    expect(
        &pull.run(&["oak", "--verify=checksum"]),
        125,
        &["cannot get oak:1/default@", "none of its 6 sources can be used", "what was tried:"],
    )?;
    equal(pull.images(), Vec::new())
}

fn oci_archive(context: &Context) -> TestResult {
    let server = HttpServer::start();
    let tree = context.subdirectory("tree");
    fs::create_dir(tree.join("etc"))?;
    fs::write(tree.join("etc/os-release"), "ID=oak\n")?;
    let layer = Command::new("tar").arg("-C").arg(&tree).arg("-c").arg(".").output()?.stdout;
    let layout = context.subdirectory("layout");
    crate::oci::write_layout_of(&layout, &[layer])?;
    let archive = context.directory.join("oak.oci.tar.xz");
    run(Command::new("tar").arg("-C").arg(&layout).arg("-cJf").arg(&archive).arg(".")).ok()?;
    let sums = run(Command::new("sha256sum").current_dir(&context.directory).arg("oak.oci.tar.xz")).ok()?;
    server.put("/oak.oci.tar.xz", Reply::bytes(fs::read(&archive)?));
    server.put("/SHA256SUMS", Reply::bytes(sums));
    // A user and a password are nobody's business.
    let url = server.url("").replace("http://", "http://user:secret@");
    let source = format!(
        "[[source]]\nkind = \"oci-archive\"\nurl = \"{url}/oak.oci.tar.xz\"\nchecksums = \"SHA256SUMS\"\n{SEEN}"
    );
    let pull = Pull::new(context, &catalogue_of(context, &[OAK, &source].concat()));
    let file = context.directory.join("spinney.lock");
    let (write, frozen) = (format!("--lock={}", file.display()), format!("--frozen={}", file.display()));
    let ended = pull.run(&["oak", "--verify=checksum", "--json", &write]);
    expect(&ended, 0, &[])?;
    let root = format!("--image-root={}", pull.pool.display());
    let shown = run(context.spinney().args(["show-image", "oak-1", "--json", &root])).ok()?;
    if ended.stdout.contains("secret") || shown.contains("secret") {
        return Err(Stop::Fail(format!("{ended:#?} {shown}")));
    }
    let layer = |name: &str| fs::read_to_string(pull.pool.join(name).join("layer@0/etc/os-release"));
    equal(layer("oak-1.mstack")?, "ID=oak\n".to_owned())?;
    equal(pull.images(), vec!["oak-1.mstack".to_owned()])?;
    run(context.spinney().args(["remove", "--force", "oak-1", &root])).ok()?;
    expect(&pull.run(&["oak", &frozen]), 0, &["pulled oak-1"])?;
    run(context.spinney().args(["remove", "--force", "oak-1", &root])).ok()?;
    // A byte of it is another one.
    let mut changed = fs::read(&archive)?;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    server.put("/oak.oci.tar.xz", Reply::bytes(changed));
    for arguments in [&["oak", "--verify=checksum"][..], &["oak", &frozen]] {
        expect(&pull.run(arguments), 125, &["is not what it should be"])?;
        equal(pull.images(), Vec::new())?;
    }
    Ok(())
}

fn lock(context: &Context) -> TestResult {
    let distros = Distros::new(context)?;
    let pull = Pull::new(context, &distros.catalogue);
    let file = context.directory.join("spinney.lock");
    let (write, frozen) = (format!("--lock={}", file.display()), format!("--frozen={}", file.display()));
    let both = ["debian:trixie", "void", "--arch=amd64", "--verify=checksum"];
    expect(&pull.run(&[&both[..], &[&write]].concat()), 0, &["pulled debian-trixie", "pulled void-current"])?;
    let text = fs::read_to_string(&file)?;
    for words in [
        "reference = \"debian:trixie/default@amd64\"",
        "reference = \"void:current/default@amd64\"",
        "form = \"tar\"",
    ] {
        if !text.contains(words) {
            return Err(Stop::Fail(format!("no {words}: {text}")));
        }
    }
    equal(text.matches("sha256 = ").count(), 2)?;
    expect(&pull.run(&[&both[..], &[&frozen]].concat()), 0, &["debian-trixie is up to date"])?;
    pull.empty();
    // What the server says now does not count.
    distros.newer_image();
    expect(&pull.run(&[&both[..], &[&frozen]].concat()), 0, &["pulled debian-trixie"])?;
    equal(fs::read_to_string(pull.pool.join("debian-trixie/etc/os-release"))?, "ID=debian\n".to_owned())?;
    pull.empty();
    expect(
        &pull.run(&["debian:bookworm", "--arch=amd64", &frozen]),
        125,
        &["spinney.lock has no debian:bookworm/default@amd64"],
    )?;
    distros.change_image();
    expect(&pull.run(&["debian:trixie", "--arch=amd64", &frozen]), 125, &["is not what it should be"])?;
    equal(pull.images(), Vec::new())?;
    fs::write(&file, text.replace("sha256 = \"", "sha256 = \"x"))?;
    expect(&pull.run(&["debian:trixie", "--arch=amd64", &frozen]), 125, &["is no sha256 digest"])?;
    fs::remove_file(&file)?;
    expect(&pull.run(&["debian:trixie", &frozen]), 125, &["cannot read ", "spinney pull --lock writes one"])
}

fn wrong(context: &Context) -> TestResult {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let pull = Pull::new(context, &shipped);
    let rows: [(&[&str], &str); 11] = [
        (&["debain"], "no distro \"debain\" in the catalogue; did you mean \"debian\"?"),
        (&["debian:trxie"], "no release \"trxie\" of debian in the catalogue; did you mean \"trixie\"?"),
        (&["debian/muls"], "no variant \"muls\" of debian"),
        (&["debian@amd46"], "unknown architecture \"amd46\"; did you mean \"amd64\"?"),
        (&["debian", "--arch=vax"], "unknown architecture \"vax\""),
        (&["gentoo@riscv64"], "Gentoo current is not made for riscv64"),
        (&["debian:"], "\"debian:\" is no reference to an image: no release behind :"),
        (&["debian:$(id)"], "\"debian:$(id)\" is no reference to an image"),
        (&["debian", "--source=rpm"], "debian has no source of the kind \"rpm\""),
        (&["debian", "a", "b"], "an operand too many: \"b\""),
        (&["debian", "--lock=l", "--frozen=l"], "cannot be used with"),
    ];
    for (arguments, words) in rows {
        let ended = pull.run(arguments);
        expect(&ended, 125, &[words, "hint: "])?;
        equal(ended.stderr.lines().count() >= 2, true)?;
        equal(pull.images(), Vec::new())?;
    }
    let broken = Pull::new(context, &catalogue_of(context, &OAK.replace("title", "titel")));
    expect(&broken.run(&["oak"]), 125, &["oak.toml:2: unknown field `titel`"])?;
    let nowhere = Pull::new(context, Path::new("/nowhere"));
    expect(&nowhere.run(&["oak"]), 125, &["cannot read /nowhere"])
}

/// A directory with a program `mmdebstrap`, to be first in PATH.
/// `spinney run REFERENCE` goes by what is written down of an image.
fn known_when_killed(context: &Context) -> TestResult {
    let _run = crate::image_locks::Run::of(context);
    let server = HttpServer::start();
    let tree = context.subdirectory("tree");
    fs::create_dir(tree.join("etc"))?;
    let archive = |id: &str| -> TestResult {
        fs::write(tree.join("etc/os-release"), format!("ID={id}\n"))?;
        let archive = context.directory.join("oak.tar");
        run(Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&archive).arg(".")).ok()?;
        server.put("/oak.tar", Reply::bytes(fs::read(&archive)?));
        let sums = run(Command::new("sha256sum").current_dir(&context.directory).arg("oak.tar")).ok()?;
        server.put("/SHA256SUMS", Reply::bytes(sums));
        Ok(())
    };
    let url = server.url("");
    let source =
        format!("[[source]]\nkind = \"tar\"\nurl = \"{url}/oak.tar\"\nchecksums = \"SHA256SUMS\"\n{SEEN}");
    let pull = Pull::new(context, &catalogue_of(context, &[OAK, &source].concat()));
    let killed = |point: &str, arguments: &[&str]| {
        let ended = run(pull.command(arguments).env("SPINNEY_FAULT", point));
        assert_eq!(ended.status, 128 + libc::SIGKILL, "{point} was never come to: {ended:#?}");
    };
    // Of which archive the image is, and of which what is written down says that it is.
    let known = || -> Result<(String, String), Stop> {
        let root = format!("--image-root={}", pull.pool.display());
        let shown = run(context.spinney().args(["show-image", "oak-1", "--json", &root])).ok()?;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        let shown = &shown[0];
        equal(shown["OriginReference"].as_str(), Some("oak:1"))?;
        let id = fs::read_to_string(pull.pool.join("oak-1/etc/os-release"))?;
        Ok((id.trim().to_owned(), shown["OriginDigest"].as_str().unwrap_or_default().to_owned()))
    };
    let digest = || -> Result<String, Stop> {
        let sum = run(Command::new("sha256sum").arg(context.directory.join("oak.tar"))).ok()?;
        Ok(format!("sha256:{}", sum.split(' ').next().unwrap_or_default()))
    };
    archive("one")?;
    let one = digest()?;
    let first = ["oak:1", "--verify=checksum"];
    killed("finish-recorded", &first);
    let hidden = |name: &String| name.starts_with(".#oak-1.");
    equal(pull.images().iter().filter(|name| !hidden(name)).count(), 0)?;
    killed("finish-shown", &first);
    equal(known()?, ("ID=one".to_owned(), one.clone()))?;
    expect(&pull.run(&first), 0, &["oak-1 is there already"])?;
    // The first one's hidden leavings are gone, too.
    equal(pull.images(), vec!["oak-1".to_owned()])?;
    archive("two")?;
    let two = digest()?;
    let again = ["oak:1", "--verify=checksum", "--refresh"];
    killed("finish-recorded", &again);
    equal(known()?, ("ID=one".to_owned(), one))?;
    for point in ["finish-shown", "finish-replaced"] {
        killed(point, &["oak:1", "--verify=checksum", "--force"]);
        equal(known()?, ("ID=two".to_owned(), two.clone()))?;
    }
    expect(&pull.run(&again), 0, &["pulled oak-1"])?;
    equal(known()?, ("ID=two".to_owned(), two))?;
    equal(pull.images(), vec!["oak-1".to_owned()])
}

fn tool_of(context: &Context, script: &str) -> String {
    let directory = context.subdirectory("bin");
    let program = directory.join("mmdebstrap");
    fs::write(&program, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", directory.display(), std::env::var("PATH").unwrap_or_default())
}

fn packages(context: &Context) -> PathBuf {
    let keyring = context.directory.join("keyring.gpg");
    fs::write(&keyring, "x").unwrap();
    let text = format!(
        "{OAK}[[source]]\nkind = \"simplestreams\"\nurl = \"http://127.0.0.1:1\"\nalias = \"x\"\n{SEEN}[[source]]\n\
         kind = \"mmdebstrap\"\nmirror = \"http://oak.example/oak\"\npackages = [\"a\", \"b\"]\nkey = \"k\"\n{SEEN}[key.k]\n\
         fingerprints = [\"0123456789ABCDEF0123456789ABCDEF01234567\"]\nfiles = [\"{}\"]\ndocumented = \"x\"\n",
        keyring.display()
    );
    catalogue_of(context, &text)
}

fn tool(context: &Context) -> TestResult {
    let pull = Pull::new(context, &packages(context));
    let arguments = context.directory.join("arguments");
    let path = tool_of(
        context,
        &format!(
            "printf '%s\\n' \"$@\" >{}\nenv >>{0}\nfor target; do target_=$last last=$target; done\ncd \"$target_\" || exit 9\n\
             mkdir -p etc/ssh usr/lib var\necho host >etc/hostname\necho 0123 >etc/machine-id\necho k >etc/ssh/ssh_host_x_key\n\
             echo 'I: done'\n",
            arguments.display()
        ),
    );
    let mut command = pull.command(&["oak", "--verify=checksum"]);
    expect(
        &run(command.env("PATH", &path).env("SOURCE_DATE_EPOCH", "1700000000").env("SECRET", "x")),
        0,
        &["could not reach 127.0.0.1", "made oak-1 in ", "by mmdebstrap"],
    )?;
    let given = fs::read_to_string(&arguments)?;
    for line in ["--mode=root", "--include=a,b", "--variant=minbase", "SOURCE_DATE_EPOCH=1700000000"] {
        if !given.lines().any(|given| given == line) {
            return Err(Stop::Fail(format!("no {line}: {given}")));
        }
    }
    if given.contains("SECRET") || given.contains("Check-Valid-Until") {
        return Err(Stop::Fail(given));
    }
    let tree = pull.pool.join("oak-1");
    equal(fs::read(tree.join("etc/machine-id"))?, Vec::new())?;
    equal(tree.join("etc/hostname").exists() || tree.join("etc/ssh/ssh_host_x_key").exists(), false)?;
    pull.empty();
    let path = tool_of(context, "echo 'I: trying'\necho 'E: cannot fetch a'\necho more\nexit 7\n");
    expect(
        &run(pull.command(&["oak", "--verify=checksum", "--source=mmdebstrap"]).env("PATH", &path)),
        125,
        &["mmdebstrap failed (exit status: 7): E: cannot fetch a", "it said:", "more"],
    )?;
    equal(pull.images(), Vec::new())?;
    // No keyring, no tree.
    fs::remove_file(context.directory.join("keyring.gpg"))?;
    expect(
        &run(pull.command(&["oak", "--source=mmdebstrap"]).env("PATH", &path)),
        125,
        &["no keyring for the packages of 1"],
    )?;
    equal(pull.images(), Vec::new())
}

fn cancelled(context: &Context) -> TestResult {
    let pull = Pull::new(context, &packages(context));
    let begun = context.directory.join("begun");
    let path = tool_of(
        context,
        &format!("echo 'I: on'\nsleep 300 &\necho $! >{}.new\nmv {0}.new {0}\nwait\n", begun.display()),
    );
    let mut command = pull.command(&["oak", "--source=mmdebstrap"]);
    let mut process = Process::spawn(command.env("PATH", &path).stderr(Stdio::null()));
    let deadline = Instant::now() + PATIENCE;
    while !begun.exists() {
        if Instant::now() > deadline {
            return Err(Stop::Fail("the tool was not started".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    process.signal(libc::SIGINT);
    let status = process.wait(PATIENCE).ok_or("it goes on")?;
    equal(status.code(), Some(130))?;
    equal(pull.images(), Vec::new())?;
    let pid = fs::read_to_string(&begun)?;
    // It is killed when we are told; the kernel may take a moment.
    let ended = || {
        let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    };
    let deadline = Instant::now() + PATIENCE;
    while !ended() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    equal(ended(), true)
}

fn search(context: &Context) -> TestResult {
    let distros = Distros::new(context)?;
    let find = |arguments: &[&str]| {
        let option = format!("--catalogue={}", distros.catalogue.display());
        run(context.spinney().arg("search").args(arguments).arg(option))
    };
    equal(find(&["-q"]).ok()?.lines().count(), 14)?;
    equal(find(&["-q", "noble"]).ok()?, "ubuntu\n".to_owned())?;
    let debian = find(&["debian"]).ok()?;
    for words in ["trixie = 13, stable (default)", "oci (no init): ", "seen to work: never"] {
        equal(debian.contains(words), true)?;
    }
    let json: serde_json::Value = serde_json::from_str(&find(&["--json", "alpine"]).ok()?)?;
    equal(json[0]["default"].as_str(), Some("3.24"))?;
    let plan = find(&["void@arm64"]).ok()?;
    equal(
        plan.lines().next(),
        Some("void:current/default@arm64 would be void-current-arm64, from the first of these:"),
    )?;
    let online = find(&["--online", "--no-legend", "debian"]).ok()?;
    equal(online.lines().count(), 1)?;
    equal(online.split_whitespace().next(), Some("debian/trixie/default"))?;
    expect(&find(&["xyzzy"]), 125, &["no distro \"xyzzy\" in the catalogue"])?;
    distros.server.put("/images.linuxcontainers.org/streams/v1/index.json", Reply::status(500));
    expect(&find(&["--online"]), 125, &["answers 500"])
}

/// The whole way with a real mirror, once: a name, a boot, and nothing of the world but that mirror.
fn debian(context: &Context) -> TestResult {
    for tool in ["mmdebstrap", "gpgv"] {
        if Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            return Err(Stop::Skip(format!("no {tool} here")));
        }
    }
    if context.on_host {
        return Err(Stop::Skip("it would leave a catalogue in /run/spinney".to_owned()));
    }
    // The shipped file, but nobody listens where it leads.
    let shipped = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("images/debian.toml"))?;
    let own = OwnCatalogue::new()?;
    fs::write(own.directory.join("debian.toml"), shipped.replace("https://", "https://127.0.0.1:1/"))?;
    let name = context.machine_name();
    let machine = format!("--machine={name}");
    let mut command = context.spinney();
    // With a network of its own it makes nothing on the one that it pulls by.
    command.args(["run", "--detach", "--ephemeral", "--private-network", &machine, "debian:trixie"]);
    let ended = outside(|| run_with(&mut command, Duration::from_secs(400)));
    let unreachable = ["Could not connect", "Temporary failure resolving", "Could not resolve"];
    if ended.status != 0 && unreachable.iter().any(|words| ended.stderr.contains(words)) {
        return Err(Stop::Skip("no package mirror can be reached".to_owned()));
    }
    expect(
        &ended,
        0,
        &[
            "debian:trixie is not here yet: pulling it",
            "could not reach 127.0.0.1",
            "made debian-trixie in ",
            "by mmdebstrap",
        ],
    )?;
    equal(ended.stderr.matches("could not reach").count(), 2)?;
    let inside =
        "readlink -f /sbin/init; . /etc/os-release; echo $VERSION_CODENAME; systemctl is-system-running";
    let said = run(context.spinney().args(["exec", &name, "--", "/bin/sh", "-c", inside])).ok();
    run(context.spinney().args(["stop", &name])).ok()?;
    equal(said?, "/usr/lib/systemd/systemd\ntrixie\nrunning\n".to_owned())?;
    equal(fs::read("/var/lib/machines/debian-trixie/etc/machine-id")?, Vec::new())?;
    // The second time it is there.
    let again = run(context.spinney().args(["run", "--ephemeral", "debian:trixie", "--", "/bin/true"]));
    expect(&again, 0, &[])?;
    equal(again.stderr.contains("pulling"), false)?;
    run(context.spinney().args(["remove", "--force", "debian-trixie"])).ok().map(drop)?;
    Ok(())
}

/// A catalogue directory that the program finds by itself. With it goes what the program makes on its first use of the
/// system's store, and keeps.
struct OwnCatalogue {
    directory: PathBuf,
    /// What was not there before, parents first.
    new: Vec<PathBuf>,
}

impl OwnCatalogue {
    fn new() -> Result<Self, Stop> {
        let directory = PathBuf::from("/run/spinney/images");
        let kept = [
            "/run/spinney",
            "/run/spinney/images",
            "/var/lib/machines",
            "/var/lib/spinney",
            "/var/lib/spinney/images",
            "/var/lib/spinney/layers.lock",
        ];
        let new = kept.into_iter().map(PathBuf::from).filter(|path| !path.exists()).collect();
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, new })
    }
}

impl Drop for OwnCatalogue {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.directory.join("debian.toml"));
        for path in self.new.iter().rev() {
            // Only what is empty: what is left in it by mistake is found.
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}
