//! Checksums and signatures of a server: those that hold, and all that do not, each refused with the line that says why.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use sha2::{Digest as _, Sha256, Sha512};

use super::super::fetch::{FetchOptions, open};
use super::super::http_server::{HttpServer, Reply};
use super::super::{Context, Digest, Error};
use super::{Mode, Verification};

const DATA: &[u8] = b"the bytes of an image";

/// Keys of a test, made once for all of them.
struct Signers {
    directory: tempfile::TempDir,
}

impl Signers {
    /// `None`, and a word about it, where gpg is missing.
    fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Signers>> = OnceLock::new();
        SHARED.get_or_init(Self::make).as_ref()
    }

    fn make() -> Option<Self> {
        let there = |tool: &str| Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok();
        if !there("gpg") || !there("gpgv") {
            println!("not tested: gpg and gpgv are not here");
            return None;
        }
        let signers = Self { directory: tempfile::tempdir().unwrap() };
        for (user, expires) in [("Good", "never"), ("Other", "never"), ("Gone", "never"), ("Old", "1d")] {
            let user = format!("{user} <{}@test>", user.to_lowercase());
            let make = ["--passphrase", "", "--quick-generate-key", &user, "ed25519", "sign", expires];
            signers.gpg(&[&["--faked-system-time", "20200101T000000"], &make[..]].concat(), b"");
        }
        for name in ["good", "other", "old", "gone"] {
            let key = signers.gpg(&["--export", name], b"");
            std::fs::write(signers.path(&format!("{name}.gpg")), key).unwrap();
        }
        let armoured = signers.gpg(&["--armor", "--export", "good"], b"");
        std::fs::write(signers.path("good.asc"), armoured).unwrap();
        // The certificate that gpg wrote when it made the key, with the colon taken out that keeps it from use.
        let revocations = signers.path("home/openpgp-revocs.d");
        let list = String::from_utf8(signers.gpg(&["--with-colons", "--list-keys", "gone"], b"")).unwrap();
        let fingerprint = list.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap();
        let path = revocations.join(format!("{}.rev", fingerprint.trim_end_matches(':')));
        let certificate = std::fs::read_to_string(path).unwrap().replace(":-----BEGIN", "-----BEGIN");
        let before = signers.sign("gone", &["--detach-sign"], DATA);
        std::fs::write(signers.path("gone.sig"), before).unwrap();
        signers.gpg(&["--import"], certificate.as_bytes());
        let revoked = signers.gpg(&["--export", "gone"], b"");
        std::fs::write(signers.path("gone.gpg"), revoked).unwrap();
        let _ =
            Command::new("gpgconf").env("GNUPGHOME", signers.path("home")).args(["--kill", "all"]).status();
        Some(signers)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn gpg(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let home = self.path("home");
        std::fs::create_dir_all(&home).unwrap();
        let mut child = Command::new("gpg")
            .env("GNUPGHOME", &home)
            .args(["--batch", "--quiet", "--no-permission-warning", "--yes"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "gpg {arguments:?}");
        output.stdout
    }

    fn sign(&self, who: &str, how: &[&str], data: &[u8]) -> Vec<u8> {
        let time: &[&str] = if who == "old" { &["--faked-system-time", "20200101T010000"] } else { &[] };
        self.gpg(&[time, &["--local-user", who], how].concat(), data)
    }
}

impl Drop for Signers {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").env("GNUPGHOME", self.path("home")).args(["--kill", "all"]).status();
    }
}

fn hex<const N: usize>(bytes: [u8; N]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256() -> String {
    hex(Sha256::digest(DATA).into())
}

/// What came, and what was said to vouch for it; key ids and addresses are not the same twice.
fn fetched(url: &str, verification: &Verification) -> Result<Option<String>, String> {
    let told = |error: Error| {
        assert!(error.hint().is_some(), "no hint: {error}");
        error.to_string()
    };
    let mut incoming = open(url, verification, &FetchOptions::default(), &Context::silent()).map_err(told)?;
    let mut bytes = Vec::new();
    incoming.read_to_end(&mut bytes).unwrap();
    incoming.verify().map(|proof| proof.checked).map_err(told)
}

fn plain(text: &str, server: &HttpServer, keys: &Path) -> String {
    let text = text.replace(&server.url(""), "URL").replace(&keys.display().to_string(), "KEYS");
    let is_id =
        |word: &str| word.len() >= 16 && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    let words = text.split(' ').map(|word| {
        let bare = word.trim_matches(|edge: char| "(),;".contains(edge));
        if is_id(bare) { word.replace(bare, "KEY") } else { word.to_owned() }
    });
    words.collect::<Vec<String>>().join(" ")
}

type Files = Vec<(&'static str, Vec<u8>)>;

/// What it is, files beside the image, what is asked, and what vouched for the image or why it was refused.
type Case = (&'static str, Files, Verification, Result<Option<String>, String>);

#[test]
fn checksums() {
    let line = |digest: &str, name: &str| format!("{digest}  {name}\n").into_bytes();
    let good = sha256();
    let wrong = hex(Sha256::digest(b"other bytes").into());
    let sha512 = hex(Sha512::digest(DATA).into());
    let given = |digest: &str| Verification {
        sha256: Some(digest.parse::<Digest>().unwrap()),
        ..Verification::default()
    };
    let checksum = || Verification { mode: Some(Mode::Checksum), ..Verification::default() };
    let named = |path: &str| Verification { checksums: vec![path.to_owned()], ..Verification::default() };
    let looked = "there is no file of checksums for URL/d/a.tar: looked for a.tar.sha256, SHA256SUMS, SHA512SUMS, CHECKSUM, \
                  sha256sums.txt, sha256sum.txt, a.tar.sha512, a.tar.DIGESTS";
    let mismatch = |source: &str| {
        Err(format!("URL/d/a.tar is not what it should be: its sha256 is {good}, not {wrong} ({source})"))
    };
    let ok = |source: &str| Ok(Some(source.to_owned()));
    let rows: Vec<Case> = vec![
        ("nothing asked", vec![], Verification::none(), Ok(None)),
        ("given", vec![], given(&good), ok("the digest that was given")),
        ("given, and wrong", vec![], given(&wrong), mismatch("the digest that was given")),
        (
            "given and wrong, nothing asked",
            vec![],
            Verification { mode: Some(Mode::No), ..given(&wrong) },
            mismatch("the digest that was given"),
        ),
        ("none", vec![], checksum(), Err(looked.to_owned())),
        ("none, by default on the loopback", vec![], Verification::default(), Err(looked.to_owned())),
        ("its own", vec![("a.tar.sha256", good.clone().into_bytes())], checksum(), ok("a.tar.sha256")),
        ("of the directory", vec![("SHA256SUMS", line(&good, "a.tar"))], checksum(), ok("SHA256SUMS")),
        (
            "tagged",
            vec![("CHECKSUM", format!("SHA256 (a.tar) = {good}\n").into_bytes())],
            checksum(),
            ok("CHECKSUM"),
        ),
        ("sha512", vec![("SHA512SUMS", line(&sha512, "a.tar"))], checksum(), ok("SHA512SUMS")),
        (
            "wrong sha512",
            vec![("SHA512SUMS", line(&"a".repeat(128), "a.tar"))],
            checksum(),
            Err(format!(
                "URL/d/a.tar is not what it should be: its sha512 is {sha512}, not {} (SHA512SUMS)",
                "a".repeat(128)
            )),
        ),
        (
            "the second list has it",
            vec![("a.tar.sha256", b"<html>".to_vec()), ("SHA256SUMS", line(&good, "a.tar"))],
            checksum(),
            ok("SHA256SUMS"),
        ),
        ("wrong", vec![("SHA256SUMS", line(&wrong, "a.tar"))], checksum(), mismatch("SHA256SUMS")),
        (
            "not listed",
            vec![("SHA256SUMS", line(&good, "b.tar"))],
            checksum(),
            Err("URL/d/SHA256SUMS has no checksum of a.tar".to_owned()),
        ),
        (
            "no list",
            vec![("SHA256SUMS", b"hello\n".to_vec())],
            checksum(),
            Err("URL/d/SHA256SUMS is no list of checksums".to_owned()),
        ),
        ("named", vec![("list", line(&good, "a.tar"))], named("/d/list"), ok("list")),
        (
            "named, and not there",
            vec![("SHA256SUMS", line(&good, "a.tar"))],
            named("/d/list"),
            Err("there is no file of checksums for URL/d/a.tar: looked for list".to_owned()),
        ),
        (
            "too short",
            vec![],
            Verification { size: Some(22), ..given(&good) },
            Err("URL/d/a.tar has 21 bytes, but should have 22".to_owned()),
        ),
    ];
    for (what, files, mut verification, expected) in rows {
        let server = HttpServer::start();
        server.put("/d/a.tar", Reply::bytes(DATA));
        files.into_iter().for_each(|(name, bytes)| server.put(&format!("/d/{name}"), Reply::bytes(bytes)));
        verification.checksums.iter_mut().for_each(|path| *path = server.url(path));
        let result = fetched(&server.url("/d/a.tar"), &verification);
        let result = result.map_err(|error| error.replace(&server.url(""), "URL"));
        assert_eq!(result, expected, "{what}");
    }
}

#[test]
fn signatures() {
    let Some(signers) = Signers::shared() else { return };
    let list = format!("{}  a.tar\n", sha256()).into_bytes();
    let other_list = format!("{}  a.tar\n", hex(Sha256::digest(b"x").into())).into_bytes();
    let detached = |who: &str, data: &[u8]| signers.sign(who, &["--detach-sign"], data);
    let armoured = |who: &str, data: &[u8]| signers.sign(who, &["--armor", "--detach-sign"], data);
    let clear = |who: &str, data: &[u8]| signers.sign(who, &["--clearsign"], data);
    let with = |key: &str| Verification { keys: vec![signers.path(key)], ..Verification::default() };
    let sums = |signature: Vec<u8>| vec![("SHA256SUMS", list.clone()), ("SHA256SUMS.gpg", signature)];
    let good = |list: &str| Ok(Some(format!("{list}, signed by Good <good@test> (KEY)")));
    let direct = || Ok(Some("a signature of Good <good@test> (KEY)".to_owned()));
    let refused = |text: &str| Err(text.to_owned());
    let mut changed = String::from_utf8(clear("good", &list)).unwrap();
    changed = changed.replace("a.tar", "b.tar");
    let rows: Vec<Case> = vec![
        ("signed list", sums(detached("good", &list)), with("good.gpg"), good("SHA256SUMS")),
        ("armoured signature and key", sums(armoured("good", &list)), with("good.asc"), good("SHA256SUMS")),
        ("signed in itself", vec![("CHECKSUM", clear("good", &list))], with("good.gpg"), good("CHECKSUM")),
        (
            "of its own",
            vec![
                ("a.tar.sha256", format!("{}  a.tar\n", sha256()).into_bytes()),
                ("a.tar.sha256.asc", armoured("good", format!("{}  a.tar\n", sha256()).as_bytes())),
            ],
            with("good.gpg"),
            good("a.tar.sha256"),
        ),
        ("the file itself", vec![("a.tar.sig", detached("good", DATA))], with("good.gpg"), direct()),
        (
            "signed by two",
            sums([detached("other", &list), detached("good", &list)].concat()),
            with("good.gpg"),
            good("SHA256SUMS"),
        ),
        (
            "a list without a signature, and one of the file",
            vec![("SHA256SUMS", list.clone()), ("a.tar.asc", armoured("good", DATA))],
            with("good.gpg"),
            direct(),
        ),
        (
            "bad signature",
            sums(detached("good", &other_list)),
            with("good.gpg"),
            refused(
                "the signature of URL/d/SHA256SUMS does not hold: what was signed with key KEY is something else",
            ),
        ),
        (
            "bad signature in itself",
            vec![("CHECKSUM", changed.into_bytes())],
            with("good.gpg"),
            refused(
                "the signature of URL/d/CHECKSUM does not hold: what was signed with key KEY is something else",
            ),
        ),
        (
            "bad signature of the file",
            vec![("a.tar.sig", detached("good", b"other bytes"))],
            with("good.gpg"),
            refused(
                "the signature of URL/d/a.tar does not hold: what was signed with key KEY is something else",
            ),
        ),
        (
            "wrong key",
            sums(detached("good", &list)),
            with("other.gpg"),
            refused("URL/d/SHA256SUMS is signed with key KEY, which is none of those in KEYS/other.gpg"),
        ),
        (
            "expired key",
            sums(detached("old", &list)),
            with("old.gpg"),
            refused("URL/d/SHA256SUMS is signed with key KEY, which has expired"),
        ),
        (
            "revoked key",
            vec![("a.tar.sig", std::fs::read(signers.path("gone.sig")).unwrap())],
            with("gone.gpg"),
            refused("URL/d/a.tar is signed with key KEY, which has been revoked"),
        ),
        (
            "expired signature",
            sums(signers.sign(
                "good",
                &["--faked-system-time", "20200101T010000", "--default-sig-expire", "1d", "--detach-sign"],
                &list,
            )),
            with("good.gpg"),
            refused("the signature of URL/d/SHA256SUMS with key KEY has expired"),
        ),
        (
            "no signature in it",
            sums(b"hello\n".to_vec()),
            with("good.gpg"),
            refused("what should be the signature of URL/d/SHA256SUMS is none"),
        ),
        (
            "no signature",
            vec![("SHA256SUMS", list.clone())],
            with("good.gpg"),
            refused(
                "URL/d/a.tar is not signed: looked for a.tar.sha256, SHA256SUMS.asc, SHA256SUMS.gpg, SHA256SUMS.sig, \
                 SHA256SUMS.sign, SHA256SUMS.minisig, SHA512SUMS, CHECKSUM, sha256sums.txt, sha256sum.txt, \
                 a.tar.sha512, a.tar.DIGESTS, a.tar.asc, a.tar.gpg, a.tar.sig, a.tar.sign, a.tar.minisig",
            ),
        ),
        (
            "signed, but of other bytes",
            vec![("SHA256SUMS", other_list.clone()), ("SHA256SUMS.gpg", detached("good", &other_list))],
            with("good.gpg"),
            Err(format!(
                "URL/d/a.tar is not what it should be: its sha256 is {}, not {} (SHA256SUMS, signed by Good <good@test> \
                 (KEY))",
                sha256(),
                hex(Sha256::digest(b"x").into())
            )),
        ),
        (
            "no key in the file",
            sums(detached("good", &list)),
            with("home/trustdb.gpg"),
            refused("KEYS/home/trustdb.gpg has no keys in it"),
        ),
        (
            "no file of keys",
            sums(detached("good", &list)),
            with("missing.gpg"),
            refused("cannot read the keys in KEYS/missing.gpg"),
        ),
        (
            "named",
            vec![("list", list.clone()), ("list.signature", detached("good", &list))],
            Verification {
                checksums: vec!["/d/list".to_owned()],
                signatures: vec!["/d/list.signature".to_owned()],
                ..with("good.gpg")
            },
            good("list"),
        ),
        (
            "named, of the file itself",
            vec![("signature", detached("good", DATA))],
            Verification { signatures: vec!["/d/signature".to_owned()], ..with("good.gpg") },
            direct(),
        ),
    ];
    for (what, files, mut verification, expected) in rows {
        let server = HttpServer::start();
        server.put("/d/a.tar", Reply::bytes(DATA));
        files.into_iter().for_each(|(name, bytes)| server.put(&format!("/d/{name}"), Reply::bytes(bytes)));
        let Verification { checksums, signatures, .. } = &mut verification;
        checksums.iter_mut().chain(signatures).for_each(|path| *path = server.url(path));
        let plain = |text: String| plain(&text, &server, signers.directory.path());
        let result = fetched(&server.url("/d/a.tar"), &verification);
        assert_eq!(result.map(|proof| proof.map(plain)).map_err(plain), expected, "{what}");
    }
}

#[test]
fn modes() {
    let digest = Digest([0; 32]);
    let given = |mode: Option<Mode>| Verification { mode, sha256: Some(digest), ..Verification::default() };
    let keys = || Verification { keys: vec!["k".into()], ..Verification::default() };
    let list = || Verification { checksums: vec!["l".to_owned()], ..Verification::default() };
    let rows = [
        ("https://h/a", Verification::default(), Mode::Checksum),
        ("http://h/a", Verification::default(), Mode::Signature),
        ("http://127.0.0.1/a", Verification::default(), Mode::Checksum),
        ("http://[::1]:80/a", Verification::default(), Mode::Checksum),
        ("http://127.0.0.1.example/a", Verification::default(), Mode::Signature),
        ("/a", Verification::default(), Mode::No),
        ("-", Verification::default(), Mode::No),
        ("http://h/a", given(None), Mode::No),
        ("http://h/a", given(Some(Mode::Checksum)), Mode::No),
        ("http://h/a", given(Some(Mode::Signature)), Mode::Signature),
        ("/a", keys(), Mode::Signature),
        ("/a", list(), Mode::Checksum),
        ("https://h/a", Verification::none(), Mode::No),
        ("/a", Verification { mode: Some(Mode::Signature), ..Verification::default() }, Mode::Signature),
    ];
    for (address, verification, expected) in rows {
        let location = super::super::fetch::Location::parse(address).unwrap();
        assert_eq!(verification.mode_for(&location), expected, "{address} {verification:?}");
    }
}
