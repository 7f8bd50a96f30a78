//! Settings, tree and host become a plan: pure, so that a plan for a host or kernel that we do not have is a unit test.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::guest::network::NetworkFacts;
use crate::host::Host;
use crate::host::limits::Wholes;
use crate::network::plan::{Namespace, NetworkPlan};
use crate::settings::{
    ConsoleMode, MachineName, MachineSettings, Payload, PrivateUsers, ResourceLimit, Uuid, Volatile,
};
use crate::sys::process::Namespaces;

use super::capability::{CapabilityPlan, CapabilityPlanError};
use super::device_filter::{self, DeviceKind, DeviceRule};
use super::environment::{self, EnvironmentContext};
use super::host_files::{self, TimezoneContext};
use super::journal::{self, JournalContext, JournalError};
use super::limit_plan;
use super::mounts::{self, MountContext};
use super::network_files::{self, FilesContext};
use super::plan::{
    BindSource, DeviceNode, IdMap, MachinePlan, MountOperation, ProcessKind, ProcessPlan, RootBase, RootPlan,
    UpperLayer, UserPlan,
};
use super::seccomp::{Abi, PolicyError, SystemCallPolicy, compile};

/// A machine that cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Of the capability options.
    #[error(transparent)]
    Capabilities(#[from] CapabilityPlanError),
    /// Of the system call options.
    #[error(transparent)]
    SystemCalls(#[from] PolicyError),
    /// Of the journal option.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An SELinux label on a host without SELinux.
    #[error("{0} needs SELinux, which is off on this host")]
    NoSelinux(&'static str),
    /// There is nothing to run.
    #[error("the tree has no init to boot")]
    NoInit,
}

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

/// Makes the plan.
///
/// # Errors
/// When options contradict each other or the host.
pub fn plan(
    name: MachineName,
    settings: &MachineSettings,
    tree: &TreeView,
    host: &Host,
    around: Surroundings,
) -> Result<MachinePlan, PlanError> {
    let private_users = around.ids.is_some();
    let private_network = around.network.namespace == Namespace::Private;
    let boot = matches!(settings.payload, Payload::Boot { .. });
    let console = settings.console.unwrap_or(if boot { ConsoleMode::ReadOnly } else { ConsoleMode::Pipe });
    let uuid = tree.machine_id.map(Uuid).or(settings.uuid).unwrap_or(around.random[0]);
    let capabilities = CapabilityPlan::for_machine(
        &settings.capabilities,
        private_network,
        private_users,
        host.bounding & host.capabilities,
        tree.user.uid == 0,
    )?;
    let read_only = settings.read_only || matches!(settings.volatile, Volatile::State) && !settings.ephemeral;
    for (option, label) in [
        ("--selinux-context=", &settings.selinux_context),
        ("--selinux-apifs-context=", &settings.selinux_apifs_context),
    ] {
        if label.is_some() && !host.selinux {
            return Err(PlanError::NoSelinux(option));
        }
    }

    let network_files = network_files::plan(&FilesContext {
        network: &around.network,
        tree: &tree.network,
        boot,
        resolv_conf: settings.resolv_conf,
        read_only,
    });
    let context = MountContext {
        private_network,
        private_users,
        nesting: settings.nesting,
        knobs: &settings.knobs,
        console: console != ConsoleMode::Pipe,
        legacy_cgroups: tree.legacy_cgroups,
        devices: &host.devices,
        given_devices: &around.given_devices,
        boot_id: around.random[1],
        uuid,
        os_release: &host.os_release,
        credentials: &settings.credentials,
        selinux_apifs_context: settings.selinux_apifs_context.as_deref(),
        network_files: &network_files.in_run,
    };
    let mut operations = volatile(settings.volatile, tree);
    operations.extend(image_binds(&tree.root, read_only));
    let mode = host_files::resolve_auto(settings.resolv_conf, private_network, read_only);
    operations.extend(host_files::resolv_conf(mode, around.resolv_conf));
    operations.extend(network_files.in_tree);
    let zone = TimezoneContext {
        zone: host.localtime.as_deref().and_then(host_files::zone_of),
        zone_in_tree: tree.zone,
        read_only,
    };
    operations.extend(host_files::timezone(settings.timezone, &zone));
    operations.extend(mounts::plan(&context, &settings.mounts));
    let id = tree.machine_id.map(|id| Uuid(id).simple());
    let journal = journal::plan(
        settings.link_journal,
        &JournalContext {
            machine_id: id.as_deref(),
            host_machine_id: &host.machine_id,
            thrown_away: settings.ephemeral || settings.volatile != Volatile::No || tree.root.out_of_reach,
            host_journals: around.journals.0,
            host_journal: around.journals.1,
        },
    )?;
    operations.extend(journal::operations(&journal));

    // With a user namespace nothing but what is given can be opened, and how it may be opened is the filter's to say.
    let unasked = around.given_devices.is_empty() && around.allowed_devices.is_empty();
    let filtered = !private_users || !unasked;
    let devices = filtered.then(|| {
        let mut rules = devices(&operations, &around.bound_devices);
        rules.extend_from_slice(&around.allowed_devices);
        if settings.nesting {
            rules.extend_from_slice(&device_filter::NODES);
        }
        rules
    });
    let (rlimits, lowered) = resource_limits(settings, host);
    let mut warnings: Vec<String> =
        lacking(&capabilities.lost, &lowered, private_users).into_iter().collect();
    let boot_clock = settings.boot_clock && {
        let reason = no_boot_clock(host, private_users);
        warnings.extend(reason.map(str::to_owned));
        reason.is_none()
    };
    let limits = limit_plan::plan(&settings.limits, &host.cgroup, &around.wholes, around.accounting);
    warnings.extend_from_slice(&limits.warnings);
    let (kind, argv) = payload(&settings.payload, tree.init.as_deref())?;
    let environment = environment::plan(&EnvironmentContext {
        boot,
        container: &settings.knobs.container,
        terminal: (console != ConsoleMode::Pipe).then_some(around.term.as_deref().unwrap_or("vt220")),
        uuid,
        credentials: !settings.credentials.is_empty(),
        host_os_release: &host.os_release,
        listen_fds: around.listen_fds,
        below_stub: kind == ProcessKind::CommandBelowStub,
        user: &tree.user,
        own: &settings.environment,
    });
    // The processor's own 32-bit programs run too; other architectures get ENOSYS from the program's prelude.
    let policies = std::iter::once(Abi::NATIVE)
        .chain(Abi::NATIVE.compat())
        .map(|abi| {
            SystemCallPolicy::for_abi(
                abi,
                capabilities.bounding,
                &settings.system_calls,
                settings.suppress_sync,
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    let seccomp = if settings.knobs.system_call_filter { compile(&policies) } else { Vec::new() };
    let process = ProcessPlan {
        argv,
        kind,
        environment,
        directory: settings
            .chdir
            .clone()
            .unwrap_or_else(|| if boot { PathBuf::from("/") } else { PathBuf::from(&tree.user.home) }),
        directory_is_a_wish: settings.chdir.is_none(),
        user: tree.user.clone(),
        capabilities,
        seccomp,
        rlimits,
        oom_score_adjust: settings.oom_score_adjust,
        cpu_affinity: settings.cpu_affinity.as_ref().map(|set| set.0.clone()),
        personality: settings.personality.map(personality),
        no_new_privileges: settings.no_new_privileges,
        listen_fds: around.listen_fds,
        selinux_context: settings.selinux_context.clone(),
    };
    Ok(MachinePlan {
        hostname: settings.hostname.clone().unwrap_or_else(|| name.as_str().to_owned()),
        name,
        namespaces: namespaces(private_network),
        network: around.network,
        ids: around.ids.map(|(base, size)| IdMap { base, size, tree_base: tree.id_base }),
        boot_clock,
        root: RootPlan {
            base: root_base(settings, tree.root.form, read_only),
            layers: tree.root.layers.clone(),
            read_only,
            pivot: settings.pivot_root.clone(),
        },
        mounts: operations,
        legacy_cgroups: tree.legacy_cgroups,
        devices,
        limits,
        journal,
        uuid,
        console,
        process,
        warnings,
    })
}

/// Whether `settings` ask for a user namespace.
pub fn wants_user_namespace(settings: &MachineSettings) -> bool {
    settings.private_users != PrivateUsers::No
}

fn namespaces(private_network: bool) -> Namespaces {
    let all = Namespaces::NEWNS
        | Namespaces::NEWPID
        | Namespaces::NEWUTS
        | Namespaces::NEWIPC
        | Namespaces::NEWCGROUP;
    if private_network { all | Namespaces::NEWNET } else { all }
}

fn root_base(settings: &MachineSettings, form: RootForm, read_only: bool) -> RootBase {
    match (settings.volatile, settings.ephemeral, form) {
        (Volatile::Yes, ..) => RootBase::Tmpfs,
        (Volatile::Overlay, ..) => RootBase::Overlay(UpperLayer::Memory),
        (_, true, _) => RootBase::Overlay(UpperLayer::Disk),
        (_, _, RootForm::Directory) => RootBase::Tree,
        // Mount points that are missing are made in memory; several machines may have it at once.
        (_, _, RootForm::Disk | RootForm::Layers) if read_only => RootBase::Overlay(UpperLayer::Memory),
        (_, _, RootForm::Disk) => RootBase::Tree,
        (_, _, RootForm::Layers) => RootBase::Overlay(UpperLayer::Image),
    }
}

/// What the image itself mounts in its root; before all that the user binds.
fn image_binds(root: &RootView, root_read_only: bool) -> impl Iterator<Item = MountOperation> {
    use crate::sys::mount::MountAttributes;
    root.binds.iter().enumerate().map(move |(number, (target, read_only))| MountOperation::Bind {
        source: BindSource::Image(number),
        target: target.clone(),
        recursive: true,
        attributes: match *read_only || root_read_only {
            true => MountAttributes::MOUNT_ATTR_RDONLY,
            false => MountAttributes::empty(),
        },
        clear: MountAttributes::empty(),
        // They are mounted with the guest's ids, as the root is.
        ids: crate::settings::BindIds::NoIdmap,
        if_target_exists: false,
    })
}

/// `--volatile=yes` binds /usr into the empty root, `state` covers /var (systemd-nspawn(1)).
fn volatile(mode: Volatile, tree: &TreeView) -> Vec<MountOperation> {
    use crate::sys::mount::MountAttributes;
    match mode {
        Volatile::No | Volatile::Overlay => Vec::new(),
        Volatile::State => vec![MountOperation::Mount {
            kind: "tmpfs",
            target: "/var".into(),
            options: vec![("mode".to_owned(), Some("0755".to_owned()))],
            attributes: MountAttributes::MOUNT_ATTR_NOSUID | MountAttributes::MOUNT_ATTR_NODEV,
        }],
        Volatile::Yes => {
            let mut operations = vec![MountOperation::Bind {
                source: BindSource::Tree("/usr".into()),
                target: "/usr".into(),
                recursive: true,
                attributes: MountAttributes::MOUNT_ATTR_RDONLY,
                clear: MountAttributes::empty(),
                ids: crate::settings::BindIds::NoIdmap,
                if_target_exists: false,
            }];
            let links = tree.links.iter().map(|(name, target)| MountOperation::Symlink {
                path: Path::new("/").join(name),
                target: target.clone(),
                replace: false,
            });
            operations.extend(links);
            for directory in ["/etc", "/var", "/root"] {
                let mode = if directory == "/root" { 0o700 } else { 0o755 };
                operations.push(MountOperation::Directory { path: directory.into(), mode });
            }
            operations
        }
    }
}

fn payload(payload: &Payload, init: Option<&Path>) -> Result<(ProcessKind, Vec<Vec<u8>>), PlanError> {
    let bytes = |argument: &OsString| argument.as_bytes().to_vec();
    Ok(match payload {
        Payload::Boot { arguments, .. } => {
            let init = init.ok_or(PlanError::NoInit)?;
            let argv = std::iter::once(init.as_os_str().as_bytes().to_vec())
                .chain(arguments.iter().map(bytes))
                .collect();
            (ProcessKind::Init, argv)
        }
        Payload::Command { argv, as_pid1: true } => (ProcessKind::Command, argv.iter().map(bytes).collect()),
        Payload::Command { argv, as_pid1: false } => {
            (ProcessKind::CommandBelowStub, argv.iter().map(bytes).collect())
        }
    })
}

/// The devices of the machine's /dev, terminals, and those that are bound into it.
fn devices(operations: &[MountOperation], bound: &[DeviceRule]) -> Vec<DeviceRule> {
    let nodes = operations.iter().flat_map(|operation| match operation {
        MountOperation::Devices { nodes, .. } => nodes.as_slice(),
        _ => &[],
    });
    let own = nodes.map(|node| DeviceRule {
        kind: if node.block { DeviceKind::Block } else { DeviceKind::Character },
        major: Some(node.numbers.0),
        minor: Some(node.numbers.1),
        access: node.access,
    });
    own.chain(device_filter::TERMINALS).chain(bound.iter().copied()).collect()
}

/// PER_LINUX and PER_LINUX32 (personality(2)).
fn personality(personality: crate::settings::Personality) -> u32 {
    match personality {
        crate::settings::Personality::Native => 0,
        crate::settings::Personality::Linux32 => 8,
    }
}

/// The limits the kernel gives its own PID 1 (include/asm-generic/resource.h), with systemd's NOFILE and MEMLOCK: an
/// init expects these, not those of the shell that started us.
fn resource_limits(settings: &MachineSettings, host: &Host) -> (Vec<ResourceLimit>, Vec<String>) {
    const INFINITY: u64 = u64::MAX;
    const MIB: u64 = 1 << 20;
    /// systemd's HIGH_RLIMIT_NOFILE (systemd-system.conf(5), DefaultLimitNOFILE=).
    const HIGH_NOFILE: u64 = 512 * 1024;
    let wanted = [
        (libc::RLIMIT_CPU, INFINITY, INFINITY),
        (libc::RLIMIT_FSIZE, INFINITY, INFINITY),
        (libc::RLIMIT_DATA, INFINITY, INFINITY),
        (libc::RLIMIT_STACK, 8 * MIB, INFINITY),
        (libc::RLIMIT_CORE, 0, INFINITY),
        (libc::RLIMIT_RSS, INFINITY, INFINITY),
        (libc::RLIMIT_NOFILE, 1024, host.nr_open.min(HIGH_NOFILE)),
        (libc::RLIMIT_MEMLOCK, 8 * MIB, 8 * MIB),
        (libc::RLIMIT_AS, INFINITY, INFINITY),
        (libc::RLIMIT_LOCKS, INFINITY, INFINITY),
        (libc::RLIMIT_MSGQUEUE, 819_200, 819_200),
        (libc::RLIMIT_NICE, 0, 0),
        (libc::RLIMIT_RTPRIO, 0, 0),
        (libc::RLIMIT_RTTIME, INFINITY, INFINITY),
    ];
    let may_raise = host.capabilities & crate::settings::Capability::SYS_RESOURCE.bit() != 0;
    let mut lowered = Vec::new();
    let mut limits: Vec<ResourceLimit> = wanted
        .into_iter()
        .map(|(resource, soft, hard)| ResourceLimit { resource, soft, hard })
        .filter(|limit| !settings.rlimits.iter().any(|own| own.resource == limit.resource))
        .collect();
    limits.extend(settings.rlimits.iter().copied());
    for limit in &mut limits {
        let ours = usize::try_from(limit.resource).ok().and_then(|index| host.hard_limits.get(index));
        let Some(ours) = ours else { continue };
        if limit.hard > *ours && !may_raise {
            limit.hard = *ours;
            limit.soft = limit.soft.min(*ours);
            lowered.push(limit.name());
        }
    }
    (limits, lowered)
}

/// Why the machine cannot have clocks of its own.
fn no_boot_clock(host: &Host, private_users: bool) -> Option<&'static str> {
    let may_set = private_users || host.capabilities & crate::settings::Capability::SYS_TIME.bit() != 0;
    match (host.time_namespaces, may_set) {
        (false, _) => Some("this kernel makes no time namespaces: the machine's uptime is the host's"),
        (true, false) => Some("this process lacks CAP_SYS_TIME: the machine's uptime is the host's"),
        (true, true) => None,
    }
}

/// The one warning about what our process cannot give, with what the machine goes without for it.
fn lacking(lost: &[&str], lowered: &[String], private_users: bool) -> Option<String> {
    let mut without = Vec::new();
    if !lowered.is_empty() {
        let stay = if lowered.len() == 1 { "stays" } else { "stay" };
        without.push(format!("{} {stay} at our own limit", lowered.join(", ")));
    }
    if !lost.is_empty() && !private_users {
        without.push("the machine does not have it either".to_owned());
    }
    let missing = if lost.is_empty() { "CAP_SYS_RESOURCE".to_owned() } else { lost.join(", ") };
    (!without.is_empty()).then(|| format!("this process lacks {missing}: {}", without.join(", and ")))
}

#[cfg(test)]
mod tests;
