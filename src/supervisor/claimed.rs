//! What a machine holds of the host while it lives, and the one way to give it all back.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::host::CgroupHierarchy;
use crate::image::lock::{Hold, ImageLock, lock_path};
use crate::network::link::holding::undo_later;
use crate::network::nft::Nfnetlink;
use crate::network::rules::{RulesError, connections_of, remove_machine_over};
use crate::runtime::cgroup::Hierarchy;
use crate::runtime::id_range::{IdRangeError, IdRangeLock};
use crate::runtime::root::{BINDS, MOUNT_POINTS};
use crate::settings::MachineName;
use crate::sys::files::{make_directory_at, open_at, open_directory, open_directory_at};
use crate::sys::mount::{Propagation, root_directory, set_propagation};
use crate::sys::process::{Namespaces, join_mount_namespace, unshare};
use crate::sys::{SysError, SysResult};

use super::error::Error;
use super::fault;
use super::in_force::InForce;
use super::journal::{self, Journal};
use super::launch_record::LaunchRecord;
use super::registry::{Claim, MachineDirectory};
use super::resources::{self, Resource};
use super::state::State;

/// A name that is ours, and what was taken under it.
#[derive(Debug)]
pub(super) struct Claimed {
    directory: MachineDirectory,
    journal: Journal,
    cgroups: CgroupHierarchy,
    id_range: Option<IdRangeLock>,
    /// Of the image and its layers.
    image_locks: Vec<ImageLock>,
    /// The image mounts something in its root: there is one mount point more.
    has_binds: bool,
    /// Once we have left the host's mount namespace: it, and the machine's directory as seen from our own. Mounts can
    /// be attached only to what was opened in the namespace that they go to.
    mounts: Option<(OwnedFd, OwnedFd)>,
}

impl Claimed {
    /// Claims `name`, clearing what a dead supervisor left under it.
    pub(super) fn new(name: &MachineName, cgroups: CgroupHierarchy) -> Result<Self, Error> {
        loop {
            let claim =
                MachineDirectory::claim(name).map_err(Error::system("make the machine's directory"))?;
            match claim {
                Claim::InUse => return Err(Error::NameInUse { name: name.to_string() }),
                Claim::Ours { directory, stale: true } => super::gc::clear(directory, &cgroups)
                    .map_err(|source| Error::Stale { name: name.to_string(), source })?,
                Claim::Ours { directory, stale: false } => {
                    if is_alive(&cgroups, name) {
                        directory.remove().map_err(Error::system("give the name back"))?;
                        return Err(Error::NameInUse { name: name.to_string() });
                    }
                    let journal = match Journal::open(&directory) {
                        Ok(journal) => journal,
                        Err(error) => {
                            // Nothing is noted in it.
                            let _ = directory.remove();
                            return Err(Error::system("open the journal of resources")(error));
                        }
                    };
                    fault::point("machine-directory");
                    return Ok(Self {
                        directory,
                        journal,
                        cgroups,
                        id_range: None,
                        image_locks: Vec::new(),
                        has_binds: false,
                        mounts: None,
                    });
                }
            }
        }
    }

    pub(super) fn directory(&self) -> &MachineDirectory {
        &self.directory
    }

    pub(super) fn cgroups(&self) -> &CgroupHierarchy {
        &self.cgroups
    }

    /// Writes down what is made next.
    pub(super) fn note(&self, resource: &Resource) -> Result<(), Error> {
        self.journal.note(resource).map_err(Error::system("write the journal of resources"))
    }

    /// As [`Claimed::note`], unless it is written down already.
    pub(super) fn note_once(&self, resource: &Resource) -> Result<(), Error> {
        if self.journal.resources().contains(resource) { Ok(()) } else { self.note(resource) }
    }

    /// Picks a free range of ids, or takes the one asked for; gives its first id and size.
    pub(super) fn take_ids(&mut self, wanted: Option<(u32, u32)>) -> Result<(u32, u32), IdRangeError> {
        let note = |base| self.journal.note(&Resource::IdRange(base));
        let lock = match wanted {
            None => IdRangeLock::pick(self.directory.name().as_str(), note)?,
            Some((base, size)) => {
                note(base).map_err(IdRangeError::Lock)?;
                IdRangeLock::take(base, size)?
            }
        };
        let range = (lock.base, lock.size);
        self.id_range = Some(lock);
        fault::point("id-range");
        Ok(range)
    }

    /// Makes the machine's scratch directory: as long as somebody has it open, it is in use.
    pub(super) fn make_scratch(&self) -> Result<OwnedFd, Error> {
        let name = self.directory.name().as_str();
        self.note(&Resource::Scratch(name.to_owned()))?;
        resources::make_scratch(name).map_err(Error::system("make the scratch directory"))
    }

    /// Locks images for the machine's life.
    pub(super) fn lock_images(&mut self, wanted: &[(PathBuf, Hold)]) -> Result<(), Error> {
        self.note(&Resource::ImageLocks(wanted.iter().map(|(path, _)| path.clone()).collect()))?;
        for (path, hold) in wanted {
            self.image_locks.push(lock_path(path, *hold)?);
        }
        fault::point("image-locks");
        Ok(())
    }

    /// Leaves the host's mount namespace for one of our own, in which the host's mounts still come and go but nothing of
    /// ours is seen by the host.
    pub(super) fn leave_host_mounts(&mut self) -> SysResult<()> {
        let host = open_at(CWD, "/proc/self/ns/mnt", OFlags::RDONLY, Mode::empty())?;
        unshare(Namespaces::NEWNS)?;
        let directory = open_directory(self.directory.path());
        let directory = self.mounts.insert((host, directory?));
        set_propagation(root_directory()?, Propagation::Slave, true)?;
        for name in MOUNT_POINTS {
            make_directory_at(&directory.1, name, 0o700)?;
        }
        fault::point("mount-namespace");
        Ok(())
    }

    /// The machine's directory as our own mount namespace has it.
    pub(super) fn mount_points(&self) -> &OwnedFd {
        self.mounts.as_ref().map_or(self.directory.fd(), |(_, directory)| directory)
    }

    /// Notes that the image has binds, mounted at [`BINDS`].
    pub(super) fn expect_binds(&mut self) {
        self.has_binds = true;
    }

    /// The place of a mount, as our own mount namespace has it.
    pub(super) fn mount_point(&self, name: &str) -> SysResult<OwnedFd> {
        open_directory_at(self.mount_points(), name)
    }

    /// Whether something is mounted at `name`.
    pub(super) fn is_mounted(&self, name: &str) -> bool {
        let device = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| stat.st_dev).ok();
        self.mount_point(name).is_ok_and(|point| device(&point) != device(self.mount_points()))
    }

    /// Whether the machine's directory is where it was, with all that belongs in it; a console log only if it is `logged`.
    pub(super) fn is_whole(&self, logged: bool) -> bool {
        self.directory.is_in_place() && self.missing(logged).is_empty()
    }

    /// What is not in the directory, of all that belongs in it.
    fn missing(&self, logged: bool) -> Vec<&'static str> {
        let files = [
            journal::NAME,
            State::FILE,
            LaunchRecord::FILE,
            LaunchRecord::FILTER,
            InForce::FILE,
            super::control::SOCKET,
        ];
        let log = logged.then_some(super::console_log::NAME);
        let places = if self.mounts.is_some() { &MOUNT_POINTS[..] } else { &[] };
        let binds = self.has_binds.then_some(&BINDS);
        let absent =
            |name: &&str| rustix::fs::statat(self.directory.fd(), *name, AtFlags::SYMLINK_NOFOLLOW).is_err();
        files.into_iter().chain(log).chain(places.iter().chain(binds).copied()).filter(absent).collect()
    }

    /// Claims the name once more where the directory was removed, and makes journal and mount points again where they
    /// are missing; says what was.
    pub(super) fn reclaim(&mut self, logged: bool) -> Result<Vec<&'static str>, Error> {
        let failed = || Error::system("restore the machine's directory, which was removed");
        if !self.directory.is_in_place() {
            let name = self.directory.name().clone();
            match MachineDirectory::claim(&name).map_err(failed())? {
                Claim::Ours { directory, stale: false } => self.directory = directory,
                _ => return Err(Error::NameLost { name: name.to_string() }),
            }
            if let Some((_, directory)) = &mut self.mounts {
                *directory = open_directory(self.directory.path()).map_err(failed())?;
            }
        }
        let missing = self.missing(logged);
        if missing.contains(&journal::NAME) {
            self.journal.restore(&self.directory).map_err(failed())?;
        }
        for name in MOUNT_POINTS.iter().chain([&BINDS]).filter(|name| missing.contains(name)) {
            make_directory_at(self.mount_points(), name, 0o700).map_err(failed())?;
        }
        Ok(missing)
    }

    /// Gives everything back, the newest first, and goes on past faults.
    ///
    /// Back in the host's mount namespace our own goes away with all that is mounted in it: only then may directories
    /// be removed on which the tree itself was mounted.
    ///
    /// `in_haste` is for who waits for us: links go behind our back.
    pub(super) fn release(mut self, in_haste: bool) -> Vec<SysError> {
        let mut faults = Vec::new();
        let mut links_go = None;
        // Closed before what goes with the links is.
        let mut nft = None;
        if let Some((host, _)) = self.mounts.take()
            && let Err(error) = join_mount_namespace(&host)
        {
            // In this namespace the tree may still be mounted below what would be removed.
            return vec![error];
        }
        fault::point("teardown-namespace");
        for resource in self.journal.resources().iter().rev() {
            if matches!(resource, Resource::IdRange(_)) {
                // Not before: what was made after it, and is gone by now, had these ids.
                drop(self.id_range.take());
            }
            if matches!(resource, Resource::ImageLocks(_)) {
                // All mounts are gone with our namespace: the image is the next one's, and may have it at once.
                self.image_locks.clear();
            } else if matches!(resource, Resource::Network(_))
                && (links_go.is_some() || in_haste)
                && links_go.get_or_insert_with(|| self.links_later(&mut nft)).is_some()
            {
                // A child of ours sees to it.
            } else {
                let undone = match (resource, &mut nft) {
                    (Resource::Rules { machine, .. }, Some(nft)) => {
                        // Where a child sees to links, it does to connections.
                        let end =
                            links_go.as_ref().is_none_or(Option::is_none).then(|| connections_of(machine));
                        let removed = remove_machine_over(nft, machine).map_err(RulesError::into_source);
                        end.into_iter().for_each(|end| end());
                        removed
                    }
                    _ => resources::undo(resource, &self.cgroups),
                };
                faults.extend(undone.err());
            }
            fault::point(resource.teardown_point());
        }
        if faults.is_empty() {
            fault::point("teardown-directory");
            faults.extend(self.directory.remove().err());
        }
        faults
    }
}

impl Claimed {
    /// Has a child undo what the machine has of the host's network; gives what that one waits for, if it does. It has the socket `nft`
    /// too, by which we are about to remove the machine's rules: whoever closes that one last waits for the kernel, some 5 ms.
    fn links_later(&self, nft: &mut Option<Nfnetlink>) -> Option<OwnedFd> {
        let holding = |resource| if let Resource::Network(holding) = resource { Some(holding) } else { None };
        let resources = self.journal.resources();
        if nft.is_none() && resources.iter().any(|resource| matches!(resource, Resource::Rules { .. })) {
            *nft = Nfnetlink::open().ok();
        }
        let holdings: Vec<_> = resources.into_iter().filter_map(holding).collect();
        let connections = connections_of(self.directory.name().as_str());
        undo_later(&holdings, nft.as_ref().map(AsFd::as_fd), connections).ok().flatten()
    }
}

/// Whether the machine runs, though its directory is gone: its supervisor is about to put it back. In a unit of somebody else's no cgroup
/// says so, but what it writes to does.
pub(super) fn is_alive(cgroups: &CgroupHierarchy, name: &MachineName) -> bool {
    resources::is_scratch_in_use(name.as_str())
        || Hierarchy::open(cgroups).is_ok_and(|hierarchy| hierarchy.is_populated(name.as_str()))
}
