//! Devices of dm-verity, made by veritysetup(8): the kernel checks each block that is read from them.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::MemfdFlags;

use super::error::VerityFault;
use super::verity::RootHash;
use crate::sys::files::write_all;
use crate::sys::loop_device::LoopDevice;

/// Where administrators' programs are; PATH is the user's, and this runs as root.
const PLACES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/usr/local/sbin"];

/// How the names of our devices begin: the pid of who made it follows.
const PREFIX: &str = "spinney-";

/// Where the device mapper shows its devices.
const MAPPER: &str = "/dev/mapper";

/// A verified device. The kernel removes it with its last user.
#[derive(Debug)]
pub(super) struct VerityDevice {
    device: File,
}

impl VerityDevice {
    /// Has `data` verified by `hashes`, and these by `root_hash`.
    pub(super) fn open(
        data: &LoopDevice,
        hashes: &LoopDevice,
        root_hash: &RootHash,
        signature: Option<&[u8]>,
    ) -> Result<Self, VerityFault> {
        let program = program(&PLACES).ok_or(VerityFault::NoProgram)?;
        // Its module is loaded by who opens its node, which kmod-static-nodes.service makes.
        let devices = std::fs::read_to_string("/proc/devices").unwrap_or_default();
        if !has_device_mapper(&devices) && File::open(Path::new(MAPPER).join("control")).is_err() {
            return Err(VerityFault::NoDeviceMapper);
        }
        sweep(&program);
        let random = crate::sys::random().map_err(|_| VerityFault::NoDevice)?;
        let name = format!("{PREFIX}{}-{random:016x}", std::process::id());
        let mut open = open_command(&program, &path_of(data), &path_of(hashes), &name, root_hash);
        let signature = signature.map(in_memory).transpose()?;
        if let Some(signature) = &signature {
            open.arg(signature_option(signature.as_raw_fd()));
        }
        run(open)?;
        let device = File::open(Path::new(MAPPER).join(&name)).map_err(|_| VerityFault::NoDevice);
        // From now on it goes with its last user, whatever becomes of us; if nobody has it, at once.
        run(close_command(&program, &name))?;
        Ok(Self { device: device? })
    }

    /// What a file system is mounted from.
    pub(super) fn source(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.device.as_raw_fd()))
    }
}

/// Removes what was killed between making a device and marking it: those of nobody who lives. What is in use goes with its
/// last user.
fn sweep(program: &Path) {
    let Ok(blocks) = std::fs::read_dir("/sys/block") else { return };
    for block in blocks.flatten() {
        let name = std::fs::read_to_string(block.path().join("dm/name")).unwrap_or_default();
        let dead = |pid: u32| !Path::new("/proc").join(pid.to_string()).exists();
        if maker(name.trim()).is_some_and(dead) {
            let _ = run(close_command(program, name.trim()));
        }
    }
}

/// Who made the device `name`, if we did.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

/// A path by which another process reaches a device of ours.
fn path_of(device: &LoopDevice) -> PathBuf {
    Path::new("/proc").join(std::process::id().to_string()).join("fd").join(device.descriptor().to_string())
}

/// A file of these bytes that has no name.
fn in_memory(bytes: &[u8]) -> Result<OwnedFd, VerityFault> {
    let failed = |why: String| VerityFault::Program(format!("no signature can be given to it: {why}"));
    let file = rustix::fs::memfd_create("signature", MemfdFlags::CLOEXEC)
        .map_err(|errno| failed(errno.to_string()))?;
    write_all(&file, bytes).map_err(|error| failed(error.to_string()))?;
    Ok(file)
}

fn signature_option(descriptor: i32) -> String {
    format!("--root-hash-signature=/proc/{}/fd/{descriptor}", std::process::id())
}

fn program(places: &[&str]) -> Option<PathBuf> {
    places.iter().map(|place| Path::new(place).join("veritysetup")).find(|path| path.exists())
}

/// The device mapper has a line of its own among the block devices (proc(5)).
fn has_device_mapper(devices: &str) -> bool {
    devices.lines().any(|line| line.split_whitespace().nth(1) == Some("device-mapper"))
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        // Without udev nobody would make the node, nor answer who waits for it (libdevmapper).
        .env("DM_DISABLE_UDEV", "1")
        .env("PATH", PLACES.join(":"))
        .env("LC_ALL", "C");
    command
}

fn open_command(program: &Path, data: &Path, hashes: &Path, name: &str, root_hash: &RootHash) -> Command {
    let mut command = command(program);
    command.arg("open").arg(data).arg(name).arg(hashes).arg(root_hash.to_string());
    command
}

fn close_command(program: &Path, name: &str) -> Command {
    let mut command = command(program);
    command.args(["close", "--deferred", name]);
    command
}

fn run(mut command: Command) -> Result<(), VerityFault> {
    let ended = command.stdin(Stdio::null()).output();
    let ended = ended.map_err(|error| VerityFault::Program(error.to_string()))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let line = said.lines().map(str::trim).find(|line| !line.is_empty());
    let shown = line.map(|line| line.chars().filter(|c| !c.is_control()).take(200).collect());
    Err(VerityFault::Program(shown.unwrap_or_else(|| ended.status.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> Vec<String> {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn command_lines() {
        let hash: RootHash = "ab".repeat(32).parse().unwrap();
        let program = Path::new("/sbin/veritysetup");
        let open = open_command(program, Path::new("/d"), Path::new("/h"), "spinney-1", &hash);
        assert_eq!(words(&open), ["/sbin/veritysetup", "open", "/d", "spinney-1", "/h", &"ab".repeat(32)]);
        assert_eq!(
            words(&close_command(program, "spinney-1")),
            ["/sbin/veritysetup", "close", "--deferred", "spinney-1"]
        );
    }

    #[test]
    fn makers() {
        for (name, expected) in [
            ("spinney-12-0123456789abcdef", Some(12)),
            ("spinney-0123456789abcdef", None),
            ("vg-12-home", None),
            ("", None),
        ] {
            assert_eq!(maker(name), expected, "{name}");
        }
    }

    #[test]
    fn what_the_host_has() {
        assert!(has_device_mapper("Block devices:\n  7 loop\n253 device-mapper\n"));
        assert!(!has_device_mapper("Character devices:\n10 misc\nBlock devices:\n  7 loop\n"));
        assert_eq!(program(&["/nowhere"]), None);
    }

    #[test]
    fn what_the_program_says() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "printf 'Verification\\033[31m failed.\\nmore\\n' >&2; exit 1"]);
        assert_eq!(run(command), Err(VerityFault::Program("Verification[31m failed.".to_owned())));
    }
}
