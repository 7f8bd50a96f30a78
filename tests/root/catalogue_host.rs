//! What the distros' servers are documented to have, on a server of the test's own: the shipped catalogue with every
//! `https://` led there and every key exchanged for the test's.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::command::run;
use crate::harness::{Context, Stop};
use crate::http_server::{HttpServer, Reply};

const SERVER: &str = "/images.linuxcontainers.org";

/// All of it.
pub struct Distros {
    pub server: HttpServer,
    /// The catalogue that leads there.
    pub catalogue: PathBuf,
    /// The keyring of all distros: the tester's key, and another.
    pub key: PathBuf,
    directory: PathBuf,
    /// By reference: where the file is, and what it is.
    files: Mutex<BTreeMap<&'static str, (String, Vec<u8>)>>,
    images: Arc<Mutex<Vec<u8>>>,
}

impl Distros {
    pub fn new(context: &Context) -> Result<Self, Stop> {
        let there = |tool: &str| Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok();
        if !there("gpg") || !there("gpgv") {
            return Err(Stop::Skip("no gpg and gpgv here".to_owned()));
        }
        let directory = context.subdirectory("distros");
        let distros = Self {
            server: HttpServer::start(),
            catalogue: context.subdirectory("catalogue"),
            key: directory.join("key.gpg"),
            files: Mutex::default(),
            images: Arc::default(),
            directory,
        };
        let fingerprint = distros.keys();
        distros.write_catalogue(&fingerprint);
        distros.own_files();
        distros.image_server();
        Ok(distros)
    }

    fn gpg(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let home = self.directory.join("gnupg");
        fs::create_dir_all(&home).unwrap();
        let mut child = Command::new("gpg")
            .env("GNUPGHOME", &home)
            .args([
                "--batch",
                "--quiet",
                "--no-permission-warning",
                "--yes",
                "--pinentry-mode=loopback",
                "--passphrase=",
            ])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "gpg {arguments:?}");
        output.stdout
    }

    /// Makes two keys and a keyring of both; gives the fingerprint of the first.
    fn keys(&self) -> String {
        for user in ["Tester <tester@example.org>", "Other <other@example.org>"] {
            self.gpg(&["--quick-generate-key", user, "ed25519", "sign", "never"], b"");
        }
        fs::write(&self.key, self.gpg(&["--export"], b"")).unwrap();
        let list = self.gpg(&["--with-colons", "--list-keys", "tester"], b"");
        let list = String::from_utf8(list).unwrap();
        let line = list.lines().find_map(|line| line.strip_prefix("fpr:::::::::")).unwrap();
        line.trim_end_matches(':').to_owned()
    }

    fn sign(&self, user: &str, how: &str, data: &[u8]) -> Vec<u8> {
        self.gpg(&["--local-user", user, "--armor", how], data)
    }

    fn write_catalogue(&self, fingerprint: &str) {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
        for entry in fs::read_dir(shipped).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if !name.ends_with(".toml") {
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap();
            let text = text.replace("https://", &self.server.url("/"));
            let lines = text.split('"').enumerate().map(|(number, piece)| {
                let key = ["/usr/", "/etc/"].iter().any(|start| piece.starts_with(start));
                match number % 2 {
                    1 if piece.len() == 40 && piece.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                        fingerprint
                    }
                    1 if key => self.key.to_str().unwrap(),
                    _ => piece,
                }
            });
            fs::write(self.catalogue.join(name), lines.collect::<Vec<_>>().join("\"")).unwrap();
        }
    }

    /// An archive of a tree whose os-release says `id`, below `prefix`, compressed by `program`.
    fn archive(&self, id: &str, more: &str, prefix: &str, program: &str) -> Vec<u8> {
        let place = self.directory.join(format!("tree-{id}"));
        let _ = fs::remove_dir_all(&place);
        let root = place.join(prefix);
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/os-release"), format!("ID={id}\n{more}")).unwrap();
        if !prefix.is_empty() {
            fs::write(place.join("pkglist.x86_64.txt"), "x").unwrap();
        }
        let archive = self.directory.join("archive");
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(&place)
            .arg(format!("--use-compress-program={program}"))
            .arg("-cf")
            .arg(&archive)
            .arg(".");
        assert_eq!(run(&mut tar).status, 0);
        fs::read(&archive).unwrap()
    }

    fn sum(&self, program: &str, data: &[u8]) -> String {
        let path = self.directory.join("summed");
        fs::write(&path, data).unwrap();
        let text = run(Command::new(program).arg(&path)).ok().unwrap();
        text.split_whitespace().next().unwrap().to_owned()
    }

    fn put(&self, path: &str, body: impl Into<Vec<u8>>) {
        self.server.put(path, Reply::bytes(body));
    }

    /// Puts the file of `reference` at `path`, and remembers it.
    fn file(&self, reference: &'static str, path: &str, body: Vec<u8>) {
        self.put(path, body.clone());
        self.files.lock().unwrap().insert(reference, (path.to_owned(), body));
    }

    /// What the distros' own servers have, as their documents say: see `documented` in images/*.toml.
    fn own_files(&self) {
        let mut disk: Vec<u8> = (0..9000_u32).flat_map(u32::to_le_bytes).collect();
        // What tells a disk with a GPT (UEFI, 5.3.2).
        disk[512..520].copy_from_slice(b"EFI PART");
        let tester = "tester";

        // A list as sha256sum writes it, and a detached signature of it.
        let base = "/cloud-images.ubuntu.com/releases/noble/release";
        let name = "ubuntu-24.04-server-cloudimg-amd64-root.tar.xz";
        let tar = self.archive("ubuntu", "", "", "xz");
        let list = format!("{}  other.img\n{} *{name}\n", "0".repeat(64), self.sum("sha256sum", &tar));
        self.file("ubuntu:noble", &format!("{base}/{name}"), tar);
        self.put(&format!("{base}/SHA256SUMS.gpg"), self.sign(tester, "--detach-sign", list.as_bytes()));
        self.put(&format!("{base}/SHA256SUMS"), list);

        // A detached signature of the archive, in which the tree is one level down.
        let path = "/geo.mirror.pkgbuild.com/iso/latest/archlinux-bootstrap-x86_64.tar.zst";
        let tar = self.archive("arch", "", "root.x86_64", "zstd");
        self.put(&format!("{path}.sig"), self.gpg(&["--local-user", tester, "--detach-sign"], &tar));
        self.file("arch", path, tar);

        // The name is in a list of releases.
        let base = "/dl-cdn.alpinelinux.org/alpine/v3.24/releases/x86_64";
        let tar = self.archive("alpine", "", "", "gzip");
        let list = "-\n  flavor: alpine-minirootfs\n  file: alpine-minirootfs-3.24.1-x86_64.tar.gz\n-\n  flavor: alpine-virt\n  \
                    file: alpine-virt-3.24.1-x86_64.iso\n";
        self.put(&format!("{base}/latest-releases.yaml"), list);
        let path = format!("{base}/alpine-minirootfs-3.24.1-x86_64.tar.gz");
        self.put(&format!("{path}.asc"), self.sign(tester, "--detach-sign", &tar));
        self.file("alpine:3.24", &path, tar);

        // The name is in a pointer file, which is a signed message, with a directory before it.
        for (reference, variant) in [("gentoo", "openrc"), ("gentoo/systemd", "systemd")] {
            let base = "/distfiles.gentoo.org/releases/amd64/autobuilds";
            let name = format!("20261115T170101Z/stage3-amd64-{variant}-20261115T170101Z.tar.xz");
            let tar = self.archive("gentoo", "", "", "xz");
            let pointer = format!("# Latest as of Sun, 15 Nov 2026\n# ts=1794700000\n{name} {}\n", tar.len());
            let pointer = self.sign(tester, "--clear-sign", pointer.as_bytes());
            self.put(&format!("{base}/latest-stage3-amd64-{variant}.txt"), pointer);
            self.put(&format!("{base}/{name}.asc"), self.sign(tester, "--detach-sign", &tar));
            self.file(reference, &format!("{base}/{name}"), tar);
        }

        // BSD's form of a list, with a detached signature.
        let base = "/repo.almalinux.org/almalinux/9/cloud/x86_64/images";
        let name = "AlmaLinux-9-GenericCloud-latest.x86_64.qcow2";
        let list = format!("SHA256 ({name}) = {}\n", self.sum("sha256sum", &disk));
        self.put(&format!("{base}/CHECKSUM.asc"), self.sign(tester, "--detach-sign", list.as_bytes()));
        self.put(&format!("{base}/CHECKSUM"), list);
        self.file("almalinux:9", &format!("{base}/{name}"), disk.clone());

        // The page of a directory, and a list that is a signed message.
        let base = "/dl.fedoraproject.org/pub/fedora/linux/releases/44/Cloud/x86_64/images";
        let name = "Fedora-Cloud-Base-Generic-44-1.7.x86_64.qcow2";
        let page =
            format!("<a href=\"{name}\">{name}</a> <a href=\"Fedora-Cloud-44-1.7-x86_64-CHECKSUM\">...</a>");
        self.put(&format!("{base}/"), page);
        let list =
            format!("# {name}: {} bytes\nSHA256 ({name}) = {}\n", disk.len(), self.sum("sha256sum", &disk));
        self.put(
            &format!("{base}/Fedora-Cloud-44-1.7-x86_64-CHECKSUM"),
            self.sign(tester, "--clear-sign", list.as_bytes()),
        );
        self.file("fedora:44", &format!("{base}/{name}"), disk.clone());

        // The name is in the list of checksums itself.
        let base = "/repo-default.voidlinux.org/live/current";
        let mut list = String::new();
        for (reference, infix) in [("void", ""), ("void/musl", "-musl")] {
            let name = format!("void-x86_64{infix}-ROOTFS-20250202.tar.xz");
            let tar = self.archive("void", "", "", "xz");
            list += &format!("SHA256 ({name}) = {}\n", self.sum("sha256sum", &tar));
            list += &format!("SHA256 ({}) = {}\n", name.replace("2025", "2024"), "0".repeat(64));
            self.file(reference, &format!("{base}/{name}"), tar);
        }
        self.put(&format!("{base}/sha256sum.txt"), list);

        // A checksum beside each.
        let path = "/download.opensuse.org/tumbleweed/appliances/opensuse-tumbleweed-image.x86_64-lxc.tar.xz";
        let tar = self.archive("opensuse", "", "", "xz");
        let name = path.rsplit('/').next().unwrap();
        self.put(&format!("{path}.sha256"), format!("{}  {name}\n", self.sum("sha256sum", &tar)));
        self.file("opensuse:tumbleweed", path, tar);
        let path = "/cloud.centos.org/centos/9-stream/x86_64/images/CentOS-Stream-GenericCloud-9-latest.x86_64.qcow2";
        let name = path.rsplit('/').next().unwrap();
        let list =
            format!("# {name}: {} bytes\nSHA256 ({name}) = {}\n", disk.len(), self.sum("sha256sum", &disk));
        self.put(&format!("{path}.SHA256SUM"), list);
        self.file("centos:9-stream", path, disk.clone());

        // A longer digest.
        let base = "/cloud.debian.org/images/cloud/bookworm/latest";
        let name = "debian-12-nocloud-amd64.qcow2";
        self.put(&format!("{base}/SHA512SUMS"), format!("{}  {name}\n", self.sum("sha512sum", &disk)));
        self.file("debian:bookworm", &format!("{base}/{name}"), disk.clone());

        let path = "/hydra.nixos.org/job/nixos/release-26.05/nixos.incusContainerImage.x86_64-linux/latest/\
                    download-by-type/file/squashfs-image";
        self.file("nixos", path, disk);
    }

    /// Changes a byte in the middle of the file of `reference`, or puts it back.
    pub fn change(&self, reference: &str, changed: bool) {
        let files = self.files.lock().unwrap();
        let (path, body) = files.get(reference).unwrap();
        let mut body = body.clone();
        if changed {
            let at = body.len() / 2;
            body[at] ^= 1;
        }
        self.put(path, body);
    }

    /// What os-release says in the archive of `reference`.
    pub fn id_of(&self, reference: &str) -> String {
        reference.split([':', '/']).next().unwrap().to_owned()
    }

    /// The list of checksums of Ubuntu is signed by somebody else in the keyring.
    pub fn other_key_signs(&self, reference: &str) {
        fs::write(&self.key, self.gpg(&["--export"], b"")).unwrap();
        let base = "/cloud-images.ubuntu.com/releases/noble/release";
        let files = self.files.lock().unwrap();
        let (path, body) = files.get(reference).unwrap();
        let list = format!("{}  {}\n", self.sum("sha256sum", body), path.rsplit('/').next().unwrap());
        self.put(&format!("{base}/SHA256SUMS.gpg"), self.sign("other", "--detach-sign", list.as_bytes()));
        self.put(&format!("{base}/SHA256SUMS"), list);
    }

    /// An image server with an archive of one distro and a squashfs of another.
    fn image_server(&self) {
        let index = r#"{"format":"index:1.0","index":{"images":{"datatype":"image-downloads",
            "path":"streams/v1/images.json","format":"products:1.0","products":[]}}}"#;
        self.put(&format!("{SERVER}/streams/v1/index.json"), index);
        self.serve(&[("20260101_05:24", self.archive("debian", "", "", "xz"))]);
    }

    fn serve(&self, versions: &[(&str, Vec<u8>)]) {
        let mut entries = Vec::new();
        for (version, tar) in versions {
            let path = format!("images/debian/trixie/amd64/default/{version}/rootfs.tar.xz");
            self.put(&format!("{SERVER}/{path}"), tar.clone());
            *self.images.lock().unwrap() = tar.clone();
            entries.push(format!(
                r#""{version}":{{"items":{{"root.tar.xz":{{"ftype":"root.tar.xz","path":"{path}","sha256":"{}","size":{}}}}}}}"#,
                self.sum("sha256sum", tar),
                tar.len()
            ));
        }
        let squashfs = self.squashfs();
        let path = "images/voidlinux/current/arm64/musl/20260101_17:10/rootfs.squashfs";
        self.put(&format!("{SERVER}/{path}"), squashfs.clone());
        let products = format!(
            r#"{{"content_id":"images","datatype":"image-downloads","format":"products:1.0","products":{{
            "debian:trixie:amd64:default":{{"aliases":"debian/trixie/default,debian/trixie","arch":"amd64","os":"Debian",
            "release":"trixie","release_title":"trixie","variant":"default","versions":{{{}}}}},
            "voidlinux:current:arm64:musl":{{"aliases":"voidlinux/current/musl","arch":"arm64","os":"Voidlinux",
            "release_title":"current","variant":"musl","versions":{{"20260101_17:10":{{"items":{{"root.squashfs":
            {{"ftype":"squashfs","path":"{path}","sha256":"{}","size":{}}}}}}}}}}}}}}}"#,
            entries.join(","),
            self.sum("sha256sum", &squashfs),
            squashfs.len()
        );
        self.put(&format!("{SERVER}/streams/v1/images.json"), products);
    }

    fn squashfs(&self) -> Vec<u8> {
        let file = self.directory.join("squashfs");
        if !file.exists() {
            let tree = self.directory.join("tree-debian");
            assert_eq!(run(Command::new("mksquashfs").arg(tree).arg(&file).arg("-quiet")).status, 0);
        }
        fs::read(&file).unwrap()
    }

    /// A second version comes.
    pub fn newer_image(&self) {
        let old = self.images.lock().unwrap().clone();
        let new = self.archive("debian", "NEWER=1\n", "", "xz");
        self.serve(&[("20260101_05:24", old), ("20260102_05:24", new)]);
    }

    /// The image's bytes change, and the list of them does not.
    pub fn change_image(&self) {
        for version in ["20260101_05:24", "20260102_05:24"] {
            let mut body = self.images.lock().unwrap().clone();
            let at = body.len() / 2;
            body[at] ^= 1;
            let path = format!("{SERVER}/images/debian/trixie/amd64/default/{version}/rootfs.tar.xz");
            self.put(&path, body);
        }
    }
}

impl Drop for Distros {
    fn drop(&mut self) {
        // gpg starts an agent, which would outlive the test.
        let home = self.directory.join("gnupg");
        let _ = Command::new("gpgconf").env("GNUPGHOME", home).args(["--kill", "all"]).status();
    }
}
