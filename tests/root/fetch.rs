//! Downloads by the command line: what the environment says of proxies and certificates, signatures checked by the real gpgv,
//! downloads that are killed and resumed. Each is refused with one line that says why, a hint and exit status 125, and leaves no
//! image.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::command::{Ended, PATIENCE, run};
use crate::harness::{Context, Row, Stop, Test, TestResult};
use crate::http_server::{HttpServer, Reply};

pub fn tests() -> Vec<Test> {
    let rows: [Row; 8] = [
        ("http_proxy", http_proxy),
        ("socks_proxy", socks_proxy),
        ("https", https),
        ("signed_with_a_key_of_the_user", signed),
        ("signed_with_the_keyring_of_the_host", host_keyring),
        ("no_gpgv", no_gpgv),
        ("killed_and_resumed", killed_and_resumed),
        ("default_verification", default_verification),
    ];
    rows.into_iter().map(|(name, test)| Test::new(format!("fetch::{name}"), test)).collect()
}

const PROXY_VARIABLES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// `spinney pull URL` into a store of the test's own, without the proxies of whoever runs the test.
fn pull(context: &Context, url: &str, options: &[&str]) -> Command {
    let mut command = context.spinney();
    for name in PROXY_VARIABLES {
        command.env_remove(name);
    }
    command.args(["pull", url, "image"]).args(options).arg("--image-root").arg(images(context));
    command
}

fn images(context: &Context) -> PathBuf {
    context.directory.join("images")
}

/// An archive with one file.
fn archive(context: &Context) -> Result<Vec<u8>, Stop> {
    let directory = context.subdirectory("content");
    std::fs::write(directory.join("file"), "what is in it\n")?;
    let output = Command::new("tar").arg("-C").arg(&directory).args(["-c", "file"]).output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(output.stdout)
}

fn pulled(context: &Context, ended: &Ended) -> TestResult {
    assert_eq!(ended.status, 0, "{ended:#?}");
    assert_eq!(std::fs::read_to_string(images(context).join("image/file"))?, "what is in it\n");
    std::fs::remove_dir_all(images(context).join("image"))?;
    Ok(())
}

/// One line of error with `what` in it, a hint, no image.
fn refused(context: &Context, ended: &Ended, what: &str) {
    let errors: Vec<&str> =
        ended.stderr.lines().filter(|line| line.starts_with("spinney: error: ")).collect();
    assert_eq!(ended.status, 125, "{ended:#?}");
    assert!(errors.len() == 1 && errors[0].contains(what), "{what:?} is not told: {ended:#?}");
    assert!(ended.stderr.lines().last().is_some_and(|line| line.starts_with("  hint: ")), "{ended:#?}");
    let visible = |entry: std::io::Result<std::fs::DirEntry>| entry.map(|entry| entry.file_name()).ok();
    let left: Vec<_> = std::fs::read_dir(images(context)).into_iter().flatten().filter_map(visible).collect();
    let left: Vec<_> = left.iter().filter(|name| *name != ".#spinney").collect();
    assert!(left.is_empty(), "an image is left: {left:?}");
}

fn http_proxy(context: &Context) -> TestResult {
    let server = HttpServer::start();
    server.put("/a.tar", Reply::bytes(archive(context)?));
    let url = "http://not-to-be-looked-up.invalid/a.tar";
    for variable in ["http_proxy", "all_proxy"] {
        server.forget();
        pulled(context, &run(pull(context, url, &["--verify=no"]).env(variable, server.url(""))))?;
        assert_eq!(server.asked()[0].target, url);
    }
    let without = run(pull(context, url, &["--verify=no"])
        .env("http_proxy", server.url(""))
        .env("no_proxy", ".invalid"));
    refused(context, &without, "cannot find not-to-be-looked-up.invalid: ");
    Ok(())
}

/// A proxy of SOCKS version 5 (RFC 1928) for one connection without authentication, to `server` whatever it was asked for;
/// gives the host that was.
fn socks(listener: TcpListener, server: std::net::SocketAddr) -> std::io::Result<String> {
    let (mut client, _) = listener.accept()?;
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting)?;
    client.read_exact(&mut vec![0; greeting[1].into()])?;
    client.write_all(&[5, 0])?;
    let mut request = [0; 5];
    client.read_exact(&mut request)?;
    let mut host = vec![0; request[4].into()];
    client.read_exact(&mut host)?;
    client.read_exact(&mut [0; 2])?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut upstream, mut back) = (TcpStream::connect(server)?, client.try_clone()?);
    let mut answers = upstream.try_clone()?;
    let thread = std::thread::spawn(move || {
        let _ = std::io::copy(&mut answers, &mut back);
        back.shutdown(std::net::Shutdown::Both)
    });
    let _ = std::io::copy(&mut client, &mut upstream);
    let _ = upstream.shutdown(std::net::Shutdown::Both);
    let _ = thread.join();
    Ok(String::from_utf8_lossy(&host).into_owned())
}

fn socks_proxy(context: &Context) -> TestResult {
    let server = HttpServer::start();
    server.put("/a.tar", Reply::bytes(archive(context)?));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = format!("socks5h://{}", listener.local_addr()?);
    let address = server.address();
    let thread = std::thread::spawn(move || socks(listener, address));
    let url = "http://not-to-be-looked-up.invalid/a.tar";
    let ended = run(pull(context, url, &["--verify=no"]).env("all_proxy", proxy));
    pulled(context, &ended)?;
    assert_eq!(thread.join().unwrap()?, "not-to-be-looked-up.invalid");
    Ok(())
}

/// openssl(1) as a server of the files of a directory; ended when it is dropped.
struct HttpsServer {
    child: Child,
    port: u16,
}

impl HttpsServer {
    fn start(directory: &Path, certificate: &Path, key: &Path) -> Result<Self, Stop> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut child = Command::new("openssl")
            .args(["s_server", "-WWW", "-accept", &format!("127.0.0.1:{port}"), "-cert"])
            .arg(certificate)
            .arg("-key")
            .arg(key)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        // It says "ACCEPT" when it listens.
        let mut said = Vec::new();
        let mut output = child.stdout.take().unwrap();
        while !said.ends_with(b"ACCEPT") {
            let mut byte = [0];
            output.read_exact(&mut byte)?;
            said.push(byte[0]);
        }
        // What it says later is for nobody, but has to go somewhere.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Ok(Self { child, port })
    }
}

impl Drop for HttpsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn openssl(directory: &Path, arguments: &[&str]) -> TestResult {
    let output = Command::new("openssl").args(arguments).current_dir(directory).output()?;
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Certificates are checked against the authorities of SSL_CERT_FILE; where there are none at all, that is said.
fn https(context: &Context) -> TestResult {
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
        return Err(Stop::Skip("openssl is not here".to_owned()));
    }
    let directory = context.subdirectory("https");
    std::fs::write(directory.join("a.tar"), archive(context)?)?;
    let authority = |name: &str| -> TestResult {
        let (key, certificate, subject) =
            (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let usual = ["req", "-x509", "-days", "2", "-subj", &subject, "-keyout", &key, "-out", &certificate];
        openssl(&directory, &[&usual[..], &curve].concat())
    };
    authority("authority")?;
    authority("other")?;
    std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n")?;
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let ask = ["req", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"];
    openssl(&directory, &[&ask[..], &curve].concat())?;
    openssl(
        &directory,
        &[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "authority.pem",
            "-CAkey",
            "authority.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "names",
            "-out",
            "server.pem",
        ],
    )?;
    let server =
        HttpsServer::start(&directory, &directory.join("server.pem"), &directory.join("server.key"))?;
    let url = format!("https://localhost:{}/a.tar", server.port);
    let with = |authorities: &str| {
        let mut command = pull(context, &url, &["--verify=no"]);
        command.env("SSL_CERT_FILE", directory.join(authorities)).env_remove("SSL_CERT_DIR");
        run(&mut command)
    };
    pulled(context, &with("authority.pem"))?;
    let host = format!("localhost:{}", server.port);
    refused(
        context,
        &with("other.pem"),
        &format!("{host} is not believed to be {host}: invalid peer certificate: "),
    );
    refused(context, &with("missing.pem"), "there are no certificates of authorities here");
    Ok(())
}

/// A gpg of the test's own, with one key.
struct Signer {
    home: PathBuf,
}

impl Signer {
    fn make(context: &Context) -> Result<Self, Stop> {
        let signer = Self { home: context.subdirectory("gpg") };
        signer.gpg(&[
            "--passphrase",
            "",
            "--quick-generate-key",
            "Test <t@test>",
            "ed25519",
            "sign",
            "never",
        ])?;
        Ok(signer)
    }

    fn gpg(&self, arguments: &[&str]) -> Result<Vec<u8>, Stop> {
        let output = Command::new("gpg")
            .env("GNUPGHOME", &self.home)
            .args(["--batch", "--quiet", "--no-permission-warning", "--yes"])
            .args(arguments)
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| Stop::Skip(format!("gpg: {error}")))?;
        assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    }

    /// A server with the archive, its checksums and their signature.
    fn server(&self, context: &Context) -> Result<HttpServer, Stop> {
        let server = HttpServer::start();
        let archive = archive(context)?;
        std::fs::write(self.home.join("a.tar"), &archive)?;
        let sums = Command::new("sha256sum").arg("a.tar").current_dir(&self.home).output()?.stdout;
        std::fs::write(self.home.join("SHA256SUMS"), &sums)?;
        self.gpg(&["--detach-sign", "SHA256SUMS"])?;
        server.put("/a.tar", Reply::bytes(archive));
        server.put("/SHA256SUMS", Reply::bytes(sums));
        server.put("/SHA256SUMS.gpg", Reply::bytes(std::fs::read(self.home.join("SHA256SUMS.sig"))?));
        Ok(server)
    }

    fn key(&self, name: &str, how: &[&str]) -> Result<PathBuf, Stop> {
        let path = self.home.join(name);
        std::fs::write(&path, self.gpg(&[how, &["--export"]].concat())?)?;
        Ok(path)
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").env("GNUPGHOME", &self.home).args(["--kill", "all"]).status();
    }
}

fn signed(context: &Context) -> TestResult {
    let signer = Signer::make(context)?;
    let server = signer.server(context)?;
    let url = server.url("/a.tar");
    for (name, how) in [("key.gpg", &[][..]), ("key.asc", &["--armor"])] {
        let key = format!("--key={}", signer.key(name, how)?.display());
        let ended = run(&mut pull(context, &url, &[&key]));
        assert!(ended.stderr.contains("Test <t@test>"), "it is not told who signed: {ended:#?}");
        pulled(context, &ended)?;
    }
    // gpgv saw nothing of the user's, and left nothing there.
    let home = context.subdirectory("home");
    let key = format!("--key={}", signer.home.join("key.gpg").display());
    pulled(context, &run(pull(context, &url, &[&key]).env("HOME", &home).env("GNUPGHOME", &home)))?;
    assert_eq!(std::fs::read_dir(&home)?.count(), 0);
    server.put("/SHA256SUMS", Reply::bytes("0".repeat(64) + "  a.tar\n"));
    refused(context, &run(&mut pull(context, &url, &[&key])), "SHA256SUMS does not hold");
    Ok(())
}

/// importctl's keyring is the one that counts when no key is named.
fn host_keyring(context: &Context) -> TestResult {
    let signer = Signer::make(context)?;
    let server = signer.server(context)?;
    let (url, key) = (server.url("/a.tar"), signer.key("key.gpg", &[])?);
    let with = |keyring: &Path| {
        run(pull(context, &url, &["--verify=signature"]).env("SYSTEMD_OPENPGP_KEYRING", keyring))
    };
    pulled(context, &with(&key))?;
    refused(context, &with(Path::new("/nonexistent")), "there are no keys to check the signature of ");
    Ok(())
}

fn no_gpgv(context: &Context) -> TestResult {
    let signer = Signer::make(context)?;
    let server = signer.server(context)?;
    let key = format!("--key={}", signer.key("key.gpg", &[])?.display());
    let mut command = pull(context, &server.url("/a.tar"), &[&key]);
    let ended = run(command.env("PATH", context.subdirectory("empty")));
    refused(context, &ended, "signatures cannot be checked: there is no gpgv here");
    assert!(ended.stderr.contains("hint: install the package gpgv"), "{ended:#?}");
    Ok(())
}

/// With --keep-partial even SIGKILL loses nothing: the next command asks for the rest alone. Without it nothing is kept.
fn killed_and_resumed(context: &Context) -> TestResult {
    let server = HttpServer::start();
    let archive = archive(context)?;
    let padded = [&archive[..], &vec![0; 1_000_000]].concat();
    let reply = || Reply::bytes(padded.clone()).etag("\"1\"");
    let partial = images(context).join(".#spinney/downloads");
    for (options, asked) in [
        (&["--verify=no", "--keep-partial"][..], "GET /a.tar bytes=500000-"),
        (&["--verify=no"], "GET /a.tar"),
    ] {
        server.put("/a.tar", reply().stalls_after(500_000));
        server.forget();
        let mut command = pull(context, &server.url("/a.tar"), options);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        server.wait_for("/a.tar", 1);
        if options.len() > 1 {
            wait_for_bytes(&partial, 500_000);
        }
        child.kill()?;
        assert_eq!(child.wait()?.signal(), Some(9));
        server.put("/a.tar", reply());
        server.forget();
        pulled(context, &run(&mut pull(context, &server.url("/a.tar"), options)))?;
        assert_eq!(server.log(), [asked]);
        assert_eq!(std::fs::read_dir(&partial).into_iter().flatten().count(), 0, "something is kept");
    }
    Ok(())
}

/// Until that many bytes are kept.
fn wait_for_bytes(partial: &Path, bytes: u64) {
    let kept = || -> u64 {
        let entries = std::fs::read_dir(partial).into_iter().flatten().flatten();
        let data = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".data"));
        data.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
    };
    let started = std::time::Instant::now();
    while kept() < bytes {
        assert!(started.elapsed() < PATIENCE, "{} bytes are kept", kept());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A checksum is wanted where nobody says otherwise.
fn default_verification(context: &Context) -> TestResult {
    let server = HttpServer::start();
    let archive = archive(context)?;
    server.put("/a.tar", Reply::bytes(archive.clone()));
    let url = server.url("/a.tar");
    refused(context, &run(&mut pull(context, &url, &[])), "there is no file of checksums for ");
    std::fs::write(context.directory.join("a.tar"), archive)?;
    let sums = Command::new("sha256sum").arg("a.tar").current_dir(&context.directory).output()?.stdout;
    server.put("/SHA256SUMS", Reply::bytes(sums));
    pulled(context, &run(&mut pull(context, &url, &[])))?;
    // importctl's names want importctl's default.
    for arguments in [["pull", &url, "image", "--verify=signature"], ["pull-tar", &url, "image", "--quiet"]] {
        let mut command = context.spinney();
        command.args(arguments).arg("--image-root").arg(images(context));
        let ended = run(command.env("SYSTEMD_OPENPGP_KEYRING", "/nonexistent"));
        refused(context, &ended, "there are no keys to check the signature of ");
    }
    refused(
        context,
        &run(&mut pull(context, &url, &["--verify=perhaps"])),
        "\"perhaps\" is no way to verify",
    );
    refused(context, &run(&mut pull(context, &url, &["--sha256=abc"])), "\"abc\" is no sha256 digest");
    Ok(())
}
