//! gpgv(1): what checks OpenPGP signatures. It sees no keyring, and no directory, of the user's.
//!
//! Keys, signatures and its output are in memory, and it is given their names below /proc: nothing lies about on a disk,
//! whatever ends us.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::fs::MemfdFlags;

use super::Error;
use super::keys::Keys;
use super::status::Status;

/// More than any list of checksums has.
const OUTPUT_LIMIT: u64 = 16 << 20;

const BEGIN_SIGNED: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";

/// A file in memory, and its name for another process.
struct InMemory {
    file: File,
    path: String,
}

impl InMemory {
    fn new(content: &[u8]) -> Result<Self, Error> {
        let failed = |what: &str, error: std::io::Error| Error::Gpgv { why: format!("{what}: {error}") };
        let fd = rustix::fs::memfd_create("spinney-gpgv", MemfdFlags::CLOEXEC)
            .map_err(|errno| failed("memfd_create", errno.into()))?;
        let mut file = File::from(fd);
        file.write_all(content).map_err(|error| failed("write", error))?;
        // Our id as /proc has it, which may be that of another namespace.
        let process = std::fs::read_link("/proc/self").map_err(|error| failed("/proc/self", error))?;
        let path = format!("/proc/{}/fd/{}", process.display(), file.as_raw_fd());
        Ok(Self { file, path })
    }
}

/// gpgv while it reads what was signed.
pub(super) struct Running {
    child: Child,
    input: Option<ChildStdin>,
    /// Open as long as it may read them.
    _files: Vec<InMemory>,
}

impl Running {
    /// Starts it, to check `signature` over what will be written.
    pub(super) fn detached(signature: &[u8], keys: &Keys) -> Result<Self, Error> {
        let signature = InMemory::new(signature)?;
        let arguments = [signature.path.clone(), "-".to_owned()];
        Self::start(&arguments, Stdio::piped(), keys, vec![signature])
    }

    fn start(
        arguments: &[String],
        input: Stdio,
        keys: &Keys,
        mut files: Vec<InMemory>,
    ) -> Result<Self, Error> {
        let mut command = Command::new("gpgv");
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).env("LC_ALL", "C");
        // It makes no directory, and looks for a keyring in this one alone when none is named.
        command.args(["--homedir", "/dev/null", "--status-fd", "1"]);
        for keyring in &keys.openpgp {
            let keyring = InMemory::new(keyring)?;
            command.args(["--keyring", &keyring.path]);
            files.push(keyring);
        }
        command.args(arguments).stdin(input).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::NoGpgv,
            _ => Error::Gpgv { why: format!("gpgv cannot be started: {error}") },
        })?;
        Ok(Self { input: child.stdin.take(), child, _files: files })
    }

    /// Gives it more.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        // One that reads no more has an opinion already.
        if self.input.as_mut().is_some_and(|input| input.write_all(bytes).is_err()) {
            self.input = None;
        }
    }

    /// What it says, after all was written.
    pub(super) fn finish(mut self) -> Result<Status, Error> {
        drop(self.input.take());
        let mut status = Vec::new();
        let failed = |error: std::io::Error| Error::Gpgv { why: format!("gpgv: {error}") };
        if let Some(output) = self.child.stdout.take() {
            output.take(OUTPUT_LIMIT).read_to_end(&mut status).map_err(failed)?;
        }
        // Its exit status says less: it counts signatures of unknown keys beside a good one.
        self.child.wait().map_err(failed)?;
        Ok(Status::parse(&String::from_utf8_lossy(&status)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("child", &self.child.id()).finish_non_exhaustive()
    }
}

/// Whether `document` has its signature in itself.
pub(super) fn is_signed_inline(document: &[u8]) -> bool {
    document.windows(BEGIN_SIGNED.len()).any(|window| window == BEGIN_SIGNED)
}

/// Checks a detached signature over `data`.
pub(super) fn check_detached(data: &[u8], signature: &[u8], keys: &Keys) -> Result<Status, Error> {
    let mut running = Running::detached(signature, keys)?;
    running.write(data);
    running.finish()
}

/// Checks a document that has its signature in itself; gives what exactly was signed.
pub(super) fn check_inline(document: &[u8], keys: &Keys) -> Result<(Status, Vec<u8>), Error> {
    let (document, signed) = (InMemory::new(document)?, InMemory::new(b"")?);
    let mut output = signed.file.try_clone().map_err(|error| Error::Gpgv { why: error.to_string() })?;
    let arguments = ["--output".to_owned(), signed.path.clone(), document.path.clone()];
    let status = Running::start(&arguments, Stdio::null(), keys, vec![document, signed])?.finish()?;
    let mut text = Vec::new();
    let read = output.seek(SeekFrom::Start(0)).and_then(|_| output.take(OUTPUT_LIMIT).read_to_end(&mut text));
    read.map_err(|error| Error::Gpgv { why: error.to_string() })?;
    Ok((status, text))
}
