//! What a plan is made of besides the settings and the host: the tree, how its image is mounted, our caller.

use std::path::PathBuf;

use crate::guest::network::NetworkFacts;
use crate::host::limits::Wholes;
use crate::network::plan::NetworkPlan;
use crate::runtime::device_filter::DeviceRule;
use crate::runtime::plan::{DeviceNode, UserPlan};
use crate::settings::Uuid;

/// What the plan takes from the tree.
#[derive(Debug, Clone)]
pub struct TreeView {
    /// Its init; there for a boot.
    pub init: Option<PathBuf>,
    /// Its machine ID, if it has one (machine-id(5)).
    pub machine_id: Option<[u8; 16]>,
    /// Who the payload runs as.
    pub user: UserPlan,
    /// First id of its files on disk, where somebody shifted them.
    pub id_base: u32,
    /// Top-level names that are symlinks, such as `bin` to `usr/bin`.
    pub links: Vec<(String, PathBuf)>,
    /// Its init knows no cgroup v2.
    pub legacy_cgroups: bool,
    /// It has the host's time zone.
    pub zone: bool,
    /// What of it has to do with its network, where that is the machine's own.
    pub network: NetworkFacts,
    /// What its root is made of.
    pub root: RootView,
}

/// What the plan takes from how the image is made.
#[derive(Debug, Clone, Default)]
pub struct RootView {
    /// How it is mounted.
    pub form: RootForm,
    /// Its layers, the lowest first.
    pub layers: Vec<PathBuf>,
    /// What it mounts in the guest, and whether that is read-only.
    pub binds: Vec<(PathBuf, bool)>,
    /// No path of the host leads to what the guest writes.
    pub out_of_reach: bool,
}

/// How the root of an image is mounted when nobody asks for another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootForm {
    /// A directory, as it is.
    #[default]
    Directory,
    /// A file system of its own: read-only it is read-only to us too.
    Disk,
    /// Layers, with a writable one unless the root is to be read-only.
    Layers,
}

/// What the plan takes from our caller.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// TERM of our own.
    pub term: Option<String>,
    /// Host ids for the machine; `None` without a user namespace.
    pub ids: Option<(u32, u32)>,
    /// Random bytes.
    pub random: [Uuid; 2],
    /// The host keeps journals on disk, and one of this machine.
    pub journals: (bool, bool),
    /// Number of sockets that were passed to us, fds from 3 (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// The host's resolv.conf, if it is to be copied.
    pub resolv_conf: Option<Vec<u8>>,
    /// Device nodes that are bound into the machine.
    pub bound_devices: Vec<DeviceRule>,
    /// Devices of the host that the machine is given.
    pub given_devices: Vec<DeviceNode>,
    /// Devices that it may use besides.
    pub allowed_devices: Vec<DeviceRule>,
    /// What limits are measured by.
    pub wholes: Wholes,
    /// What the machine uses is to be told, at the price of cgroups for that.
    pub accounting: bool,
    /// Its network.
    pub network: NetworkPlan,
}
