//! Looks at the host, the registry, and what is left of machines that are gone. Changes nothing; what only root can see is
//! `None` for others.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{CWD, FileType};
use rustix::io::Errno;

use crate::host::{Host, IdOwners, IdRange, Survey};
use crate::machine::{Error, Record, autostart};
use crate::runtime::id_range;
use crate::runtime::user_namespace::{Creator, IdMapping, create};
use crate::settings::{Places, files_of};
use crate::supervisor::printable;
use crate::sys::SysResult;
use crate::sys::files::{entries, open_directory, read_at};
use crate::sys::mount::{clone_mount, map_mount_ids};

/// Where images are found.
pub const IMAGES: &str = "/var/lib/machines";

/// Where layers and other things of machines that run are kept.
pub const SCRATCH: &str = "/var/lib/spinney/scratch";

/// Directories whose file systems must have room.
const PLACES: [&str; 3] = [IMAGES, "/var/lib/spinney", "/run"];

/// /proc/locks of a busy host.
const LOCKS_LIMIT: usize = 4 << 20;

/// Everything that is judged.
#[derive(Debug)]
pub struct Facts {
    /// The host as the runtime sees it.
    pub host: Host,
    /// Its switches and budgets.
    pub survey: Survey,
    /// Who owns which ids.
    pub owners: IdOwners,
    /// What came of making a user namespace as an id of nobody's.
    pub own_namespace: Option<Result<(), Errno>>,
    /// What came of an idmapped mount of the images' directory.
    pub idmap: Option<Result<(), Errno>>,
    /// What is left behind.
    pub leavings: Leavings,
    /// What is wrong with settings files, a line each.
    pub settings: Vec<String>,
}

/// What belongs to no machine that runs, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leavings {
    /// Records whose supervisors are dead.
    pub records: Vec<String>,
    /// Records that cannot be read.
    pub unreadable: Vec<String>,
    /// Directories of scratch files without a record.
    pub scratch: Vec<String>,
    /// Paths of cgroups without a record and without a process: one that has some is of a machine that has another /run.
    pub cgroups: Vec<String>,
    /// Lock files of id ranges that nobody holds.
    pub locks: Vec<String>,
    /// Machines that run with ids that somebody else owns.
    pub overlaps: Vec<String>,
}

impl Facts {
    /// Looks.
    ///
    /// # Errors
    /// When /proc or the registry cannot be read.
    pub fn look() -> Result<Self, Error> {
        let host = Host::probe().map_err(Error::system("look at this host"))?;
        let survey = Survey::probe(&host.cgroup, &PLACES, IMAGES);
        let owners = IdOwners::probe();
        let leavings = Leavings::look(&host, &owners)?;
        Ok(Self {
            own_namespace: survey.root.then(try_own_namespace),
            idmap: survey.root.then(|| try_idmap(&survey)),
            settings: settings_faults(),
            owners,
            leavings,
            host,
            survey,
        })
    }
}

/// Reads the settings of all machines, and those that are of all.
fn settings_faults() -> Vec<String> {
    let mut faults = Vec::new();
    // Any name will do: one without files of its own has the settings of all.
    if let Ok(any) = "any".parse()
        && let Err(error) = files_of(&any, &Places::default())
    {
        faults.push(printed(&error));
    }
    match autostart::enabled() {
        Ok(enabled) => faults.extend(enabled.unknown.iter().map(|(_, error)| printed(error))),
        Err(error) => faults.push(printed(&error)),
    }
    faults.sort();
    faults.dedup();
    faults
}

/// An error with its causes, safe to print.
fn printed(error: &dyn std::error::Error) -> String {
    printable::line(crate::sys::in_words(error).as_bytes())
}

/// A range that is tried: the last one of those that are picked for machines (<https://systemd.io/UIDS-GIDS>).
const TRIED: IdMapping = IdMapping { inside: 0, outside: id_range::LAST, count: id_range::SIZE };

fn errno_of<T>(result: SysResult<T>) -> Result<(), Errno> {
    result.map(drop).map_err(|error| error.errno())
}

/// Makes a user namespace as machines do, and lets it go.
fn try_own_namespace() -> Result<(), Errno> {
    errno_of(create(Creator::Id(TRIED.outside), TRIED, TRIED))
}

/// Maps the ids of a mount of the images' directory that nobody sees, and lets it go.
fn try_idmap(survey: &Survey) -> Result<(), Errno> {
    let images = Path::new(IMAGES);
    let place = survey.places.iter().find(|place| place.path == images);
    let existing = place.map_or(Path::new("/"), |place| &place.existing);
    let mapped = create(Creator::Root, TRIED, TRIED).and_then(|namespace| {
        let mount = clone_mount(open_directory(existing)?, Path::new(""), false)?;
        map_mount_ids(mount, namespace, false)
    });
    errno_of(mapped)
}

impl Leavings {
    fn look(host: &Host, owners: &IdOwners) -> Result<Self, Error> {
        let mut leavings = Self::default();
        let mut known = BTreeSet::new();
        let mut bases = BTreeSet::new();
        for record in Record::all()? {
            let name = record.name().to_string();
            known.insert(name.clone());
            match record {
                Record::Running(machine) => {
                    let state = machine.state();
                    bases.insert(state.id_base);
                    let range = IdRange { base: state.id_base, size: state.id_size };
                    if range.size > 0 && range.base > 0 && !owners.is_free(range) {
                        leavings.overlaps.push(name);
                    }
                }
                Record::Starting(_) => {}
                Record::Left(_) => leavings.records.push(name),
                Record::Unreadable(..) => leavings.unreadable.push(name),
            }
        }
        let unknown = |directory: &Path| {
            let mut names = names_below(directory, FileType::Directory);
            names.retain(|name| !known.contains(name));
            names
        };
        leavings.scratch = unknown(Path::new(SCRATCH));
        if let Some(mount) = &host.cgroup.mount_point {
            let parent = mount.join("spinney");
            let mut cgroups = unknown(&parent);
            cgroups.retain(|name| is_unpopulated(&parent.join(name)));
            leavings.cgroups = cgroups.iter().map(|name| parent.join(name).display().to_string()).collect();
        }
        let locks = read_at(CWD, "/proc/locks", LOCKS_LIMIT).unwrap_or_default();
        let locked = locked_inodes(&String::from_utf8_lossy(&locks));
        for name in names_below(Path::new(id_range::LOCK_DIRECTORY), FileType::RegularFile) {
            let file = std::fs::metadata(Path::new(id_range::LOCK_DIRECTORY).join(&name));
            let held = file.is_ok_and(|file| locked.contains(&file.ino()));
            if !held && !name.parse().is_ok_and(|base| bases.contains(&base)) {
                leavings.locks.push(name);
            }
        }
        Ok(leavings)
    }
}

/// The entries of a directory that are a `kind`, sorted; none where it cannot be read.
fn names_below(directory: &Path, kind: FileType) -> Vec<String> {
    let entries = open_directory(directory).and_then(entries).unwrap_or_default();
    let mut names: Vec<String> = entries
        .into_iter()
        .filter(|(_, its)| *its == kind)
        .map(|(name, _)| printable::line(name.as_encoded_bytes()))
        .collect();
    names.sort();
    names
}

/// Whether no process is in the cgroup or below (cgroups(7), cgroup.events).
fn is_unpopulated(cgroup: &Path) -> bool {
    let events = read_at(CWD, cgroup.join("cgroup.events"), LOCKS_LIMIT).unwrap_or_default();
    events.split(|byte| *byte == b'\n').any(|line| line == b"populated 0")
}

/// The inodes in a /proc/locks text (proc_locks(5)): `1: OFDLCK ADVISORY WRITE -1 08:01:1234 0 EOF`.
fn locked_inodes(text: &str) -> BTreeSet<u64> {
    let inode = |line: &str| line.split_ascii_whitespace().nth(5)?.rsplit(':').next()?.parse().ok();
    text.lines().filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks() {
        let text = "1: FLOCK  ADVISORY  WRITE 712 00:19:1123 0 EOF\n2: OFDLCK ADVISORY  WRITE -1 08:01:77 0 EOF\nx\n";
        assert_eq!(locked_inodes(text), BTreeSet::from([77, 1123]));
    }
}
