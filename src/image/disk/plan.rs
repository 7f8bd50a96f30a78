//! What of a disk is mounted where, and how, or why nothing is: pure data, from facts.
//!
//! Partitions are chosen as systemd-dissect(1) chooses them.

use std::cmp::Ordering;

use super::content::{Content, FileSystem};
use super::error::Refusal;
use super::facts::{Facts, Layout, Partition, Table, TableKind};
use super::partition_kind::PartitionKind;
use super::verity::RootHash;
use super::volume::{HashPlace, Volume, attributes_of, options_of};
use crate::guest::architecture::Architecture;

/// What is asked of a disk, and of whom.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish<'a> {
    /// Nothing is written to it.
    pub read_only: bool,
    /// What the root, or /usr, is verified by.
    pub root_hash: Option<&'a RootHash>,
    /// Hashes are in a file of their own.
    pub hash_file: bool,
    /// That of the host, whose partitions come first.
    pub host: Option<Architecture>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskPlan {
    /// The root; `None` is an empty tmpfs, for a disk that has /usr alone.
    pub root: Option<Volume>,
    /// What is mounted in it, in this order.
    pub below: Vec<(Place, Volume)>,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Where a partition goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// /usr.
    Usr,
    /// /home.
    Home,
    /// /srv.
    Srv,
    /// /var.
    Var,
    /// /var/tmp.
    Tmp,
    /// /boot.
    Boot,
    /// /efi, or /boot where there is no /efi and /boot is empty.
    Esp,
}

impl Place {
    /// Its path in the root.
    pub fn path(self) -> &'static str {
        match self {
            Self::Usr => "usr",
            Self::Home => "home",
            Self::Srv => "srv",
            Self::Var => "var",
            Self::Tmp => "var/tmp",
            Self::Boot => "boot",
            Self::Esp => "efi",
        }
    }

    /// Whether a machine is as good without it: nothing in a container starts from a boot loader.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::Boot | Self::Esp)
    }
}

/// Plans the mounts of a disk.
///
/// # Errors
/// Why it cannot be a machine's.
pub fn plan(facts: &Facts, wish: Wish<'_>) -> Result<DiskPlan, Refusal> {
    match &facts.layout {
        Layout::Foreign(foreign) => Err(Refusal::Foreign(*foreign)),
        Layout::Damaged(fault) => Err(Refusal::DamagedTable(*fault)),
        Layout::Bare(Content::Unknown) => Err(Refusal::Nothing),
        Layout::Bare(content) => bare(facts, *content, wish),
        Layout::Table(_) if wish.hash_file => Err(Refusal::HashesOfPartitions),
        Layout::Table(table) => Planner { facts, table, wish }.plan(),
    }
}

/// A disk that is one file system.
fn bare(facts: &Facts, content: Content, wish: Wish<'_>) -> Result<DiskPlan, Refusal> {
    if wish.root_hash.is_some() && !wish.hash_file {
        return Err(Refusal::NothingToVerify);
    }
    let whole = Partition {
        number: 0,
        kind: PartitionKind::Linux,
        id: super::guid::Guid::default(),
        label: String::new(),
        offset: 0,
        length: facts.length,
        read_only: wish.read_only,
        no_auto: false,
        grow: false,
        bootable: false,
        content,
    };
    let mut root = volume(facts, &whole, None, wish.read_only)?;
    if let Some(hash) = wish.root_hash {
        root.verify(hash.clone(), HashPlace::File);
    }
    Ok(DiskPlan { root: Some(root), below: Vec::new(), notes: Vec::new() })
}

struct Planner<'a> {
    facts: &'a Facts,
    table: &'a Table,
    wish: Wish<'a>,
}

impl<'a> Planner<'a> {
    fn plan(&self) -> Result<DiskPlan, Refusal> {
        let mut notes = Vec::new();
        if self.table.kind == (TableKind::Gpt { from_backup: true }) {
            notes.push("its partition table is damaged; the copy at its end is used".to_owned());
        }
        let mut usr = self.newest(|kind| match kind {
            PartitionKind::Usr(architecture) => Some(architecture),
            _ => None,
        });
        let mut root = self.newest(|kind| match kind {
            PartitionKind::Root(architecture) => Some(architecture),
            _ => None,
        });
        // A root hash names its partition.
        if let Some(hash) = self.wish.root_hash {
            match (self.named(hash.data_id(), is_root), self.named(hash.data_id(), is_usr)) {
                (Some(named), _) => root = Some(named),
                (None, Some(named)) => usr = Some(named),
                (None, None) => return Err(Refusal::NothingToVerify),
            }
        }
        if root.is_none() && usr.is_none() {
            root = Some(self.generic_root()?);
        }
        if let (Some(root), Some(usr)) = (root, usr)
            && let (PartitionKind::Root(one), PartitionKind::Usr(other)) = (root.kind, usr.kind)
            && one != other
        {
            return Err(Refusal::Architectures { root: root.number, usr: usr.number });
        }
        let root = root.map(|partition| self.system(partition, None, &mut notes)).transpose()?;
        let usr = usr.map(|partition| self.system(partition, Some(Place::Usr), &mut notes)).transpose()?;
        let mut below: Vec<(Place, Volume)> = usr.map(|usr| (Place::Usr, usr)).into_iter().collect();
        for (kind, place) in OTHERS {
            let is_it = |partition: &&Partition| partition.kind == kind && !partition.no_auto;
            let Some(partition) = self.table.partitions.iter().find(is_it) else { continue };
            match self.volume(partition, Some(place)) {
                Ok(volume) => below.push((place, volume)),
                Err(_) if place.is_optional() => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(DiskPlan { root, below, notes })
    }

    /// The root, or /usr: verified where that was asked for.
    fn system(
        &self,
        partition: &Partition,
        place: Option<Place>,
        notes: &mut Vec<String>,
    ) -> Result<Volume, Refusal> {
        let mut volume = self.volume(partition, place)?;
        let wanted = self.wish.root_hash.filter(|hash| hash.data_id() == partition.id);
        if let Some(hash) = wanted {
            let hashes = self
                .named(hash.hash_id(), is_verity)
                .ok_or(Refusal::NoHashes { number: partition.number })?;
            if hashes.content != Content::VerityHashes {
                return Err(Refusal::NoHashes { number: partition.number });
            }
            self.whole(hashes)?;
            let (offset, length) = (hashes.offset, hashes.length);
            volume.verify(hash.clone(), HashPlace::Disk { offset, length });
        } else if self.has_hashes(partition) {
            // Written to, they would never fit their hashes again.
            volume.make_read_only();
            notes.push(format!(
                "partition {} has hashes to verify it by, and is not verified: no root hash is known",
                partition.number
            ));
        }
        Ok(volume)
    }

    /// Whether there are hashes over `partition`.
    fn has_hashes(&self, partition: &Partition) -> bool {
        let wanted = match partition.kind {
            PartitionKind::Root(architecture) => PartitionKind::RootVerity(architecture),
            PartitionKind::Usr(architecture) => PartitionKind::UsrVerity(architecture),
            _ => return false,
        };
        self.table.partitions.iter().any(|other| other.kind == wanted && !other.no_auto)
    }

    /// The partition with the identifier `id`, of a kind that `is_it`.
    fn named(&self, id: super::guid::Guid, is_it: fn(PartitionKind) -> bool) -> Option<&'a Partition> {
        self.table.partitions.iter().find(|partition| partition.id == id && is_it(partition.kind))
    }

    /// The partition for which `architecture` gives one: of the host's before others', of these the newest by its label,
    /// of several the first.
    fn newest(&self, architecture: fn(PartitionKind) -> Option<Architecture>) -> Option<&'a Partition> {
        let rank = |partition: &Partition| {
            let own = architecture(partition.kind)?;
            let native = self.wish.host.map_or(0, |host| u8::from(own.runs_on(host)) + u8::from(own == host));
            (!partition.no_auto).then_some(native)
        };
        let candidates =
            self.table.partitions.iter().filter_map(|partition| Some((rank(partition)?, partition)));
        let better = |best: (u8, &'a Partition), next: (u8, &'a Partition)| {
            let order = next.0.cmp(&best.0).then_with(|| by_version(&next.1.label, &best.1.label));
            if order == Ordering::Greater { next } else { best }
        };
        candidates.reduce(better).map(|(_, partition)| partition)
    }

    /// The root where none is marked as one: the only partition of Linux, or the only one of these to boot from.
    fn generic_root(&self) -> Result<&'a Partition, Refusal> {
        let all: Vec<&Partition> = self
            .table
            .partitions
            .iter()
            .filter(|partition| partition.kind == PartitionKind::Linux && !partition.no_auto)
            .collect();
        let bootable: Vec<&Partition> = all.iter().copied().filter(|partition| partition.bootable).collect();
        match (all.as_slice(), bootable.as_slice()) {
            ([only], _) | (_, [only]) => Ok(only),
            ([], _) => Err(Refusal::NoRoot {
                encrypted: self
                    .table
                    .partitions
                    .iter()
                    .find(|one| one.content == Content::Luks)
                    .map(|one| one.number),
            }),
            (several, _) => Err(Refusal::SeveralRoots {
                numbers: several.iter().map(|partition| partition.number).collect(),
            }),
        }
    }

    fn volume(&self, partition: &Partition, place: Option<Place>) -> Result<Volume, Refusal> {
        self.whole(partition)?;
        let read_only = self.wish.read_only || partition.read_only;
        volume(self.facts, partition, place, read_only)
    }

    /// Sees to it that all of `partition` is there.
    fn whole(&self, partition: &Partition) -> Result<(), Refusal> {
        let end = partition.offset.saturating_add(partition.length);
        match partition.length {
            0 => Err(Refusal::Backwards { number: partition.number }),
            _ if end > self.facts.length => Err(Refusal::PartitionBeyondEnd {
                number: partition.number,
                missing: end - self.facts.length,
            }),
            _ => Ok(()),
        }
    }
}

/// Where partitions other than the system's own go; what is in another place comes after it.
const OTHERS: [(PartitionKind, Place); 6] = [
    (PartitionKind::Home, Place::Home),
    (PartitionKind::Srv, Place::Srv),
    (PartitionKind::Var, Place::Var),
    (PartitionKind::Tmp, Place::Tmp),
    (PartitionKind::Boot, Place::Boot),
    (PartitionKind::Esp, Place::Esp),
];

fn is_root(kind: PartitionKind) -> bool {
    matches!(kind, PartitionKind::Root(_))
}

fn is_usr(kind: PartitionKind) -> bool {
    matches!(kind, PartitionKind::Usr(_))
}

fn is_verity(kind: PartitionKind) -> bool {
    matches!(kind, PartitionKind::RootVerity(_) | PartitionKind::UsrVerity(_))
}

fn by_version(left: &str, right: &str) -> Ordering {
    crate::image::versions::compare(left, right)
}

/// How `partition`, or the disk if its number is 0, is mounted at `place`; `None` is the root.
fn volume(
    facts: &Facts,
    partition: &Partition,
    place: Option<Place>,
    read_only: bool,
) -> Result<Volume, Refusal> {
    let number = (partition.number != 0).then_some(partition.number);
    let refuse = |holds: &'static str| Err(Refusal::NotMountable { number, holds });
    let (kind, size, devices) = match partition.content {
        Content::FileSystem { kind: FileSystem::Other(name), .. } => {
            return Err(Refusal::Uncommon { number, name });
        }
        Content::FileSystem { kind, size, devices } => (kind, size, devices),
        Content::Luks | Content::BitLocker => return Err(Refusal::Encrypted { number }),
        Content::Lvm => return refuse("a physical volume of LVM"),
        Content::Raid => return refuse("a member of an array of disks"),
        Content::Swap => return refuse("swap space"),
        Content::VerityHashes => return refuse("hashes of dm-verity"),
        Content::Unknown => return refuse("no file system that is known"),
    };
    if devices != 1 {
        return Err(Refusal::SeveralDevices { number, devices });
    }
    // A loop device has whole sectors only.
    let there = partition.length.min(facts.length.saturating_sub(partition.offset)) / 512 * 512;
    if size > there {
        return Err(Refusal::FileSystemBeyondEnd { number, kind, size, there });
    }
    let read_only = read_only || !kind.is_writable();
    Ok(Volume {
        partition: number,
        offset: partition.offset,
        length: partition.length,
        file_system: kind,
        read_only,
        grow: partition.grow && !read_only,
        options: options_of(kind, read_only),
        attributes: attributes_of(place),
        verity: None,
    })
}
