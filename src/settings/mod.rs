//! What the user asked for, typed.
//!
//! [`MachineSettings`] is what the planner reads. It comes from layers of [`assignment::Assignment`]s: settings files and the
//! command line, all with the names, parsers and rules of one table, [`keys`]. The parsers take `&str` and do no I/O; names
//! and meanings are systemd-nspawn's (systemd-nspawn(1)) wherever it has them. Only [`files`] reads.
//!
//! | file | what it owns |
//! |---|---|
//! | [`keys`] | the table of all settings: their names in each form, their parsers |
//! | [`assignment`] | one value given to one setting at one place |
//! | [`toml_layer`], [`nspawn_layer`] | a file as a layer; [`nspawn`] is the syntax of .nspawn files |
//! | [`files`] | reading settings files |
//! | [`merge`] | layers to what is in force |
//! | [`nspawn_manner`] | layers as systemd-nspawn has them |
//! | [`draft`] | what is in force to [`MachineSettings`] |
//! | [`resolve`] | which layers there are: [`machine_settings`] |
//! | [`handed`] | options that do not show in the list of processes |
//! | [`provenance`] | where each value came from |
//! | the rest | a kind of value each, with its parser |

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

mod access;
pub mod assignment;
mod autostart;
mod capability;
mod credential;
pub mod draft;
mod duration;
mod environment;
mod error;
mod escape;
mod execution;
pub mod files;
pub mod handed;
mod identity;
pub mod keys;
mod knobs;
pub mod limits;
pub mod merge;
mod mount_options;
mod mounts;
pub mod network;
pub mod nspawn;
pub mod nspawn_layer;
mod nspawn_manner;
pub mod provenance;
mod refused;
pub mod resolve;
mod rlimit;
mod signal;
mod slice;
mod suggestion;
mod surroundings;
pub mod toml_layer;
mod verity;
mod words;

pub use access::{CapabilitySettings, PrivateUsers, PrivateUsersError, SystemCallRule, SystemCallRuleError};
pub use autostart::Autostart;
pub use capability::{
    ALL_CAPABILITIES, Capability, CapabilityListError, capability_names, parse_capability_list,
};
pub use credential::{CREDENTIALS_SIZE_MAX, Credential, CredentialFile};
pub use duration::parse_duration;
pub use environment::Variable;
pub use error::ValueError;
pub use execution::{
    ConsoleMode, ConsoleRequest, CpuSet, Payload, Personality, divide_boot_arguments, parse_oom_score_adjust,
    parse_user,
};
pub use identity::{MachineName, Uuid, check_hostname};
pub use knobs::{ApiFileSystems, Knobs};
pub use limits::Limits;
pub use mount_options::parse_guest_path;
pub use mounts::{BindIds, CustomMount, LinkJournal, PivotRoot, ResolvConf, Timezone, Volatile};
pub use nspawn_manner::Manner;
pub use provenance::Provenance;
pub use refused::SettingsError;
pub use resolve::{Asked, OfFiles, Resolved, SettingsMode, files_of, machine_settings};
pub use rlimit::ResourceLimit;
pub use signal::SignalNumber;
pub use slice::Slice;
pub use suggestion::{did_you_mean, nearest};
pub use surroundings::{Environment, Places};
pub use verity::{RootHashSignature, Verity};
pub use words::{Words, parse_boolean};

/// As systemd's DefaultTimeoutStopSec= (systemd-system.conf(5)).
const TIMEOUT_STOP: Duration = Duration::from_secs(90);

/// What `--timeout-stop=infinity` becomes: longer than any machine runs, and safe to add to a point in time.
pub(crate) const PRACTICALLY_FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// All that a user can say about one machine.
#[derive(Debug, Clone)]
pub struct MachineSettings {
    /// The tree to run from.
    pub tree: PathBuf,
    /// The machine's name; by default taken from the tree's directory name.
    pub machine: Option<MachineName>,
    /// What becomes PID 1.
    pub payload: Payload,
    /// What it is verified by.
    pub verity: Verity,
    /// Run on a throw-away layer over the tree.
    pub ephemeral: bool,
    /// Which parts of the root live in memory.
    pub volatile: Volatile,
    /// Mount the root read-only.
    pub read_only: bool,
    /// Pivot into a subdirectory of the tree.
    pub pivot_root: Option<PivotRoot>,
    /// The kernel hostname; by default the machine's name.
    pub hostname: Option<String>,
    /// The machine's UUID, used where the tree has no machine ID.
    pub uuid: Option<Uuid>,
    /// Environment of PID 1, after ours.
    pub environment: Vec<(OsString, OsString)>,
    /// Working directory in the guest.
    pub chdir: Option<PathBuf>,
    /// User in the guest to run a command as, by name or number.
    pub user: Option<String>,
    /// Sent to PID 1 when the supervisor is told to end; by default the init's own way.
    pub kill_signal: Option<SignalNumber>,
    /// Tell our own manager READY=1 only when the guest says so.
    pub notify_ready: bool,
    /// Binds, tmpfs, overlays and masks, in the order given.
    pub mounts: Vec<CustomMount>,
    /// The user namespace.
    pub private_users: PrivateUsers,
    /// What it gets of the network.
    pub network: network::NetworkSettings,
    /// Capabilities to add, drop and make ambient.
    pub capabilities: CapabilitySettings,
    /// Set PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// Changes to the system call allow list, in order.
    pub system_calls: Vec<SystemCallRule>,
    /// Resource limits of PID 1.
    pub rlimits: Vec<ResourceLimit>,
    /// PID 1's oom_score_adj, -1000 to 1000.
    pub oom_score_adjust: Option<i32>,
    /// CPUs that the machine may run on.
    pub cpu_affinity: Option<CpuSet>,
    /// Execution domain.
    pub personality: Option<Personality>,
    /// How our stdin and stdout meet the guest's; by default chosen from what they are.
    pub console: Option<ConsoleMode>,
    /// Credentials for the guest's init.
    pub credentials: Vec<Credential>,
    /// What becomes of the guest's /etc/resolv.conf.
    pub resolv_conf: ResolvConf,
    /// What becomes of the guest's /etc/localtime.
    pub timezone: Timezone,
    /// Where the guest's journal is visible.
    pub link_journal: LinkJournal,
    /// Make sync(2) and its family do nothing.
    pub suppress_sync: bool,
    /// SELinux label of the payload.
    pub selinux_context: Option<String>,
    /// SELinux label of the API file systems' files.
    pub selinux_apifs_context: Option<String>,
    /// How long to wait for the guest to be ready; `None` waits for ever.
    pub timeout_ready: Option<Duration>,
    /// How long an orderly power-off may take before the machine is killed.
    pub timeout_stop: Duration,
    /// A time namespace in which the guest's uptime starts at 0.
    pub boot_clock: bool,
    /// Keep proc and sysfs unmasked somewhere, so that containers run inside.
    pub nesting: bool,
    /// How much of the host the machine may have.
    pub limits: Limits,
    /// When it is started by itself.
    pub autostart: Autostart,
    /// How its surroundings differ from the usual.
    pub knobs: Knobs,
}

impl MachineSettings {
    /// What holds when nobody says anything: a boot of no tree in particular.
    pub fn built_in() -> Self {
        Self {
            tree: PathBuf::new(),
            machine: None,
            payload: Payload::Boot { init: None, arguments: Vec::new() },
            verity: Verity::default(),
            ephemeral: false,
            volatile: Volatile::No,
            read_only: false,
            pivot_root: None,
            hostname: None,
            uuid: None,
            environment: Vec::new(),
            chdir: None,
            user: None,
            kill_signal: None,
            notify_ready: false,
            mounts: Vec::new(),
            private_users: PrivateUsers::default(),
            network: network::NetworkSettings::default(),
            capabilities: CapabilitySettings::default(),
            no_new_privileges: false,
            system_calls: Vec::new(),
            rlimits: Vec::new(),
            oom_score_adjust: None,
            cpu_affinity: None,
            personality: None,
            console: None,
            credentials: Vec::new(),
            resolv_conf: ResolvConf::default(),
            timezone: Timezone::default(),
            link_journal: LinkJournal::default(),
            suppress_sync: false,
            selinux_context: None,
            selinux_apifs_context: None,
            timeout_ready: None,
            timeout_stop: TIMEOUT_STOP,
            boot_clock: true,
            nesting: false,
            limits: Limits::default(),
            autostart: Autostart::default(),
            knobs: Knobs::default(),
        }
    }

    /// Whose network namespace the machine has.
    pub fn network_namespace(&self) -> network::NetworkNamespace {
        self.network.namespace_for(&self.payload)
    }

    /// What the interface `host0` of the machine is, if it has one.
    pub fn network_attachment(&self) -> Option<network::VethAttachment> {
        self.network.attachment_for(&self.payload)
    }

    /// Whether the machine has a network namespace of its own, which its root rules.
    pub fn has_private_network(&self) -> bool {
        self.network_namespace() == network::NetworkNamespace::Private
    }
}
