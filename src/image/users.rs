//! Who has an image in use, in words: so that who is refused knows whom to end.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::Deserialize;

use super::lock;
use crate::sys::files::{entries, open_directory, read_at};

/// Where the supervisors of machines say what they run (docs/architecture.md).
const MACHINES: &str = "/run/spinney/machines";

/// What is read of a machine's state.
#[derive(Deserialize)]
struct MachineState {
    name: String,
    supervisor: i32,
}

/// Those who hold a lock of the image at `path`: `machine web`, `systemd-nspawn (PID 42)`. If there are any that cannot be
/// told, they are `another process`.
pub fn holders(path: &Path) -> Vec<String> {
    let files: Vec<(u64, u64)> = lock::files(path)
        .iter()
        .filter_map(|file| fs::symlink_metadata(file).ok())
        .map(|metadata| (metadata.dev(), metadata.ino()))
        .collect();
    let machines = machines();
    let mut holders: Vec<String> = processes_with(&files)
        .into_iter()
        .filter(|pid| u32::try_from(*pid).is_ok_and(|pid| pid != std::process::id()))
        .map(|pid| match machines.iter().find(|machine| machine.supervisor == pid) {
            Some(machine) => format!("machine {}", machine.name),
            None => format!("{} (PID {pid})", command_of(pid)),
        })
        .collect();
    holders.sort();
    holders.dedup();
    if holders.is_empty() {
        holders.push("another process".to_owned());
    }
    holders
}

/// All machines that are running.
fn machines() -> Vec<MachineState> {
    /// Far more than a state has.
    const LIMIT: usize = 1 << 16;
    let Ok(directory) = open_directory(Path::new(MACHINES)) else { return Vec::new() };
    let names = entries(&directory).unwrap_or_default().into_iter().map(|(name, _)| name);
    names
        .filter_map(|name| read_at(&directory, Path::new(&name).join("state"), LIMIT).ok())
        .filter_map(|text| serde_json::from_slice(&text).ok())
        .collect()
}

/// The processes that have one of `files` open: who locks one keeps it so.
fn processes_with(files: &[(u64, u64)]) -> Vec<i32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has = |pid: &i32| {
        // Of a process that is not ours to look into, or that ends, nothing is seen.
        let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        // To stat what is not a lock could hang, as on a network that is gone.
        let lock = |path: &Path| {
            fs::read_link(path).is_ok_and(|target| {
                target.starts_with(lock::LOCKS)
                    || target.extension().is_some_and(|extension| extension == "lck")
            })
        };
        open.map(|entry| entry.path())
            .filter(|path| lock(path))
            .filter_map(|path| fs::metadata(path).ok())
            .any(|metadata| files.contains(&(metadata.dev(), metadata.ino())))
    };
    pids.filter(has).collect()
}

/// What a process calls itself, fit to be printed.
fn command_of(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim_end();
    match name.is_empty() || name.chars().any(char::is_control) {
        true => "a process".to_owned(),
        false => name.to_owned(),
    }
}
