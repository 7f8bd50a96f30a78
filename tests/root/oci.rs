//! Images of containers: from a real registry, from a server that asks for tokens, from layouts and archives.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::command::{Process, capture, contents, run, shell_status};
use crate::harness::{Context, Test, TestResult};
use crate::http_server::{HttpServer, Reply};
use crate::transfers::Pool;

pub fn tests() -> Vec<Test> {
    type Row = (&'static str, fn(&Context) -> TestResult);
    let rows: [Row; 11] = [
        ("layout", layout),
        ("archives", archives),
        ("refused", refused),
        ("registry", registry),
        ("tokens", tokens),
        ("thief", thief),
        ("replaced", replaced),
        ("runs", runs),
        ("directories_without_members_are_as_those_below", directories_without_members),
        ("busy_registries_are_asked_again", busy),
        ("silent_registries_do_not_hold_ctrl_c", silent),
    ];
    rows.map(|(name, test)| Test::new(format!("oci::{name}"), test)).into()
}

fn hex(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A blob, by its digest.
struct Blob {
    data: Vec<u8>,
    digest: String,
}

impl Blob {
    fn new(data: Vec<u8>) -> Self {
        let digest = format!("sha256:{}", hex(&data));
        Self { data, digest }
    }

    fn json(value: &Value) -> Self {
        Self::new(serde_json::to_vec(value).unwrap())
    }

    fn descriptor(&self, kind: &str) -> Value {
        json!({ "mediaType": format!("application/vnd.{kind}"), "digest": self.digest, "size": self.data.len() })
    }
}

/// An image of two layers: a busybox tree, and over it a file that is gone, an opaque directory and a new file.
pub struct Sample {
    layers: [Blob; 2],
    /// The same without compression.
    plain: [Vec<u8>; 2],
    config: Blob,
    manifest: Blob,
}

impl Sample {
    /// `change` may damage the configuration before it gets its digest.
    pub fn new(context: &Context, change: impl FnOnce(&mut Value)) -> Result<Self, crate::harness::Stop> {
        let tree = context.tree("busybox")?;
        let base = context.directory.join("base");
        if !base.exists() {
            let copied = run(Command::new("cp").arg("-a").arg(&tree).arg(&base));
            copied.ok()?;
            fs::create_dir_all(base.join("srv/old"))?;
            fs::write(base.join("srv/gone"), "gone")?;
            fs::write(base.join("srv/old/hidden"), "hidden")?;
        }
        let top = context.directory.join("top");
        if !top.exists() {
            fs::create_dir_all(top.join("srv/old"))?;
            fs::write(top.join("srv/.wh.gone"), "")?;
            fs::write(top.join("srv/old/.wh..wh..opq"), "")?;
            fs::write(top.join("srv/old/new"), "new\n")?;
        }
        let plain = [tar(&base)?, tar(&top)?];
        let layers = [Blob::new(gzip(&plain[0])?), Blob::new(plain[1].clone())];
        let mut configuration = json!({
            "architecture": go_architecture(), "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": { "Env": ["PATH=/bin:/sbin", "GREETING=good day"], "Cmd": ["sh", "-c", "echo $GREETING; pwd"],
                        "WorkingDir": "/srv" },
            "rootfs": { "type": "layers", "diff_ids": plain.iter().map(|data| format!("sha256:{}", hex(data))).collect::<Vec<_>>() },
        });
        change(&mut configuration);
        let config = Blob::json(&configuration);
        let manifest = Blob::json(&json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("oci.image.config.v1+json"),
            "layers": [layers[0].descriptor("oci.image.layer.v1.tar+gzip"), layers[1].descriptor("oci.image.layer.v1.tar")],
        }));
        Ok(Self { layers, plain, config, manifest })
    }

    fn blobs(&self) -> [&Blob; 4] {
        [&self.layers[0], &self.layers[1], &self.config, &self.manifest]
    }

    /// Writes it as a layout, with an index over the manifest.
    fn write_layout(&self, directory: &Path) -> TestResult {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        let mut entry = self.manifest.descriptor("oci.image.manifest.v1+json");
        entry["platform"] = json!({ "architecture": go_architecture(), "os": "linux" });
        let mut other = entry.clone();
        other["platform"]["architecture"] = "s390x".into();
        other["digest"] = format!("sha256:{}", "0".repeat(64)).into();
        let index = Blob::json(&json!({ "schemaVersion": 2, "manifests": [other, entry] }));
        for blob in self.blobs().into_iter().chain([&index]) {
            fs::write(blobs.join(&blob.digest[7..]), &blob.data)?;
        }
        let mut named = index.descriptor("oci.image.index.v1+json");
        named["annotations"] = json!({ "org.opencontainers.image.ref.name": "v1" });
        fs::write(
            directory.join("index.json"),
            json!({ "schemaVersion": 2, "manifests": [named] }).to_string(),
        )?;
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(())
    }
}

fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn tar(directory: &Path) -> Result<Vec<u8>, String> {
    let output = Command::new("tar")
        .args(["--sort=name", "--numeric-owner", "-c", "-C"])
        .arg(directory)
        .arg(".")
        .output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn gzip(data: &[u8]) -> Result<Vec<u8>, String> {
    let mut child = Command::new("gzip")
        .arg("-1n")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut stdin = child.stdin.take().ok_or("no stdin")?;
    let data = data.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&data));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    writer.join().map_err(|_| "gzip's stdin")?.map_err(|error| error.to_string())?;
    Ok(output.stdout)
}

/// The layers of an image, the lowest first.
fn layers(pool: &Pool, name: &str) -> Vec<PathBuf> {
    let image = pool.image(&format!("{name}.mstack"));
    (0..)
        .map(|number| image.join(format!("layer@{number}")))
        .map_while(|link| fs::read_link(link).ok())
        .collect()
}

/// Removes what was pulled: it is read-only, which the harness does not get over.
struct Tidy<'a>(&'a Context, &'a Pool);

impl Drop for Tidy<'_> {
    fn drop(&mut self) {
        for name in self.1.names() {
            if let Some(name) = name.strip_suffix(".mstack") {
                self.1.run(self.0, &["remove", "--force", name]);
            }
        }
    }
}

/// That an image is what [`Sample`] says.
fn check_image(pool: &Pool, name: &str) -> TestResult {
    let layers = layers(pool, name);
    assert_eq!(layers.len(), 2, "{name}");
    assert!(layers[0].join("bin/busybox").exists() && layers[0].join("srv/gone").exists());
    let whiteout = fs::symlink_metadata(layers[1].join("srv/gone"))?;
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0, "{whiteout:?}");
    let opaque = Command::new("getfattr")
        .args(["--only-values", "-n", "user.overlay.opaque"])
        .arg(layers[1].join("srv/old"))
        .output()?;
    assert_eq!(opaque.stdout, b"y", "{opaque:?}");
    assert_eq!(fs::read_to_string(layers[1].join("srv/old/new"))?, "new\n");
    assert!(!layers[1].join("srv/old/.wh..wh..opq").exists());
    let settings = fs::read_to_string(pool.image(&format!("{name}.nspawn")))?;
    assert_eq!(
        settings,
        "# What the image says of itself.\n[Exec]\nBoot=no\nParameters=\"sh\" \"-c\" \"echo $GREETING; pwd\"\n\
         Environment=\"PATH=/bin:/sbin\"\nEnvironment=\"GREETING=good day\"\nWorkingDirectory=/srv\n"
    );
    Ok(())
}

fn layout(context: &Context) -> TestResult {
    let (pool, sample) = (Pool::new(context), Sample::new(context, |_| {})?);
    let _tidy = Tidy(context, &pool);
    let directory = context.subdirectory("layout");
    sample.write_layout(&directory)?;
    let reference = format!("oci:{}:v1", directory.display());
    let ended = pool.run(context, &["pull", &reference, "one"]);
    assert_eq!(ended.status, 0, "{ended:#?}");
    assert!(ended.stderr.contains("2 layers"), "{ended:#?}");
    check_image(&pool, "one")?;
    // The layers are there: nothing is unpacked again, whatever the image is called.
    fs::remove_file(directory.join("blobs/sha256").join(&sample.layers[0].digest[7..]))?;
    let ended = pool.run(context, &["pull", &reference]);
    assert!(ended.stderr.contains("2 layers, 2 of them here before"), "{ended:#?}");
    check_image(&pool, "layout-v1")?;
    assert_eq!(layers(&pool, "one"), layers(&pool, "layout-v1"));
    // They go with the last image that has them, and settings with theirs.
    for (name, left) in [("one", 2), ("layout-v1", 0)] {
        pool.run(context, &["remove", "--force", name]).ok()?;
        let kept = fs::read_dir(pool.image(".#spinney/layers"))?.count();
        assert_eq!(kept, left, "after {name}");
    }
    assert_eq!(pool.names(), Vec::<String>::new());
    Ok(())
}

/// Writes a layout with one image of `layers`, which are not compressed.
pub fn write_layout_of(directory: &Path, layers: &[Vec<u8>]) -> TestResult {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let layers: Vec<Blob> = layers.iter().cloned().map(Blob::new).collect();
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.digest.clone()).collect();
    let config = Blob::json(&json!({ "architecture": go_architecture(), "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": diff_ids } }));
    let described: Vec<_> = layers.iter().map(|layer| layer.descriptor("oci.image.layer.v1.tar")).collect();
    let manifest = Blob::json(&json!({ "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("oci.image.config.v1+json"), "layers": described }));
    for blob in layers.iter().chain([&config, &manifest]) {
        fs::write(blobs.join(&blob.digest[7..]), &blob.data)?;
    }
    let index =
        json!({ "schemaVersion": 2, "manifests": [manifest.descriptor("oci.image.manifest.v1+json")] });
    fs::write(directory.join("index.json"), index.to_string())?;
    Ok(())
}

/// A layer may have a file and none of the directories above it. They are what lower layers say, as overlayfs has it when it
/// copies one up; a layer that took something from below is no other image's.
fn directories_without_members(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let _tidy = Tidy(context, &pool);
    let top = context.subdirectory("top");
    fs::create_dir_all(top.join("srv/deep/new"))?;
    fs::write(top.join("srv/deep/new/file"), "x")?;
    let members = ["--numeric-owner", "-c", "-C", text(&top), "srv/deep/new/file"];
    let bare = Command::new("tar").args(members).output()?.stdout;
    let base = |name: &str, mode: u32, owner: u32| -> Result<Vec<u8>, crate::harness::Stop> {
        let base = context.subdirectory(name);
        fs::create_dir_all(base.join("srv/deep"))?;
        std::os::unix::fs::chown(base.join("srv/deep"), Some(owner), Some(owner + 1))?;
        fs::set_permissions(base.join("srv/deep"), fs::Permissions::from_mode(mode))?;
        fs::set_permissions(&base, fs::Permissions::from_mode(0o711))?;
        run(Command::new("setfattr").args(["-n", "user.kept", "-v", "yes"]).arg(base.join("srv/deep")))
            .ok()?;
        let options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-c", "-C", text(&base), "."];
        Ok(Command::new("tar").args(options).output()?.stdout)
    };
    let hiding = context.subdirectory("hiding");
    fs::write(hiding.join(".wh.srv"), "")?;
    let hiding = tar(&hiding)?;
    let rows = [
        ("one", vec![base("base-one", 0o1770, 41)?, bare.clone()], 0o1770, 41),
        ("two", vec![base("base-two", 0o700, 7)?, bare.clone()], 0o700, 7),
        // What is between hides it.
        ("hidden", vec![base("base-three", 0o700, 7)?, hiding, bare.clone()], 0o755, 0),
        ("alone", vec![bare], 0o755, 0),
    ];
    for (name, layers_of, mode, owner) in &rows {
        let directory = context.subdirectory(&format!("layout-{name}"));
        write_layout_of(&directory, layers_of)?;
        for again in ["", "-again"] {
            let image = format!("{name}{again}");
            pool.run(context, &["pull", &format!("oci:{}", directory.display()), &image]).ok()?;
            let layers = layers(&pool, &image);
            let stat = fs::metadata(layers.last().ok_or("no layers")?.join("srv/deep"))?;
            assert_eq!((stat.mode() & 0o7777, stat.uid()), (*mode, *owner), "{image}");
        }
        assert_eq!(layers(&pool, name), layers(&pool, &format!("{name}-again")), "{name}");
    }
    let [one, two] = ["one", "two"].map(|name| layers(&pool, name).pop().unwrap());
    assert_ne!(one, two);
    let mut kept = Command::new("getfattr");
    let kept = kept.args(["--only-values", "-n", "user.kept"]).arg(one.join("srv/deep")).output()?;
    assert_eq!(kept.stdout, b"yes");
    assert_eq!(fs::metadata(&one)?.mode() & 0o7777, 0o711);
    assert_eq!(fs::metadata(one.join("srv/deep/new"))?.mode() & 0o7777, 0o755);
    Ok(())
}

/// What a registry says once it is not busy any more.
fn serve(server: &HttpServer, sample: &Sample) {
    let kind = "application/vnd.oci.image.manifest.v1+json";
    server
        .put("/v2/web/manifests/1", Reply::bytes(sample.manifest.data.clone()).header("content-type", kind));
    for blob in sample.blobs() {
        server.put(&format!("/v2/web/blobs/{}", blob.digest), Reply::bytes(blob.data.clone()));
    }
}

fn busy(context: &Context) -> TestResult {
    let (pool, sample, server) = (Pool::new(context), Sample::new(context, |_| {})?, HttpServer::start());
    let _tidy = Tidy(context, &pool);
    serve(&server, &sample);
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = Reply::bytes(sample.manifest.data.clone()).header("content-type", kind);
    server.script("/v2/web/manifests/1", [Reply::status(503), Reply::status(429).retry_after("0"), manifest]);
    let config = format!("/v2/web/blobs/{}", sample.config.digest);
    server.script(&config, [Reply::status(502), Reply::bytes(sample.config.data.clone())]);
    let ended = pool.run(context, &["pull", &format!("docker://{}/web:1", server.address())]);
    assert_eq!(ended.status, 0, "{ended:#?}");
    assert_eq!(ended.stderr.matches("; trying again in ").count(), 3, "{ended:#?}");
    check_image(&pool, "web-1")
}

fn silent(context: &Context) -> TestResult {
    let (pool, server) = (Pool::new(context), HttpServer::start());
    server.put("/v2/web/manifests/1", Reply::bytes("").silent());
    let stderr = capture();
    let mut command = pool.command(context, &["pull", &format!("docker://{}/web:1", server.address())]);
    let mut process =
        Process::spawn(command.stdout(Stdio::null()).stderr(stderr.try_clone().map_err(|e| e.to_string())?));
    server.wait_for("/v2/web/manifests/1", 1);
    process.signal(libc::SIGINT);
    // The server is waited for half a minute.
    let status = process.wait(Duration::from_secs(20)).ok_or("it did not end")?;
    assert_eq!(shell_status(status), 130);
    assert_eq!(contents(&stderr), "spinney: error: cancelled; what there was of it is removed\n");
    Ok(())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn archives(context: &Context) -> TestResult {
    let (pool, sample) = (Pool::new(context), Sample::new(context, |_| {})?);
    let _tidy = Tidy(context, &pool);
    let directory = context.subdirectory("layout");
    sample.write_layout(&directory)?;
    let file = context.directory.join("web.tar.gz");
    fs::write(&file, gzip(&tar(&directory)?)?)?;
    pool.run(context, &["pull", &format!("oci-archive:{}", file.display())]).ok()?;
    check_image(&pool, "web")?;
    // As docker save writes it: layers without digests, one of them a link to another file.
    let saved = context.subdirectory("saved");
    fs::create_dir(saved.join("a"))?;
    fs::write(saved.join("a/layer.tar"), &sample.plain[0])?;
    fs::write(saved.join("top.tar"), &sample.plain[1])?;
    std::os::unix::fs::symlink("../top.tar", saved.join("a/top.tar"))?;
    fs::write(saved.join("c.json"), &sample.config.data)?;
    let manifest =
        json!([{ "Config": "c.json", "RepoTags": ["shop:2"], "Layers": ["a/layer.tar", "a/top.tar"] }]);
    fs::write(saved.join("manifest.json"), manifest.to_string())?;
    let file = context.directory.join("shop.tar");
    fs::write(&file, tar(&saved)?)?;
    pool.run(context, &["pull", &format!("docker-archive:{}:shop:2", file.display()), "shop"]).ok()?;
    check_image(&pool, "shop")?;
    assert_eq!(layers(&pool, "web"), layers(&pool, "shop"));
    Ok(())
}

fn refused(context: &Context) -> TestResult {
    let pool = Pool::new(context);
    let _tidy = Tidy(context, &pool);
    /// What of the configuration is changed, what on disk, and what is said.
    type Row = (&'static str, fn(&mut Value), fn(&Path, &Sample) -> std::io::Result<()>, &'static str);
    fn blob(directory: &Path, blob: &Blob) -> PathBuf {
        directory.join("blobs/sha256").join(&blob.digest[7..])
    }
    let rows: [Row; 8] = [
        (
            "a damaged layer",
            |_| {},
            |at, it| fs::write(blob(at, &it.layers[1]), &it.plain[0]),
            "the digest of",
        ),
        (
            "a damaged manifest",
            |_| {},
            |at, it| fs::write(blob(at, &it.manifest), "{}"),
            "the manifest is not right: its digest is",
        ),
        ("a layer that is gone", |_| {}, |at, it| fs::remove_file(blob(at, &it.layers[0])), "No such file"),
        (
            "another layer",
            |config| config["rootfs"]["diff_ids"][1] = format!("sha256:{}", "7".repeat(64)).into(),
            |_, _| Ok(()),
            "layer 2 is not what the image's configuration says it is",
        ),
        (
            "a layer too few",
            |config| config["rootfs"]["diff_ids"] = json!([]),
            |_, _| Ok(()),
            "it has 0 layers, and the manifest 2",
        ),
        ("another system", |config| config["os"] = "windows".into(), |_, _| Ok(()), "only for windows/"),
        (
            "another platform",
            |config| config["architecture"] = "s390x".into(),
            |_, _| Ok(()),
            "only for linux/s390x",
        ),
        (
            "a way out",
            |_| {},
            |at, it| {
                fs::remove_file(blob(at, &it.config))?;
                std::os::unix::fs::symlink("/etc/hostname", blob(at, &it.config))
            },
            "No such file",
        ),
    ];
    for (number, (what, change, damage, message)) in rows.into_iter().enumerate() {
        let sample = Sample::new(context, change)?;
        let directory = context.subdirectory(&format!("layout-{number}"));
        sample.write_layout(&directory)?;
        damage(&directory, &sample)?;
        let ended = pool.run(context, &["pull", &format!("oci:{}", directory.display()), "a"]);
        assert!(ended.stderr.contains(message), "{what}: {ended:#?}");
        pool.refuses(&ended, message)?;
    }
    for (reference, message) in [
        ("oci:/nowhere", "cannot open /nowhere"),
        ("oci:/etc", "/etc is no layout of OCI images"),
        ("localhost:1/Bad", "has a repository that is no name"),
        ("oci-archive:/dev/null", "/dev/null"),
    ] {
        pool.refuses(&pool.run(context, &["pull", reference, "a"]), message)?;
    }
    // What nobody would look at is refused.
    let digest = format!("--sha256={}", "7".repeat(64));
    for (arguments, message) in [
        (["pull", "--frozen", "localhost:1/a"], "--lock and --frozen are for names of the catalogue"),
        (
            ["pull", "--lock", "https://localhost:1/a.tar"],
            "--lock and --frozen are for names of the catalogue",
        ),
        (["pull", &digest, "localhost:1/a"], "--sha256= is for addresses"),
        (["pull", &digest, "debian:trixie"], "--sha256= is for addresses"),
        (
            ["pull", "--verify=signature", "localhost:1/a"],
            "signatures of images of registries are not checked",
        ),
        (
            ["pull", "--key=/etc/hostname", "localhost:1/a"],
            "signatures of images of registries are not checked",
        ),
    ] {
        pool.refuses(&pool.run(context, &arguments), message)?;
    }
    Ok(())
}

/// Debian's docker-registry, with a password.
pub struct Registry {
    child: Child,
    pub address: String,
}

impl Registry {
    pub fn start(context: &Context) -> Result<Self, crate::harness::Stop> {
        let directory = context.subdirectory("registry");
        let password = run(Command::new("htpasswd").args(["-Bbn", "user", "secret"])).ok()?;
        fs::write(directory.join("htpasswd"), password)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {0}/data }} }}\n\
             http: {{ addr: \"{address}\" }}\nauth: {{ htpasswd: {{ realm: here, path: {0}/htpasswd }} }}\n",
            directory.display()
        );
        fs::write(directory.join("config.yml"), config)?;
        let log = fs::File::create(directory.join("log"))?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(directory.join("config.yml"))
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let registry = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&registry.address).is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }

    fn curl(&self, arguments: &[&str]) -> Result<String, String> {
        run(Command::new("curl").args(["-sS", "--fail-with-body", "-u", "user:secret"]).args(arguments)).ok()
    }

    pub fn push(&self, context: &Context, sample: &Sample, tag: &str) -> TestResult {
        let base = format!("http://{}/v2/team/web", self.address);
        let file = context.directory.join("blob");
        for blob in &sample.blobs()[..3] {
            fs::write(&file, &blob.data)?;
            let begun = self.curl(&[
                "-X",
                "POST",
                "-o",
                "/dev/null",
                "-w",
                "%header{location}",
                &format!("{base}/blobs/uploads/"),
            ])?;
            let place = format!("{}&digest={}", begun.trim(), blob.digest);
            self.curl(&[
                "-X",
                "PUT",
                "-H",
                "Content-Type: application/octet-stream",
                "--data-binary",
                &format!("@{}", file.display()),
                &place,
            ])?;
        }
        fs::write(&file, &sample.manifest.data)?;
        let kind = "Content-Type: application/vnd.oci.image.manifest.v1+json";
        self.curl(&[
            "-X",
            "PUT",
            "-H",
            kind,
            "--data-binary",
            &format!("@{}", file.display()),
            &format!("{base}/manifests/{tag}"),
        ])?;
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// auth.json with `login` for `registry`.
pub fn auth_file(context: &Context, registry: &str, login: &str) -> Result<PathBuf, String> {
    let path = context.directory.join("auth.json");
    let output = Command::new("sh")
        .args(["-c", "printf %s \"$0\" | base64 -w0", login])
        .output()
        .map_err(|error| error.to_string())?;
    let auth = String::from_utf8_lossy(&output.stdout).into_owned();
    fs::write(&path, json!({ "auths": { registry: { "auth": auth } } }).to_string())
        .map_err(|error| error.to_string())?;
    Ok(path)
}

fn registry(context: &Context) -> TestResult {
    let (pool, sample) = (Pool::new(context), Sample::new(context, |_| {})?);
    let _tidy = Tidy(context, &pool);
    let registry = Registry::start(context)?;
    registry.push(context, &sample, "1.0")?;
    let reference = format!("{}/team/web:1.0", registry.address);
    let pull = |reference: &str, login: Option<&str>| -> Result<_, String> {
        let mut command = pool.command(context, &["pull", reference]);
        let path = match login {
            Some(login) => auth_file(context, &registry.address, login)?,
            None => PathBuf::from("/nowhere"),
        };
        Ok(run(command.env("REGISTRY_AUTH_FILE", path)))
    };
    pool.refuses(&pull(&reference, None)?, "wants to know who asks for \"team/web\"")?;
    pool.refuses(&pull(&reference, Some("user:wrong"))?, "does not let \"user\" have \"team/web\"")?;
    let other = format!("{}/team/web:2.0", registry.address);
    pool.refuses(&pull(&other, Some("user:secret"))?, "has no image")?;
    let ended = pull(&reference, Some("user:secret"))?;
    assert_eq!(ended.status, 0, "{ended:#?}");
    check_image(&pool, "web-1.0")?;
    let by_digest = format!("{}/team/web@{}", registry.address, sample.manifest.digest);
    let ended = pull(&by_digest, Some("user:secret"))?;
    assert!(ended.stderr.contains("2 layers, 2 of them here before"), "{ended:#?}");
    check_image(&pool, "web")
}

/// A registry that has tokens given out by somebody else, and its layers elsewhere.
fn tokens(context: &Context) -> TestResult {
    let (pool, sample) = (Pool::new(context), Sample::new(context, |_| {})?);
    let _tidy = Tidy(context, &pool);
    let (server, elsewhere) = (HttpServer::start(), HttpServer::start());
    let realm = elsewhere.url("/token");
    let challenge = format!("Bearer realm=\"{realm}\",service=\"here\",scope=\"repository:a/b:pull\"");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let only = |reply: Reply| reply.only_for("Bearer abc", &challenge);
    server.put(
        "/v2/a/b/manifests/latest",
        only(Reply::bytes(sample.manifest.data.clone()).header("content-type", kind)),
    );
    server.put(
        &format!("/v2/a/b/blobs/{}", sample.config.digest),
        only(Reply::bytes(sample.config.data.clone())),
    );
    for blob in &sample.layers {
        let path = format!("/data/{}", &blob.digest[7..]);
        elsewhere.put(&path, Reply::bytes(blob.data.clone()));
        server
            .put(&format!("/v2/a/b/blobs/{}", blob.digest), only(Reply::redirect(307, elsewhere.url(&path))));
    }
    elsewhere.put("/token", Reply::bytes(r#"{"token":"abc"}"#));
    let reference = format!("{}/a/b", server.address());
    let path = auth_file(context, &server.address().to_string(), "user:secret")?;
    let ended = run(pool.command(context, &["pull", &reference]).env("REGISTRY_AUTH_FILE", path));
    assert_eq!(ended.status, 0, "{ended:#?}");
    check_image(&pool, "b")?;
    let asked = elsewhere.asked();
    let (token, data): (Vec<_>, Vec<_>) = asked.iter().partition(|asked| asked.path == "/token");
    assert!(!token.is_empty() && data.len() == 2, "{asked:?}");
    for asked in token {
        assert_eq!(asked.query, "service=here&scope=repository%3Aa%2Fb%3Apull");
        assert_eq!(asked.header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
    }
    // What is ours to tell the registry is not told to others.
    assert!(data.iter().all(|asked| asked.header("authorization").is_none()), "{data:?}");
    Ok(())
}

/// Whoever a registry leads to may not ask for what is the registry's to know.
fn thief(context: &Context) -> TestResult {
    let (pool, sample) = (Pool::new(context), Sample::new(context, |_| {})?);
    let (server, elsewhere, realm) = (HttpServer::start(), HttpServer::start(), HttpServer::start());
    let challenge = format!("Bearer realm=\"{}\"", realm.url("/token"));
    server.put("/v2/a/b/manifests/latest", Reply::bytes(sample.manifest.data.clone()));
    server.put(&format!("/v2/a/b/blobs/{}", sample.config.digest), Reply::bytes(sample.config.data.clone()));
    elsewhere.put("/data", Reply::status(401).header("www-authenticate", &challenge));
    for blob in &sample.layers {
        server.put(&format!("/v2/a/b/blobs/{}", blob.digest), Reply::redirect(307, elsewhere.url("/data")));
    }
    let path = auth_file(context, &server.address().to_string(), "user:secret")?;
    let reference = format!("{}/a/b", server.address());
    let ended = run(pool.command(context, &["pull", &reference]).env("REGISTRY_AUTH_FILE", path));
    pool.refuses(&ended, "401")?;
    assert_eq!(realm.asked().len(), 0, "{:?}", realm.asked());
    Ok(())
}

/// The settings of an image go with it, those that somebody wrote stay.
fn replaced(context: &Context) -> TestResult {
    let (pool, sample) = (Pool::new(context), Sample::new(context, |_| {})?);
    let _tidy = Tidy(context, &pool);
    let silent = Sample::new(context, |config| config["config"] = json!({}))?;
    let (first, second) = (context.subdirectory("first"), context.subdirectory("second"));
    sample.write_layout(&first)?;
    silent.write_layout(&second)?;
    let settings = pool.image("a.nspawn");
    pool.run(context, &["pull", &format!("oci:{}", first.display()), "a"]).ok()?;
    assert!(settings.exists());
    pool.run(context, &["pull", "--force", &format!("oci:{}", second.display()), "a"]).ok()?;
    assert!(!settings.exists());
    fs::write(&settings, "[Exec]\nBoot=yes\n")?;
    pool.run(context, &["pull", "--force", &format!("oci:{}", first.display()), "a"]).ok()?;
    assert_eq!(fs::read_to_string(&settings)?, "[Exec]\nBoot=yes\n");
    // Nor does an image become one of the catalogue by its name.
    pool.run(context, &["pull", &format!("oci:{}", first.display()), "debian-trixie"]).ok()?;
    let ended = pool.run(context, &["pull", "debian:trixie"]);
    assert_eq!(ended.status, 125, "{ended:#?}");
    let message = "there is an image \"debian-trixie\" already, which was not made of this";
    assert!(ended.stderr.contains(message), "{ended:#?}");
    Ok(())
}

/// Without an init, its own command runs, or another one.
fn runs(context: &Context) -> TestResult {
    let (pool, sample) = (Pool::new(context), Sample::new(context, |_| {})?);
    let _tidy = Tidy(context, &pool);
    let directory = context.subdirectory("layout");
    sample.write_layout(&directory)?;
    pool.run(context, &["pull", &format!("oci:{}", directory.display()), "app"]).ok()?;
    let image = pool.image("app.mstack");
    let name = context.machine_name();
    let spinney =
        |rest: &[&str]| run(context.spinney().args(["run", "-q", "-x", "-M", &name]).arg(&image).args(rest));
    let ended = spinney(&["--", "sh", "-c", "ls /srv /srv/old"]);
    assert_eq!((ended.status, ended.stdout.as_str()), (0, "/srv:\nold\n\n/srv/old:\nnew\n"), "{ended:#?}");
    Ok(())
}
