//! Who has an image in use, in words: so that who is refused knows whom to end.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::Error;
use super::layers;
use super::lock::{self, Hold};
use super::store::{Image, Store};
use crate::sys::files::{entries, open_directory, read_at};

/// Where the supervisors of machines say what they run (docs/architecture.md).
const MACHINES: &str = "/run/spinney/machines";

/// What is read of a machine's state.
#[derive(Deserialize)]
struct MachineState {
    name: String,
    supervisor: i32,
    tree: PathBuf,
}

/// All who have `image` in use: machines that run from it, images and snapshots that have it as a layer, and processes that
/// have it locked, of systemd or of ours.
///
/// # Errors
/// When it cannot be told which images have layers.
pub fn of(store: &Store, image: &Image) -> Result<Vec<String>, Error> {
    let mut found = machines_on(&image.path);
    found.extend(layers::dependents(store, &image.path)?);
    if lock::held(&image.path).is_some() {
        found.extend(holders(&image.path));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Locks `image` for whoever changes it as a whole, when nobody uses it.
///
/// # Errors
/// [`Error::InUse`] with all who do.
pub fn lock_unused(store: &Store, image: &Image) -> Result<lock::ImageLock, Error> {
    let in_use = |by| Error::InUse { name: image.name.to_string(), by };
    // First the lock: who takes it as a layer meanwhile shares it until that is to be seen.
    let Some(lock) = lock::try_lock_path(&image.path, Hold::Exclusive)? else {
        return Err(in_use(of(store, image)?));
    };
    let mut by = machines_on(&image.path);
    by.extend(layers::dependents(store, &image.path)?);
    match by.is_empty() {
        true => Ok(lock),
        false => Err(in_use(by)),
    }
}

/// The machines that run from the tree or disk image at `path`.
fn machines_on(path: &Path) -> Vec<String> {
    let key = |path: &Path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let Some(image) = key(path) else { return Vec::new() };
    let on_it = machines().into_iter().filter(|machine| key(&machine.tree) == Some(image));
    // One that was killed runs no more, whatever its state says.
    let alive = on_it.filter(|machine| Path::new(&format!("/proc/{}", machine.supervisor)).exists());
    alive.map(|machine| format!("machine {}", machine.name)).collect()
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
