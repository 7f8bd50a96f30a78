//! Settings, tree and host become a plan: pure, so that a plan for a host or kernel that we do not have is a unit test.
//!
//! | file | what it owns |
//! |---|---|
//! | `given` | what it is made of besides settings and host: [`TreeView`], [`Surroundings`] |
//! | `root` | the machine's root, and what its image mounts there |
//! | `process` | what is executed, and its limits |

mod given;
mod process;
mod root;

use std::path::PathBuf;

use process::{payload, personality, resource_limits};
use root::{image_binds, root_base, volatile};

use super::capability::{CapabilityPlan, CapabilityPlanError};
use super::device_filter::{self, DeviceKind, DeviceRule};
use super::environment::{self, EnvironmentContext};
use super::host_files::{self, TimezoneContext};
use super::journal::{self, JournalContext, JournalError};
use super::limit_plan;
use super::mounts::{self, MountContext};
use super::network_files::{self, FilesContext};
use super::plan::{IdMap, MachinePlan, MountOperation, ProcessKind, ProcessPlan, RootPlan};
use super::seccomp::{Abi, PolicyError, SystemCallPolicy, compile};
use crate::host::Host;
use crate::network::plan::Namespace;
use crate::settings::{ConsoleMode, MachineName, MachineSettings, Payload, PrivateUsers, Uuid, Volatile};
use crate::sys::process::Namespaces;

pub use given::{RootForm, RootView, Surroundings, TreeView};

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
