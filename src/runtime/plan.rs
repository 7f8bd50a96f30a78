//! The plan of one machine: everything that will be done, as data.
//!
//! [`MachinePlan`] is computed by pure functions (`mounts`, `identity`, `capability`, `seccomp`, ...) from settings, tree
//! and host; `spinney run --explain` prints it; the appliers carry it out. Nothing here touches the system.

use std::borrow::Cow;
use std::path::PathBuf;

use crate::network::plan::NetworkPlan;
use crate::settings::{BindIds, ConsoleMode, MachineName, PivotRoot, ResourceLimit, Uuid};
use crate::sys::mount::MountAttributes;
use crate::sys::process::Namespaces;
use crate::sys::seccomp::SockFilter;

use super::capability::CapabilityPlan;
use super::device_filter::{self, DeviceRule};
use super::journal::JournalPlan;
use super::limit_plan::LimitPlan;

/// All that it takes to run one machine.
#[derive(Debug, Clone)]
pub struct MachinePlan {
    /// The machine's name.
    pub name: MachineName,
    /// New namespaces of the leader, but for the user and the time namespace.
    pub namespaces: Namespaces,
    /// Its network.
    pub network: NetworkPlan,
    /// The user namespace; `None` leaves the host's ids.
    pub ids: Option<IdMap>,
    /// A time namespace whose clocks start at 0.
    pub boot_clock: bool,
    /// The root file system.
    pub root: RootPlan,
    /// What is made and mounted in it, in order.
    pub mounts: Vec<MountOperation>,
    /// The guest gets a named v1 hierarchy in place of cgroup v2.
    pub legacy_cgroups: bool,
    /// The only devices that the machine may use; `None` is no filter: with a user namespace it can get at no others.
    pub devices: Option<Vec<DeviceRule>>,
    /// How much of the host the machine may have.
    pub limits: LimitPlan,
    /// What is done about the guest's journal.
    pub journal: JournalPlan,
    /// Kernel hostname.
    pub hostname: String,
    /// The machine's UUID.
    pub uuid: Uuid,
    /// How our stdin and stdout meet the guest.
    pub console: ConsoleMode,
    /// PID 1.
    pub process: ProcessPlan,
    /// What the host lacks and the machine goes without; each a line for the user.
    pub warnings: Vec<String>,
}

/// The machine's ids on the host: guest id n is host id `base + n`, and in the tree on disk it is `tree_base + n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// First host id.
    pub base: u32,
    /// Number of ids.
    pub size: u32,
    /// First id of the tree on disk: 0 unless somebody shifted it.
    pub tree_base: u32,
}

/// The root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootPlan {
    /// What it is made of.
    pub base: RootBase,
    /// The layers of a layered image, the lowest first: its own, and the writable one where that is not written to. Empty
    /// for a tree.
    pub layers: Vec<PathBuf>,
    /// Mounted read-only.
    pub read_only: bool,
    /// Pivot into a subdirectory at the end.
    pub pivot: Option<PivotRoot>,
}

/// What a root file system is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootBase {
    /// The tree itself.
    Tree,
    /// An overlay over the tree.
    Overlay(UpperLayer),
    /// An empty tmpfs; what it needs of the tree is bound into it.
    Tmpfs,
}

/// Where an overlay's writable layer lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpperLayer {
    /// On disk, below the scratch directory, with the guest's own ids.
    Disk,
    /// In memory, with the host's ids of the machine.
    Memory,
    /// The image's own, which stays.
    Image,
}

/// One thing made or mounted in the root. Targets are absolute paths of the guest, resolved inside the root only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountOperation {
    /// A directory, with its parents; one that is there stays as it is.
    Directory {
        /// Where.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A symlink.
    Symlink {
        /// Where.
        path: PathBuf,
        /// What it points to.
        target: PathBuf,
        /// It replaces what is there, if that can be; otherwise what is there stays.
        replace: bool,
    },
    /// A file.
    File {
        /// Where.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What is in it.
        contents: Vec<u8>,
        /// What if something is there, or it cannot be written.
        replace: Replace,
    },
    /// An inode without contents.
    Node {
        /// Where.
        path: PathBuf,
        /// What.
        kind: NodeKind,
        /// Its permissions.
        mode: u32,
    },
    /// Removes a file of the tree.
    Remove {
        /// Where.
        path: PathBuf,
    },
    /// A new file system.
    Mount {
        /// Its type.
        kind: &'static str,
        /// Where.
        target: PathBuf,
        /// Its options.
        options: Vec<(String, Option<String>)>,
        /// Flags of the mount.
        attributes: MountAttributes,
    },
    /// A tmpfs for /dev with these nodes, made by host root so that the nodes can be opened.
    Devices {
        /// Where.
        target: PathBuf,
        /// The nodes.
        nodes: Vec<DeviceNode>,
    },
    /// sysfs reduced to what a container may see (Container Interface): a read-only tmpfs with `parts` of sysfs.
    Sysfs {
        /// Where.
        target: PathBuf,
        /// Directories of sysfs.
        parts: &'static [&'static str],
    },
    /// A path mounted elsewhere.
    Bind {
        /// What.
        source: BindSource,
        /// Where.
        target: PathBuf,
        /// With its submounts.
        recursive: bool,
        /// Flags to set.
        attributes: MountAttributes,
        /// Flags to clear.
        clear: MountAttributes,
        /// Id mapping, for sources on the host.
        ids: BindIds,
        /// Skip it where the target is missing or cannot be mounted on; otherwise the target is made.
        if_target_exists: bool,
    },
    /// A user's overlay.
    Overlay {
        /// Layers on the host, or with `true` in the tree; lowest first.
        lower: Vec<(PathBuf, bool)>,
        /// The writable layer: none, temporary, or a directory like those of `lower`.
        upper: Option<Option<(PathBuf, bool)>>,
        /// Where.
        target: PathBuf,
    },
    /// The socket that the guest's init notifies (sd_notify(3)).
    NotifySocket {
        /// Where.
        path: PathBuf,
    },
    /// Changes flags of what is mounted at a path.
    Seal {
        /// Where.
        target: PathBuf,
        /// Flags to set.
        attributes: MountAttributes,
    },
}

/// How a file of ours meets the tree's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It replaces what is there; without it the machine does not start.
    Required,
    /// It replaces what is there, if that can be.
    Anything,
    /// It replaces a regular file, if that can be; a symlink is the tree's own arrangement and stays.
    RegularFile,
    /// It is made where there is nothing, if that can be: something to mount on.
    Nothing,
}

/// Where a bind comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindSource {
    /// A path of the host.
    Host(PathBuf),
    /// A path in the root as it is when the bind's turn comes.
    Guest(PathBuf),
    /// A path of the tree itself, beside whatever root there is.
    Tree(PathBuf),
    /// A bind of the image, by its number.
    Image(usize),
    /// A fresh empty directory that goes with the machine.
    Temporary,
    /// Nothing that anyone can use: a file or directory without permissions, as the target is.
    Inaccessible,
}

/// Inodes without contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in inode(7)")]
pub enum NodeKind {
    Regular,
    Fifo,
    Socket,
    /// Character device 0:0, the one that a user namespace may make (Linux 5.8).
    CharacterZero,
}

/// A device in /dev.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    /// Its name below /dev.
    pub name: Cow<'static, str>,
    /// A block device, not a character device.
    pub block: bool,
    /// Its numbers (Documentation/admin-guide/devices.txt).
    pub numbers: (u32, u32),
    /// Its permissions.
    pub mode: u32,
    /// The host's node, if it has another name there.
    pub host: Option<PathBuf>,
    /// What the machine may do with it; see [`DeviceRule`].
    pub access: u32,
}

impl DeviceNode {
    /// A character device that everyone may use.
    pub const fn usual(name: &'static str, numbers: (u32, u32)) -> Self {
        let access = device_filter::MAKE | device_filter::READ | device_filter::WRITE;
        Self { name: Cow::Borrowed(name), block: false, numbers, mode: 0o666, host: None, access }
    }
}

/// What PID 1 is and how its process is set up.
#[derive(Debug, Clone)]
pub struct ProcessPlan {
    /// Program and arguments.
    pub argv: Vec<Vec<u8>>,
    /// Look the program up in the guest's PATH and run it below our reaping init, unless it is to be PID 1.
    pub kind: ProcessKind,
    /// `NAME=value`.
    pub environment: Vec<Vec<u8>>,
    /// Working directory in the guest.
    pub directory: PathBuf,
    /// The root directory does as well, where that is missing: nobody asked for it.
    pub directory_is_a_wish: bool,
    /// Who it runs as.
    pub user: UserPlan,
    /// Its capabilities.
    pub capabilities: CapabilityPlan,
    /// Its system call filter; empty for none.
    pub seccomp: Vec<SockFilter>,
    /// Its resource limits.
    pub rlimits: Vec<ResourceLimit>,
    /// Its oom_score_adj.
    pub oom_score_adjust: Option<i32>,
    /// CPUs that it may run on.
    pub cpu_affinity: Option<Vec<u32>>,
    /// personality(2) value.
    pub personality: Option<u32>,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// Sockets of our own caller that are passed on, fds from 3 (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// SELinux label.
    pub selinux_context: Option<String>,
}

/// What becomes of PID 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessKind {
    /// The tree's init, by its path.
    Init,
    /// A command as PID 1.
    Command,
    /// A command below our reaping init.
    CommandBelowStub,
}

/// Ids in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPlan {
    /// Its uid.
    pub uid: u32,
    /// Its gid.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// Its name, as far as known.
    pub name: String,
    /// Its home directory.
    pub home: String,
}
