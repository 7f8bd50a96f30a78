//! Paths of the host, mounted in machines that run.
//!
//! The mount is made by host root, as a detached one, and attached by a child in the machine at a target that it resolves in
//! the guest's root alone. Where the machine has a user namespace its flags are locked on the way: see `attach`.
//!
//! | file | what it owns |
//! |---|---|
//! | [`record`] | what has been bound, in the machine's directory |
//! | `prepare` | the detached mount, its IDs mapped |
//! | `attach` | into the machine, and out again |

use std::path::{Component, Path, PathBuf};

use super::error::Error;
use super::handle::MachineHandle;
use super::helper::Failure;
use crate::archive::Watch;
use crate::archive::notes::shown;
use crate::settings::BindIds;
use crate::sys::process::Namespaces;

mod attach;
mod prepare;
pub mod record;

pub use record::BindRecord;

/// A path to be mounted in a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindRequest {
    /// On the host.
    pub source: PathBuf,
    /// In the machine, absolute.
    pub target: PathBuf,
    /// Nothing can be written there.
    pub read_only: bool,
    /// With what is mounted below the source.
    pub recursive: bool,
    /// Make the target if it is missing.
    pub make_target: bool,
    /// How IDs are mapped; `None` for the host's IDs to be the guest's, where the machine has its own.
    pub ids: Option<BindIds>,
}

/// Mounts as asked, and writes it down.
///
/// # Errors
/// When the source or the target is not there, they are of different kinds, the file system cannot map IDs, or we may not.
pub fn bind(machine: &MachineHandle, request: &BindRequest) -> Result<BindRecord, Error> {
    let launch = machine.launch_record()?;
    let leader = machine.leader()?;
    let target = normal_guest_path(&request.target).map_err(Error::Helper)?;
    let private_users = Namespaces::from_bits_retain(launch.namespaces).contains(Namespaces::NEWUSER);
    let ids = request.ids.unwrap_or(if private_users { BindIds::Idmap } else { BindIds::NoIdmap });
    // Taken before anything is mounted, so that two of us do not write over each other.
    let mut records = record::Records::open(machine)?;
    let owner = match ids {
        BindIds::OwnerIdmap => attach::owner_of_target(&leader, &launch, &target)?,
        _ => (0, 0),
    };
    let mount =
        prepare::mount(machine, &leader, request, (ids, private_users), owner).map_err(Error::Helper)?;
    let order = attach::Order { target: &target, make_target: request.make_target, private_users };
    let mount_id = attach::attach(&leader, &launch, mount, &order)?;
    let record = BindRecord {
        source: request.source.clone(),
        target,
        read_only: request.read_only,
        ids: record::ids_word(ids).to_owned(),
        mount_id,
        leader_started: machine.state().leader_started,
    };
    records.add(record.clone())?;
    Ok(record)
}

/// What became of an [`unbind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbound {
    /// It was mounted, and is not any more.
    Unmounted,
    /// The machine had unmounted it itself.
    GoneBefore,
}

/// Unmounts what [`bind`] mounted at `target`, and nothing else.
///
/// # Errors
/// When nothing of ours is there, or the kernel refuses.
pub fn unbind(machine: &MachineHandle, target: &Path) -> Result<Unbound, Error> {
    let launch = machine.launch_record()?;
    let leader = machine.leader()?;
    let target = normal_guest_path(target).map_err(Error::Helper)?;
    let mut records = record::Records::open(machine)?;
    let ids: Vec<u64> = records.all().iter().map(|record| record.mount_id).collect();
    let detached = attach::detach(&leader, &launch, &target, &ids)?;
    match (detached, records.last_at(&target)) {
        (Some(mount_id), _) => {
            records.remove(mount_id)?;
            Ok(Unbound::Unmounted)
        }
        (None, Some(mount_id)) => {
            records.remove(mount_id)?;
            Ok(Unbound::GoneBefore)
        }
        (None, None) => {
            let text = format!(
                "nothing that spinney bind mounted is at {}",
                shown(target.as_os_str().as_encoded_bytes())
            );
            let hint = "only those are unmounted, which spinney status NAME lists; --bind= of spinney run is not among them";
            Err(Error::Helper(Failure::new(text, Some(hint))))
        }
    }
}

/// What is bound in `machine` since it was last booted, oldest first. For root alone.
///
/// # Errors
/// When the record cannot be read.
pub fn binds(machine: &MachineHandle) -> Result<Vec<BindRecord>, Error> {
    record::read(machine)
}

/// `path` without `.` and doubled slashes, so that it can be compared. `..` is refused: what it means depends on links of the
/// guest's.
fn normal_guest_path(path: &Path) -> Result<PathBuf, Failure> {
    let refused = |problem| {
        let text = format!("{} {problem}", shown(path.as_os_str().as_encoded_bytes()));
        Err(Failure::new(text, Some("give the absolute path in the machine")))
    };
    if !path.is_absolute() {
        return refused("is no absolute path in the machine");
    }
    if path.components().any(|component| component == Component::ParentDir) {
        return refused("has '..' in it");
    }
    let normal: PathBuf = path.components().collect();
    if normal == Path::new("/") { refused("is the machine's root") } else { Ok(normal) }
}

/// No child of ours waits long: it makes a few calls.
fn watch() -> Watch<'static> {
    Watch { cancel: None, patience: Some(std::time::Duration::from_secs(30)) }
}
