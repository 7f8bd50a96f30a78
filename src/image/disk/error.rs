//! Why a disk image cannot be used: one line, a hint.

use std::path::PathBuf;

use super::content::FileSystem;
use super::foreign::Foreign;
use super::gpt::GptFault;
use crate::sys::SysError;

/// Why a disk image cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("cannot open disk image {}", .path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: SysError,
    },
    #[error("{} is neither a file nor a block device", .path.display())]
    NoDisk { path: PathBuf },
    #[error("{} is in use: something of it is mounted, or another program has it", .path.display())]
    DeviceInUse { path: PathBuf },
    #[error("cannot use disk image {}: {refusal}", .path.display())]
    Refused { path: PathBuf, refusal: Refusal },
    #[error("cannot attach {} to a loop device", .path.display())]
    Loop {
        path: PathBuf,
        #[source]
        source: SysError,
    },
    #[error("this kernel has no file system {}, which {} has", .kind.name(), .path.display())]
    KernelLacks { path: PathBuf, kind: FileSystem },
    #[error("cannot mount {volume} {}", .path.display())]
    Mount {
        path: PathBuf,
        volume: String,
        #[source]
        source: SysError,
    },
    #[error("cannot put the file systems of {} together at /{place}", .path.display())]
    Assemble {
        path: PathBuf,
        place: &'static str,
        #[source]
        source: SysError,
    },
    #[error("cannot read the root hash {}", .path.display())]
    RootHash {
        path: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot read the hashes {}", .path.display())]
    HashFile {
        path: PathBuf,
        #[source]
        source: SysError,
    },
    #[error("cannot verify {}: {why}", .path.display())]
    Verity { path: PathBuf, why: VerityFault },
}

/// Why a file system is not verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum VerityFault {
    #[error("veritysetup is not installed")]
    NoProgram,
    #[error("this kernel has no device mapper")]
    NoDeviceMapper,
    #[error("veritysetup says: {0}")]
    Program(String),
    #[error("veritysetup made no device")]
    NoDevice,
}

/// Why what is on a disk is not mounted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error("it has neither a partition table nor a file system that is known")]
    Nothing,
    #[error("it is {}, and no raw disk", .0.name())]
    Foreign(Foreign),
    #[error("its partition table is damaged, and so is the copy at its end: {0}")]
    DamagedTable(GptFault),
    #[error("it has no partition that is a root")]
    NoRoot { encrypted: Option<u32> },
    #[error("any of its partitions {} could be the root", listed(.numbers))]
    SeveralRoots { numbers: Vec<u32> },
    #[error("{} is encrypted", place(.number))]
    Encrypted { number: Option<u32> },
    #[error("{} holds {holds}", place(.number))]
    NotMountable { number: Option<u32>, holds: &'static str },
    #[error("{} holds a file system {name}, which no distribution is installed to", place(.number))]
    Uncommon { number: Option<u32>, name: &'static str },
    #[error("the file system of {} lies on {devices} devices", place(.number))]
    SeveralDevices { number: Option<u32>, devices: u64 },
    #[error("it is truncated: the last {} of partition {number} are missing", bytes(*.missing))]
    PartitionBeyondEnd { number: u32, missing: u64 },
    #[error(
        "it is truncated: {} has {} of a file system {} of {}",
        place(.number), bytes(*.there), .kind.name(), bytes(*.size)
    )]
    FileSystemBeyondEnd { number: Option<u32>, kind: FileSystem, size: u64, there: u64 },
    #[error("partition {number} ends before it begins")]
    Backwards { number: u32 },
    #[error("its partitions {root} and {usr}, the root and /usr, are for different architectures")]
    Architectures { root: u32, usr: u32 },
    #[error("it is to be verified, and nothing says what its root hash is")]
    NoRootHash,
    #[error("it has no partition that the root hash is of")]
    NothingToVerify,
    #[error(
        "its partitions have hashes of their own, or none: a file of hashes is for a disk that is one file system"
    )]
    HashesOfPartitions,
    #[error("it has no hashes to verify partition {number} by")]
    NoHashes { number: u32 },
}

impl Error {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Open { .. }
            | Self::NoDisk { .. }
            | Self::Assemble { .. }
            | Self::RootHash { .. }
            | Self::HashFile { .. } => {
                return None;
            }
            Self::DeviceInUse { .. } => "unmount it first, or take a copy of it",
            Self::Refused { refusal, .. } => return refusal.hint(),
            Self::Loop { .. } => {
                "loop devices come with Linux's module loop; in most containers there are none to be had"
            }
            Self::KernelLacks { kind, .. } => {
                return Some(format!("modprobe {} loads it where it is a module", kind.name()));
            }
            Self::Mount { .. } => {
                "the kernel's log (dmesg) may say more; the file system may have to be checked"
            }
            Self::Verity { why, .. } => return why.hint(),
        };
        Some(hint.to_owned())
    }
}

impl VerityFault {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoProgram => {
                "it comes with cryptsetup: package cryptsetup-bin of Debian, veritysetup of Fedora"
            }
            Self::NoDeviceMapper => "modprobe dm_verity loads it where it is a module",
            Self::Program(_) => "the root hash is not that of this image, or the image was changed",
            Self::NoDevice => return None,
        };
        Some(hint.to_owned())
    }
}

impl Refusal {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Foreign(Foreign::Qcow2) => "spinney import makes a raw disk of it",
            Self::Foreign(Foreign::Other(_)) => {
                "qemu-img convert -O raw makes raw disks of those of other programs"
            }
            Self::Foreign(_) => "spinney import makes an image of it",
            Self::Nothing => "spinney import takes archives, and disks of QEMU",
            Self::DamagedTable(_) => "sgdisk --verify says what is left of it",
            Self::NoRoot { encrypted: Some(number) } => {
                return Some(format!("partition {number} is encrypted: decrypt it first, machines do not"));
            }
            Self::NoRoot { encrypted: None } => {
                "the type of a root partition is in the Discoverable Partitions Specification \
                 (sfdisk --part-type IMAGE NUMBER TYPE sets it)"
            }
            Self::SeveralRoots { .. } => {
                "mark it by its type (sfdisk --part-type IMAGE NUMBER TYPE), on an MBR as the one to boot from \
                 (sfdisk --activate IMAGE NUMBER)"
            }
            Self::Encrypted { .. } => "decrypt it first: cryptsetup open, and a copy of what that gives",
            Self::NotMountable { .. } | Self::Uncommon { .. } | Self::SeveralDevices { .. } => {
                "machines are made from ext4, XFS, Btrfs, SquashFS, EROFS and F2FS, each on one partition"
            }
            Self::PartitionBeyondEnd { .. } | Self::FileSystemBeyondEnd { .. } => "fetch or copy it again",
            Self::Backwards { .. } => "sfdisk --verify says more",
            Self::Architectures { .. } => return None,
            Self::NoRootHash => "--root-hash= says it, or a file beside the disk, with .roothash for .raw",
            Self::HashesOfPartitions => {
                "leave --verity-data= out: the hashes of a partition are in another one"
            }
            Self::NothingToVerify | Self::NoHashes { .. } => {
                "the halves of a root hash are the identifiers of two partitions, the data and its hashes: \
                 sfdisk --dump lists them"
            }
        };
        Some(hint.to_owned())
    }
}

fn place(number: &Option<u32>) -> String {
    number.map_or("the disk".to_owned(), |number| format!("partition {number}"))
}

fn listed(numbers: &[u32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
    numbers.join(", ")
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} bytes"),
        1024..0x10_0000 => format!("{} KiB", count.div_ceil(1024)),
        _ => format!("{} MiB", count.div_ceil(0x10_0000)),
    }
}
